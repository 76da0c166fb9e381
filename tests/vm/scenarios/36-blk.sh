# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-only OR MIT
# Kernels: stock
#
# Block devices on virtio-vdpa: the kernel's virtio_blk. Not on the debug kernel: it has objects released late
# (DEBUG_KOBJECT_RELEASE), and the block layer frees every disk with one of its own in it that waits for that. Processes with a
# disk are in 41-vhost-blk.sh.

# shellcheck source=tests/vm/clients.sh
. /tests/clients.sh

DISK_BYTES=$((64 << 20))

# Not below $WORK, whose name the kernel would tell when it mounts, and the driver's name is in that.
MNT=/run/disk

# Busybox's shell prefers its own, which can't zero.
blkdiscard() { /usr/bin/blkdiscard "$@"; }

# disk prints the kernel's name of the disk that belongs to the card's device on virtio-vdpa. The kernel hangs the virtio device
# under the PCI function where that does its DMA, and under the vDPA device where the driver maps.
disk() {
    for block in /sys/bus/pci/devices/"$DISKS"/virtio*/block/* /sys/bus/pci/devices/"$DISKS"/*/virtio*/block/*; do
        [ ! -e "$block" ] || basename "$block"
    done
}

has_disk() { [ -n "$(disk)" ] && [ -b "/dev/$(disk)" ]; }

# kernel_disk NAME has the device on virtio-vdpa, and leaves the disk's node in $node.
kernel_disk() {
    [ -e "$VDPA/devices/$1" ] || add "$1" "$BLK"
    bind "$1" virtio_vdpa
    within 10 has_disk
    node=/dev/$(disk)
}

gone() { ! has_disk; }

# agreed BIT prints whether device and driver have agreed on a feature.
agreed() { cut -c $(($1 + 1)) "/sys/block/${node#/dev/}/device/features"; }

# limit_of NAME prints what the kernel knows of the disk's queues.
limit_of() { cat "/sys/block/${node#/dev/}/queue/$1"; }

# flushes prints how often the kernel has flushed the disk.
flushes() { awk '{ print $16 }' "/sys/block/${node#/dev/}/stat"; }

serial() { cat "/sys/block/${node#/dev/}/serial"; }

# processors_of QUEUE prints where the interrupt of a queue of the card's first device goes: vector 0 is for events, and msi_irqs has
# Linux's numbers in the order of the vectors.
# shellcheck disable=SC2012 # numbers
processors_of() {
    cat "/proc/irq/$(ls "/sys/bus/pci/devices/$DISKS/msi_irqs" | sort -n | sed -n "$(($1 + 2))p")/smp_affinity_list"
}

queues() { find "/sys/block/${node#/dev/}/mq" -mindepth 1 -maxdepth 1 | wc -l; }

# noise BYTES writes bytes that are nowhere else.
noise() { head -c "$1" /dev/urandom; }

# sum FILE... prints one checksum of all contents.
sum() { cat "$@" | sha256sum | cut -d' ' -f1; }

mounted() {
    mkdir -p "$MNT"
    mount -t ext4 "$node" "$MNT"
}

test_features_are_provisioned() {
    modprobe -a virtio_blk ext4
    # VERSION_1, ACCESS_PLATFORM, and FLUSH.
    add blk0 "$BLK" device_features 0x300000200
    kernel_disk blk0
    same "FLUSH, MQ and DISCARD" "$(agreed 9) $(agreed 12) $(agreed 13)" "1 0 0"
    same "its queues" "$(queues)" 1
    vdpa dev del blk0
    # No bit of a block device's.
    expect_log 'no device of this driver offers device_features 0x8'
    refused "Invalid argument" add blk0 "$BLK" device_features 0x300000008
    kernel_disk blk0
    same "FLUSH, MQ and DISCARD" "$(agreed 9) $(agreed 12) $(agreed 13)" "1 1 1"
    vdpa dev del blk0
}

test_each_disk_has_one_device() {
    add blk0 "$BLK"
    if ! translates; then
        expect_log "$DISKS: $ONE_DEVICE"
        refused "busy" add blk1 "$BLK"
        refused "busy" add blk1 "pci/$DISKS"
        vdpa dev del blk0
        return
    fi
    add blk1 "$BLK"
    expect_log 'the card has no disk, no device object, or not enough queues left'
    refused "No space left" add blk2 "$BLK"
    vdpa dev del blk0
    add net0 "pci/$DISKS"
    kernel_disk blk2
    same "the first disk again" "$(serial)" mooring-disk-0
    vdpa dev del blk2
    vdpa dev del blk1
    vdpa dev del net0
}

test_kernel_has_the_disk_as_it_is() {
    kernel_disk blk0
    same "its size" "$(blockdev --getsize64 "$node")" $DISK_BYTES
    same "its name" "$(serial)" mooring-disk-0
    # A queue for each processor.
    same "its queues" "$(queues)" "$(nproc)"
    # It is the one that the queue's interrupt goes to, for which the kernel asks.
    for queue in $(seq 0 $(($(nproc) - 1))); do
        same "processors of queue $queue" "$(cat "/sys/block/${node#/dev/}/mq/$queue/cpu_list")" "$(processors_of "$queue")"
    done
    same "its cache" "$(cat "/sys/block/${node#/dev/}/queue/write_cache")" "write back"
    same "its block" "$(limit_of logical_block_size)" 512
    # That of the file system which the image lies on; the card tells only where it is best to begin.
    [ "$(limit_of physical_block_size)" -ge 512 ] || fail "its physical block has $(limit_of physical_block_size) bytes"
    same "what can be discarded at once" "$(limit_of discard_max_hw_bytes)" $((1 << 30))
    same "what can be zeroed at once" "$(limit_of write_zeroes_max_bytes)" $((8 << 20))
    # What is counted is what went by. The core asks for the counters of single queues of network devices only.
    bytes=$(statistic blk0 request_bytes)
    dd if="$node" of=/dev/null bs=64k count=16 iflag=direct 2>/dev/null
    same "bytes that were counted" $(($(statistic blk0 request_bytes) - bytes)) $((1 << 20))
    refused "not supported" vdpa dev vstats show blk0 qidx 0
}

test_file_system_keeps_its_files() {
    kernel_disk blk0
    mke2fs -F "$node" >/dev/null
    mounted
    for file in 1 2 3 4; do
        noise $((file * 250007)) >"$MNT/$file"
    done
    before=$(flushes)
    sync -d "$MNT/1"
    [ "$(flushes)" -gt "$before" ] || fail "a file was synced without a flush"
    before=$(sum "$MNT"/[1-4])
    umount "$MNT"
    # What the kernel still knows of the disk goes with it.
    bind blk0 vhost_vdpa
    gone || fail "the disk is still there"
    kernel_disk blk0
    mounted
    same "the files' checksum" "$(sum "$MNT"/[1-4])" "$before"
    umount "$MNT"
}

test_freed_space_is_discarded() {
    kernel_disk blk0
    mounted
    noise 8000000 >"$MNT/trim"
    kept=$(sum "$MNT"/[1-4])
    sync
    rm "$MNT/trim"
    sync
    fstrim -v "$MNT" >"$WORK/trimmed"
    trimmed=$(sed 's/.* (\{0,1\}\([0-9][0-9]*\) bytes.*/\1/' "$WORK/trimmed")
    [ "$trimmed" -gt 8000000 ] || fail "only $trimmed bytes were trimmed: $(cat "$WORK/trimmed")"
    echo 3 >/proc/sys/vm/drop_caches
    same "the files that stay" "$(sum "$MNT"/[1-4])" "$kept"
    umount "$MNT"
}

