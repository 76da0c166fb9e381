# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-only OR MIT
#
# Junk from userspace gets its errno and changes nothing.

# What vhost itself says of address spaces that don't exist.
VHOST="vhost-vdpa-[0-9]+: (can't find and alloc asid|no iotlb for asid|batch id)"

test_junk_is_refused_on_a_plain_device() {
    ensure j0 "$LOOP"
    allow_log "$VHOST"
    allow_log 'device not started: EINVAL'
    client junk j0
}

test_junk_is_refused_on_a_device_with_several_address_spaces() {
    ensure j1 "$LOOP2" max_vqp 2
    allow_log "$VHOST"
    allow_log 'device not started: EINVAL'
    client junk j1
    vdpa dev del j1
}

# fail_batch VARIANT makes a batch fail. Without 1:1 address spaces the driver takes each change of a batch by itself, and
# can say at once which one is bad.
fail_batch() {
    allow_log 'IOMMU fault|queue [01] stopped'
    ensure j0 "$LOOP"
    case $IOMMU in
        explicit) client batch-failure j0 --variant "$1" --told ;;
        *) client batch-failure j0 --variant "$1" ;;
    esac
}

test_failed_addition_leaves_the_old_map_serving() {
    ! translates || expect_log 'address space 0 was not updated: .*its old map serves'
    fail_batch addition
}

test_failed_batch_with_a_removal_does_the_removal_alone() {
    case $IOMMU in
        explicit) expect_log 'address space 0 was not updated: .*its old map serves' ;;
        none) ;;
        *) expect_log 'address space 0 could not be updated: .*only what was to be removed is gone' ;;
    esac
    fail_batch removal
}

test_map_that_the_card_has_no_room_for_changes_nothing() {
    ensure j2 "$SMALL"
    ! translates || expect_log 'address space 0 was not updated: ENOSPC; its old map serves'
    client map-limit j2
    vdpa dev del j2
}

test_the_first_device_is_unharmed() {
    ensure j0 "$LOOP"
    client loopback j0 --frames 64
    vdpa dev del j0
}
