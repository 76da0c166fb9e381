# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-only OR MIT
#
# A program that has the device by the crate vhost alone (tests/vhost-crate/), as virtual machine monitors in Rust do.

# shellcheck source=tests/vm/clients.sh
. /tests/clients.sh

# monitor NAME OPTION... runs the program on a device; what it says is in $WORK/monitor.
monitor() {
    name=$1
    shift
    timeout "$(limit 60)" mooring-vhost-crate "$(node "$name")" --timeout "$(limit 20)" "$@" >"$WORK/monitor" 2>&1
}

test_frames_come_back_by_the_crate_alone() {
    ensure v0 "$LOOP"
    sent=$(statistic v0 tx_frames) received=$(statistic v0 rx_frames)
    monitor v0 --frames 200 --rounds 3 || fail "$(cat "$WORK/monitor")"
    contains "the program" "$(cat "$WORK/monitor")" "round 3: 200 frames came back"
    same "frames that the card has sent" "$(($(statistic v0 tx_frames) - sent))" 600
    same "frames that the card has received" "$(($(statistic v0 rx_frames) - received))" 600
    same "stopped queues" "$(statistic v0 queue_errors)" 0
    ! translates || same "refused accesses" "$(field v0 0 faults)" 0
    # It has closed the device.
    has_space v0 0 "$DEFAULT_MODE"
}

test_a_device_has_one_owner_at_a_time() {
    ensure v0 "$LOOP"
    hold v0
    ! monitor v0 || fail "two processes have the device"
    contains "the program" "$(cat "$WORK/monitor")" "opening the node"
    release
    monitor v0 || fail "$(cat "$WORK/monitor")"
}
