# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-only OR MIT
#
# What all scenarios share: names for what the machine has, words for what is wrong, and steps that many tests take.
# For dash, in the guest, as root. harness.sh runs the tests.

WORK=/tmp/mooring-tests
DEBUGFS=/sys/kernel/debug/mooring_vdpa
VDPA=/sys/bus/vdpa

# How many times slower this kernel is than the stock one; the runner says it on the kernel's command line.
: "${SLOWDOWN:=1}"

# How many times as much the clients do: 1, or more in `make test-long`.
: "${LONG:=1}"

# What the cards have of an IOMMU: identity (address spaces can be 1:1), explicit (they can't) or none; and the machine's
# own: off, strict or lazy. See scripts/vm --help.
: "${IOMMU:=identity}" "${PLATFORM_IOMMU:=off}"

# The mode of an address space that nobody has mapped.
case $IOMMU in
    identity) DEFAULT_MODE=identity ;;
    *) DEFAULT_MODE=blocked ;;
esac

# limit SECONDS prints how long something may take here that may take so long on the stock kernel in `make test`.
limit() { echo $(($1 * SLOWDOWN * LONG)); }

# ---- The cards, see the file `cards` ----

# find_functions VENDOR DEVICE prints the PCI addresses of all functions with these IDs, in their order on the bus.
find_functions() {
    for function in /sys/bus/pci/devices/*; do
        read -r vendor <"$function/vendor"
        read -r device <"$function/device"
        [ "$vendor$device" != "$1$2" ] || echo "${function##*/}"
    done
}

# find_cards prints the PCI addresses of all cards. `run` calls it once, for all tests.
find_cards() { find_functions 0x1b36 0x4d52; }

# card N prints the PCI address of the machine's Nth card, counted from 0.
card() {
    # shellcheck disable=SC2086 # one word a card
    set -- $1 $CARDS
    if [ $# -le $(($1 + 1)) ]; then
        echo none
        return
    fi
    shift $(($1 + 1))
    echo "$1"
}

: "${CARDS:=$(find_cards)}"
: "${LOOP:=pci/$(card 0)}" "${NETWORK:=pci/$(card 1)}" "${SMALL:=pci/$(card 2)}" "${POOR:=pci/$(card 8)}"
# Where a second device goes that loops beside one on LOOP, and one that reaches one on NETWORK. Without an IOMMU on the card
# the platform's can't tell two devices of a function apart, so there is only one.
case $IOMMU in
    none) : "${LOOP2:=$SMALL}" "${NETWORK2:=pci/$(card 13)}" ;;
    *) : "${LOOP2:=$LOOP}" "${NETWORK2:=$NETWORK}" ;;
esac
export LOOP2 NETWORK2
: "${NARROW:=pci/$(card 14)}" "${FORGETFUL:=pci/$(card 15)}"
# The card with the disks, one that is written and one that is not, and the management device for those.
: "${DISKS:=$(card 16)}"
BLK=faux/mooring_blk.$DISKS
export SLOWDOWN LONG IOMMU PLATFORM_IOMMU DEFAULT_MODE CARDS LOOP NETWORK SMALL POOR NARROW FORGETFUL DISKS BLK

# What the driver says of the cards that it refuses, each time it is loaded.
REFUSALS='no Mooring card|interface version 9\.0|BAR 0 has|card does not answer|control processor failed|card reports number of queues|went away while it was set up'

# What the driver says when a second device is added to a function that can have one only.
ONE_DEVICE='no second device: the card has no IOMMU'

# one_device HANDLE fails unless a card without an IOMMU refuses a device beside the one that it has.
one_device() {
    expect_log "${1#pci/}: $ONE_DEVICE"
    refused "busy" vdpa dev add name second mgmtdev "$1"
    [ ! -e "$VDPA/devices/second" ] || fail "there is a second device on $1"
}

# translates succeeds if the card has an IOMMU, and so address spaces to look at.
translates() { [ "$IOMMU" != none ]; }

# refused_access QUEUE ACCESS prints the pattern of what the driver says of an access outside of the map.
refused_access() {
    if translates; then
        echo "IOMMU fault .*queue $1 .*$2"
    else
        echo "queue $1 stopped: the bus failed an access at 0x"
    fi
}

# ---- Saying what is wrong ----

# fail TEXT ends the test as failed.
fail() {
    echo "$*"
    exit 1
}

# same WHAT GOT WANTED fails unless both are the same.
same() {
    [ "$2" = "$3" ] || fail "$1: expected '$3', got '$2'"
}

