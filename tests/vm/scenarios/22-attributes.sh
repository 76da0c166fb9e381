# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-only OR MIT
#
# What stock iproute2 sets and shows: attributes of devices, why one is refused, counters of queues, and the interrupts'
# processors.

# features_of HANDLE prints the features that some device of a management device can offer, in the order of their bits.
features_of() { vdpa mgmtdev show "$1" | sed -n 's/.*dev_features //p'; }

# What all devices offer, and what the network devices of a large card do beside that.
ALL='RING_INDIRECT_DESC RING_EVENT_IDX VERSION_1 ACCESS_PLATFORM RING_PACKED IN_ORDER ORDER_PLATFORM NOTIFICATION_DATA'
NET='CSUM GUEST_CSUM CTRL_GUEST_OFFLOADS MTU MAC GUEST_TSO4 GUEST_TSO6 GUEST_ECN HOST_TSO4 HOST_TSO6 HOST_ECN MRG_RXBUF STATUS'
NET="$NET CTRL_VQ CTRL_RX CTRL_VLAN CTRL_RX_EXTRA GUEST_ANNOUNCE MQ CTRL_MAC_ADDR $ALL SPEED_DUPLEX"

test_management_device_says_what_it_has() {
    said=$(vdpa mgmtdev show "$LOOP")
    contains "the management device" "$said" "supported_classes net"
    contains "the management device" "$said" "max_supported_vqs 64"
    same "what its devices can offer" "$(features_of "$LOOP")" "$NET"
}

test_management_devices_offer_what_their_card_has() {
    # The poor card has split rings only, and too few queues for two pairs and a control queue.
    same "what the poor card can offer" "$(features_of "$POOR")" "$(echo "$NET" | sed 's/ MQ / /; s/ RING_PACKED / /')"
    # iproute2 has no names for the features of block devices, which are SIZE_MAX, SEG_MAX, RO, BLK_SIZE, FLUSH, TOPOLOGY, MQ,
    # DISCARD and WRITE_ZEROES. One of the card's disks is read-only, and the other one can discard.
    same "what a card with disks can offer" "$(features_of "$BLK")" "bit_1 bit_2 bit_5 bit_6 bit_9 bit_10 bit_12 bit_13 bit_14 $ALL"
}

# refused_because REASON ATTRIBUTE... fails unless a device with these attributes is refused, and the log says why.
refused_because() {
    expect_log "${LOOP#pci/}: device \"junk\" not added: $1"
    shift
    refused "nvalid" vdpa dev add name junk mgmtdev "$LOOP" "$@"
    same "devices that are left" "$(vdpa dev show)" ""
}

test_refusals_name_the_reason() {
    clean_up
    refused_because 'max_vqp has to be 1 to 31' max_vqp 32
    refused_because 'mac has to be' mac 01:00:00:00:00:01
    # RING_PACKED and RSS are bits 34 and 60; VERSION_1 and ACCESS_PLATFORM 32 and 33.
    refused_because 'no device of this driver offers device_features 0x1000000000000000' device_features 0x1000000300000000
    refused_because "device_features 0x200000000 can't be left out" device_features 0x100000020
}

# agreed NAME prints the features that a device's driver has agreed on.
agreed() { vdpa dev config show "$1" | sed -n 's/.*negotiated_features //p'; }

test_devices_have_the_features_that_were_asked_for_or_are_refused() {
    clean_up
    # MQ, bit 22, makes no sense with a pair; CTRL_RX, bit 18, not without CTRL_VQ, bit 17.
    refused_because "the card doesn't offer device_features 0x400000 " device_features 0x300420020
    refused_because "the card doesn't offer device_features 0x40000 " device_features 0x300040020
    add asked "$LOOP" device_features 0x300420020 max_vqp 2
    said=$(vdpa dev config show asked)
    contains "the configuration" "$said" "max_vq_pairs 2"
    same "what was agreed on before there was a driver" "$(agreed asked)" ""
    bind asked virtio_vdpa
    within 10 has_interface asked
    same "what was agreed on" "$(agreed asked)" "MAC CTRL_VQ MQ VERSION_1 ACCESS_PLATFORM"
    vdpa dev del asked
}

test_attributes_are_what_was_asked_for() {
    clean_up
    add v0 "$LOOP" mac 02:00:00:00:07:01 mtu 9000 max_vqp 3
    said=$(vdpa dev config show v0)
    contains "the configuration" "$said" "mac 02:00:00:00:07:01"
    contains "the configuration" "$said" "mtu 9000"
    contains "the configuration" "$said" "max_vq_pairs 3"
    contains "the configuration" "$said" "link up"
    contains "the device" "$(vdpa dev show v0)" "max_vqs 7"
    vdpa dev del v0
}

