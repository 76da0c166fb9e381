# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-only OR MIT
#
# A virtual machine inside the VM, which has a device through QEMU's vhost-vdpa. Its guest is a program without a kernel
# (tests/tiny-guest/): Linux would take minutes to boot there, because an emulated processor emulates another one. Sourced by
# the scenarios that run one.

# shellcheck source=tests/vm/clients.sh
. /tests/clients.sh

# The features that QEMU's shadow queues can cope with: MTU, MAC, STATUS, VERSION_1, ACCESS_PLATFORM, and with a control queue
# CTRL_VQ, CTRL_RX and MQ. ORDER_PLATFORM isn't among them.
# shellcheck disable=SC2034 # used by the scenarios
SHADOW=0x300010028 SHADOW_CONTROL=0x300470028

# qemu TAG NAME WORDS NETDEV DEVICE [OPTION...] runs a guest on a device, with these words on its command line and these
# options of -netdev and -device, each with a comma in front. What the guest says is in $WORK/TAG.guest.
qemu() {
    tag=$1 name=$2 words=$3 netdev=$4 device=$5
    shift 5
    : >"$WORK/$tag.guest"
    in_clients timeout "$(limit 140)" qemu-system-x86_64 -nodefaults -display none -no-reboot -M pc -accel tcg -m 32M \
        -kernel /tests/tiny-guest -append "$words" -debugcon "file:$WORK/$tag.guest" -device isa-debug-exit,iobase=0xf4 \
        -netdev "vhost-vdpa,id=net,vhostdev=$(node "$name")$netdev" -device "virtio-net-pci,netdev=net,disable-legacy=on$device" "$@"
}

# untroubled NAME fails if a queue stopped, or the card refused an access.
untroubled() {
    same "stopped queues of $1" "$(statistic "$1" queue_errors)" 0
    ! translates || same "refused accesses of $1" "$(field "$1" 0 faults)" 0
}