test_ranges_are_zeroed_and_discarded() {
    kernel_disk blk0
    noise $((4 << 20)) >"$WORK/wanted"
    dd if="$WORK/wanted" of="$node" bs=1M oflag=direct 2>/dev/null
    blkdiscard -z -o $((1 << 20)) -l $((2 << 20)) "$node"
    dd if=/dev/zero of="$WORK/wanted" bs=1M seek=1 count=2 conv=notrunc 2>/dev/null
    same "the first 4 MiB" "$(dd if="$node" bs=1M count=4 iflag=direct 2>/dev/null | sha256sum)" "$(sha256sum <"$WORK/wanted")"
    blkdiscard -o 0 -l $((4 << 20)) "$node"
}

test_all_queues_work_at_once() {
    kernel_disk blk0
    # Each part on a processor of its own, and so on a queue of its own.
    for cpu in $(seq 0 $(($(nproc) - 1))); do
        noise $((8 << 20)) >"$WORK/part$cpu"
        taskset -c "$cpu" dd if="$WORK/part$cpu" of="$node" bs=64k seek=$((cpu * 128)) oflag=direct 2>"$WORK/dd$cpu" &
        eval "writer$cpu=$!"
    done
    for cpu in $(seq 0 $(($(nproc) - 1))); do
        eval "wait \$writer$cpu" || fail "writing failed: $(cat "$WORK/dd$cpu")"
    done
    for cpu in $(seq 0 $(($(nproc) - 1))); do
        same "part $cpu" "$(dd if="$node" bs=64k skip=$((cpu * 128)) count=128 iflag=direct 2>/dev/null | sha256sum)" \
            "$(sha256sum <"$WORK/part$cpu")"
    done
}

test_fio_finds_what_it_has_written() {
    mount_clients
    kernel_disk blk0
    in_clients timeout "$(limit 60)" fio --name=verify --filename="$node" --size=8M --rw=randwrite --bsrange=512-128k --iodepth=16 --ioengine=libaio \
        --direct=1 --thread --verify=crc32c --verify_fatal=1 >"$WORK/fio" 2>&1 || fail "$(cat "$WORK/fio")"
    contains "fio" "$(cat "$WORK/fio")" "READ: "
}

