# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-only OR MIT
#
# A device loses its ground in every state that a process can have brought it to, and under load: each way of removal begins
# while the file is open, waits for it to be closed and for nothing else, and leaves nothing behind; see "Lifetimes" in
# docs/vdpa-operations.md. Removal without an open file is in 90-removal.sh, that of a card from its slot in 93-hotplug.sh.

# shellcheck source=tests/vm/states.sh
. /tests/states.sh

# All of them for every way of removal would take a slow kernel minutes, and on other kinds of cards they show nothing new.
# There, those in which the card is at work, or was.
SOME=$STATES
[ "$SLOWDOWN-$IOMMU" = 1-identity ] || SOME="suspended loaded"

# lost COMMAND... takes the device away in each state of $states, and puts everything back by `again` before the next one.
lost() {
    for state in $states; do
        device
        bring "$state" life
        # Without the descriptor that keeps the holder waiting, see hold().
        "$@" >"$WORK/background" 2>&1 9>&- &
        background=$!
        # Long enough for it to be over, if it did not wait.
        sleep 0.5
        kill -0 $background 2>/dev/null || fail "$state: $* did not wait for the open file: $(cat "$WORK/background")"
        release
        within 20 ended $background
        wait $background || fail "$state: $* failed: $(cat "$WORK/background")"
        [ ! -e "$VDPA/devices/life" ] || [ "$gone" = no ] || fail "$state: the device is still there"
        again
        echo "$state: ok"
    done
}

ended() { ! kill -0 "$1" 2>/dev/null; }

test_device_is_deleted() {
    CARD=$LOOP gone=yes states=$STATES
    again() { :; }
    lost vdpa dev del life
}

test_bus_driver_is_unbound() {
    CARD=$LOOP gone=no states=$SOME
    again() { :; }
    lost sh -c "echo life >$VDPA/drivers/vhost_vdpa/unbind"
    vdpa dev del life
}

test_function_is_unbound() {
    CARD=$LOOP gone=yes states=$SOME
    again() { echo "${LOOP#pci/}" >$PCI/bind; }
    lost sh -c "echo '${LOOP#pci/}' >$PCI/unbind"
}

test_module_is_unloaded() {
    CARD=$LOOP gone=yes states=$SOME
    again() {
        [ ! -e "$DEBUGFS" ] || fail "the debugfs folder is still there"
        load
    }
    lost rmmod mooring_vdpa
}

test_function_is_removed() {
    CARD=$LOOP gone=yes states=$SOME
    allow_log "$REFUSALS"
    again() {
        echo 1 >/sys/bus/pci/rescan
        within 10 test -e "$PCI/${LOOP#pci/}"
    }
    lost sh -c "echo 1 >'/sys/bus/pci/devices/${LOOP#pci/}/remove'"
}

# A device of another type goes the same ways; here, at work.
test_disk_is_lost_in_every_way() {
    CARD=$BLK gone=yes states=loaded
    again() { :; }
    lost vdpa dev del life
    again() { echo "$DISKS" >$PCI/bind; }
    lost sh -c "echo '$DISKS' >$PCI/unbind"
    again() { load; }
    lost rmmod mooring_vdpa
    allow_log "$REFUSALS"
    again() {
        echo 1 >/sys/bus/pci/rescan
        within 10 test -e "$PCI/$DISKS"
    }
    lost sh -c "echo 1 >'/sys/bus/pci/devices/$DISKS/remove'"
    gone=no
    again() { vdpa dev del life; }
    lost sh -c "echo life >$VDPA/drivers/vhost_vdpa/unbind"
}

# ---- The kernel's own driver, under load; with a disk, in 36-blk.sh ----

# flood makes two interfaces that exchange packets, as many as they can, until one of them is gone.
flood() {
    add f0 "$NETWORK" mac 02:00:00:00:92:00
    add f1 "$NETWORK2" mac 02:00:00:00:92:01
    bind f0 virtio_vdpa
    bind f1 virtio_vdpa
    interface_in f0 left 10.92.0.1/24
    interface_in f1 right 10.92.0.2/24
    ip netns exec left ping -q -c 1 -w "$(limit 10)" 10.92.0.2
    for namespace in left right; do
        timeout "$(limit 60)" /usr/bin/ip netns exec $namespace ping -q -f -w "$(limit 50)" "10.92.0.$([ $namespace = left ] && echo 2 || echo 1)" >/dev/null 2>&1 &
        pings="${pings-} $!"
    done
    sleep 0.5
}

# calm ends it. The namespaces are left to clean_up.
calm() {
    # shellcheck disable=SC2086 # one word a process
    kill $pings 2>/dev/null || true
    for ping in $pings; do wait "$ping" 2>/dev/null || true; done
    pings=
    # The pings themselves are children of what was killed.
    killall ping 2>/dev/null || true
    clean_up
}

test_device_is_deleted_under_packets() {
    flood
    timeout "$(limit 20)" vdpa dev del f0
    timeout "$(limit 20)" vdpa dev del f1
    calm
}

test_function_is_unbound_under_packets() {
    flood
    timeout "$(limit 20)" sh -c "echo '${NETWORK#pci/}' >$PCI/unbind"
    calm
    echo "${NETWORK#pci/}" >$PCI/bind
}

test_module_is_unloaded_under_packets() {
    flood
    timeout "$(limit 20)" rmmod mooring_vdpa
    calm
    load
}

test_function_is_removed_under_packets() {
    allow_log "$REFUSALS"
    flood
    timeout "$(limit 20)" sh -c "echo 1 >'/sys/bus/pci/devices/${NETWORK#pci/}/remove'"
    calm
    echo 1 >/sys/bus/pci/rescan
    within 10 test -e "$PCI/${NETWORK#pci/}"
}

test_everything_works_afterwards() {
    flood
    calm
    CARD=$LOOP
    device
    vdpa dev del life
    unload
}
