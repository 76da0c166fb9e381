# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-only OR MIT
# Kernels: stock
# Cards: identity
#
# DPDK's testpmd has two devices, through its virtio-user on vhost-vdpa, and lets frames go round between them. Its counters
# and the card's must agree, after each time that its ports were stopped and started again. Ports that are closed and attached
# anew are in 44-testpmd-ports.sh.

# shellcheck source=tests/vm/testpmd.sh
. /tests/testpmd.sh

test_frames_go_round_after_ports_have_stopped_and_started() {
    begin_testpmd
    go_round
    turn=0
    while [ $turn -lt "$LONG" ]; do
        turn=$((turn + 1))
        type "port stop all" "port start all"
        go_round
    done
    end_testpmd
}
