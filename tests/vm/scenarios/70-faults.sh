# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-only OR MIT
#
# Accesses outside the map or against its permission, and rings that make no sense: one queue stops, the driver tells,
# nothing else suffers. The other device of the card carries frames before and after each.

# faulty KIND PATTERN provokes a fault and expects the driver's line about it. The driver limits its lines about a device,
# so that each test has a new one.
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
test_transmit_buffer_that_may_not_be_read() { faulty tx-write-only "$(refused_access 1 read)"; }
test_receive_buffer_outside_the_map() { faulty rx-unmapped "$(refused_access 0 write)"; }
test_receive_buffer_that_may_not_be_written() { faulty rx-read-only "$(refused_access 0 write)"; }
test_rings_unmapped_while_the_device_runs() { faulty ring-removed 'IOMMU fault'; }
test_descriptor_that_does_not_exist() { faulty ring-bad-head 'queue 1 stopped: its ring makes no sense'; }
test_descriptors_in_a_circle() { faulty ring-loop 'queue 1 stopped: its ring makes no sense'; }
test_available_index_out_of_range() { faulty ring-jump 'queue 1 stopped: its ring makes no sense'; }
test_transmit_buffer_marked_as_writable() { faulty tx-writable 'queue 1 stopped: a buffer is of the wrong kind'; }
test_transmit_buffer_shorter_than_the_header() { faulty tx-short 'queue 1 stopped: a buffer is of the wrong kind'; }

test_both_devices_are_deleted() {
    vdpa dev del f0
    vdpa dev del f1
}
