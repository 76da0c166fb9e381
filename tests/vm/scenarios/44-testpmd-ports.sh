# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-only OR MIT
# Kernels: stock
# Cards: identity
#
# DPDK's testpmd closes a port of its two and attaches it anew; else as 39-testpmd.sh.

# shellcheck source=tests/vm/testpmd.sh
. /tests/testpmd.sh

# DPDK's virtio has no reset of a port (its dev_reset is missing, and testpmd says -95, ENOTSUP). What leads to the same is
# that the port is closed, which closes the device's node, and attached anew.
test_a_port_is_reset_and_attached_anew() {
    begin_testpmd
    go_round
    type "port stop all" "port reset all" "port start all"
    go_round
    type "port stop 0" "port close 0" "port attach net_virtio_user2,path=$(node d0)" "port start 0"
    go_round
    end_testpmd
    contains "testpmd" "$(cat "$WORK/testpmd")" "Port 0 is closed"
    contains "testpmd" "$(cat "$WORK/testpmd")" "Port 0 is attached"
}
