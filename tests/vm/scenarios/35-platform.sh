# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-only OR MIT
#
# Who may have a device, as it depends on who translates: a process needs an IOMMU, the card's or the platform's. The kernel
# needs none.

# unprotected succeeds if nobody translates what the card accesses.
unprotected() { [ "$IOMMU-$PLATFORM_IOMMU" = none-off ]; }

# process_gets NAME fails unless a process can open the device exactly if there is an IOMMU.
process_gets() {
    if unprotected; then
        # What vhost says, once.
        allow_log 'Failed to allocate domain, device is not IOMMU cache coherent capable'
        # ENOTSUPP, which is no errno of userspace and has no words.
        refused "os error 524" client info "$1"
    else
        client info "$1"
    fi
}

test_process_gets_a_device_only_behind_an_iommu() {
    add p0 "$NETWORK" mac 02:00:00:00:03:05
    bind p0 vhost_vdpa
    process_gets p0
    # Again, because the first one may have left the device open.
    process_gets p0
    if unprotected; then
        same "what was started" "$(statistic p0 doorbells) $(statistic p0 dma_reads) $(statistic p0 dma_writes)" "0 0 0"
    fi
}

test_kernel_gets_it_in_any_case() {
    add p1 "$NETWORK2" mac 02:00:00:00:03:06
    bind p0 virtio_vdpa
    bind p1 virtio_vdpa
    interface_in p0 left 10.9.5.1/24
    interface_in p1 right 10.9.5.2/24
    ip netns exec left ping -q -c 5 -i 0.2 -w "$(limit 30)" 10.9.5.2
    ip netns exec right ping -q -c 5 -i 0.2 -w "$(limit 30)" -s 4000 10.9.5.1
    same "stopped queues" "$(statistic p0 queue_errors) $(statistic p1 queue_errors)" "0 0"
}

test_it_goes_from_the_kernel_to_a_process_and_back() {
    ip netns del left
    home p0
    bind p0 vhost_vdpa
    process_gets p0
    # Nothing of the process is left in the kernel's way, above all no domain of the platform's IOMMU.
    bind p0 virtio_vdpa
    interface_in p0 left 10.9.5.1/24
    ip netns exec left ping -q -c 5 -i 0.2 -w "$(limit 30)" 10.9.5.2
}

test_card_is_given_addresses_that_it_can_name() {
    # In a 1:1 address space a bus address has to fit an I/O virtual one, which is narrower on this card.
    case $IOMMU in
        identity) bits=39 ;;
        *) bits=40 ;;
    esac
    folder=/sys/bus/pci/devices/${NARROW#pci/}
    same "bits of what is mapped and allocated" "$(cat "$folder/dma_mask_bits" "$folder/consistent_dma_mask_bits" | xargs)" "$bits $bits"
}

test_devices_are_deleted() {
    ip netns del left
    ip netns del right
    home p0
    home p1
    vdpa dev del p0
    vdpa dev del p1
    same "devices that are left" "$(vdpa dev show)" ""
}
