// SPDX-License-Identifier: GPL-2.0-only

//! Coherent memory: what lies outside is refused, and indices wrap where the card's do.

use kernel::prelude::*;

#[kunit_tests(mooring_dma_ring)]
mod tests {
    use crate::{
        dma::ring::{
            Buffer,
            Ring, //
        },
        kunit::sys::Parent,
        wire::Completion, //
    };
    use kernel::{
        page::PAGE_SIZE,
        prelude::*, //
    };
    use zerocopy::FromZeros;

    /// An entry with this sequence number, and a tag to tell it by.
    fn completion(tag: u16, sequence: u32) -> Completion {
        Completion {
            tag: tag.into(),
            sequence: sequence.into(),
            ..Completion::new_zeroed()
        }
    }

    #[test]
    fn buffer_has_bounds() -> Result {
        let parent = Parent::new()?;
        let buffer = Buffer::new(parent.dev(), 100)?;
        let mut data = [0xffu8; 8];

        check!(buffer.bus() % PAGE_SIZE as u64 == 0);
        buffer.read(PAGE_SIZE - 8, &mut data)?;
        check!(data == [0; 8]);
        buffer.write(PAGE_SIZE - 8, &[1, 2, 3, 4, 5, 6, 7, 8])?;
        buffer.read(PAGE_SIZE - 4, &mut data[..4])?;
        check!(data == [5, 6, 7, 8, 0, 0, 0, 0]);

        check!(buffer.write(PAGE_SIZE - 4, &data) == Err(EINVAL));
        check!(buffer.read(PAGE_SIZE - 4, &mut data) == Err(EINVAL));
        check!(buffer.write(PAGE_SIZE, &data[..4]) == Err(EINVAL));
        check!(buffer.read(usize::MAX - 3, &mut data[..4]) == Err(EINVAL));
        check!(buffer.write(0, &data[..3]) == Err(EINVAL));
        check!(buffer.read(0, &mut data[..5]) == Err(EINVAL));
        check!(buffer.read(2, &mut data[..4]) == Err(EINVAL));
        Ok(())
    }

    #[test]
    fn sizes_that_cannot_be() -> Result {
        let parent = Parent::new()?;

        check!(matches!(Buffer::new(parent.dev(), usize::MAX), Err(error) if error == EINVAL));
        check!(matches!(Buffer::new(parent.dev(), 0), Err(error) if error == EINVAL));
        check!(matches!(Ring::<Completion>::new(parent.dev(), 16), Err(error) if error == EINVAL));
        Ok(())
    }

    /// Indices run freely to 65535 and on from 0, through a ring of 8.
    #[test]
    fn indices_wrap() -> Result {
        let parent = Parent::new()?;
        let ring = Ring::<Completion>::new(parent.dev(), 3)?;

        for step in 0..32u16 {
            let index = step.wrapping_sub(16);
            ring.write(index, &completion(index, u32::from(step) + 1))?;
        }
        for step in 24..32u16 {
            let index = step.wrapping_sub(16);
            let entry = ring.read_if(index, u32::from(step) + 1)?.ok_or(ENODATA)?;
            check!(entry.tag.get() == index);
            // A round later, it is the same place.
            check!(ring
                .read_if(index.wrapping_add(8), u32::from(step) + 1)?
                .is_some());
            check!(ring.read_if(index, u32::from(step) + 2)?.is_none());
        }
        Ok(())
    }

    /// A ring that nobody has written to has no entry: sequence numbers are never 0.
    #[test]
    fn new_ring_is_empty() -> Result {
        let parent = Parent::new()?;
        let ring = Ring::<Completion>::new(parent.dev(), 7)?;

        for index in 0..128 {
            check!(ring.read_if(index, 1)?.is_none());
            check!(ring.read_if(index, 0)?.is_some());
        }
        Ok(())
    }
}
