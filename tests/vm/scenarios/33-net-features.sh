# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-only OR MIT
#
# What a driver asks of its device through the control queue, what the device tells unasked, and offloads: two devices as
# interfaces of the kernel, as in 30-network.sh.

# offloads succeeds if virtio_net may send and receive frames that are longer than the wire's: not through a bounce pool.
offloads() { [ "$IOMMU" != explicit ]; }

# features makes the two devices and their namespaces, unless they are there. They have a control queue. The host has not chosen
# the address of the first one, so that its driver may. $MAC is what the card has chosen.
features() {
    [ -e /run/netns/right ] || make_features max_vqp 2
    MAC=$(vdpa dev config show feat0 | sed -n 's/.* mac \([0-9a-f:]*\) .*/\1/p')
}

# make_features ATTRIBUTE... makes them with these attributes.
make_features() {
    clean_up
    modprobe 8021q
    add feat0 "$NETWORK" "$@"
    add feat1 "$NETWORK2" "$@" mac 02:00:00:00:33:01
    bind feat0 virtio_vdpa
    bind feat1 virtio_vdpa
    interface_in feat0 left 10.33.0.1/24
    interface_in feat1 right 10.33.0.2/24
}

reach() { ip netns exec left ping -q -c 3 -i 0.2 -w "$(limit 30)" "${1:-10.33.0.2}"; }

shows() { vdpa dev config show "$1" | grep -q "$2"; }

says() { ip netns exec "$1" ethtool -k eth0 | grep -q "^$2: $3"; }

test_the_driver_agrees_on_offloads() {
    features
    says left tx-checksumming on || fail "$(ip netns exec left ethtool -k eth0)"
    says left rx-vlan-filter on || fail "$(ip netns exec left ethtool -k eth0)"
    if offloads; then wanted=on; else wanted=off; fi
    says left tcp-segmentation-offload $wanted || fail "$(ip netns exec left ethtool -k eth0)"
    contains "the link" "$(ip netns exec left ethtool eth0)" "Speed: 100000Mb/s"
    contains "the link" "$(ip netns exec left ethtool eth0)" "Duplex: Full"
    reach
}

test_a_new_address_of_the_guest_is_shown_until_the_reset() {
    features
    ip -n left link set eth0 address 02:00:00:00:33:77
    within 10 shows feat0 "mac 02:00:00:00:33:77"
    ip -n right neigh flush dev eth0
    reach
    # An address that another device has is refused, and nothing changes.
    if translates; then
        allow_log 'Failed to set mac address'
        refused "" ip -n left link set eth0 address 02:00:00:00:33:01
        shows feat0 "mac 02:00:00:00:33:77" || fail "$(vdpa dev config show feat0)"
        reach
    fi
    ip netns del left
    home feat0
    bind feat0 vhost_vdpa
    within 10 shows feat0 "mac $MAC"
    bind feat0 virtio_vdpa
    interface_in feat0 left 10.33.0.1/24
    reach
}

test_an_address_that_the_host_has_chosen_stays() {
    features
    # Without the feature, Linux changes its own idea of the address only.
    ip -n right link set eth0 address 02:00:00:00:33:66
    shows feat1 "mac 02:00:00:00:33:01" || fail "$(vdpa dev config show feat1)"
    ip -n right link set eth0 address 02:00:00:00:33:01
    reach
}

# heard COMMAND... prints how many frames feat0 takes while a command runs.
heard() {
    before=$(statistic feat0 rx_frames)
    "$@" >/dev/null || true
    echo $(($(statistic feat0 rx_frames) - before))
}

# few WHAT NUMBER fails if these are more frames than neighbours exchange by themselves at times.
few() { [ "$2" -lt 3 ] || fail "$1: $2"; }

# call ADDRESS sends five frames there, and waits a little for whoever takes them.
call() { ip netns exec right ping -q -c 5 -i 0.05 -W 0.5 "$1"; }

