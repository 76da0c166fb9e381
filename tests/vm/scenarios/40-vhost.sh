# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-only OR MIT
#
# A process drives the device through vhost-vdpa: what should work.

# try EXPERIMENT [OPTION...] carries out an experiment on this scenario's device.
try() {
    experiment=$1
    shift
    ensure v0 "$LOOP"
    client "$experiment" v0 "$@"
}

test_device_describes_itself() { try info; }

test_persistent_maps_are_offered() { contains "the backend features" "$(try info)" IOTLB_PERSIST; }

test_frames_come_back_unchanged() { try loopback; }

test_frames_come_back_with_doorbell_pages() { try loopback --doorbell; }

test_frames_come_back_when_queues_are_enabled_before_they_are_set_up() { try loopback --early-enable; }

test_frames_come_back_when_queues_are_enabled_late_as_qemu_does() { try loopback --late-enable; }

test_frames_come_back_with_maps_outside_of_a_batch() { try loopback --unbatched; }

test_frames_come_back_with_rings_at_address_0() { try loopback --iova 0; }

test_frames_come_back_with_scattered_memory_and_small_rings() { try loopback --backing memfd --entries 8; }

# Behind a platform IOMMU, memory that a process maps at once gets bus addresses in a row, if the driver learns of all of
# it at once: a card without a 1:1 mode is told of each range by itself.
test_scattered_memory_is_one_extent_behind_a_platform_iommu() {
    ensure v0 "$LOOP"
    hold v0 --backing scattered
    if ! translates; then
        # The frames that the holder sent came back through the platform's pages; the card knows of nothing.
        has_space v0 0 none
        release
        return
    fi
    extents=$(field v0 0 extents)
    same "the driver's digest" "$(field v0 0 expected_digest)" "$(field v0 0 digest)"
    release
    case $IOMMU-$PLATFORM_IOMMU in
        identity-strict | identity-lazy) same "extents" "$extents" 1 ;;
        *) [ "$extents" -gt 16 ] || fail "scattered memory is $extents extents" ;;
    esac
}

test_frames_come_back_with_rings_that_begin_before_the_wrap() { try loopback --first 65500; }

test_frames_come_back_with_an_event_index() { try loopback --event-index; }

test_frames_come_back_with_tables() { try loopback --indirect; }

test_frames_come_back_with_packed_rings() { try loopback --packed; }

test_frames_come_back_with_small_packed_rings_that_begin_at_their_end() {
    try loopback --packed --event-index --indirect --entries 8 --first 7
}

test_frames_come_back_with_packed_rings_and_doorbell_pages() { try loopback --packed --event-index --doorbell; }

test_doorbell_pages_can_be_mapped_in_one_way_only() { try doorbell-page; }

test_queue_positions_are_kept_and_told() { try vq-state; }

test_positions_of_packed_rings_are_kept_and_told() { try vq-state --packed; }

test_maps_change_while_frames_flow() { try remap-live; }

test_maps_of_scattered_memory_change_while_frames_flow() { try remap-live --backing memfd --rounds 2; }

test_reset_keeps_the_map_with_iotlb_persist_acknowledged() { try reset-keeps-map --persist yes; }

test_reset_keeps_the_map_with_iotlb_persist_not_acknowledged() { try reset-keeps-map --persist no; }

test_reset_keeps_a_map_of_many_ranges() { try reset-keeps-map --size 64M --ranges 32 --resets 2 --persist no; }

test_reset_keeps_a_map_of_a_quarter_gigabyte() { try reset-keeps-map --size 256M --resets 2 --persist no; }

test_nothing_comes_after_a_reset_has_returned() { try reset-is-quiet; }

test_two_devices_run_at_the_same_addresses() {
    add v1 "$LOOP2"
    bind v1 vhost_vdpa
    hold v1
    try loopback --frames 64
    release
    vdpa dev del v1
}

test_device_is_deleted_at_the_end() { vdpa dev del v0; }
