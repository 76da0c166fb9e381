# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-only OR MIT
#
# Fail closed: a process that mapped nothing gets nothing, and least of all the default 1:1 map. The driver knows what is
# mapped on a card, and doesn't start the queues; what the platform's IOMMU maps it doesn't know: there a queue starts, and its
# first access ends it.

if translates; then
    NOT_STARTED='not started: its owner has mapped nothing|device not started: EPERM|queue [0-9]+ could not be started: EPERM'
else
    NOT_STARTED=$(refused_access '[01]' read)
fi

# try VARIANT carries out the experiment on this scenario's device.
try() {
    ensure u0 "$LOOP"
    client start-unmapped u0 --variant "$1"
}

test_device_that_was_never_mapped_is_not_started() {
    expect_log "$NOT_STARTED"
    try never
}

test_queues_that_are_enabled_late_are_not_started() {
    expect_log "$NOT_STARTED"
    try late-enable
}

test_a_new_owner_does_not_inherit_the_map_of_the_previous_one() {
    expect_log "$NOT_STARTED"
    try previous-owner
}

test_a_process_does_not_inherit_the_map_of_the_kernel() {
    expect_log "$NOT_STARTED"
    ensure u0 "$LOOP"
    bind u0 virtio_vdpa
    within 10 has_interface u0
    bind u0 vhost_vdpa
    try never
}

test_a_space_that_its_owner_emptied_serves_nothing() {
    allow_log "$NOT_STARTED"
    allow_log 'IOMMU fault|queue [01] stopped'
    try emptied
}

test_queues_moved_into_an_untouched_space_are_not_started() {
    if ! translates; then
        # There is no other space to move them into.
        ensure u0 "$LOOP"
        refused "the device has only 1 address space" client start-unmapped u0 --variant other-space
        return
    fi
    add u1 "$LOOP" max_vqp 2
    bind u1 vhost_vdpa
    expect_log "$NOT_STARTED"
    client start-unmapped u1 --variant other-space
    vdpa dev del u1
}

test_the_device_works_for_whoever_maps() {
    client loopback u0 --frames 32
    vdpa dev del u0
}
