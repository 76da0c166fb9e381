# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-only OR MIT
#
# Accesses outside the map or against its permission, and rings that make no sense: one queue stops, the driver tells,
# nothing else suffers. The other device of the card carries frames before and after each.

# faulty KIND PATTERN provokes a fault and expects the driver's line about it. The driver limits its lines about a device in a
# minute, so that each test has a new one.
faulty() {
    expect_log "$2"
    allow_log 'queue [01] stopped'
    ensure f1 "$LOOP2"
    [ ! -e "$VDPA/devices/f0" ] || vdpa dev del f0
    ensure f0 "$LOOP"
    client fault f0 --kind "$1" --other f1
}

test_transmit_buffer_outside_the_map() { faulty tx-unmapped "$(refused_access 1 read)"; }
test_transmit_buffer_across_the_end_of_the_map() { faulty tx-straddles "$(refused_access 1 read)"; }
test_transmit_buffer_that_may_not_be_read() {
    if [ "$IOMMU" = none ]; then
        # vhost maps it so, but vfio, by which QEMU tells the card of the platform's map, knows no memory for writing only.
        ensure f1 "$LOOP2"
        ensure f0 "$LOOP"
        client fault f0 --kind tx-write-only --other f1 --unnoticed
        return
    fi
    faulty tx-write-only "$(refused_access 1 read)"
}
test_receive_buffer_outside_the_map() { faulty rx-unmapped "$(refused_access 0 write)"; }
test_receive_buffer_that_may_not_be_written() { faulty rx-read-only "$(refused_access 0 write)"; }
test_rings_unmapped_while_the_device_runs() { faulty ring-removed "$(refused_access '[01]' '')"; }
test_descriptor_that_does_not_exist() { faulty ring-bad-head 'queue 1 stopped: its ring makes no sense'; }
test_descriptors_in_a_circle() { faulty ring-loop 'queue 1 stopped: its ring makes no sense'; }
test_available_index_out_of_range() { faulty ring-jump 'queue 1 stopped: its ring makes no sense'; }
test_transmit_buffer_marked_as_writable() { faulty tx-writable 'queue 1 stopped: a buffer is of the wrong kind'; }
test_transmit_buffer_shorter_than_the_header() { faulty tx-short 'queue 1 stopped: a buffer is of the wrong kind'; }

# uevents_of COMMAND... carries out a command, and leaves in $WORK/uevents what userspace is told meanwhile.
uevents_of() {
    # Busybox keeps what it would print itself until it ends, and it doesn't end by itself.
    busybox uevent env >"$WORK/uevents" &
    listener=$!
    # It doesn't say when it listens; a uevent that is asked for shows it.
    within 10 sh -c "echo change >$VDPA/devices/f0/uevent; sleep 0.2; grep -q 'DEVPATH=.*/f0' $WORK/uevents"
    "$@" || fail "$* failed"
    within 10 grep -q '^MOORING_EVENT=' "$WORK/uevents"
    kill $listener
}

# The file of a device that had none, on a card that has lost no event.
NO_FAULTS="count=0
told=0
card_lost_events=0"

test_operator_is_told_of_a_fault() {
    if ! translates; then
        # It is the platform's IOMMU that faults; the card says no more than that an access failed, and whose queue that was.
        vdpa dev del f0
        faulty tx-unmapped "$(refused_access 1 read)113"
        same "faults" "$(cat "$DEBUGFS/f0/faults")" "$NO_FAULTS"
        same "the counter" "$(statistic f0 iommu_faults)" 0
        same "stopped queues" "$(statistic f0 queue_errors)" 1
        same "stopped queues of the other device" "$(statistic f1 queue_errors)" 0
        return
    fi
    expect_log 'IOMMU fault 1: device [0-9]+ queue 1 card address space [0-9]+: read of 100 bytes at 0x113'
    allow_log 'queue [01] stopped'
    vdpa dev del f0
    ensure f0 "$LOOP"
    same "faults before" "$(cat "$DEBUGFS/f0/faults")" "$NO_FAULTS"
    same "the counter before" "$(statistic f0 iommu_faults)" 0
    uevents_of client fault f0 --kind tx-unmapped --other f1
    same "the counter" "$(statistic f0 iommu_faults)" 1
    same "faults, as the card counts them" "$(field f0 0 faults)" 1
    faults=$(cat "$DEBUGFS/f0/faults")
    contains "the faults" "$faults" "$(printf 'count=1\ntold=1\ncard_lost_events=0\n')"
    contains "the faults" "$faults" "last_queue=1 last_card=$(field f0 0 card) last_access=read last_length=100 last_iova=0x113"
    for variable in ACTION=change SUBSYSTEM=vdpa MOORING_EVENT=iommu-fault MOORING_FAULT_COUNT=1 MOORING_FAULT_QUEUE=1 MOORING_FAULT_ACCESS=read \
        MOORING_FAULT_LENGTH=100 MOORING_FAULT_IOVA=0x113 "MOORING_FAULT_ADDRESS_SPACE=$(field f0 0 card)"; do
        contains "the uevents" "$(cat "$WORK/uevents")" "$variable"
    done
    same "faults of the other device" "$(statistic f1 iommu_faults)" 0
}

test_dump_shows_what_card_and_driver_agree_on() {
    hold f0 --frames 0
    if ! translates; then
        has_space f0 0 none
        release
        return
    fi
    dump=$DEBUGFS/f0/address_space0
    commands=$(field f0 0 card_commands)
    extents=$(field f0 0 extents)
    same "the last line" "$(tail -n 1 "$dump")" "both=$extents card_only=0 driver_only=0"
    same "lines" "$(wc -l <"$dump")" $((extents + 2))
    contains "the first line" "$(head -n 1 "$dump")" "mode=translated driver_mode=translated"
    contains "the second line" "$(sed -n 2p "$dump")" "0x0000000010000000 "
    contains "the second line" "$(sed -n 2p "$dump")" " rw both"
    same "IOMMU commands" "$(field f0 0 card_commands)" "$commands"
    release
    same "the last line after the close" "$(tail -n 1 "$dump")" "both=0 card_only=0 driver_only=0"
}

test_dump_shows_what_a_forgetful_card_has_lost() {
    ensure f2 "$FORGETFUL"
    if ! translates; then
        # Such a card is given no extent that it could forget.
        client loopback f2 --frames 64
        has_space f2 0 none
        vdpa dev del f2
        return
    fi
    allow_log 'IOMMU fault|queue [01] stopped'
    hold f2 --frames 0 --allow-trouble
    dump=$DEBUGFS/f2/address_space0
    extents=$(field f2 0 extents)
    same "the last line" "$(tail -n 1 "$dump")" "both=$extents card_only=0 driver_only=1"
    contains "the second line" "$(sed -n 2p "$dump")" "0x0000000010000000 "
    contains "the second line" "$(sed -n 2p "$dump")" " rw driver-only"
    [ "$(field f2 0 digest)" != "$(field f2 0 expected_digest)" ] || fail "the digests are the same"
    release
    vdpa dev del f2
}

test_both_devices_are_deleted() {
    vdpa dev del f0
    vdpa dev del f1
}
