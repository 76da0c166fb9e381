# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-only OR MIT
# Kernels: stock
# Cards: identity explicit
#
# What people do with the kernel's interfaces: streams of TCP and UDP, other numbers of queues, another MTU, another
# namespace. Nothing is timed. Every frame is accounted for: what one device sent, the other has received or the card has
# counted as dropped, and what the card has handed over, the kernel has seen.

# Of a stream.
BYTES=$((8388608 * LONG))

# pair makes two devices with four queue pairs, in a network namespace each, unless they are there.
pair() {
    [ ! -e /run/netns/right ] || return 0
    clean_up
    add vn0 "$NETWORK" mac 02:00:00:00:31:00 mtu 2000 max_vqp 4
    add vn1 "$NETWORK2" mac 02:00:00:00:31:01 mtu 2000 max_vqp 4
    bind vn0 virtio_vdpa
    bind vn1 virtio_vdpa
    interface_in vn0 left 10.31.0.1/24
    interface_in vn1 right 10.31.0.2/24
}

in_left() { ip netns exec left "$@"; }

in_right() { ip netns exec right "$@"; }

# kernel_counter NAMESPACE COUNTER prints a counter of the kernel's interface.
kernel_counter() { ip netns exec "$1" cat "/sys/class/net/eth0/statistics/$2"; }