# contains WHAT TEXT WORD fails unless the text contains the word.
contains() {
    case $2 in
        *"$3"*) ;;
        *) fail "$1: expected to contain '$3', got '$2'" ;;
    esac
}

# refused WORD COMMAND... fails unless the command fails and says WORD.
refused() {
    word=$1
    shift
    if said=$("$@" 2>&1); then
        fail "$* succeeded"
    fi
    contains "$*" "$said" "$word"
}

# within SECONDS COMMAND... repeats the command until it succeeds.
within() {
    end=$(($(date +%s) + $(limit "$1")))
    shift
    until "$@"; do
        [ "$(date +%s)" -lt $end ] || fail "not within the limit: $*"
        sleep 0.1
    done
}

# ---- The kernel's log ----

# allow_log PATTERN: lines that match are no trouble in this test.
allow_log() { echo "$1" >>"$WORK/allowed"; }

# expect_log PATTERN: the same, and at least one must come.
expect_log() {
    allow_log "$1"
    echo "$1" >>"$WORK/expected"
}

# ---- The driver and its devices ----

# Busybox's shell prefers its own ip, which knows no namespaces.
ip() { /usr/bin/ip "$@"; }

# load loads the driver. Devices are bound by the tests, not by whichever bus driver comes first.
load() {
    allow_log "$REFUSALS"
    # The card that goes away during its first probe, where commands go through registers.
    translates || allow_log "$(card 12): card failed: it does not answer register reads"
    allow_log 'loading out-of-tree module taints kernel'
    modprobe -a vdpa vhost_vdpa virtio_vdpa virtio_net
    echo 0 >"$VDPA/drivers_autoprobe"
    modprobe mooring_vdpa
}

unload() {
    rmmod mooring_vdpa
    # A kernel that looks for objects that are used too late gives them back some seconds late (DEBUG_KOBJECT_RELEASE).
    within 10 test ! -e /sys/bus/pci/drivers/mooring_vdpa
    [ ! -e "$DEBUGFS" ] || fail "the debugfs folder is still there"
    if grep mooring /proc/iomem /proc/interrupts; then
        fail "something of it is still there"
    fi
}

# unload_bus_driver MODULE unloads virtio_vdpa or vhost_vdpa. The functions that release their devices lie in these modules,
# which don't wait for the last reference to a device. On the debug kernel, each reference in the chain from a network
# interface's queue to its virtio device is dropped up to 4 s late (DEBUG_KOBJECT_RELEASE, lib/kobject.c), so the devices go
# first there. Our own module needs no such patience.
unload_bus_driver() {
    if [ "$SLOWDOWN" != 1 ]; then
        for bound in "$VDPA/drivers/$1"/*; do
            [ ! -e "$VDPA/devices/${bound##*/}" ] || echo "${bound##*/}" >"$VDPA/drivers/$1/unbind"
        done
        sleep 20
    fi
    rmmod "$1"
    # That kernel gives the driver's folder back late too, and until then the module can't be loaded again (EEXIST).
    within 10 test ! -e "$VDPA/drivers/$1"
}

# take_pieces COUNT has vhost take so many pieces of memory in an address space; without a COUNT, as many as it takes by itself,
# 2048. A piece is what is contiguous in the machine's memory, so it can be a page.
take_pieces() {
    clean_up
    unload_bus_driver vhost_vdpa
    modprobe vhost_vdpa ${1:+max_iotlb_entries="$1"}
}

# add NAME HANDLE [ATTRIBUTE...] adds a device.
add() {
    name=$1 handle=$2
    shift 2
    vdpa dev add name "$name" mgmtdev "$handle" "$@"
}

# ensure NAME HANDLE [ATTRIBUTE...] adds a device and binds it to vhost_vdpa, unless that was done before.
ensure() {
    [ -e "$VDPA/devices/$1" ] || add "$@"
    [ -e "$VDPA/drivers/vhost_vdpa/$1" ] || bind "$1" vhost_vdpa
}

# bind NAME DRIVER binds a device to virtio_vdpa or vhost_vdpa, from whatever it is bound to.
bind() {
    [ ! -e "$VDPA/devices/$1"/driver ] || echo "$1" >"$VDPA/devices/$1"/driver/unbind
    echo "$2" >"$VDPA/devices/$1"/driver_override
    echo "$1" >"$VDPA/drivers/$2"/bind
}

