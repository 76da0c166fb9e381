# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-only OR MIT
# Kernels: stock
#
# Interfaces whose frames are large or whose queues are many: what they need of receive buffers, and of the pool where the kernel's
# memory goes through one. Where it doesn't, the driver has no part in it: so not on the debug kernel.

test_large_frames_pass() {
    clean_up
    add large0 "$NETWORK" mtu 9000 mac 02:00:00:00:01:20
    add large1 "$NETWORK2" mtu 9000 mac 02:00:00:00:01:21
    bind large0 virtio_vdpa
    bind large1 virtio_vdpa
    interface_in large0 left 10.9.3.1/24
    interface_in large1 right 10.9.3.2/24
    ip netns exec left ping -q -c 3 -i 0.2 -w "$(limit 30)" -M "do" -s 8972 10.9.3.2
    # Many at once, so that the rings are full, and with explicit maps perhaps the pool: frames may be lost, no more.
    allow_log 'Unexpected TXQ'
    # With one lost it waits as long as it may, on a slow kernel, too.
    ip netns exec left ping -q -f -l 2000 -c 4000 -w 30 -s 8972 10.9.3.2 >"$WORK/flood" || true
    arrived=$(sed -n 's/.* \([0-9]*\) received.*/\1/p' "$WORK/flood")
    [ "${arrived:-0}" -gt 400 ] || fail "hardly anything arrived: $(cat "$WORK/flood")"
    ip netns exec left ping -q -c 3 -i 0.2 -w "$(limit 30)" -M "do" -s 8972 10.9.3.2
    same "stopped queues" "$(statistic large0 queue_errors)" 0
    ! translates || same "refused accesses" "$(field large0 0 faults)" 0
    ip netns del left
    ip netns del right
    home large0
    home large1
    vdpa dev del large0
    vdpa dev del large1
}

# polls prints how often the kernel has looked for received frames.
polls() { awk '/NET_RX:/ { for (i = 2; i <= NF; i++) sum += $i; print sum }' /proc/softirqs; }

# does_not_poll PAIRS MTU fails unless interfaces with so many queue pairs are quiet if nothing happens, and pass frames of
# full size. virtio_net polls without end if it can't fill its receive rings.
does_not_poll() {
    clean_up
    add idle0 "$NETWORK" mac 02:00:00:00:09:00 max_vqp "$1" mtu "$2"
    add idle1 "$NETWORK2" mac 02:00:00:00:09:01 max_vqp "$1" mtu "$2"
    bind idle0 virtio_vdpa
    bind idle1 virtio_vdpa
    interface_in idle0 left 10.9.4.1/24
    interface_in idle1 right 10.9.4.2/24
    # Not only as many as there are processors.
    for end in left right; do
        [ "$1" = 1 ] || ip netns exec $end ethtool -L eth0 combined "$1"
    done
    ip netns exec left ping -q -c 3 -i 0.2 -w "$(limit 30)" -M "do" -s $(($2 - 28)) 10.9.4.2
    before=$(polls)
    sleep 2
    polled=$(($(polls) - before))
    [ $polled -lt 200 ] || fail "$1 pairs, MTU $2: polled $polled times in 2 s"
    same "stopped queues" "$(statistic idle0 queue_errors)" 0
    ip netns exec left ping -q -c 3 -i 0.2 -w "$(limit 30)" -M "do" -s $(($2 - 28)) 10.9.4.2
    ip netns del left
    ip netns del right
    home idle0
    home idle1
    vdpa dev del idle0
    vdpa dev del idle1
}

test_an_idle_interface_is_quiet() { does_not_poll 1 1500; }

test_an_idle_interface_is_quiet_if_a_frame_takes_several_descriptors() { does_not_poll 1 1600; }

test_an_idle_interface_with_many_queues_is_quiet() { does_not_poll 6 1500; }

test_an_idle_interface_with_many_queues_and_large_frames_is_quiet() { does_not_poll 6 9000; }
