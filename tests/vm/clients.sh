# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-only OR MIT
#
# Programs that are too large for the guest's own file system: scripts/guest/clients.txt. Sourced by the scenarios that run
# them.

CLIENTS=/run/clients

# mount_clients makes the programs' system usable, unless it is.
mount_clients() {
    [ ! -d "$CLIENTS/usr/bin" ] || return 0
    modprobe -a 9pnet_virtio 9p
    mkdir -p "$CLIENTS/usr" "$CLIENTS/dev" "$CLIENTS/proc" "$CLIENTS/sys" "$CLIENTS/tmp" "$CLIENTS/run" "$CLIENTS/tests"
    mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=262144 clients "$CLIENTS/usr"
    for link in bin sbin lib lib64; do
        ln -s usr/$link "$CLIENTS/$link"
    done
    for folder in dev proc sys tmp tests; do
        mount --rbind /$folder "$CLIENTS/$folder"
    done
}

# node NAME prints the path of a device's node.
node() { echo "/dev/$(basename "$VDPA/devices/$1"/vhost-vdpa-*)"; }

# in_clients PROGRAM... runs a program of that system, which may lock as much memory as it likes.
in_clients() {
    # shellcheck disable=SC3045 # dash has -l
    (ulimit -l unlimited && exec chroot "$CLIENTS" "$@")
}

# ---- DPDK ----

PMDS=/usr/lib/x86_64-linux-gnu/dpdk/pmds-25.0

# mount_drivers puts DPDK's drivers where the program doesn't find all of them: it would load each, 151 files.
mount_drivers() {
    mount_clients
    [ ! -d "$CLIENTS/run/pmds" ] || return 0
    mkdir "$CLIENTS/run/pmds"
    mount --bind "$CLIENTS$PMDS" "$CLIENTS/run/pmds"
    # A folder that everybody may write to is refused.
    mount -t tmpfs -o mode=755 none "$CLIENTS$PMDS"
}

# testpmd SECONDS OPTION... runs testpmd with its virtio-user, for so long at most.
testpmd() {
    seconds=$1
    shift
    in_clients env LD_LIBRARY_PATH=/run/pmds timeout -k 5 "$seconds" dpdk-testpmd --no-huge --no-shconf --no-pci --no-telemetry \
        --iova-mode=va -m 64 -l 0,1 -d /run/pmds/librte_mempool_ring.so -d /run/pmds/librte_net_virtio.so "$@"
}
