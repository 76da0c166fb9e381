# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-only OR MIT
#
# Block devices: their management device, and processes that have one on vhost-vdpa. The kernel's own driver for them is in
# 36-blk.sh. The disks are files of the machine that runs the models, see the file `cards`.

test_management_device_is_shown() {
    shown=$(vdpa mgmtdev show "$BLK")
    contains "the management device" "$shown" "$BLK"
    contains "its classes" "$shown" "supported_classes block"
    # A network device's stays what it was, and cards without disks have no other.
    contains "the card's own" "$(vdpa mgmtdev show "pci/$DISKS")" "supported_classes net"
    [ ! -e "/sys/bus/faux/devices/mooring_blk.${LOOP#pci/}" ] || fail "a card without disks has block devices"
}

test_device_is_added_and_shown() {
    add blk0 "$BLK"
    contains "the device" "$(vdpa dev show blk0)" "blk0: type block mgmtdev $BLK"
    refused "not supported" add blk9 "$BLK" mac 02:00:00:00:00:09
    [ ! -e "$DEBUGFS/blk0/link" ] || fail "a block device has a link"
    # Its configuration space has more, which iproute2 doesn't know.
    contains "its features" "$(vdpa dev config show blk0 2>&1)" blk0
    vdpa dev del blk0
}

test_process_reads_and_writes_sectors() {
    ensure blk0 "$BLK"
    client block blk0 --queues 2
    client block blk0 --packed --event-index --indirect
    has_space blk0 0 "$DEFAULT_MODE" 0
}

test_nonsense_from_a_process_is_refused() {
    ensure blk0 "$BLK"
    expect_log "$(refused_access 0 '(read|write)')"
    allow_log 'queue . stopped|mapped nothing|device not started'
    client bad-blocks blk0
    client bad-blocks blk0 --packed
    has_space blk0 0 "$DEFAULT_MODE" 0
}

test_read_only_disk_is_never_written() {
    # Where a function has one device, it has the first disk.
    translates || return 0
    ensure blk0 "$BLK"
    ensure blk1 "$BLK"
    allow_log "$(refused_access 0 '(read|write)')|queue . stopped|mapped nothing|device not started"
    client bad-blocks blk1
}