test_owner_hears_of_a_new_mac_address() {
    clean_up
    add v0 "$LOOP" mac 02:00:00:00:07:02
    bind v0 vhost_vdpa
    # It says afterwards whether the config event came.
    hold v0 --expect-trouble
    vdpa dev set name v0 mac 02:00:00:00:07:03
    contains "the configuration" "$(vdpa dev config show v0)" "mac 02:00:00:00:07:03"
    release
    refused "" vdpa dev set name v0 mac 01:00:00:00:00:01
    contains "the configuration" "$(vdpa dev config show v0)" "mac 02:00:00:00:07:03"
    client loopback v0 --frames 32
    vdpa dev del v0
}

test_mac_address_of_another_device_is_refused() {
    clean_up
    translates || return 0
    add v0 "$LOOP" mac 02:00:00:00:07:04
    add v1 "$LOOP" mac 02:00:00:00:07:05
    expect_log 'mac not set: another device of the card has this address'
    refused "nvalid" vdpa dev set name v1 mac 02:00:00:00:07:04
    contains "the configuration" "$(vdpa dev config show v1)" "mac 02:00:00:00:07:05"
    clean_up
}

test_new_mac_address_is_seen_by_the_next_driver() {
    clean_up
    add v0 "$LOOP" mac 02:00:00:00:07:06
    bind v0 virtio_vdpa
    within 10 has_interface v0
    net=$(interface v0)
    vdpa dev set name v0 mac 02:00:00:00:07:07
    # Linux reads the address once, when its driver starts.
    same "the interface's address" "$(cat "/sys/class/net/$net/address")" 02:00:00:00:07:06
    bind v0 virtio_vdpa
    within 10 has_interface v0
    contains "the new interface" "$(ip link show "$(interface v0)")" 02:00:00:00:07:07
    vdpa dev del v0
}

test_queues_have_counters() {
    clean_up
    add v0 "$LOOP"
    bind v0 vhost_vdpa
    refused "negotiation" vdpa dev vstats show v0 qidx 0
    hold v0 --frames 24
    for queue in 0 1; do
        same "packets of queue $queue" "$(counter v0 $queue packets)" 24
        [ "$(counter v0 $queue bytes)" -ge 1440 ] || fail "bytes of queue $queue: $(counter v0 $queue bytes)"
        [ "$(counter v0 $queue interrupts)" -gt 0 ] || fail "queue $queue has raised no interrupt"
        [ "$(counter v0 $queue kicks)" -gt 0 ] || fail "queue $queue was not kicked"
        same "faults of queue $queue" "$(counter v0 $queue faults)" 0
    done
    same "bytes of both queues" "$(counter v0 0 bytes)" "$(counter v0 1 bytes)"
    same "bytes of the queue and of the device" "$(counter v0 1 bytes)" "$(statistic v0 tx_bytes)"
    refused "queue 2 does not exist: the device has 2 queues" vdpa dev vstats show v0 qidx 2
    refused "" vdpa dev vstats show v0 qidx 65535
    release
    vdpa dev del v0
}

has_dropped() { [ "$(counter "$1" 0 drops)" = "$2" ]; }

test_frames_that_find_no_buffer_are_counted() {
    clean_up
    add v0 "$LOOP"
    bind v0 vhost_vdpa
    hold v0 --deaf
    same "drops before" "$(counter v0 0 drops)" 0
    echo lost >&9
    within 10 grep -q '^lost: 16 sent' "$WORK/hold-output"
    # The last ones may be on their way round.
    within 10 has_dropped v0 16
    same "packets of queue 0" "$(counter v0 0 packets)" 0
    same "packets of queue 1" "$(counter v0 1 packets)" 16
    same "drops of queue 1" "$(counter v0 1 drops)" 0
    same "drops of the device" "$(statistic v0 rx_dropped)" 16
    release
    vdpa dev del v0
}

test_refused_accesses_are_counted_for_the_queue() {
    clean_up
    translates || return 0
    add v0 "$LOOP"
    bind v0 vhost_vdpa
    expect_log 'IOMMU fault'
    allow_log 'queue 1 stopped'
    client fault v0 --kind tx-unmapped
    # The counters stay when the device is reset; they can be seen once features are agreed on.
    hold v0
    same "faults of queue 0" "$(counter v0 0 faults)" 0
    same "faults of queue 1" "$(counter v0 1 faults)" 1
    same "errors of queue 1" "$(counter v0 1 errors)" 1
    release
    vdpa dev del v0
}

# vector_of QUEUE prints Linux's number of the interrupt that queue QUEUE of the loop's first device has: vector 0 is for
# events, and msi_irqs has the numbers in the order of the vectors.
vector_of() {
    # shellcheck disable=SC2012 # numbers
    ls "/sys/bus/pci/devices/${LOOP#pci/}/msi_irqs" | sort -n | sed -n "$(($1 + 2))p"
}

