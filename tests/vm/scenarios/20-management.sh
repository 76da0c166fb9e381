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
    refused "exists" vdpa dev add name twin mgmtdev "$LOOP"
    refused "exists" vdpa dev add name twin mgmtdev "$NETWORK"
    works twin
    vdpa dev del twin
    add twin "$LOOP"
    works twin
    vdpa dev del twin
}

test_senseless_attributes_are_refused() {
    clean_up
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
    for number in 1 2 3; do
        add "full$number" "$SMALL"
    done
    refused "No space" vdpa dev add name full4 mgmtdev "$SMALL"
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
    refused "No space" vdpa dev add name more mgmtdev "$SMALL"
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