test_reset_keeps_the_map() {
    kernel_disk blk0
    translates || return 0
    before=$(field blk0 0 generation)
    digest=$(field blk0 0 digest)
    virtio=$(basename "$(dirname "$(dirname "$(readlink -f "/sys/block/${node#/dev/}")")")")
    echo "$virtio" >/sys/bus/virtio/drivers/virtio_blk/unbind
    # A card without 1:1 spaces is told of each ring that is freed; the reset itself tells nothing.
    if [ "$IOMMU" = identity ]; then
        same "the generation" "$(field blk0 0 generation)" "$before"
        same "the digest" "$(field blk0 0 digest)" "$digest"
    fi
    echo "$virtio" >/sys/bus/virtio/drivers/virtio_blk/bind
    within 10 has_disk
    dd if="$node" of=/dev/null bs=1M count=4 iflag=direct 2>/dev/null
}

test_disk_stays_when_the_driver_goes() {
    kernel_disk blk0
    noise $((1 << 20)) >"$WORK/kept"
    dd if="$WORK/kept" of="$node" bs=64k oflag=direct 2>/dev/null
    # Which resets the card, and takes its devices with it.
    echo "$DISKS" >/sys/bus/pci/drivers/mooring_vdpa/unbind
    [ ! -e "/sys/bus/faux/devices/mooring_blk.$DISKS" ] || fail "the management device is still there"
    echo "$DISKS" >/sys/bus/pci/drivers/mooring_vdpa/bind
    kernel_disk blk0
    same "what was written" "$(dd if="$node" bs=64k count=16 iflag=direct 2>/dev/null | sha256sum)" "$(sha256sum <"$WORK/kept")"
}

test_read_only_disk_is_read_only() {
    # Where a function has one device, it has the first disk.
    translates || return 0
    ensure blk0 "$BLK"
    expect_log 'its disk is read-only: device_features has to have 0x20'
    refused "Invalid argument" add blk1 "$BLK" device_features 0x300000200
    add blk1 "$BLK"
    bind blk1 virtio_vdpa
    within 10 has_disk
    node=/dev/$(disk)
    same "its state" "$(cat "/sys/block/${node#/dev/}/ro")" 1
    if dd if=/dev/zero of="$node" bs=512 count=1 oflag=direct 2>/dev/null; then
        fail "it was written"
    fi
    vdpa dev del blk1
}

# under_load COMMAND... takes blk0 away while its disk is read and written.
under_load() {
    # What is under way when the device goes has failed for those who wait for it.
    allow_log '(I/O|critical|Buffer I/O|recoverable).* error|lost (async|sync) page write'
    kernel_disk blk0
    # Never more than the disk holds: once the node is gone, a file would be made in its place.
    while [ -b "$node" ] && dd if=/dev/zero of="$node" bs=64k count=1024 conv=notrunc oflag=direct; do :; done 2>/dev/null &
    writer=$!
    while [ -b "$node" ] && dd if="$node" of=/dev/null bs=64k iflag=direct; do :; done 2>/dev/null &
    reader=$!
    sleep 0.5
    timeout "$(limit 20)" "$@"
    wait $writer || true
    wait $reader || true
    gone || fail "the disk is still there"
    [ -b "$node" ] || rm -f "$node"
}

# works_again fails unless blk0 is a good disk, which it may have to be made for.
works_again() {
    kernel_disk blk0
    noise $((1 << 20)) >"$WORK/again"
    dd if="$WORK/again" of="$node" bs=64k oflag=direct 2>/dev/null
    same "what is written afterwards" "$(dd if="$node" bs=64k count=16 iflag=direct 2>/dev/null | sha256sum)" "$(sha256sum <"$WORK/again")"
}

test_device_is_deleted_under_load() {
    under_load vdpa dev del blk0
    works_again
}

test_bus_driver_is_unbound_under_load() {
    under_load sh -c "echo blk0 >$VDPA/drivers/virtio_vdpa/unbind"
    works_again
}

test_function_is_unbound_under_load() {
    under_load sh -c "echo '$DISKS' >/sys/bus/pci/drivers/mooring_vdpa/unbind"
    echo "$DISKS" >/sys/bus/pci/drivers/mooring_vdpa/bind
    works_again
}

test_module_is_unloaded_under_load() {
    under_load rmmod mooring_vdpa
    load
    works_again
}

test_function_is_removed_under_load() {
    allow_log "$REFUSALS"
    under_load sh -c "echo 1 >'/sys/bus/pci/devices/$DISKS/remove'"
    echo 1 >/sys/bus/pci/rescan
    within 10 test -e "/sys/bus/pci/drivers/mooring_vdpa/$DISKS"
    works_again
    vdpa dev del blk0
}
