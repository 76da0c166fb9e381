# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-only OR MIT
#
# What `vdpa dev add` refuses, and that a refusal breaks nothing.

# works NAME fails unless the device carries frames.
works() {
    bind "$1" vhost_vdpa
    client loopback "$1" --frames 32
}

test_duplicate_name_is_refused() {
    add twin "$LOOP"
    bind twin vhost_vdpa
    if translates; then
        refused "exists" vdpa dev add name twin mgmtdev "$LOOP"
    else
        expect_log "$ONE_DEVICE"
        refused "busy" vdpa dev add name twin mgmtdev "$LOOP"
    fi
    refused "exists" vdpa dev add name twin mgmtdev "$NETWORK"
    works twin
    vdpa dev del twin
    add twin "$LOOP"
    works twin
    vdpa dev del twin
}

test_senseless_attributes_are_refused() {
    clean_up
    allow_log 'device "junk" not added: '
    for attributes in "mtu 1" "mtu 67" "max_vqp 0" "max_vqp 65535" "max_vqp 4096" "mac 01:00:00:00:00:01" \
        "mac ff:ff:ff:ff:ff:ff" "mac 00:00:00:00:00:00"; do
        # shellcheck disable=SC2086 # one word an argument
        refused "" vdpa dev add name junk mgmtdev "$LOOP" $attributes
    done
    # A feature that no Mooring card has: RING_PACKED is bit 34, RSS bit 60.
    refused "" vdpa dev add name junk mgmtdev "$LOOP" device_features 0x1400000000
    refused "" vdpa dev add name junk mgmtdev "$LOOP" device_features 0x1000000300000000
    refused "" vdpa dev add name junk mgmtdev pci/0000:00:1f.7
    same "devices that are left" "$(vdpa dev show)" ""
    same "folders that are left" "$(ls "$DEBUGFS")" ""
    add good "$LOOP" mtu 68
    contains "the configuration" "$(vdpa dev config show good)" "mtu 68"
    works good
    vdpa dev del good
}

test_card_is_full_after_its_last_device() {
    clean_up
    if ! translates; then
        # The first device is the last one, however much the card has left.
        add full1 "$SMALL"
        one_device "$SMALL"
        works full1
        vdpa dev del full1
        add full2 "$SMALL"
        works full2
        vdpa dev del full2
        return
    fi
    for number in 1 2 3; do
        add "full$number" "$SMALL"
    done
    # It could have a fourth device, but three address spaces for each of three are all that it has.
    expect_log "${SMALL#pci/}: device not added: the card has not enough address spaces left"
    for name in full4 full5 full6; do
        refused "No space" vdpa dev add name $name mgmtdev "$SMALL"
    done
    same "devices" "$(vdpa dev show | wc -l)" 3
    works full1
    works full3
    vdpa dev del full2
    add full2 "$SMALL"
    works full2
    for number in 1 2 3; do
        vdpa dev del "full$number"
    done
}

test_card_has_no_queues_left_for_a_large_device() {
    clean_up
    # Five pairs and the control queue are 11 of its 12 queues; a pair more does not fit beside them.
    add large "$SMALL" max_vqp 5
    contains "the configuration" "$(vdpa dev config show large)" "max_vq_pairs 5"
    if translates; then
        expect_log "${SMALL#pci/}: device not added: the card has no device object, or not enough queues left"
        refused "No space" vdpa dev add name more mgmtdev "$SMALL"
    else
        one_device "$SMALL"
    fi
    works large
    vdpa dev del large
    add more "$SMALL"
    works more
    vdpa dev del more
}

test_offered_features_can_be_limited() {
    clean_up
    # MAC, VERSION_1 and ACCESS_PLATFORM.
    add plain "$LOOP" device_features 0x300000020
    bind plain vhost_vdpa
    offered=$(client info plain | sed -n 's/^ *features *//p')
    same "the features" "$offered" "MAC VERSION_1 ACCESS_PLATFORM"
    works plain
    vdpa dev del plain
}

# come_and_go NAME HANDLE adds and deletes a device many times.
come_and_go() {
    for round in 1 2 3 4 5 6; do
        add "$1$round" "$2"
        vdpa dev del "$1$round"
    done
}

test_devices_come_and_go_on_several_cards_at_once() {
    clean_up
    come_and_go a "$LOOP" &
    first=$!
    if translates; then other=$LOOP; else other=$NETWORK; fi
    come_and_go b "$other" &
    second=$!
    come_and_go c "$SMALL" &
    third=$!
    while kill -0 $first || kill -0 $second || kill -0 $third; do
        vdpa dev show >"$WORK/shown"
        vdpa mgmtdev show >"$WORK/shown"
    done 2>/dev/null
    wait $first
    wait $second
    wait $third
    same "devices that are left" "$(vdpa dev show)" ""
}

test_card_with_one_interrupt_and_tiny_rings_works() {
    clean_up
    add poor0 "$POOR"
    if ! translates; then
        # The card's one device does by itself what two do elsewhere.
        one_device "$POOR"
        works poor0
        client reset-keeps-map poor0 --size 64M --ranges 16 --resets 2
        client remap-live poor0 --rounds 2
        expect_log "$(refused_access 1 read)"
        client fault poor0 --kind tx-unmapped
        vdpa dev del poor0
        return
    fi
    add poor1 "$POOR"
    expect_log "${POOR#pci/}: device not added: the card has no device object, or not enough queues left"
    refused "No space" vdpa dev add name poor2 mgmtdev "$POOR"
    bind poor1 vhost_vdpa
    works poor0
    client reset-keeps-map poor1 --size 64M --ranges 16 --resets 2
    client remap-live poor0 --rounds 2
    expect_log 'IOMMU fault'
    allow_log 'queue 1 stopped'
    client fault poor0 --kind tx-unmapped --other poor1
    vdpa dev del poor0
    vdpa dev del poor1
}
