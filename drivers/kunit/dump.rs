// SPDX-License-Identifier: GPL-2.0-only

//! The list of an address space's extents, read from a card that holds none of them.

use kernel::prelude::*;

#[kunit_tests(mooring_dump)]
mod tests {
    use crate::{
        debugfs::{
            dump,
            io::{
                Line,
                Reader, //
            },
        },
        kunit::{
            bus::Vdev,
            fixture::TestCard,
            memory::{
                Maps,
                Pages, //
            },
            sys::{
                vdpa_del,
                Parent, //
            },
            trace::{
                self,
                Step, //
            },
        },
        mgmt::Manager,
        wire::Opcode,
    };
    use kernel::{
        error::to_result,
        prelude::*,
        str::CString, //
    };

    const NAME: &CStr = c"kunit-dump";

    /// Maps these pages in the device's address space 0.
    fn map(vdev: &Vdev, pages: &Pages, places: &[(u64, usize)]) -> Result {
        let maps = Maps::of_pages(pages, places)?;
        let set_map = vdev.ops().set_map.ok_or(ENOSYS)?;

        // SAFETY: The device is registered, and the IOTLB is valid.
        to_result(unsafe { set_map(vdev.as_raw(), 0, maps.as_raw()) })
    }

    /// Goes on to the next line, and returns whether there is one that contains `word`.
    fn next_has(reader: &mut dump::Reader, word: &str) -> Result<bool> {
        if !reader.advance() {
            return Ok(false);
        }
        let line = CString::try_from_fmt(fmt!("{}", Line(reader)))?;
        let found = line
            .to_bytes()
            .windows(word.len())
            .any(|window| window == word.as_bytes());
        Ok(found)
    }

    #[test]
    fn tells_what_the_card_does_not_hold() -> Result {
        let parent = Parent::new()?;
        let card = TestCard::new(&parent)?;
        let management = KBox::pin_init(
            Manager::register(parent.dev(), card.card().clone()),
            GFP_KERNEL,
        )?;
        let pages = Pages::single(2)?;

        parent.vdpa_add(NAME)?;
        let vdev = Vdev::find(&parent, NAME)?;
        let device = card.card().device(0).ok_or(ENODEV)?;
        map(&vdev, &pages, &[(1, 0), (5, 2)])?;
        trace::start();

        let mut reader = dump::Reader::new(device.clone(), 0)?;
        check!(next_has(&mut reader, " driver_extents=2 ")?);
        check!(next_has(&mut reader, "0x0000000000001000 ")?);
        check!(next_has(&mut reader, " 0x1000 rw driver-only\n")?);
        check!(next_has(&mut reader, "both=0 card_only=0 driver_only=2\n")?);
        check!(!reader.advance() && !reader.advance());
        // One question, and no command that changes anything.
        check!(trace::take().steps() == [Step::Command(Opcode::AddressSpaceQuery)]);

        // A map that changes between two lines.
        let mut reader = dump::Reader::new(device.clone(), 0)?;
        check!(next_has(&mut reader, "driver_extents=2")?);
        check!(next_has(&mut reader, "driver-only")?);
        map(&vdev, &pages, &[(5, 2)])?;
        check!(next_has(&mut reader, "incomplete: the map has changed")?);
        check!(!reader.advance());

        // A device that goes while somebody has the file open.
        let mut reader = dump::Reader::new(device, 0)?;
        check!(next_has(&mut reader, "driver_extents=1")?);
        drop(vdev);
        vdpa_del(NAME)?;
        check!(next_has(&mut reader, "incomplete: the device is gone")?);
        check!(!reader.advance());
        drop(management);
        Ok(())
    }
}
