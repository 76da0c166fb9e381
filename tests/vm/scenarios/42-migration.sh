# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-only OR MIT
#
# Suspending a device, and carrying its queues over to another one: what live migration does.

test_backend_features_for_migration_are_offered() {
    ensure v0 "$LOOP"
    said=$(client info v0)
    for feature in SUSPEND RESUME ENABLE_AFTER_DRIVER_OK IOTLB_PERSIST; do
        contains "the backend features" "$said" "$feature"
    done
}

test_suspended_device_stands_still_and_goes_on() {
    ensure v0 "$LOOP"
    client suspend v0
}

test_suspended_device_with_packed_rings_stands_still_and_goes_on() {
    ensure v0 "$LOOP"
    client suspend v0 --packed
}

test_queues_move_between_devices_in_a_loop() {
    ensure v0 "$LOOP"
    ensure v1 "$LOOP2"
    client migrate v0 --to v1
}

test_queues_move_without_suspend() {
    ensure v0 "$LOOP"
    ensure v1 "$LOOP2"
    client migrate v0 --to v1 --stop
}

test_queues_move_with_small_rings() {
    ensure v0 "$LOOP"
    ensure v1 "$LOOP2"
    client migrate v0 --to v1 --entries 16
}

# Frames of one and of two descriptors: the rings are left at each of their places, in rounds of both wrap counters.
test_packed_rings_move() {
    ensure v0 "$LOOP"
    ensure v1 "$LOOP2"
    client migrate v0 --to v1 --packed --entries 16
}

test_packed_rings_with_tables_and_an_event_index_move_without_suspend() {
    ensure v0 "$LOOP"
    ensure v1 "$LOOP2"
    client migrate v0 --to v1 --packed --event-index --indirect --stop
}

# Both devices and the one that they talk to are on one card, so it has to translate.
test_nothing_is_lost_or_repeated_in_many_moves() {
    translates || return 0
    ensure from "$NETWORK"
    ensure to "$NETWORK"
    ensure peer "$NETWORK"
    client migrate from --to to --peer peer --moves 40
}

test_nothing_is_lost_or_repeated_in_many_moves_of_packed_rings() {
    translates || return 0
    ensure from "$NETWORK"
    ensure to "$NETWORK"
    ensure peer "$NETWORK"
    client migrate from --to to --peer peer --moves 40 --packed
}

# The network may have learned meanwhile that the device is elsewhere.
test_device_that_stood_still_is_announced() {
    ensure tell "$NETWORK" max_vqp 2
    client announce tell
}

test_devices_are_deleted_at_the_end() { clean_up; }
