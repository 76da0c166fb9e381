# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-only OR MIT
#
# A process drives the device through vhost-vdpa: what should work.

test_device_describes_itself() {
    add v0 "$LOOP"
    bind v0 vhost_vdpa
    client info v0
}

test_frames_come_back_unchanged() { client loopback v0; }

test_frames_come_back_with_doorbell_pages() { client loopback v0 --doorbell; }

test_frames_come_back_when_queues_are_enabled_late_as_qemu_does() { client loopback v0 --late-enable; }

test_frames_come_back_with_maps_outside_of_a_batch() { client loopback v0 --unbatched; }

test_frames_come_back_with_rings_at_address_0() { client loopback v0 --iova 0; }

test_frames_come_back_with_scattered_memory_and_small_rings() { client loopback v0 --backing memfd --entries 8; }

test_frames_come_back_with_rings_that_begin_before_the_wrap() { client loopback v0 --first 65500; }

test_doorbell_pages_can_be_mapped_in_one_way_only() { client doorbell-page v0; }

test_queue_positions_are_kept_and_told() { client vq-state v0; }

test_maps_change_while_frames_flow() { client remap-live v0; }

test_maps_of_scattered_memory_change_while_frames_flow() { client remap-live v0 --backing memfd --rounds 2; }

test_reset_keeps_the_map_with_iotlb_persist_acknowledged() { client reset-keeps-map v0 --persist yes; }

test_reset_keeps_the_map_with_iotlb_persist_not_acknowledged() { client reset-keeps-map v0 --persist no; }

test_reset_keeps_a_map_of_many_ranges() { client reset-keeps-map v0 --size 64M --ranges 32 --resets 2 --persist no; }

test_reset_keeps_a_map_of_a_quarter_gigabyte() { client reset-keeps-map v0 --size 256M --resets 2 --persist no; }

test_nothing_comes_after_a_reset_has_returned() { client reset-is-quiet v0; }

test_two_devices_run_at_the_same_addresses() {
    add v1 "$LOOP"
    bind v1 vhost_vdpa
    hold v1
    client loopback v0 --frames 64
    release
    vdpa dev del v1
}

test_device_is_deleted_at_the_end() { vdpa dev del v0; }
