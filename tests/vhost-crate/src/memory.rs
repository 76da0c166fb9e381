// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Memory as a guest's: regions of physical addresses with a hole between them.

use anyhow::Result;
use std::sync::Arc;
use vm_memory::{GuestAddress, GuestMemoryMmap};

/// Where the rings are, in the lower region.
pub const RINGS: u64 = 0x10_0000;
/// Where the buffers are, in the upper one, behind the hole that a PC has below 4 GiB.
pub const BUFFERS: u64 = 0x1_0000_0000;
/// Bytes of each buffer.
pub const BUFFER_SIZE: u32 = 2048;

const REGION: usize = 0x20_0000;

/// A guest's memory.
pub struct Guest {
    pub memory: Arc<GuestMemoryMmap>,
}

impl Guest {
    pub fn new() -> Result<Self> {
        let regions = [(GuestAddress(0), REGION), (GuestAddress(BUFFERS), REGION)];
        Ok(Self {
            memory: Arc::new(GuestMemoryMmap::from_ranges(&regions)?),
        })
    }
}
