# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-only OR MIT
#
# Buffers, control queue and rings are three groups, each of which can have an address space of its own: a queue reaches
# nothing that only another group's space maps, nor another device's memory.

# try KIND [PATTERN] carries out the experiment. PATTERN is what the driver must say of it, with the asid of an address space
# as @N@ where the log has the card's number of it. The driver limits its lines about a device, so that each test has a
# new one.
try() {
    if ! translates; then
        only_one_group
        return
    fi
    ensure g1 "$LOOP"
    [ ! -e "$VDPA/devices/g0" ] || vdpa dev del g0
    # shellcheck disable=SC2086 # words, or none
    ensure g0 "$LOOP" ${PAIRS-max_vqp 2}
    pattern=${2-}
    for asid in 0 1 2; do
        pattern=$(echo "$pattern" | sed "s/@$asid@/$(field g0 $asid card)/g")
    done
    [ -z "$pattern" ] || expect_log "$pattern"
    allow_log 'queue [14] stopped'
    client groups g0 --other g1 --kind "$1"
}

# only_one_group fails unless a device of a card without an IOMMU has one group in one address space, the platform's, and
# takes nothing else.
only_one_group() {
    ensure g0 "$LOOP" max_vqp 2
    refused "DESC_ASID is offered" client groups g0
    info=$(client info g0)
    same "groups" "$(echo "$info" | sed -n 's/^ *groups *//p')" 1
    same "address spaces" "$(echo "$info" | sed -n 's/^ *address_spaces *//p')" 1
}

test_rings_and_buffers_have_different_spaces() {
    # After the reset, which puts the groups back, the rings are looked for in space 0.
    try apart 'IOMMU fault .*queue 1 card address space @0@: read'
}

test_rings_of_a_device_without_a_control_queue() {
    PAIRS='' try apart 'IOMMU fault .*queue 1 card address space @0@: read'
}

test_control_queue_has_a_space_of_its_own() {
    try control-queue
}

test_command_that_only_the_data_queues_may_reach() {
    try command-in-buffer-space 'IOMMU fault .*queue 4 card address space @2@: read'
}

test_buffer_that_only_the_control_queue_may_reach() {
    try buffer-in-control-space 'IOMMU fault .*queue 1 card address space @0@: read of 100 bytes'
}

test_buffer_that_only_the_rings_space_maps() {
    try buffer-in-ring-space 'IOMMU fault .*queue 1 card address space @0@: read of 100 bytes'
}

test_buffer_that_only_the_other_device_maps() {
    try buffer-of-other-device 'IOMMU fault .*queue 1 card address space @0@: read of 100 bytes'
}

test_rings_that_only_the_buffers_space_maps() {
    try rings-in-buffer-space 'IOMMU fault .*queue 1 card address space @1@: read'
}

test_rings_in_a_space_that_was_never_mapped() {
    allow_log 'device not started: EPERM'
    try rings-in-untouched-space 'queue 0 not started: its owner has mapped nothing in address space 1'
}

test_all_groups_of_a_new_device_are_in_space_0() {
    ensure g2 "$SMALL"
    if translates; then
        same "the groups of the three spaces" "$(field g2 0 groups) $(field g2 1 groups) $(field g2 2 groups)" "0,1,2 - -"
    else
        has_space g2 0 none
    fi
    client loopback g2 --frames 32
}

test_the_devices_are_deleted() {
    # Where each card has one device only, there is no g1.
    if translates; then names="g0 g1 g2"; else names="g0 g2"; fi
    for name in $names; do
        vdpa dev del $name
    done
    same "devices that are left" "$(vdpa dev show)" ""
}