# udp NAMESPACE COLUMN prints a counter of the kernel's UDP.
# shellcheck disable=SC2016 # awk's
udp() { ip netns exec "$1" awk -v name="$2" '/^Udp:/ && !head { split($0, names); head = 1; next }
    /^Udp:/ { for (i in names) if (names[i] == name) print $i; exit }' /proc/net/snmp; }

# note keeps all counters, so that `accounted` looks at what comes after.
note() {
    sent=$(statistic vn0 tx_frames) kernel_sent=$(kernel_counter left tx_packets)
    got=$(statistic vn1 rx_frames) kernel_got=$(kernel_counter right rx_packets)
    dropped=$(statistic vn1 rx_dropped)
}

# Whether a link was down since `note`: what is sent to it then, or from it, is no drop of a queue.
cut=

# agreed says how many frames have gone from left to right, and how many of them the card has dropped; fails if card and
# kernel don't say the same.
agreed() {
    card_sent=$(($(statistic vn0 tx_frames) - sent))
    [ $card_sent = $(($(kernel_counter left tx_packets) - kernel_sent)) ] || return 1
    card_got=$(($(statistic vn1 rx_frames) - got))
    [ $card_got = $(($(kernel_counter right rx_packets) - kernel_got)) ] || return 1
    card_dropped=$(($(statistic vn1 rx_dropped) - dropped))
    if [ -n "$cut" ]; then
        [ $card_sent -ge $((card_got + card_dropped)) ]
    else
        [ $card_sent = $((card_got + card_dropped)) ]
    fi
}

# accounted FRAMES fails unless at least so many frames were sent since `note`, and each is accounted for.
accounted() {
    # The kernel counts a frame as sent when it looks at the ring again.
    end=$(($(date +%s) + $(limit 10)))
    until agreed; do
        [ "$(date +%s)" -lt $end ] ||
            fail "card sent $card_sent, kernel $(($(kernel_counter left tx_packets) - kernel_sent)); card received $card_got," \
                "kernel $(($(kernel_counter right rx_packets) - kernel_got)); card dropped $(($(statistic vn1 rx_dropped) - dropped))"
        sleep 0.2
    done
    [ "$card_sent" -ge "$1" ] || fail "only $card_sent frames were sent"
    for device in vn0 vn1; do
        same "stopped queues of $device" "$(statistic $device queue_errors)" 0
        ! translates || same "refused accesses of $device" "$(field $device 0 faults)" 0
    done
}

# listening PORT
listening() { in_right netstat -ltn | grep -q ":$1 "; }

# send FILE begins to carry a file from left to right by TCP; `arrived FILE` waits for its end, and fails if it is another
# one there.
send() {
    timeout "$(limit 60)" /usr/bin/ip netns exec right nc -l -p 5202 >"$WORK/received" &
    receiver=$!
    within 10 listening 5202
    # Not nc, which ends when its peer sends nothing.
    timeout "$(limit 60)" /usr/bin/ip netns exec left bash -c "cat '$1' >/dev/tcp/10.31.0.2/5202" &
    sender=$!
}

arrived() {
    wait "$sender" || fail "the sender did not come to its end"
    wait "$receiver" || fail "the receiver did not come to its end"
    cmp "$1" "$WORK/received"
}

# iperf OPTION... carries a stream from left to right; its report is in $WORK/iperf.
iperf() {
    timeout "$(limit 90)" /usr/bin/ip netns exec right iperf3 -s -1 >"$WORK/iperf-server" 2>&1 &
    server=$!
    within 10 listening 5201
    timeout "$(limit 80)" /usr/bin/ip netns exec left iperf3 -c 10.31.0.2 -J "$@" >"$WORK/iperf" ||
        fail "$(cat "$WORK/iperf" "$WORK/iperf-server")"
    wait $server || fail "$(cat "$WORK/iperf-server")"
}

# reported SECTION FIELD prints a number of the report's end.
reported() {
    awk -v section="\"$1\":" -v field="\"$2\":" '/"end":/ { end = 1 } end && index($0, section) { inside = 1 }
        inside && index($0, field) { sub(/.*:/, ""); sub(/,.*/, ""); print $1; exit }' "$WORK/iperf"
}

test_ethtool_knows_the_driver() {
    pair
    said=$(in_left ethtool -i eth0)
    contains "ethtool -i" "$said" "driver: virtio_net"
    contains "ethtool -i" "$said" "bus-info: vn0"
    contains "ethtool" "$(in_left ethtool eth0)" "Link detected: yes"
}

test_a_tcp_stream_arrives_unchanged() {
    pair
    head -c $BYTES /dev/urandom >"$WORK/data"
    note
    send "$WORK/data"
    arrived "$WORK/data"
    # No frame is larger than 64 KiB.
    accounted $((BYTES / 65536))
}

test_four_tcp_streams_both_ways() {
    pair
    in_left ethtool -L eth0 combined 4
    in_right ethtool -L eth0 combined 4
    note
    iperf --bidir -P 4 -n $((BYTES / 4))
    # What is under way at the end, iperf3 doesn't wait for.
    for section in sum_received sum_received_bidir_reverse; do
        bytes=$(reported $section bytes)
        [ "${bytes:-0}" -gt $((BYTES / 16)) ] || fail "$section: $bytes bytes arrived of $((BYTES / 4))"
    done
    accounted $((BYTES / 65536))
}

test_what_udp_loses_is_counted() {
    pair
    note
    out=$(udp left OutDatagrams) in=$(udp right InDatagrams) errors=$(udp right InErrors) closed=$(udp right NoPorts)
    # Far more than arrives, so that receive rings run empty.
    iperf -u -b 0 -P 2 -l 200 -n $((BYTES / 8))
    accounted $((BYTES / 8 / 200))
    missing=$(($(udp left OutDatagrams) - out - $(udp right InDatagrams) + in - $(udp right InErrors) + errors - $(udp right NoPorts) + closed))
    { [ $missing -ge 0 ] && [ $missing -le "$card_dropped" ]; } ||
        fail "$missing datagrams are missing, the card has dropped $card_dropped frames"
}

# kicks prints how often the kernel has told the card of new buffers, on all data queues.
kicks() { in_left ethtool -S eth0 | awk '/^ *[rt]x[0-9]+_kicks:/ { sum += $2 } END { print sum }'; }

test_each_kick_of_the_kernel_is_a_doorbell() {
    pair
    before=$(kicks) rung=$(statistic vn0 doorbells)
    in_left ping -q -c 20 -i 0.05 -w "$(limit 30)" 10.31.0.2
    rung=$(($(statistic vn0 doorbells) - rung)) before=$(($(kicks) - before))
    same "doorbells" $rung $before
    [ $rung -ge 20 ] || fail "only $rung doorbells for 20 requests"
}

test_the_number_of_queues_changes_under_a_stream() {
    pair
    note
    in_left ping -q -c 60 -i 0.05 -w "$(limit 60)" 10.31.0.2 >"$WORK/ping" &
    ping=$!
    for pairs in 1 4 2 3 1 4; do
        in_left ethtool -L eth0 combined $pairs
        in_right ethtool -L eth0 combined $pairs
    done
    wait $ping || fail "$(cat "$WORK/ping")"
    for pairs in 0 5; do
        ! in_left ethtool -L eth0 combined $pairs 2>/dev/null || fail "there are $pairs channels"
    done
    accounted 60
}

test_the_mtu_changes() {
    pair
    # As large as the device was made for, and no larger.
    ! ip -n left link set eth0 mtu 2001 2>/dev/null || fail "the MTU is larger than the device's"
    head -c $((BYTES / 8)) /dev/urandom >"$WORK/data"
    for mtu in 2000 576 1500; do
        note
        ip -n left link set eth0 mtu $mtu
        ip -n right link set eth0 mtu $mtu
        in_left ping -q -c 2 -i 0.2 -w "$(limit 20)" -M "do" -s $((mtu - 28)) 10.31.0.2
        send "$WORK/data"
        arrived "$WORK/data"
        accounted $((BYTES / 8 / 65536))
    done
}

test_an_interface_moves_to_another_namespace() {
    pair
    ip netns add third
    for namespace in third left; do
        from=$([ $namespace = third ] && echo left || echo third)
        ip -n "$from" link set eth0 netns $namespace
        ip -n $namespace addr add 10.31.0.1/24 dev eth0
        ip -n $namespace link set eth0 up
        ip netns exec $namespace ping -q -c 2 -i 0.2 -w "$(limit 20)" 10.31.0.2
    done
    ip netns del third
}

test_a_stream_survives_an_interface_that_goes_down() {
    pair
    head -c $BYTES /dev/urandom >"$WORK/data"
    send "$WORK/data"
    for turn in 1 2 3; do
        sleep 0.3
        ip -n right link set eth0 down
        ip -n right link set eth0 up
    done
    arrived "$WORK/data" || fail "after turn $turn"
}

# carrier NAMESPACE 0|1 succeeds if the interface there has a carrier, or has none.
carrier() { [ "$(ip netns exec "$1" cat /sys/class/net/eth0/carrier)" = "$2" ]; }

# goes_on FRAMES succeeds if vn1 has received more of the stream than so many frames.
goes_on() { [ "$(statistic vn1 rx_frames)" -gt "$1" ]; }

# flow FILE begins a stream from left to right, the file over and over, which ends when $WORK/enough is there. $WORK/sum-sent and
# $WORK/sum-received are then what either end saw.
flow() {
    mkfifo "$WORK/flow"
    timeout "$(limit 100)" /usr/bin/ip netns exec right bash -c "nc -l -p 5202 | md5sum >'$WORK/sum-received'" &
    receiver=$!
    within 10 listening 5202
    timeout "$(limit 100)" /usr/bin/ip netns exec left bash -c "
        cat '$WORK/flow' >/dev/tcp/10.31.0.2/5202 &
        until [ -e '$WORK/enough' ]; do cat '$1'; done | tee '$WORK/flow' | md5sum >'$WORK/sum-sent'
        wait" &
    sender=$!
}

# flap NAMESPACE NAME takes a link down and up again, under a stream.
flap() {
    within 20 goes_on "$(statistic vn1 rx_frames)"
    echo down >"$DEBUGFS/$2/link"
    within 10 carrier "$1" 0
    still=$(statistic vn1 rx_frames)
    sleep 0.2
    same "frames that pass a link that is down" "$(statistic vn1 rx_frames)" "$still"
    echo up >"$DEBUGFS/$2/link"
    within 10 carrier "$1" 1
    within 20 goes_on "$still"
}

test_a_stream_survives_links_that_flap() {
    pair
    head -c 1048576 /dev/urandom >"$WORK/data"
    note
    flow "$WORK/data"
    for turn in 1 2 3; do
        flap right vn1
        flap left vn0
    done
    kill -0 $sender || fail "the stream has ended before turn $turn"
    touch "$WORK/enough"
    wait $sender || fail "the sender did not come to its end"
    wait $receiver || fail "the receiver did not come to its end"
    same "the sum of what has arrived" "$(cat "$WORK/sum-received")" "$(cat "$WORK/sum-sent")"
    cut=yes
    accounted 16
    cut=
    # Where no link is down, everything is accounted for as before.
    note
    in_left ping -q -c 20 -i 0.05 -w "$(limit 30)" 10.31.0.2
    accounted 20
}

test_a_driver_that_comes_back_costs_no_map() {
    pair
    # With explicit maps, the rings' memory is mapped and unmapped with them.
    before=$(translates && field vn1 0 commands || echo none)
    ip netns del right
    home vn1
    virtio=$(basename "$(readlink -f "/sys/class/net/$(interface vn1)/device")")
    for turn in 1 2 3; do
        echo "$virtio" >/sys/bus/virtio/drivers/virtio_net/unbind
        echo "$virtio" >/sys/bus/virtio/drivers/virtio_net/bind
    done
    interface_in vn1 right 10.31.0.2/24
    in_left ping -q -c 2 -i 0.2 -w "$(limit 20)" 10.31.0.2 || fail "nothing arrives after turn $turn"
    [ "$IOMMU" != identity ] || same "IOMMU commands" "$(field vn1 0 commands)" "$before"
}

test_the_devices_are_deleted_at_the_end() {
    pair
    ip netns del left
    ip netns del right
    home vn0
    home vn1
    vdpa dev del vn0
    vdpa dev del vn1
}
