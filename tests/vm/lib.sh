# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-only OR MIT
#
# What all scenarios share: running tests as KTAP, watching the kernel's log, and names for what the machine has.
# For busybox's sh, in the guest, as root.

WORK=/tmp/mooring-tests
DEBUGFS=/sys/kernel/debug/mooring_vdpa
VDPA=/sys/bus/vdpa

# Seconds after which a test has failed. Everything in a test has shorter limits of its own; this one is for what the
# kernel does not give back.
TEST_LIMIT=${TEST_LIMIT:-150}

# ---- The cards, see the file `cards` ----

# find_cards prints the PCI addresses of all cards. `run` calls it once, for all tests.
find_cards() {
    for function in /sys/bus/pci/devices/*; do
        read -r vendor <"$function/vendor"
        read -r device <"$function/device"
        [ "$vendor$device" != 0x1b360x4d52 ] || echo "${function##*/}"
    done
}

# card N prints the PCI address of the machine's Nth card, counted from 0.
card() {
    # shellcheck disable=SC2086 # one word a card
    set -- $1 $CARDS
    shift $(($1 + 1))
    echo "${1-none}"
}

: "${CARDS:=$(find_cards)}"
export CARDS

# shellcheck disable=SC2034 # the scenarios use them
{
    LOOP=pci/$(card 0)
    NETWORK=pci/$(card 1)
    SMALL=pci/$(card 2)
    POOR=pci/$(card 8)
}

# What the driver says of the cards that it refuses, each time it is loaded.
REFUSALS='no Mooring card|interface version 9\.0|BAR 0 has|card does not answer|without 1:1 address spaces|control processor failed|card reports number of queues|went away while it was set up'

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
    end=$(($(date +%s) + $1))
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

# The kernel's lines since this test began, with their levels. The marker is a line of our own in the log; should the log
# have grown over it, everything counts.
new_log() {
    marker="mooring-test: begin $number $1\$"
    dmesg -r >"$WORK/dmesg"
    if grep -q "$marker" "$WORK/dmesg"; then
        sed "1,/$marker/d" "$WORK/dmesg"
    else
        cat "$WORK/dmesg"
    fi
}

# log_trouble NAME prints lines that nobody expected and patterns that were expected in vain.
log_trouble() {
    new_log "$1" >"$WORK/log"
    # Errors of anybody, warnings of the driver, and what the kernel reports of itself at any level.
    grep -E '^<[0-3]>|^<4>.*mooring|BUG:|WARNING:|Oops|Call Trace|leak|general protection|refcount|DMA-API|UBSAN|blocked for more' \
        "$WORK/log" | grep -v -E -f "$WORK/allowed" || true
    while read -r pattern; do
        grep -q -E "$pattern" "$WORK/log" || echo "expected in the kernel's log and not there: $pattern"
    done <"$WORK/expected"
}

# ---- Running tests ----

# run_tests FILE runs every function test_* of a scenario, in the order of the file, as a KTAP subtest.
run_tests() {
    names=$(sed -n 's/^\(test_[a-z0-9_]*\)() .*/\1/p' "$1")
    echo "    KTAP version 1"
    echo "    # Subtest: $(basename "$1" .sh)"
    echo "    1..$(echo "$names" | wc -l)"
    number=0
    failed=0
    for name in $names; do
        number=$((number + 1))
        if run_test "$name" "$1"; then
            result=ok
        else
            result="not ok"
            failed=$((failed + 1))
            sed 's/^/    # /' "$WORK/output"
        fi
        echo "    $result $number $(echo "${name#test_}" | tr _ ' ')"
    done
    [ $failed = 0 ]
}

# run_test NAME FILE
run_test() {
    : >"$WORK/output"
    # A pattern that no line has, because an empty list of patterns would match nothing or everything.
    echo 'a^' >"$WORK/allowed"
    : >"$WORK/expected"
    echo "mooring-test: begin $number $1" >/dev/kmsg
    begin=$(date +%s)
    # In a process of its own, with its children in the same group, so that a hanging one can be left behind.
    setsid sh -eu -c ". /tests/lib.sh; . '$2'; $1" >"$WORK/output" 2>&1 &
    test=$!
    while kill -0 $test 2>/dev/null; do
        if [ $(($(date +%s) - begin)) -ge "$TEST_LIMIT" ]; then
            echo "stopped after $TEST_LIMIT s; its processes:" >>"$WORK/output"
            # The kernel's own threads have their names in brackets.
            ps -o pid,stat,args | sed '/\[.*\]$/d' >>"$WORK/output"
            kill -9 -$test
            return 1
        fi
        sleep 0.1
    done
    status=0
    wait $test || status=$?
    trouble=$(log_trouble "$1")
    if [ -n "$trouble" ]; then
        printf 'in the kernel log:\n%s\n' "$trouble" >>"$WORK/output"
        status=1
    fi
    return $status
}

# ---- The driver and its devices ----

# Busybox's shell prefers its own ip, which knows no namespaces.
ip() { /usr/bin/ip "$@"; }

# load loads the driver. Devices are bound by the tests, not by whichever bus driver comes first.
load() {
    allow_log "$REFUSALS"
    allow_log 'loading out-of-tree module taints kernel'
    modprobe -a vdpa vhost_vdpa virtio_vdpa virtio_net
    echo 0 >"$VDPA/drivers_autoprobe"
    modprobe mooring_vdpa
}

unload() {
    rmmod mooring_vdpa
    [ ! -e /sys/bus/pci/drivers/mooring_vdpa ] || fail "the PCI driver is still there"
    [ ! -e "$DEBUGFS" ] || fail "the debugfs folder is still there"
    if grep mooring /proc/iomem /proc/interrupts; then
        fail "something of it is still there"
    fi
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

# field NAME ASID FIELD prints a field of an address space, fresh from the card.
field() {
    sed -n "s/^asid=$2 .*$3=\([^ ]*\).*/\1/p" "$DEBUGFS/$1/address_spaces"
}

# statistic NAME COUNTER prints a counter of a device.
statistic() { sed -n "s/^$2=//p" "$DEBUGFS/$1/statistics"; }

# client EXPERIMENT DEVICE [OPTION...] runs an experiment; its result is the test's if it fails.
client() { timeout 120 mooring-vhost-client "$@"; }

# hold NAME [OPTION...] starts a process that holds the device open; release ends it and shows its result.
hold() {
    # Not the "ready" of a holder before this one.
    : >"$WORK/hold-output"
    mkfifo "$WORK/hold-input"
    mooring-vhost-client hold "$@" --seconds 100 <"$WORK/hold-input" >"$WORK/hold-output" 2>&1 &
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
        [ ! -e "$device" ] || timeout 20 vdpa dev del "${device##*/}" || true
    done
}
