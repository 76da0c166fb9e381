# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-only OR MIT
# Kernels: stock
# Cards: identity
#
# A virtual machine moves from one QEMU to another inside the VM, and with it from one device of the card to another, while
# its guest sends numbered frames and takes them back. QEMU shadows the queues while it moves a guest, stops the device, and
# hands the rings' positions over. None of the guest's frames may be lost or repeated, and the card's counters must agree.

# shellcheck source=tests/vm/qemu.sh
. /tests/qemu.sh

# begin_qemu TAG NAME NETDEV DEVICE [OPTION...] starts a virtual machine in the background. What is written to $WORK/TAG.in
# goes to its monitor (QMP), whose answers are in $WORK/TAG.monitor.
begin_qemu() {
    tag=$1 name=$2 netdev=$3 device=$4
    shift 4
    rm -f "$WORK/$tag.in"
    mkfifo "$WORK/$tag.in"
    # Far more frames than it comes to: the test ends the guest. QEMU has both ends of its input, so that nobody waits to open it.
    qemu "$tag" "$name" "frames=100000000 pause=5" "$netdev" "$device" -qmp stdio "$@" \
        <>"$WORK/$tag.in" >"$WORK/$tag.monitor" 2>&1 &
    eval "$tag=\$!"
    begun="$begun $tag"
    # This waits until it has opened its input.
    echo '{"execute": "qmp_capabilities"}' >"$WORK/$tag.in"
}

# tell TAG COMMAND gives it a command. The pipe is opened for both directions, which waits for nobody, should QEMU have ended.
tell() { echo "$2" 1<>"$WORK/$1.in"; }

# A test that fails leaves no QEMU behind, which would keep its device.
trap 'for tag in $begun; do tell "$tag" "{\"execute\": \"quit\"}"; done' EXIT
begun=

# said TAG prints what QEMU and its guest have said, the newest of it.
said() { tail -n 20 "$WORK/$1.monitor" "$WORK/$1.guest"; }

# goes_on TAG fails if the virtual machine has ended, or its guest has met something wrong.
goes_on() {
    eval "process=\$$1"
    # shellcheck disable=SC2154 # set by eval
    kill -0 "$process" 2>/dev/null || fail "QEMU $1 has ended: $(said "$1")"
    ! grep -q FAILED "$WORK/$1.guest" || fail "the guest in $1: $(said "$1")"
    ! grep -q '"status": "failed"' "$WORK/$1.monitor" || fail "the migration has failed: $(said "$1")"
}

# all_frames TAG prints how many frames the guest had sent and taken back each time that it said so here. A line that it
# began in one QEMU and ended in another is none.
all_frames() { sed -n 's/^frames: \([0-9]*\), lost: 0$/\1/p' "$WORK/$1.guest"; }

# frames TAG prints the newest of them.
frames() {
    number=$(all_frames "$1" | tail -n 1)
    echo "${number:-0}"
}

# has_sent TAG COUNT succeeds if the guest has sent and taken back so many frames.
has_sent() {
    goes_on "$1"
    [ "$(frames "$1")" -ge "$2" ]
}

# soon SECONDS COMMAND TAG [COUNT] waits until one of these commands succeeds.
soon() { (within "$@") || fail "$(said "$3")"; }

has_migrated() {
    goes_on "$1"
    grep -q '"status": "completed"' "$WORK/$1.monitor"
}

is_stopped() {
    goes_on "$1"
    grep -q '"event": "STOP"' "$WORK/$1.monitor"
}

listens() {
    goes_on "$1"
    [ -S "$WORK/socket-$1" ]
}

# end_qemu TAG ends it, and fails if it did not end well.
end_qemu() {
    goes_on "$1"
    tell "$1" '{"execute": "quit"}'
    eval "wait \$$1" || fail "QEMU $1 ended with $?: $(said "$1")"
}

# migrate_between TIMES NAME0 NAME1 NETDEV DEVICE has a guest move so often, from one device to the other, back, and so on.
migrate_between() {
    mount_clients
    moves=$1
    shift
    sent_before=$(($(statistic "$1" tx_frames) + $(statistic "$2" tx_frames)))
    received_before=$(($(statistic "$1" rx_frames) + $(statistic "$2" rx_frames)))
    begin_qemu vm0 "$1" "$3" "$4"
    soon 100 has_sent vm0 64
    hop=0
    while [ $hop -lt "$moves" ]; do
        from=vm$hop
        hop=$((hop + 1))
        to=vm$hop
        [ $((hop % 2)) = 0 ] && next=$1 || next=$2
        begin_qemu "$to" "$next" "$3" "$4" -incoming "unix:$WORK/socket-$to"
        soon 60 listens "$to"
        before=$(frames "$from")
        # Only now, because the destination of a move would tell of that one, too.
        tell "$from" '{"execute": "migrate-set-capabilities", "arguments": {"capabilities": [{"capability": "events", "state": true}]}}'
        tell "$from" '{"execute": "migrate", "arguments": {"uri": "unix:'"$WORK/socket-$to"'"}}'
        soon 60 has_migrated "$from"
        moved=$(frames "$from")
        [ "$moved" -gt "$before" ] || fail "the guest stood still while it was moved"
        soon 30 has_sent "$to" $((moved + 64))
        [ "$(all_frames "$to" | head -n 1)" -gt "$moved" ] || fail "the guest began anew: $(said "$to")"
        end_qemu "$from"
    done
    # A guest that is stopped may have sent a burst of 16 frames that it has not spoken of yet, and no more. Each frame that the
    # one device or the other has sent came back to it.
    tell "$to" '{"execute": "stop"}'
    soon 30 is_stopped "$to"
    sent=$(frames "$to")
    card_sent=$(($(statistic "$1" tx_frames) + $(statistic "$2" tx_frames) - sent_before))
    card_received=$(($(statistic "$1" rx_frames) + $(statistic "$2" rx_frames) - received_before))
    end_qemu "$to"
    { [ "$card_sent" -ge "$sent" ] && [ "$card_sent" -le $((sent + 16)) ]; } || fail "the guest sent $sent frames, the card $card_sent"
    same "frames that the card returned" "$card_received" "$card_sent"
    same "frames that the card dropped" "$(statistic "$1" rx_dropped) $(statistic "$2" rx_dropped)" "0 0"
    untroubled "$1"
    untroubled "$2"
}

test_a_guest_moves_there_and_back() {
    ensure m0 "$LOOP" device_features $SHADOW
    ensure m1 "$LOOP2" device_features $SHADOW
    migrate_between $((2 * LONG)) m0 m1 "" ""
    vdpa dev del m0
    vdpa dev del m1
}

test_a_guest_with_a_control_queue_moves() {
    ensure m2 "$LOOP" max_vqp 2 device_features $SHADOW_CONTROL
    ensure m3 "$LOOP2" max_vqp 2 device_features $SHADOW_CONTROL
    migrate_between "$LONG" m2 m3 ,queues=2 ,mq=on
    vdpa dev del m2
    vdpa dev del m3
}