test_frames_for_others_are_taken_only_if_asked_for() {
    features
    # Somebody whom nobody knows, and a group that nobody is in: such frames go to all.
    ip -n right neigh replace 10.33.0.9 lladdr 02:00:00:00:33:99 dev eth0
    ip -n right route replace 239.1.2.3/32 dev eth0
    few "frames for a stranger" "$(heard call 10.33.0.9)"
    few "frames for a group" "$(heard call 239.1.2.3)"
    ip -n left link set eth0 promisc on
    [ "$(heard call 10.33.0.9)" -ge 5 ] || fail "promiscuous, and hears nothing"
    ip -n left link set eth0 promisc off
    few "frames for a stranger afterwards" "$(heard call 10.33.0.9)"
    ip -n left link set eth0 allmulticast on
    [ "$(heard call 239.1.2.3)" -ge 5 ] || fail "takes all groups, and hears nothing"
    ip -n left link set eth0 allmulticast off
    few "frames for a group afterwards" "$(heard call 239.1.2.3)"
    ip -n left maddr add 01:00:5e:01:02:03 dev eth0
    [ "$(heard call 239.1.2.3)" -ge 5 ] || fail "listens to the group, and hears nothing"
    ip -n left maddr del 01:00:5e:01:02:03 dev eth0
    few "frames for a group that was left" "$(heard call 239.1.2.3)"
}

test_vlans_pass_if_they_are_used() {
    features
    ip -n right link add link eth0 name vlan7 type vlan id 7
    ip -n right addr add 10.33.7.2/24 dev vlan7
    ip -n right link set vlan7 up
    ip -n right neigh replace 10.33.7.1 lladdr "$MAC" dev vlan7
    few "frames of a VLAN that nobody uses" "$(heard call 10.33.7.1)"
    ip -n left link add link eth0 name vlan7 type vlan id 7
    ip -n left addr add 10.33.7.1/24 dev vlan7
    ip -n left link set vlan7 up
    reach 10.33.7.2
    ip -n left link del vlan7
    few "frames of a VLAN that is used no more" "$(heard call 10.33.7.1)"
    ip -n right link del vlan7
    reach
}

carrier() { [ "$(ip netns exec left cat /sys/class/net/eth0/carrier)" = "$1" ]; }

test_a_link_that_goes_down_and_up_is_seen() {
    features
    refused "Invalid" sh -c "echo sideways >$DEBUGFS/feat0/link"
    same "the link" "$(cat "$DEBUGFS/feat0/link")" up
    carrier 1 || fail "no carrier"
    for round in 1 2; do
        echo down >"$DEBUGFS/feat0/link"
        shows feat0 "link down" || fail "round $round: $(vdpa dev config show feat0)"
        within 10 carrier 0
        same "frames that pass" "$(heard call 10.33.0.1)" 0
        echo up >"$DEBUGFS/feat0/link"
        within 10 carrier 1
        shows feat0 "link up link_announce false" || fail "round $round: $(vdpa dev config show feat0)"
        reach
    done
    same "stopped queues" "$(statistic feat0 queue_errors)" 0
}

asked_for_nothing() { shows feat0 "link_announce false"; }

test_the_driver_announces_its_device_when_it_is_asked_to() {
    features
    # Others learn by it where the address is, which they had wrong.
    ip -n right neigh replace 10.33.0.1 lladdr 02:00:00:00:33:99 dev eth0 nud stale
    for round in 1 2; do
        sent=$(statistic feat0 tx_frames) answered=$(counter feat0 4 kicks)
        echo announce >"$DEBUGFS/feat0/link"
        # virtio_net acknowledges by a command, on the queue behind those of two pairs.
        within 10 asked_for_nothing
        [ "$(counter feat0 4 kicks)" -gt "$answered" ] || fail "round $round: there was no command"
        [ "$(statistic feat0 tx_frames)" -gt "$sent" ] || fail "round $round: nothing was announced"
    done
    within 10 knows_address "$MAC"
    reach
    # Nobody can be asked without an owner, or who is cut off.
    echo down >"$DEBUGFS/feat0/link"
    refused "is down" sh -c "echo announce >$DEBUGFS/feat0/link"
    echo up >"$DEBUGFS/feat0/link"
    within 10 carrier 1
    reach
}

knows_address() { ip -n right neigh show 10.33.0.1 | grep -q "$1"; }

# stream sends two megabytes from left to right: so many that the few small frames beside them hardly count, however long it takes.
stream() {
    ip netns exec right iperf3 -s -1 -D --logfile "$WORK/iperf-server"
    within 10 listening
    timeout "$(limit 60)" /usr/bin/ip netns exec left iperf3 -c 10.33.0.2 -n 2M -J >"$WORK/iperf"
}

listening() { ip netns exec right netstat -ltn | grep -q 5201; }

# mean NAME rx|tx prints the mean length of the frames that a device has counted during a stream.
mean() {
    frames=$(statistic "$1" "$2_frames") bytes=$(statistic "$1" "$2_bytes")
    stream
    frames=$(($(statistic "$1" "$2_frames") - frames))
    echo $((($(statistic "$1" "$2_bytes") - bytes) / frames))
}

