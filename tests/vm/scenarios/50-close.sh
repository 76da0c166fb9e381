# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-only OR MIT
#
# A process closes the device: what it mapped is gone, by reset_map and nothing else, and the kernel can use the device.
# Without 1:1 address spaces there is no reset_map, and each range goes by a command as it came. The other ways to
# lose an owner are in 55-matrix.sh.

# holding [OPTION...] has a process map and hold the device. $closing is how many IOMMU commands its close takes, at most; of
# a card without an IOMMU, $pinned is how many pages were pinned before.
holding() {
    device
    if ! translates; then
        pinned=$(pinned)
        hold c0 --frames 0 "$@"
        return
    fi
    mapping=$(field c0 0 commands)
    hold c0 --frames 0 "$@"
    before=$(field c0 0 commands)
    case $IOMMU in
        explicit) closing=$((before - mapping)) ;;
        *) closing=1 ;;
    esac
    [ $closing -gt 0 ] || fail "nothing was mapped"
}

device() { ensure c0 "$NETWORK" mac 02:00:00:00:02:00; }

test_close_puts_the_space_back_to_its_default() {
    holding
    if ! translates; then
        # What the platform's IOMMU holds can't be asked, but vhost lets go of the pages that it had mapped there. That no next
        # owner reaches them is shown by 55-matrix.sh and 60-unmapped.sh.
        has_space c0 0 none
        [ "$(pinned)" -gt "$pinned" ] || fail "nothing is pinned"
        release
        same "pages that are pinned after the close" "$(pinned)" "$pinned"
        return
    fi
    same "the mode while held" "$(field c0 0 mode)" translated
    [ "$(field c0 0 bytes)" -gt 0 ] || fail "nothing is mapped"
    card_before=$(field c0 0 card_commands)
    release
    same "the mode after the close" "$(field c0 0 mode)" "$DEFAULT_MODE"
    same "extents after the close" "$(field c0 0 extents)" 0
    same "bytes after the close" "$(field c0 0 bytes)" 0
    same "IOMMU commands on the space during reset and close" $(($(field c0 0 commands) - before)) $closing
    same "IOMMU commands on the card during reset and close" $(($(field c0 0 card_commands) - card_before)) $closing
    same "the driver's digest" "$(field c0 0 expected_digest)" "$(field c0 0 digest)"
}

test_close_of_a_device_that_was_never_mapped_sends_nothing() {
    device
    if ! translates; then
        # Nothing could be sent: there are no IOMMU commands to count.
        hold c0 --idle
        has_space c0 0 none
        release
        return
    fi
    before=$(field c0 0 card_commands)
    hold c0 --idle
    release
    same "IOMMU commands" $(($(field c0 0 card_commands) - before)) 0
}

test_kernel_then_works_on_the_same_device() {
    device
    add c1 "$NETWORK2" mac 02:00:00:00:02:01
    bind c0 virtio_vdpa
    bind c1 virtio_vdpa
    interface_in c0 left 10.9.2.1/24
    interface_in c1 right 10.9.2.2/24
    ip netns exec left ping -q -c 5 -i 0.2 -w "$(limit 30)" 10.9.2.2
}

test_and_a_process_again_after_the_kernel() {
    ip netns del left
    home c0
    bind c0 vhost_vdpa
    for asid in 0 1 2; do
        has_space c0 $asid "$DEFAULT_MODE" 0
    done
    hold c0 --frames 0
    release
    ip netns del right
    home c1
    vdpa dev del c0
    vdpa dev del c1
}

# account FIELD prints a number from the kernel's accounts, which each processor keeps for itself until they are asked for.
account() {
    echo 1 >/proc/sys/vm/stat_refresh
    sed -n "s/^$1:* *\([0-9]*\).*/\1/p" /proc/meminfo /proc/vmstat
}

# map_and_close maps 128 MiB and closes the device.
map_and_close() { client reset-keeps-map memory --size 128M --resets 1 --persist no; }

# Pages pinned now. vhost itself forgets some when a map is refused half-way, so only the difference tells.
pinned() { echo $(($(account nr_foll_pin_acquired) - $(account nr_foll_pin_released))); }

test_all_memory_comes_back() {
    ensure memory "$LOOP"
    map_and_close
    available=$(account MemAvailable)
    acquired=$(account nr_foll_pin_acquired)
    pinned=$(pinned)
    map_and_close
    map_and_close
    map_and_close
    [ "$(account nr_foll_pin_acquired)" -gt "$acquired" ] || fail "nothing was pinned"
    same "pages that are pinned" "$(pinned)" "$pinned"
    # Each round maps 128 MiB; a reference too many on its pages would keep them.
    lost=$((available - $(account MemAvailable)))
    [ $lost -lt 65536 ] || fail "$lost KiB did not come back"
    vdpa dev del memory
}
