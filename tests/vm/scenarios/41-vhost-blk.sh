# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-only OR MIT
#
# Block devices: their management device, and processes that have one on vhost-vdpa. The kernel's own driver for them is in
# 36-blk.sh. The disks are files of the machine that runs the models, see the file `cards`.

# What every device of the card offers, in the words of iproute2 and of the client.
RING_FEATURES='RING_INDIRECT_DESC RING_EVENT_IDX VERSION_1 ACCESS_PLATFORM RING_PACKED IN_ORDER ORDER_PLATFORM NOTIFICATION_DATA'

# shown_of HANDLE VALUE prints what iproute2 shows of a management device.
shown_of() { vdpa mgmtdev show "$1" | sed -n "s/^ *$2 *//p"; }

test_management_device_is_shown() {
    contains "the management device" "$(vdpa mgmtdev show "$BLK")" "$BLK"
    same "its classes" "$(shown_of "$BLK" supported_classes)" block
    # The card would have enough for more of them.
    same "its queues" "$(shown_of "$BLK" max_supported_vqs)" "$(nproc)"
    # What a disk of whatever kind may offer. iproute2 has no names for SIZE_MAX, SEG_MAX, RO, BLK_SIZE, FLUSH, TOPOLOGY, MQ, DISCARD
    # and WRITE_ZEROES.
    same "its features" "$(shown_of "$BLK" dev_features)" \
        "bit_1 bit_2 bit_5 bit_6 bit_9 bit_10 bit_12 bit_13 bit_14 $RING_FEATURES"
    # A network device's stays what it was, and cards without disks have no other.
    same "the card's own" "$(shown_of "pci/$DISKS" supported_classes)" net
    [ ! -e "/sys/bus/faux/devices/mooring_blk.${LOOP#pci/}" ] || fail "a card without disks has block devices"
}

# info_of NAME VALUE prints what vhost-vdpa tells a process of the device.
info_of() { client info "$1" | sed -n "s/^ *$2 *//p"; }

# same_features NAME WANTED fails unless the device offers exactly these, beside those of all devices.
same_features() {
    same "features of $1" "$(info_of "$1" features)" "$2 $(echo "$RING_FEATURES" | sed 's/RING_\(INDIRECT\|EVENT\)/\1/g')"
}

test_device_is_added_and_shown() {
    clean_up
    add blk0 "$BLK"
    contains "the device" "$(vdpa dev show blk0)" "blk0: type block mgmtdev $BLK"
    contains "its queues" "$(vdpa dev show blk0)" "max_vqs $(nproc) "
    refused "not supported" add blk9 "$BLK" mac 02:00:00:00:00:09
    [ ! -e "$DEBUGFS/blk0/link" ] || fail "a block device has a link"
    # The kernel tells its configuration space, which iproute2 doesn't know.
    same "its configuration" "$(vdpa -j dev config show blk0)" '{"config":{"blk0":{}}}'
    bind blk0 vhost_vdpa
    same_features blk0 "SIZE_MAX SEG_MAX BLK_SIZE FLUSH TOPOLOGY MQ DISCARD WRITE_ZEROES"
    if translates; then
        add blk1 "$BLK"
        bind blk1 vhost_vdpa
        same_features blk1 "SIZE_MAX SEG_MAX RO BLK_SIZE FLUSH TOPOLOGY MQ"
        vdpa dev del blk1
    fi
    vdpa dev del blk0
}

# by_nobody COMMAND... runs it as a user without any privilege.
by_nobody() { su nobody -c "$*"; }

test_anybody_may_look_and_nobody_else_may_change() {
    clean_up
    add blk0 "$BLK"
    same "who asks" "$(by_nobody id -u)" 65534
    for shown in "dev show" "dev show blk0" "dev config show" "dev config show blk0" "mgmtdev show" "mgmtdev show $BLK"; do
        # shellcheck disable=SC2086 # words
        same "vdpa $shown" "$(by_nobody vdpa $shown)" "$(vdpa $shown)"
    done
    refused "not permitted" by_nobody vdpa dev del blk0
    refused "not permitted" by_nobody vdpa dev add name blk1 mgmtdev "$BLK"
    refused "not permitted" by_nobody vdpa dev vstats show blk0 qidx 0
    same "devices" "$(vdpa dev show | cut -d: -f1)" blk0
    vdpa dev del blk0
}

test_group_that_no_process_could_move_is_not_there() {
    clean_up
    # vhost-vdpa refuses the number of a group that no queue has. VERSION_1, ACCESS_PLATFORM, and FLUSH: no MQ.
    add blk0 "$BLK" device_features 0x300000200
    bind blk0 vhost_vdpa
    same "queues" "$(info_of blk0 queues)" 1
    same "groups and address spaces" "$(info_of blk0 groups) $(info_of blk0 address_spaces)" "1 1"
    ! translates || same "spaces on the card" "$(wc -l <"$DEBUGFS/blk0/address_spaces")" 1
    client block blk0 --requests 8
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
