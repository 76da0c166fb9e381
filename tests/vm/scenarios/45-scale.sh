# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-only OR MIT
#
# Many extents, and extents at all ends: of the card's memory, of its addresses, of sizes.

# Extents in one address space: all that the card has, or as many as can be mapped in the time of a test; and addresses mapped
# at once through the same huge page, of which vhost pins every 4 KiB. A slow kernel gets less, and so does a card without 1:1
# address spaces, where each range is a command of its own.
case $IOMMU,$SLOWDOWN in
    identity,1) EXTENTS=65536 TOTAL=64G ;;
    identity,*) EXTENTS=16384 TOTAL=4G ;;
    *,1) EXTENTS=4096 TOTAL=4G ;;
    *) EXTENTS=1024 TOTAL=1G ;;
esac

# Without an IOMMU on the card the addresses are the platform's, see scripts/vm_machine.py, as far as the card can put
# them on the bus, whatever width its own ones have. Ranges are smaller there, because QEMU tells the card of
# each 4 KiB by a message.
translates || WIDTH="--bits 48 --largest 8M" NARROW_WIDTH="--bits 40 --largest 8M"

test_all_extents_of_the_card_in_one_space() {
    take_pieces 70000
    ensure s0 "$LOOP"
    if ! translates; then
        # There are none: more pieces than vhost itself usually takes find room, all in the platform's IOMMU.
        client map-limit s0 --pages 4096
        has_space s0 0 none
        vdpa dev del s0
        return
    fi
    # The card is full with its last extent.
    full=--full
    [ "$EXTENTS" = 65536 ] || full=
    # shellcheck disable=SC2086 # no word if there is no option
    client scale s0 --extents "$EXTENTS" $full
    vdpa dev del s0
}

test_ranges_at_both_ends_of_64_bits_and_of_all_sizes() {
    take_pieces 70000
    echo 1 >/proc/sys/vm/nr_hugepages
    ensure s0 "$LOOP"
    # shellcheck disable=SC2086 # words
    client ranges s0 ${WIDTH:---bits 64} --iova 0x10000000
    vdpa dev del s0
}

test_ranges_at_both_ends_of_a_card_with_39_bits() {
    echo 1 >/proc/sys/vm/nr_hugepages
    ensure s0 "$NARROW"
    # shellcheck disable=SC2086 # words
    client ranges s0 ${NARROW_WIDTH:---bits 39 --total $TOTAL}
    vdpa dev del s0
}

test_vhost_is_as_it_was() {
    take_pieces
    echo 0 >/proc/sys/vm/nr_hugepages
    same "pieces that vhost takes" "$(cat /sys/module/vhost_vdpa/parameters/max_iotlb_entries)" 2048
}