# interface NAME prints the network interface of a device on virtio_vdpa, which sysfs tells only by its address: the
# kernel hangs the virtio device under the PCI function, and not under the vDPA device.
interface() {
    mac=$(vdpa dev config show "$1" | sed -n 's/.* mac \([0-9a-f:]*\) .*/\1/p')
    for net in /sys/class/net/*; do
        read -r address <"$net/address"
        [ "$address" != "$mac" ] || basename "$net"
    done
}

has_interface() { [ -n "$(interface "$1")" ]; }

# interface_in NAME NAMESPACE ADDRESS puts a device's interface into a new network namespace, with an address, up.
interface_in() {
    within 10 has_interface "$1"
    net=$(interface "$1")
    ip netns add "$2"
    ip link set "$net" netns "$2"
    # No autoconfiguration: it would send frames of its own at any time.
    ip netns exec "$2" sysctl -q -w net.ipv6.conf.all.disable_ipv6=1
    ip -n "$2" link set "$net" name eth0
    ip -n "$2" addr add "$3" dev eth0
    ip -n "$2" link set eth0 up
}

# home NAME waits for a device's interface to be back from a network namespace that was deleted. The kernel moves it in the
# background, and a device that is deleted meanwhile can make it look for listeners in a namespace that is no more (a null
# pointer in netlink_has_listeners() when netdev_run_todo() repeats itself, seen on the debug kernel).
home() { within 10 has_interface "$1"; }

# field NAME ASID FIELD prints a field of an address space, fresh from the card.
field() {
    sed -n "/^asid=$2 /s/.* $3=\([^ ]*\).*/\1/p" "$DEBUGFS/$1/address_spaces"
}

# has_space NAME ASID MODE [EXTENTS] fails unless the address space is in that mode, and has that many extents if they are
# named. Of a card without an IOMMU nothing may be told: what its device reaches, the platform's holds.
has_space() {
    if translates; then
        same "the mode of space $2 of $1" "$(field "$1" "$2" mode)" "$3"
        [ -z "${4-}" ] || same "extents in space $2 of $1" "$(field "$1" "$2" extents)" "$4"
        return
    fi
    same "address spaces of $1 on a card without an IOMMU" "$(cat "$DEBUGFS/$1/address_spaces")" ""
    [ ! -e "$DEBUGFS/$1/address_space$2" ] || fail "there is a dump of an address space that $1 doesn't have"
}

# statistic NAME COUNTER prints a counter of a device.
statistic() { sed -n "s/^$2=//p" "$DEBUGFS/$1/statistics"; }

# counter NAME QUEUE COUNTER prints a counter of a queue, as vstats has it.
counter() { vdpa dev vstats show "$1" qidx "$2" | sed -n "s/.* $3 \([0-9]*\).*/\1/p"; }

# client EXPERIMENT DEVICE [OPTION...] runs an experiment; its result is the test's if it fails.
client() { timeout "$(limit 120)" mooring-vhost-client "$@" --timeout "$(limit 20)"; }

# hold NAME [OPTION...] starts a process that holds the device open; release ends it and shows its result.
hold() {
    # Not the "ready" of a holder before this one.
    : >"$WORK/hold-output"
    mkfifo "$WORK/hold-input"
    mooring-vhost-client hold "$@" --seconds "$(limit 100)" --timeout "$(limit 20)" <"$WORK/hold-input" >"$WORK/hold-output" 2>&1 &
    holder=$!
    # Opened for writing as long as the device is to be held.
    exec 9>"$WORK/hold-input"
    rm "$WORK/hold-input"
    within 30 grep -q -E '^ready|^ERROR' "$WORK/hold-output"
    grep -q '^ready' "$WORK/hold-output" || fail "$(cat "$WORK/hold-output")"
}

release() {
    exec 9>&-
    wait "$holder" || fail "the holder failed: $(cat "$WORK/hold-output")"
}

# kill_holder ends it as a crash would.
kill_holder() {
    kill -9 "$holder"
    wait "$holder" || true
}

# clean_up takes away what a scenario's tests have made, even after a failure.
clean_up() {
    for namespace in /run/netns/*; do
        [ ! -e "$namespace" ] || ip netns del "${namespace##*/}"
    done
    for device in "$VDPA/devices"/*; do
        [ -e "$device" ] || continue
        name=${device##*/}
        # In a subshell, because it ends its shell if it fails.
        [ ! -e "$VDPA/drivers/virtio_vdpa/$name" ] || ! vdpa dev show "$name" | grep -q 'type network' || (home "$name") || true
        timeout "$(limit 20)" vdpa dev del "$name" || true
    done
}
