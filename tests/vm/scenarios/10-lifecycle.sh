# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-only OR MIT
#
# The driver and its devices come and go, and leave nothing behind.

test_module_loads_and_probes() {
    # Only the first probe sees this card go; for the others it is gone already.
    # Where commands go through registers, it goes before the first one's answer is read.
    if translates; then
        expect_log "$(card 12): card went away while it was set up"
    else
        expect_log "$(card 12): card failed: it does not answer register reads"
    fi
    load
    for function in "${LOOP#pci/}" "${NETWORK#pci/}" "${SMALL#pci/}"; do
        [ -e "/sys/bus/pci/drivers/mooring_vdpa/$function" ] || fail "$function is not bound"
    done
}

# wrong_card NUMBER LINE fails unless the driver refuses the card with that one line and leaves nothing behind.
wrong_card() {
    function=$(card "$1")
    expect_log "mooring_vdpa $function: $2"
    before=$(dmesg | grep -c "mooring_vdpa $function")
    if echo "$function" 2>/dev/null >/sys/bus/pci/drivers/mooring_vdpa/bind; then
        fail "$function was bound"
    fi
    same "lines about $function" "$(($(dmesg | grep -c "mooring_vdpa $function") - before))" 1
    [ ! -e "/sys/bus/pci/devices/$function/driver" ] || fail "$function has a driver"
    same "users of $function" "$(cat "/sys/bus/pci/devices/$function/enable")" 0
    [ ! -e "/sys/bus/pci/devices/$function/msi_irqs" ] || fail "$function has interrupt vectors"
    if grep -q "mooring_vdpa.*$function\|$function.*mooring_vdpa" /proc/iomem /proc/interrupts; then
        fail "the driver still has something of $function"
    fi
    case $(vdpa mgmtdev show) in
        *"$function"*) fail "$function has a management device" ;;
    esac
}

test_card_with_wrong_magic_is_refused() { wrong_card 3 'BAR 0 reads .*no Mooring card'; }

test_card_with_another_interface_version_is_refused() { wrong_card 4 'card has interface version 9\.0'; }

test_card_with_a_small_bar_is_refused() { wrong_card 5 'BAR 0 has 0x800 bytes, expected'; }

test_card_without_1_to_1_spaces_is_bound() {
    add block0 "pci/$(card 9)"
    same "the mode of a new address space" "$(field block0 0 mode)" blocked
    bind block0 virtio_vdpa
    within 10 has_interface block0
    same "the mode under the kernel's rings" "$(field block0 0 mode)" translated
    bind block0 vhost_vdpa
    same "the mode once the rings are gone" "$(field block0 0 mode)" blocked
    same "extents that are left" "$(field block0 0 extents)" 0
    vdpa dev del block0
}

test_card_whose_processor_fails_is_refused() { wrong_card 10 '.*control processor failed with error 0xb007'; }

test_card_with_a_senseless_limit_is_refused() { wrong_card 11 'card reports number of queues 9999, expected 1 to 4096'; }

test_card_that_is_not_there_is_refused() { wrong_card 12 'BAR 0 reads 0xffffffff.*the card does not answer'; }

test_management_devices_are_shown() {
    shown=$(vdpa mgmtdev show "$LOOP")
    contains "the management device" "$shown" "$LOOP"
    contains "its classes" "$shown" "supported_classes net"
    contains "its features" "$shown" "VERSION_1"
    contains "its features" "$shown" "ACCESS_PLATFORM"
    contains "its features" "$shown" "MQ"
}

test_device_is_added_and_shown() {
    add life0 "$LOOP" mac 02:00:00:00:00:42 mtu 1400
    shown=$(vdpa dev show life0)
    contains "the device" "$shown" "life0: type network mgmtdev $LOOP"
    shown=$(vdpa dev config show life0)
    contains "its configuration" "$shown" "mac 02:00:00:00:00:42"
    contains "its configuration" "$shown" "link up"
    contains "its configuration" "$shown" "mtu 1400"
}

test_new_address_space_is_in_the_default_mode() {
    has_space life0 0 "$DEFAULT_MODE" 0
    ! translates || same bytes "$(field life0 0 bytes)" 0
}

test_mac_address_can_be_changed() {
    vdpa dev set name life0 mac 02:00:00:00:00:43
    contains "the configuration" "$(vdpa dev config show life0)" "mac 02:00:00:00:00:43"
    refused "Invalid MAC" vdpa dev set name life0 mac 01:00:00:00:00:43
}

test_device_is_deleted() {
    vdpa dev del life0
    same "devices that are left" "$(vdpa dev show)" ""
    [ ! -e "$DEBUGFS/life0" ] || fail "its debugfs folder is left"
}

test_device_without_attributes_gets_an_address_of_its_own() {
    add life0 "$LOOP"
    translates || one_device "$LOOP"
    add life1 "$LOOP2"
    first=$(vdpa dev config show life0 | grep -o 'mac [0-9a-f:]*')
    second=$(vdpa dev config show life1 | grep -o 'mac [0-9a-f:]*')
    [ "$first" != "mac 00:00:00:00:00:00" ] || fail "the address is zero"
    # Each card counts up from the same address.
    ! translates || [ "$first" != "$second" ] || fail "both have $first"
    vdpa dev del life0
    vdpa dev del life1
}

test_devices_come_and_go_many_times() {
    for round in 1 2 3 4 5 6 7 8; do
        add "life$round" "$LOOP"
        bind "life$round" vhost_vdpa
        vdpa dev del "life$round"
    done
    same "devices that are left" "$(vdpa dev show)" ""
}

test_module_unloads_and_loads_again() {
    unload
    load
    contains "the management devices" "$(vdpa mgmtdev show)" "$LOOP"
    add life0 "$LOOP"
    vdpa dev del life0
}

test_queues_share_what_vectors_the_processors_have() {
    # One processor has not enough for all cards: the first ones get theirs, one shares what is left, and others may get none.
    unload
    trap 'echo 1 >/sys/devices/system/cpu/cpu1/online' EXIT
    echo 0 >/sys/devices/system/cpu/cpu1/online
    expect_log 'the processors have no interrupt vector left after [0-9]+: [0-9]+ queues share [0-9]+'
    allow_log 'no interrupt vector is left for events|probe with driver mooring_vdpa failed with error -28'
    load
    for handle in "$LOOP" "$NETWORK" "$SMALL"; do
        contains "the management devices" "$(vdpa mgmtdev show)" "$handle"
    done
    # This one comes late, and loops its frames: the client checks that each queue raises interrupts.
    dmesg | grep -q "${NARROW#pci/}: the processors have no interrupt vector left" || fail "$NARROW had not to share"
    add l0 "$NARROW"
    if [ "$IOMMU-$PLATFORM_IOMMU" != none-off ]; then
        bind l0 vhost_vdpa
        client loopback l0 --frames 64
    fi
    vdpa dev del l0
    unload
    echo 1 >/sys/devices/system/cpu/cpu1/online
    load
    contains "the management devices" "$(vdpa mgmtdev show)" "$POOR"
}
