# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-only OR MIT
#
# DPDK's testpmd at work on two devices, and what it and the card have counted. Sourced by its scenarios.

# shellcheck source=tests/vm/clients.sh
. /tests/clients.sh

# begin_testpmd starts it with two ports, and with descriptor 8 for what a person would type.
begin_testpmd() {
    mount_drivers
    # Its 64 MiB are 16384 pages, which may lie anywhere.
    take_pieces 20000
    : >"$WORK/card"
    ensure d0 "$NETWORK" mac 02:00:00:00:33:00
    ensure d1 "$NETWORK2" mac 02:00:00:00:33:01
    mkfifo "$WORK/typed"
    testpmd "$(limit 130)" \
        "--vdev=net_virtio_user0,path=$(node d0)" "--vdev=net_virtio_user1,path=$(node d1)" \
        -- -i --total-num-mbufs=2048 --rxd=256 --txd=256 --eth-peer=0,02:00:00:00:33:01 --eth-peer=1,02:00:00:00:33:00 <"$WORK/typed" >"$WORK/testpmd" 2>&1 &
    testpmd=$!
    exec 8>"$WORK/typed"
    rm "$WORK/typed"
}

# type COMMAND... types commands. The program tells nobody when it has carried them out: the card does, by its counters.
type() {
    for command in "$@"; do
        echo "$command" >&8
    done
}

# has_received COUNT: of frames, by both devices since `note`.
has_received() {
    kill -0 "$testpmd" 2>/dev/null || fail "testpmd has ended: $(cat "$WORK/testpmd")"
    [ $(($(statistic d0 rx_frames) - received0)) -ge "$1" ] && [ $(($(statistic d1 rx_frames) - received1)) -ge "$1" ]
}

note() {
    sent0=$(statistic d0 tx_frames) sent1=$(statistic d1 tx_frames)
    received0=$(statistic d0 rx_frames) received1=$(statistic d1 rx_frames)
}

# is_quiet succeeds if no frame has passed for a second.
is_quiet() {
    was=$(statistic d0 tx_frames)-$(statistic d1 tx_frames)
    sleep 1
    [ "$was" = "$(statistic d0 tx_frames)-$(statistic d1 tx_frames)" ]
}

# go_round lets frames go round until each device has received a thousand, and notes in $WORK/card what the card counted.
go_round() {
    note
    type "clear port stats all" "start tx_first"
    (within 60 has_received 1000) || fail "received $(statistic d0 rx_frames), $(statistic d1 rx_frames) in all: $(tail -n 30 "$WORK/testpmd")"
    # The second start takes from the rings what came too late for the first.
    type "stop"
    within 30 is_quiet
    type "start" "stop" "show port stats all"
    echo "0 $(($(statistic d0 rx_frames) - received0)) $(($(statistic d0 tx_frames) - sent0))" >>"$WORK/card"
    echo "1 $(($(statistic d1 rx_frames) - received1)) $(($(statistic d1 tx_frames) - sent1))" >>"$WORK/card"
}

# told_by_testpmd prints its counters in the same form as $WORK/card: port, frames received, frames sent.
told_by_testpmd() {
    awk '/ NIC statistics for port [0-9]+ +#/ { for (i = 1; i <= NF; i++) if ($i == "port") port = $(i + 1); inside = 1 }
        / Forward statistics / { inside = 0 } inside && /RX-packets:/ { received = $2 }
        inside && /TX-packets:/ { print port, received, $2; inside = 0 }' "$WORK/testpmd"
}

# end_testpmd has it end, and fails unless it has counted the same frames as the card in each round.
end_testpmd() {
    type "quit"
    exec 8>&-
    wait "$testpmd" || fail "testpmd ended with $?: $(cat "$WORK/testpmd")"
    told_by_testpmd >"$WORK/told"
    diff "$WORK/told" "$WORK/card" || fail "of port, received, sent: testpmd says -, the card says +; $(cat "$WORK/testpmd")"
    for device in d0 d1; do
        same "stopped queues of $device" "$(statistic $device queue_errors)" 0
        ! translates || same "refused accesses of $device" "$(field $device 0 faults)" 0
        # The program has closed the device.
        has_space $device 0 "$DEFAULT_MODE"
    done
    take_pieces
}
