# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-only OR MIT
# Kernels: stock
# Cards: identity
#
# A virtual machine inside the VM has the device, through QEMU's vhost-vdpa. Its guest starts the device, has numbered frames
# come back through the card's loop, and resets it.

# shellcheck source=tests/vm/qemu.sh
. /tests/qemu.sh

# run_guest NAME WORDS [NETDEV [DEVICE]] runs a guest to its end; what it said is in $WORK/run.guest.
run_guest() {
    mount_clients
    code=0
    qemu run "$1" "$2" "${3-}" "${4-}" >"$WORK/qemu" 2>&1 || code=$?
    [ $code = 33 ] || fail "QEMU ended with $code: $(cat "$WORK/qemu" "$WORK/run.guest")"
    same "the guest's last line" "$(tail -n 1 "$WORK/run.guest")" "well"
    # QEMU says that it could not restore the rings where a device can't be suspended: it takes their positions from the guest
    # then. Nothing else is to be said.
    same "what QEMU said" "$(grep -v 'ring restore failed: -1' "$WORK/qemu" || true)" ""
}

test_frames_of_a_guest_come_back() {
    ensure q0 "$LOOP" device_features $SHADOW
    sent=$(statistic q0 tx_frames)
    run_guest q0 "frames=$((512 * LONG))"
    contains "the guest" "$(cat "$WORK/run.guest")" "$((512 * LONG)) frames sent, 0 lost"
    # At least as many: the card's loop is a cable, and QEMU sends an announcement.
    [ $(($(statistic q0 tx_frames) - sent)) -ge $((512 * LONG)) ] || fail "the card has sent $(statistic q0 tx_frames) frames"
    untroubled q0
    # QEMU has closed the device.
    has_space q0 0 "$DEFAULT_MODE"
}

# QEMU itself unmaps everything when its guest resets the device, and maps it again at the start. So a reset is not free here,
# as it is for a client that leaves the map alone (40-vhost); but it must cost no more than that.
test_a_guest_resets_its_device() {
    ensure q0 "$LOOP" device_features $SHADOW
    translates && before=$(field q0 0 commands)
    run_guest q0 "frames=64"
    translates && one=$(($(field q0 0 commands) - before))
    run_guest q0 "frames=64 rounds=9"
    contains "the guest" "$(cat "$WORK/run.guest")" "round 9: 576 frames sent, 0 lost"
    untroubled q0
    translates || return 0
    nine=$(($(field q0 0 commands) - before - one))
    [ $nine -le $((9 * one)) ] || fail "a guest that starts its device once costs $one IOMMU commands, nine times $nine"
}

test_frames_come_back_through_shadow_queues() {
    ensure q0 "$LOOP" device_features $SHADOW
    run_guest q0 "frames=64 rounds=$((3 * LONG))" ,x-svq=on
    untroubled q0
    vdpa dev del q0
}

test_a_guest_has_a_control_queue_and_two_pairs() {
    ensure q1 "$LOOP2" max_vqp 2
    run_guest q1 "frames=64 rounds=$((3 * LONG))" ,queues=2 ,mq=on
    contains "the guest" "$(cat "$WORK/run.guest")" "control queue"
    untroubled q1
    vdpa dev del q1
}

test_a_control_queue_can_be_a_shadow_too() {
    ensure q2 "$LOOP2" max_vqp 2 device_features $SHADOW_CONTROL
    run_guest q2 "frames=64 rounds=$((3 * LONG))" ,queues=2,x-svq=on ,mq=on
    contains "the guest" "$(cat "$WORK/run.guest")" "control queue"
    untroubled q2
    vdpa dev del q2
}
