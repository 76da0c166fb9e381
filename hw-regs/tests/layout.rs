// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Where each field of each message lies: the layout that another implementation has to match.
//!
//! A line is `offset size name`. Messages have no padding: reserved bytes are fields.

use mooring_hw_regs::wire::*;

/// Checks a message's size, and the place and size of each of its fields.
macro_rules! layout {
    ($test:ident: $message:ident, $size:literal bytes { $($offset:literal $length:literal $field:ident,)* }) => {
        #[test]
        fn $test() {
            // It doesn't compile if a field is missing from the table.
            fn _all(message: $message) {
                let $message { $($field: _),* } = message;
            }
            fn length<F>(_: fn(&$message) -> &F) -> usize {
                size_of::<F>()
            }

            let name = stringify!($message);
            assert_eq!(size_of::<$message>(), $size, "bytes of {name}");
            assert_eq!(align_of::<$message>(), 1, "{name} may lie anywhere");
            let mut end = 0;
            $(
                let field = concat!(stringify!($message), ".", stringify!($field));
                assert_eq!(core::mem::offset_of!($message, $field), $offset, "offset of {field}");
                assert_eq!(length(|message| &message.$field), $length, "bytes of {field}");
                assert_eq!(end, $offset, "the table has a gap before {field}");
                end = $offset + $length;
            )*
            assert_eq!(end, $size, "the table ends before {name} does");
        }
    };
}

// The entries of the three rings.

layout!(command: Command, 64 bytes {
    0 2 opcode,
    2 2 tag,
    4 2 device,
    6 2 reserved,
    8 8 payload,
    16 4 payload_length,
    20 4 reserved2,
    24 40 arguments,
});

layout!(completion: Completion, 32 bytes {
    0 2 tag,
    2 2 status,
    4 24 result,
    28 4 sequence,
});

layout!(event: Event, 32 bytes {
    0 2 kind,
    2 2 device,
    4 2 queue,
    6 2 address_space,
    8 8 iova,
    16 4 length,
    20 4 detail,
    24 4 lost,
    28 4 sequence,
});

// Arguments of commands, at byte 24 of the command.

layout!(device_create: DeviceCreate, 40 bytes {
    0 4 virtio_id,
    4 2 queue_pairs,
    6 2 mtu,
    8 6 mac,
    14 2 reserved,
    16 8 features,
    24 16 reserved2,
});

layout!(device_set_features: DeviceSetFeatures, 8 bytes {
    0 8 features,
});

layout!(device_type_query: DeviceTypeQuery, 4 bytes {
    0 4 virtio_id,
});

layout!(queue_enable: QueueEnable, 40 bytes {
    0 2 queue,
    2 2 size,
    4 2 vector,
    6 2 address_space,
    8 2 flags,
    10 2 avail_index,
    12 2 used_index,
    14 2 ring_address_space,
    16 8 descriptor_area,
    24 8 driver_area,
    32 8 device_area,
});

layout!(queue_select: QueueSelect, 2 bytes {
    0 2 queue,
});

layout!(net_set_mac: NetSetMac, 6 bytes {
    0 6 mac,
});

layout!(net_set_link: NetSetLink, 2 bytes {
    0 2 up,
});

layout!(address_space_create: AddressSpaceCreate, 2 bytes {
    0 2 mode,
});

layout!(address_space_select: AddressSpaceSelect, 2 bytes {
    0 2 address_space,
});

layout!(address_space_set_mode: AddressSpaceSetMode, 4 bytes {
    0 2 address_space,
    2 2 mode,
});

layout!(address_space_update: AddressSpaceUpdate, 16 bytes {
    0 2 address_space,
    2 2 flags,
    4 4 count,
    8 8 generation,
});

layout!(address_space_read: AddressSpaceRead, 8 bytes {
    0 2 address_space,
    2 2 reserved,
    4 4 start,
});

// Results of commands, at byte 4 of the completion.

layout!(device_type_info: DeviceTypeInfo, 8 bytes {
    0 8 features,
});

layout!(device_created: DeviceCreated, 24 bytes {
    0 2 device,
    2 2 first_queue,
    4 2 num_queues,
    6 2 reserved,
    8 8 features,
    16 6 mac,
    22 2 mtu,
});

layout!(queue_state: QueueState, 8 bytes {
    0 2 avail_index,
    2 2 used_index,
    4 2 running,
    6 2 reserved,
});

layout!(address_space_created: AddressSpaceCreated, 16 bytes {
    0 2 address_space,
    2 6 reserved,
    8 8 generation,
});

layout!(address_space_updated: AddressSpaceUpdated, 16 bytes {
    0 8 generation,
    8 4 extents,
    12 4 reserved,
});

// Payloads, in host memory of their own.

layout!(extent: Extent, 32 bytes {
    0 8 iova,
    8 8 bus,
    16 8 length,
    24 4 permission,
    28 4 operation,
});

layout!(address_space_info: AddressSpaceInfo, 64 bytes {
    0 2 mode,
    2 2 running_queues,
    4 4 extents,
    8 8 generation,
    16 8 mapped_bytes,
    24 8 digest,
    32 8 commands,
    40 8 faults,
    48 8 card_commands,
    56 8 reserved,
});

layout!(device_statistics: DeviceStatistics, 96 bytes {
    0 8 rx_frames,
    8 8 rx_bytes,
    16 8 rx_dropped,
    24 8 tx_frames,
    32 8 tx_bytes,
    40 8 doorbells,
    48 8 interrupts,
    56 8 dma_reads,
    64 8 dma_writes,
    72 8 queue_errors,
    80 8 requests,
    88 8 request_bytes,
});

layout!(block_info: BlockInfo, 48 bytes {
    0 8 capacity,
    8 4 size_max,
    12 4 seg_max,
    16 4 block_size,
    20 4 max_discard_sectors,
    24 4 max_discard_seg,
    28 4 discard_alignment,
    32 4 max_write_zeroes_sectors,
    36 4 max_write_zeroes_seg,
    40 2 disk,
    42 1 write_zeroes_may_unmap,
    43 1 physical_block_exp,
    44 2 min_io_size,
    46 2 opt_io_size,
});

#[test]
fn arguments_and_results_fit_into_their_entries() {
    assert_eq!(ARGUMENTS_SIZE, 40);
    assert_eq!(RESULT_SIZE, 24);
    for size in [
        size_of::<DeviceCreate>(),
        size_of::<DeviceSetFeatures>(),
        size_of::<DeviceTypeQuery>(),
        size_of::<QueueEnable>(),
        size_of::<QueueSelect>(),
        size_of::<NetSetMac>(),
        size_of::<NetSetLink>(),
        size_of::<AddressSpaceCreate>(),
        size_of::<AddressSpaceSelect>(),
        size_of::<AddressSpaceSetMode>(),
        size_of::<AddressSpaceUpdate>(),
        size_of::<AddressSpaceRead>(),
    ] {
        assert!(size <= ARGUMENTS_SIZE);
    }
    for size in [
        size_of::<DeviceCreated>(),
        size_of::<DeviceTypeInfo>(),
        size_of::<QueueState>(),
        size_of::<AddressSpaceCreated>(),
        size_of::<AddressSpaceUpdated>(),
    ] {
        assert!(size <= RESULT_SIZE);
    }
}
