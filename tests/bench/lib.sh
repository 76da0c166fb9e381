# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-only OR MIT
#
# What both halves of the bench share in the guest. A result is a line of JSON. What can't be measured is a line, too, which
# says why; scripts/bench makes sense of them.

export SLOWDOWN=1
# The names that the library has for the cards of the tests; there are fewer here.
LOOP=none NETWORK=none SMALL=none POOR=none DISKS=none
# shellcheck source=tests/vm/lib.sh
. /tests/lib.sh
# shellcheck source=tests/vm/clients.sh
. /tests/clients.sh
rm -rf "$WORK"
mkdir -p "$WORK"

# The words after mooring.bench= on the kernel's command line, separated by commas: which parents to measure.
# shellcheck disable=SC2034 # for those who read this file
PARENTS=$(sed -n 's/.*mooring\.bench=\([^ ]*\).*/\1/p' /proc/cmdline | tr ',' ' ')

# say TEXT prints a line for whoever watches.
say() { echo "# $(cut -d ' ' -f 1 /proc/uptime) s: $*"; }

# measure EXPERIMENT DEVICE [OPTION...] prints what the client measures, or why there is nothing.
measure() {
    say "$*"
    timeout 900 mooring-vhost-client bench "$@" --json && return
    code=$?
    # The client says itself what went wrong, unless it didn't end by itself.
    [ $code -le 2 ] || not_measured "$1" "$2" "the client did not end by itself (code $code)"
}

# not_measured EXPERIMENT DEVICE REASON; the reason must be able to stand in a string of JSON as it is.
not_measured() { echo "{\"experiment\":\"bench-$1\",\"device\":\"$2\",\"error\":\"$3\"}"; }

# reason prints the end of what was said, $WORK/said, as it can stand in a string of JSON.
reason() { tail -n 5 "$WORK/said" | tr -c 'A-Za-z0-9.,:_=/-' ' ' | cut -c 1-300; }

# missing DEVICE says why nothing is known of a parent: what was said is in $WORK/said.
missing() {
    sed 's/^/# /' "$WORK/said"
    not_measured all "$1" "$(reason)"
}

# load_simulator KIND DEVICE [PARAMETER...] makes a device of vdpa_sim_net (net) or vdpa_sim_blk (blk).
load_simulator() {
    kind=$1 name=$2
    shift 2
    insmod /tests/bench/vringh.ko &&
        insmod /tests/bench/vdpa_sim.ko use_va=0 "$@" &&
        insmod "/tests/bench/vdpa_sim_$kind.ko" &&
        vdpa dev add name "$name" mgmtdev "vdpasim_$kind"
}

unload_simulator() {
    for module in vdpa_sim_net vdpa_sim_blk vdpa_sim vringh; do
        ! lsmod | grep -q "^$module " || rmmod $module
    done
}

# value NAME NUMBER... prints members of a JSON object; a number that is missing is null.
value() {
    while [ $# -gt 1 ]; do
        printf ',"%s":%s' "$1" "${2:-null}"
        shift 2
    done
}

# interrupts prints how many interrupts the parent's queues have raised.
interrupts() { awk -v name="$IRQ_NAME" '$0 ~ name { for (i = 2; i <= NF && $i ~ /^[0-9]+$/; i++) sum += $i } END { print sum + 0 }' /proc/interrupts; }

# virtio FUNCTION NAME gives a virtio-net function of QEMU's to vp_vdpa, as a device of that name.
virtio() {
    echo "$1" >"/sys/bus/pci/devices/$1/driver/unbind"
    echo vp-vdpa >"/sys/bus/pci/devices/$1/driver_override"
    echo "$1" >/sys/bus/pci/drivers/vp-vdpa/bind
    vdpa dev add name "$2" mgmtdev "pci/$1"
}
