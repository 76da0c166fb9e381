# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-only OR MIT
#
# Removal in every order: the device under its interface, the device under an open file, the module, the PCI function.

PCI=/sys/bus/pci/drivers/mooring_vdpa

# in_background COMMAND... starts a command that must wait for the device to be closed.
in_background() {
    # Without the descriptor that keeps the holder waiting, see hold().
    "$@" >"$WORK/background" 2>&1 9>&- &
    background=$!
    sleep 1
    kill -0 $background 2>/dev/null || fail "$* did not wait for the open device: $(cat "$WORK/background")"
}

# background_ends fails unless that command then comes to a good end.
background_ends() {
    within 30 sh -c "! kill -0 $background 2>/dev/null"
    wait "$background" || fail "it failed: $(cat "$WORK/background")"
}

# fresh begins with a loaded driver and no devices, whatever the test before left.
fresh() {
    clean_up
    [ -e /sys/module/mooring_vdpa ] || load
}

gone() {
    same "devices that are left" "$(vdpa dev show)" ""
    same "folders that are left" "$(ls "$DEBUGFS" 2>/dev/null)" ""
}

up() {
    bind "$1" virtio_vdpa
    within 10 has_interface "$1"
    ip link set "$(interface "$1")" up
}

test_device_is_deleted_under_its_interface() {
    fresh
    add r0 "$NETWORK"
    up r0
    vdpa dev del r0
    gone
}

test_device_is_deleted_under_an_open_file() {
    fresh
    add r0 "$LOOP"
    bind r0 vhost_vdpa
    hold r0
    in_background vdpa dev del r0
    release
    background_ends
    gone
}

test_function_is_unbound_with_its_devices() {
    fresh
    add r0 "$NETWORK"
    add r1 "$NETWORK2"
    up r0
    bind r1 vhost_vdpa
    echo "${NETWORK#pci/}" >$PCI/unbind
    # The second one goes with its own function, where each has one.
    if [ "$NETWORK2" != "$NETWORK" ]; then
        same "devices that are left" "$(vdpa dev show | grep -c '^r1:')" 1
        echo "${NETWORK2#pci/}" >$PCI/unbind
        echo "${NETWORK2#pci/}" >$PCI/bind
    fi
    gone
    ! vdpa mgmtdev show | grep -q "$NETWORK" || fail "the management device is left"
    echo "${NETWORK#pci/}" >$PCI/bind
    contains "the management devices" "$(vdpa mgmtdev show)" "$NETWORK"
}

test_function_is_unbound_with_a_disk() {
    fresh
    ! translates || add r0 "pci/$DISKS"
    add r1 "$BLK"
    bind r1 vhost_vdpa
    echo "$DISKS" >$PCI/unbind
    gone
    [ ! -e "/sys/bus/faux/devices/${BLK#faux/}" ] || fail "the management device for disks is left"
    echo "$DISKS" >$PCI/bind
    contains "the management devices" "$(vdpa mgmtdev show)" "$BLK"
    add r1 "$BLK"
    vdpa dev del r1
}

test_function_is_unbound_under_an_open_file() {
    fresh
    add r0 "$LOOP"
    bind r0 vhost_vdpa
    hold r0
    in_background sh -c "echo '${LOOP#pci/}' >$PCI/unbind"
    release
    background_ends
    gone
    echo "${LOOP#pci/}" >$PCI/bind
    contains "the management devices" "$(vdpa mgmtdev show)" "$LOOP"
}

test_module_is_unloaded_with_devices() {
    fresh
    add r0 "$NETWORK"
    add r1 "$LOOP"
    up r0
    bind r1 vhost_vdpa
    unload
    gone
    load
}

test_module_is_unloaded_under_an_open_file() {
    fresh
    add r0 "$LOOP"
    bind r0 vhost_vdpa
    hold r0
    in_background rmmod mooring_vdpa
    release
    background_ends
    gone
    load
}

test_open_debugfs_file_holds_the_module() {
    fresh
    add r0 "$LOOP"
    exec 8<"$DEBUGFS/r0/statistics"
    read -r line <&8
    contains "the first line" "$line" "rx_frames="
    # EWOULDBLOCK, in the words of busybox.
    refused "temporarily unavailable" rmmod mooring_vdpa
    vdpa dev del r0
    gone
    refused "Input/output error" cat <&8
    refused "temporarily unavailable" rmmod mooring_vdpa
    exec 8<&-
    unload
    load
}

test_function_is_removed_and_found_again() {
    fresh
    add r0 "$NETWORK"
    up r0
    allow_log "$REFUSALS"
    echo 1 >"/sys/bus/pci/devices/${NETWORK#pci/}/remove"
    gone
    echo 1 >/sys/bus/pci/rescan
    within 10 test -e "$PCI/${NETWORK#pci/}"
    add r0 "$NETWORK"
    up r0
    vdpa dev del r0
}

test_bus_drivers_are_unloaded_under_a_device() {
    fresh
    add r0 "$NETWORK"
    up r0
    unload_bus_driver virtio_vdpa
    bind r0 vhost_vdpa
    unload_bus_driver vhost_vdpa
    vdpa dev del r0
    gone
    modprobe -a virtio_vdpa vhost_vdpa
}

test_everything_works_afterwards() {
    fresh
    add r0 "$LOOP"
    bind r0 vhost_vdpa
    client loopback r0 --frames 64
    vdpa dev del r0
    unload
}
