# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-only OR MIT
#
# Two devices of one card as network interfaces of the kernel, in two network namespaces, through the card's switch.

# network makes the two devices and their namespaces, unless they are there.
network() {
    [ ! -e /run/netns/right ] || return 0
    clean_up
    add net0 "$NETWORK" mac 02:00:00:00:01:00
    add net1 "$NETWORK2" mac 02:00:00:00:01:01
    bind net0 virtio_vdpa
    bind net1 virtio_vdpa
    interface_in net0 left 10.9.0.1/24
    interface_in net1 right 10.9.0.2/24
}

test_two_devices_become_interfaces() {
    network
    contains "the interface" "$(ip -n left link show eth0)" "02:00:00:00:01:00"
}

test_they_reach_each_other() {
    network
    ip netns exec left ping -q -c 5 -i 0.2 -w "$(limit 30)" 10.9.0.2
    ip netns exec right ping -q -c 5 -i 0.2 -w "$(limit 30)" 10.9.0.1
}

test_frames_of_all_sizes_pass() {
    network
    for size in 0 1 64 500 1400 1472 4000; do
        ip netns exec left ping -q -c 2 -i 0.2 -w "$(limit 30)" -s $size 10.9.0.2
    done
}

listening() { ip netns exec right netstat -ltn | grep -q 5201; }

test_a_stream_of_three_seconds_passes() {
    network
    ip netns exec right iperf3 -s -1 -D --logfile "$WORK/iperf-server"
    within 10 listening
    timeout "$(limit 60)" /usr/bin/ip netns exec left iperf3 -c 10.9.0.2 -t 3 -J >"$WORK/iperf"
    bytes=$(grep -A20 '"sum_received"' "$WORK/iperf" | sed -n 's/.*"bytes":[^0-9]*\([0-9]*\).*/\1/p' | head -1)
    [ "${bytes:-0}" -gt 100000 ] || fail "only ${bytes:-0} bytes arrived: $(cat "$WORK/iperf")"
}

# reaches_rings_and_pool NAME ASID fails unless the card translates some memory of the kernel, and far from all of it.
reaches_rings_and_pool() {
    same "the address space's mode" "$(field "$1" "$2" mode)" translated
    bytes=$(field "$1" "$2" bytes)
    [ "$bytes" -gt 65536 ] || fail "only $bytes bytes are mapped in address space $2"
    [ "$bytes" -lt 33554432 ] || fail "$bytes bytes are mapped in address space $2"
    same "the driver's digest" "$(field "$1" "$2" expected_digest)" "$(field "$1" "$2" digest)"
}

test_the_card_counted_the_frames() {
    network
    for counter in tx_frames rx_frames interrupts doorbells; do
        [ "$(statistic net0 $counter)" -gt 20 ] || fail "$counter is $(statistic net0 $counter)"
    done
    same "stopped queues" "$(statistic net0 queue_errors)" 0
    if ! translates; then
        has_space net0 0 none
        return
    fi
    same "refused accesses" "$(field net0 0 faults)" 0
    if [ "$IOMMU" = explicit ]; then
        reaches_rings_and_pool net0 0
        # There is no control queue, and the rings of data queues are where their buffers are.
        same "the mode of space 1" "$(field net0 1 mode)" blocked
        same "the mode of space 2" "$(field net0 2 mode)" blocked
    else
        same "the address space" "$(field net0 0 mode)" identity
    fi
}

test_an_interface_goes_down_and_up_again() {
    network
    ip -n left link set eth0 down
    ip -n left link set eth0 up
    ip netns exec left ping -q -c 3 -i 0.2 -w "$(limit 30)" 10.9.0.2
}

test_the_other_interface_survives_its_peer() {
    network
    bind net1 vhost_vdpa
    ip netns del right
    bind net1 virtio_vdpa
    interface_in net1 right 10.9.0.2/24
    ip netns exec left ping -q -c 3 -i 0.2 -w "$(limit 30)" 10.9.0.2
    ip netns del left
    ip netns del right
    home net0
    home net1
    vdpa dev del net0
    vdpa dev del net1
}

test_several_queue_pairs_are_used() {
    clean_up
    add many "$NETWORK" max_vqp 4 mac 02:00:00:00:01:10
    add peer "$NETWORK2" mac 02:00:00:00:01:11
    bind many virtio_vdpa
    bind peer virtio_vdpa
    interface_in many left 10.9.1.1/24
    interface_in peer right 10.9.1.2/24
    contains "the channels" "$(ip netns exec left ethtool -l eth0 | tr -s '\n\t ' ' ')" "Combined: 4"
    for pairs in 4 1 2; do
        ip netns exec left ethtool -L eth0 combined $pairs
        ip netns exec left ping -q -c 3 -i 0.2 -w "$(limit 30)" 10.9.1.2
    done
    if [ "$IOMMU" = explicit ]; then
        reaches_rings_and_pool many 0
        reaches_rings_and_pool many 2
    fi
    ip netns del left
    ip netns del right
    home many
    home peer
    vdpa dev del many
    vdpa dev del peer
}

test_a_device_becomes_an_interface_by_itself() {
    # As on a host where nobody changes the defaults: the bus driver probes the device before `dev add` returns.
    clean_up
    unload_bus_driver vhost_vdpa
    echo 1 >"$VDPA/drivers_autoprobe"
    add self "$NETWORK"
    within 10 has_interface self
    echo 0 >"$VDPA/drivers_autoprobe"
    modprobe vhost_vdpa
    vdpa dev del self
}

test_questions_do_not_disturb_the_traffic() {
    network
    ip netns exec left ping -q -c 20 -i 0.1 -w "$(limit 30)" 10.9.0.2 >"$WORK/ping" &
    ping=$!
    while kill -0 $ping 2>/dev/null; do
        vdpa dev show net0 >"$WORK/shown"
        vdpa dev config show net0 >"$WORK/shown"
        cat "$DEBUGFS/net0/address_spaces" "$DEBUGFS/net0/statistics" >"$WORK/shown"
    done
    wait $ping || fail "$(cat "$WORK/ping")"
}