# wrong prints how many TCP segments had a wrong checksum at their receivers, left and right.
wrong() {
    for end in left right; do
        # A line of names, then one of numbers.
        ip netns exec $end awk '/^Tcp:/ && column { print $column }
            /^Tcp:/ { for (i = 1; i <= NF; i++) if ($i == "InCsumErrors") column = i }' /proc/net/snmp
    done | tr -d '\n'
}

test_streams_are_right_with_and_without_offloads() {
    features
    sent=$(mean feat0 tx)
    same "wrong checksums" "$(wrong)" 00
    if offloads; then
        # How many segments TCP sends in one piece depends on how fast it is; more than one in any case.
        [ "$sent" -gt 1514 ] || fail "frames of $sent bytes on average: they were not sent in one piece"
        # The receiver switches what it takes by the control queue; then the card cuts the frames.
        ip netns exec right ethtool -K eth0 rx-gro-hw off
        received=$(mean feat1 rx)
        [ "$received" -le 1514 ] || fail "frames of $received bytes on average: they were not cut"
        [ "$received" -gt 1000 ] || fail "frames of $received bytes on average"
        same "wrong checksums" "$(wrong)" 00
        ip netns exec right ethtool -K eth0 rx-gro-hw on
    fi
    ip netns exec left ethtool -K eth0 tso off
    ip netns exec left ethtool -K eth0 tx off
    sent=$(mean feat0 tx)
    [ "$sent" -le 1514 ] || fail "frames of $sent bytes on average without offloads"
    same "wrong checksums" "$(wrong)" 00
    ip netns exec left ethtool -K eth0 tx on
    reach
    same "stopped queues" "$(statistic feat0 queue_errors)$(statistic feat1 queue_errors)" 00
}

test_one_queue_pair_can_have_a_control_queue() {
    clean_up
    # CTRL_VQ and its commands for MAC address, receive modes and VLANs, beside what each device has: no MQ.
    make_features max_vqp 1 device_features 0x300bf0028
    contains "the device" "$(vdpa dev show feat0)" "max_vqs 3"
    reach
    ip -n left link set eth0 address 02:00:00:00:33:77
    within 10 shows feat0 "mac 02:00:00:00:33:77"
    ip -n right neigh flush dev eth0
    reach
    ip -n right neigh replace 10.33.0.9 lladdr 02:00:00:00:33:99 dev eth0
    few "frames for a stranger" "$(heard call 10.33.0.9)"
    ip -n left link set eth0 promisc on
    [ "$(heard call 10.33.0.9)" -ge 5 ] || fail "promiscuous, and hears nothing"
    ip -n left link set eth0 promisc off
    ip -n right link add link eth0 name vlan7 type vlan id 7
    ip -n right addr add 10.33.7.2/24 dev vlan7
    ip -n right link set vlan7 up
    ip -n right neigh replace 10.33.7.1 lladdr 02:00:00:00:33:77 dev vlan7
    few "frames of a VLAN that nobody uses" "$(heard call 10.33.7.1)"
    ip -n left link add link eth0 name vlan7 type vlan id 7
    ip -n left addr add 10.33.7.1/24 dev vlan7
    ip -n left link set vlan7 up
    reach 10.33.7.2
    same "stopped queues" "$(statistic feat0 queue_errors)" 0
}

test_who_offers_less_gets_frames_for_the_wire() {
    clean_up
    # MTU, MAC, STATUS, VERSION_1 and ACCESS_PLATFORM: no offloads.
    add feat0 "$NETWORK" mac 02:00:00:00:33:10 mtu 9000
    add feat1 "$NETWORK2" mac 02:00:00:00:33:11 mtu 9000 device_features 0x300010028
    bind feat0 virtio_vdpa
    bind feat1 virtio_vdpa
    interface_in feat0 left 10.33.0.1/24
    interface_in feat1 right 10.33.0.2/24
    ip netns exec left ping -q -c 3 -i 0.2 -w "$(limit 30)" -M "do" -s 8972 10.33.0.2
    received=$(mean feat1 rx)
    [ "$received" -le 9014 ] || fail "frames of $received bytes on average"
    [ "$received" -gt 1514 ] || fail "frames of $received bytes on average, with an MTU of 9000"
    same "wrong checksums" "$(wrong)" 00
    ip netns del left
    ip netns del right
    home feat0
    home feat1
    vdpa dev del feat0
    vdpa dev del feat1
}
