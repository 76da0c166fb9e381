# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-only OR MIT
#
# Kernels: stock
#
# virtio_net over rings of every format, chosen by the features that a device is provisioned with. What the formats differ in is
# the work of the card and of virtio_net, and not of the driver, which is what the debug kernel looks at.

# Bits: MTU, MAC, STATUS, VERSION_1, ACCESS_PLATFORM, ORDER_PLATFORM.
PLAIN="3 5 16 32 33 36"
INDIRECT=28 EVENT_IDX=29 PACKED=34 IN_ORDER=35 NOTIFICATION_DATA=38

# mask BIT... prints the number that has these bits.
mask() {
    number=0
    for bit in "$@"; do
        number=$((number | 1 << bit))
    done
    printf '0x%x' $number
}

# agreed NAMESPACE BIT prints 1 if the driver of the namespace's interface has agreed on a feature, else 0.
agreed() { ip netns exec "$1" cut -c $(($2 + 1)) /sys/class/net/eth0/device/features; }

# flood COUNT ADDRESS [OPTION...] sends as many frames as fast as they come back, and fails unless all do. One more may be under
# way at the end.
flood() {
    count=$1
    shift
    ip netns exec left ping -q -f -c "$count" -w "$(limit 60)" "$@" >"$WORK/flood"
    arrived=$(sed -n 's/.* \([0-9]*\) received.*/\1/p' "$WORK/flood")
    [ "${arrived:-0}" -ge "$count" ] || fail "$(cat "$WORK/flood")"
}

# frames_pass BIT... sends many frames between two devices that offer these features of the ring and no other.
frames_pass() {
    clean_up
    # shellcheck disable=SC2086 # one word a bit
    features=$(mask $PLAIN "$@")
    add ring0 "$NETWORK" mac 02:00:00:00:03:00 device_features "$features"
    add ring1 "$NETWORK2" mac 02:00:00:00:03:01 device_features "$features"
    bind ring0 virtio_vdpa
    bind ring1 virtio_vdpa
    interface_in ring0 left 10.9.5.1/24
    interface_in ring1 right 10.9.5.2/24
    for bit in $INDIRECT $EVENT_IDX $PACKED $IN_ORDER $NOTIFICATION_DATA; do
        wanted=0
        for offered in "$@"; do
            [ "$offered" != "$bit" ] || wanted=1
        done
        # Tables don't fit the pool through which the kernel's memory goes there.
        [ "$IOMMU-$bit" != "explicit-$INDIRECT" ] || wanted=0
        same "feature $bit" "$(agreed left "$bit")" $wanted
    done
    # Once around its rings and more, with frames alone and in fragments.
    flood 400 10.9.5.2 -s 200
    ip netns exec left ping -q -c 5 -i 0.2 -w "$(limit 30)" -s 1472 10.9.5.2
    ip netns exec left ping -q -c 5 -i 0.2 -w "$(limit 30)" -s 6000 10.9.5.2
    same "stopped queues" "$(statistic ring0 queue_errors)$(statistic ring1 queue_errors)" 00
    # A second life of the same rings' memory, as after a driver is loaded again.
    bind ring1 vhost_vdpa
    ip netns del right
    bind ring1 virtio_vdpa
    interface_in ring1 right 10.9.5.2/24
    ip netns exec left ping -q -c 3 -i 0.2 -w "$(limit 30)" 10.9.5.2
    ip netns del left
    ip netns del right
    home ring0
    home ring1
    vdpa dev del ring0
    vdpa dev del ring1
}

test_split_rings() { frames_pass; }

test_split_rings_with_tables() { frames_pass $INDIRECT; }

test_split_rings_with_an_event_index() { frames_pass $EVENT_IDX; }

test_split_rings_with_everything() { frames_pass $INDIRECT $EVENT_IDX $IN_ORDER $NOTIFICATION_DATA; }

test_packed_rings() { frames_pass $PACKED; }

test_packed_rings_with_tables() { frames_pass $PACKED $INDIRECT; }

test_packed_rings_with_an_event_index() { frames_pass $PACKED $EVENT_IDX; }

test_packed_rings_with_everything() { frames_pass $PACKED $INDIRECT $EVENT_IDX $IN_ORDER $NOTIFICATION_DATA; }

test_thirty_one_queue_pairs_and_a_control_queue() {
    clean_up
    add wide "$NETWORK" mac 02:00:00:00:03:10 max_vqp 31
    add peer "$NETWORK2" mac 02:00:00:00:03:11
    bind wide virtio_vdpa
    bind peer virtio_vdpa
    interface_in wide left 10.9.6.1/24
    interface_in peer right 10.9.6.2/24
    for pairs in 31 1 7; do
        ip netns exec left ethtool -L eth0 combined $pairs
        contains "the channels" "$(ip netns exec left ethtool -l eth0 | tr -s '\n\t ' ' ')" "Combined: $pairs"
        flood 200 10.9.6.2
    done
    same "stopped queues" "$(statistic wide queue_errors)" 0
    ip netns del left
    ip netns del right
    home wide
    home peer
    vdpa dev del wide
    vdpa dev del peer
}