TRACING=/sys/kernel/tracing

# watch_producers notes from now on which interrupts vhost offers to hand to a guest; producers prints their numbers.
watch_producers() {
    echo 'p:mooring/producer irq_bypass_register_producer irq=$arg3:s32' >$TRACING/kprobe_events
    echo >$TRACING/trace
    echo 1 >$TRACING/events/mooring/producer/enable
}

producers() { sed -n 's/.* irq=\(-*[0-9]*\).*/\1/p' $TRACING/trace | tr '\n' ' '; }

watch_no_producers() {
    echo 0 >$TRACING/events/mooring/producer/enable
    echo >$TRACING/kprobe_events
}

# taken IRQ prints how many interrupts of this number processors have taken.
taken() { awk -v irq="$1:" '$1 == irq { for (i = 2; $i ~ /^[0-9]+$/; i++) sum += $i; print sum }' /proc/interrupts; }

test_each_queue_has_an_interrupt_that_can_be_handed_to_a_guest() {
    mount -t tracefs none $TRACING || return 0
    # Kernels with checkers are made without probes.
    [ -e $TRACING/kprobe_events ] || return 0
    clean_up
    watch_producers
    add v0 "$LOOP"
    bind v0 vhost_vdpa
    first=$(vector_of 0) second=$(vector_of 1)
    before="$(taken "$first") $(taken "$second") $(taken "$(vector_of 2)")"
    # Nothing is handed on before the device has started.
    hold v0 --idle
    same "interrupts of a device that was only opened" "$(producers)" ""
    release
    hold v0 --frames 24
    same "interrupts that are handed on" "$(producers)" "$first $second "
    after="$(taken "$first") $(taken "$second") $(taken "$(vector_of 2)")"
    release
    # Both queues were used, and the next one's interrupt is another.
    [ "${before%% *}" -lt "${after%% *}" ] || fail "interrupts of queue 0: $before, then $after"
    before=${before#* } after=${after#* }
    [ "${before% *}" -lt "${after% *}" ] || fail "interrupts of queue 1: $before, then $after"
    same "interrupts of queue 2" "${after#* }" "${before#* }"
    vdpa dev del v0
    # A card with one vector has none to hand on.
    echo >$TRACING/trace
    add poor "$POOR"
    bind poor vhost_vdpa
    hold poor --frames 24
    same "interrupts that are shared and handed on" "$(producers)" ""
    release
    vdpa dev del poor
    watch_no_producers
    umount $TRACING
}

# processors PAIRS FIRST SECOND has virtio_net use so many pairs, and fails unless the interrupts of the first and of the second
# pair then go to these processors.
processors() {
    ethtool -L "$net" combined "$1"
    for queue in 0 1 2 3; do
        [ $queue -lt 2 ] && wanted=$2 || wanted=$3
        same "processors of queue $queue with $1 pairs" "$(cat "/proc/irq/$(vector_of $queue)/smp_affinity_list")" "$wanted"
    done
}

# taken_by PROCESSOR prints how many interrupts of the first receive queue this processor has taken.
taken_by() { awk -v irq="$(vector_of 0):" -v column=$(($1 + 2)) '$1 == irq { print $column }' /proc/interrupts; }

# goes_to PROCESSOR has frames sent, which come back on the first pair, and succeeds if the interrupts of its receive queue came to
# this processor alone. x86 moves an interrupt when the next one comes.
goes_to() {
    here=$(taken_by "$1") there=$(taken_by $((1 - $1)))
    # With its path, or the shell takes its own one, which can't send to all.
    taskset 1 /usr/bin/ping -q -b -c 2 -i 0.05 -W 0.1 -I "$net" 10.22.0.255 >/dev/null 2>&1 || true
    [ "$(taken_by "$1")" -gt "$here" ] && [ "$(taken_by $((1 - $1)))" = "$there" ]
}

test_interrupts_go_where_their_driver_wants_them() {
    clean_up
    [ "$(nproc)" = 2 ] || return 0
    add v0 "$LOOP" max_vqp 2
    bind v0 virtio_vdpa
    within 10 has_interface v0
    # virtio_net puts the queues of each pair on a processor of their own, as long as there are enough of them. It leaves those of a
    # pair that it doesn't use where they are.
    net=$(interface v0)
    processors 2 0 1
    processors 1 0-1 1
    # The card's interrupt has to follow: whoever moves it away, virtio_net fetches it back when its pairs change.
    ip addr add 10.22.0.1/24 dev "$net"
    ip link set "$net" up
    echo 1 >"/proc/irq/$(vector_of 0)/smp_affinity_list"
    within 10 goes_to 1
    processors 2 0 1
    within 10 goes_to 0
    vdpa dev del v0
}
