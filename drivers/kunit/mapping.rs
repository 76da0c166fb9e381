// SPDX-License-Identifier: GPL-2.0-only

//! DMA mappings: each is undone once, with the arguments it was made with.

use kernel::prelude::*;

#[kunit_tests(mooring_dma_mapping)]
mod tests {
    use crate::{
        dma::Mapping,
        kunit::{
            memory::Pages,
            sys::Parent,
            trace::{
                self,
                Step, //
            },
        }, //
    };
    use kernel::{
        bindings,
        dma::DataDirection,
        page::PAGE_SIZE,
        prelude::*, //
    };

    const LEN: u64 = 4 * PAGE_SIZE as u64;

    #[test]
    fn undone_as_made() -> Result {
        let parent = Parent::new()?;
        let pages = Pages::folio(2)?;

        for direction in [
            DataDirection::ToDevice,
            DataDirection::FromDevice,
            DataDirection::Bidirectional,
        ] {
            trace::start();
            let mapping = Mapping::new(parent.dev(), pages.phys(0), LEN, direction)?;
            let trace = trace::take();
            check!(trace.steps() == [Step::Map]);
            let mapped = trace.mapped().next().ok_or(ENODATA)?;
            check!(mapped.bus == mapping.bus());
            check!(mapped.len == LEN as usize);
            check!(mapped.direction == direction.into());
            // Nothing may be copied: the card and a guest use the memory at the same time.
            check!(mapped.attrs == bindings::DMA_ATTR_REQUIRE_COHERENT as c_ulong);

            drop(mapping);
            let trace = trace::take();
            check!(trace.steps() == [Step::Unmap]);
            check!(trace.is_balanced());
        }
        Ok(())
    }

    /// The device is kept as long as the mapping, and no longer.
    #[test]
    fn keeps_the_device() -> Result {
        let parent = Parent::new()?;
        let pages = Pages::folio(2)?;
        let refs = parent.refs();

        let mapping = Mapping::new(
            parent.dev(),
            pages.phys(0),
            LEN,
            DataDirection::Bidirectional,
        )?;
        check!(parent.refs() == refs + 1);
        drop(mapping);
        check!(parent.refs() == refs);
        Ok(())
    }

    /// What was never mapped is not unmapped.
    #[test]
    fn failure_is_not_undone() -> Result {
        let parent = Parent::new()?;
        let pages = Pages::folio(2)?;
        let refs = parent.refs();

        trace::start();
        trace::fail_mapping_after(0);
        let mapping = Mapping::new(parent.dev(), pages.phys(0), LEN, DataDirection::ToDevice);
        check!(matches!(mapping, Err(error) if error == ENOMEM));
        drop(mapping);
        let trace = trace::take();
        check!(trace.steps().is_empty() && trace.is_balanced());
        check!(parent.refs() == refs);
        Ok(())
    }

    /// The DMA API is not asked for what makes no sense.
    #[test]
    fn nonsense_is_refused() -> Result {
        let parent = Parent::new()?;
        let dev = parent.dev();
        let refused = |phys, len, direction| matches!(Mapping::new(dev, phys, len, direction), Err(error) if error == EINVAL);

        trace::start();
        check!(refused(0x1000, 0, DataDirection::ToDevice));
        check!(refused(0, u64::MAX, DataDirection::None));
        check!(refused(u64::MAX, 2, DataDirection::ToDevice));
        check!(refused(2, u64::MAX, DataDirection::ToDevice));
        check!(trace::take().steps().is_empty());
        Ok(())
    }
}
