// SPDX-License-Identifier: GPL-2.0-only

//! The view of vhost's IOTLB, on a real one.

use kernel::prelude::*;

#[kunit_tests(mooring_vdpa_iotlb)]
mod tests {
    use crate::{
        kunit::memory::{
            Maps,
            READ,
            READ_WRITE,
            WRITE, //
        },
        vdpa::Permission, //
    };
    use kernel::prelude::*;

    #[test]
    fn empty() -> Result {
        let maps = Maps::new()?;

        check!(maps.iotlb().is_empty());
        check!(maps.iotlb().iter().next().is_none());
        Ok(())
    }

    /// Pieces come by address, in whatever order they were added, each once, with nothing left out.
    #[test]
    fn sorted() -> Result {
        const PIECES: u64 = 50;
        let maps = Maps::new()?;

        for number in 0..PIECES {
            // 7 is coprime to the number of pieces.
            let first = (number * 7 % PIECES) << 12;
            maps.add(first, first + 0xfff, first ^ 0x8000_0000, READ)?;
        }
        check!(maps.iotlb().len() == PIECES as usize);
        let mut expected = 0;
        for map in maps.iotlb() {
            let map = map?;
            check!(map.start() == expected && map.last() == expected + 0xfff);
            check!(map.addr() == expected ^ 0x8000_0000);
            check!(map.range().size() == Some(0x1000));
            expected += 0x1000;
        }
        check!(expected == PIECES << 12);
        Ok(())
    }

    #[test]
    fn permissions() -> Result {
        let maps = Maps::of(&[
            (0x0000, 0x0fff, 0, READ),
            (0x1000, 0x1fff, 0, WRITE),
            (0x2000, 0x2fff, 0, READ_WRITE),
            // vhost passes these on.
            (0x3000, 0x3fff, 0, 0),
            (0x4000, 0x4fff, 0, 7),
        ])?;
        let mut permissions = maps.iotlb().iter().map(|map| map?.permission());

        check!(permissions.next() == Some(Ok(Permission::ReadOnly)));
        check!(permissions.next() == Some(Ok(Permission::WriteOnly)));
        check!(permissions.next() == Some(Ok(Permission::ReadWrite)));
        check!(permissions.next() == Some(Err(EINVAL)));
        check!(permissions.next() == Some(Err(EINVAL)));
        check!(permissions.next().is_none());
        Ok(())
    }

    #[test]
    fn both_ends_of_the_address_range() -> Result {
        let last_page = u64::MAX - 0xfff;
        let maps = Maps::of(&[
            (last_page, u64::MAX, 0x5000, READ),
            (0, 0, 0x6000, READ),
            (u64::MAX / 2, u64::MAX / 2 + 1, 0x7000, READ),
        ])?;
        let mut pieces = maps.iotlb().iter();
        let mut next = || pieces.next().ok_or(ENODATA)?;

        let map = next()?;
        check!(map.start() == 0 && map.last() == 0 && map.addr() == 0x6000);
        check!(map.range().size() == Some(1));
        let map = next()?;
        check!(map.start() == u64::MAX / 2 && map.range().size() == Some(2));
        let map = next()?;
        check!(map.start() == last_page && map.last() == u64::MAX && map.addr() == 0x5000);
        check!(map.range().size() == Some(0x1000));
        check!(next() == Err(ENODATA));
        Ok(())
    }

    /// The core cuts a piece that covers everything in two, because its size would not fit.
    #[test]
    fn everything() -> Result {
        let maps = Maps::of(&[(0, u64::MAX, 0, READ_WRITE)])?;
        let mut end = Some(0);
        let mut pieces = 0;

        for map in maps.iotlb() {
            let map = map?;
            check!(Some(map.start()) == end && map.addr() == map.start());
            end = map.last().checked_add(1);
            pieces += 1;
        }
        check!(pieces == 2 && end.is_none());
        Ok(())
    }

    /// A piece whose memory would wrap is an error of its own: the others are still there.
    #[test]
    fn memory_that_wraps() -> Result {
        let maps = Maps::of(&[
            (0x1000, 0x1fff, 0x1000, READ),
            (0x2000, 0x2fff, u64::MAX - 0xffe, READ),
            (0x3000, 0x3fff, u64::MAX - 0xfff, READ),
        ])?;
        let mut pieces = maps.iotlb().iter();

        check!(matches!(pieces.next(), Some(Ok(map)) if map.start() == 0x1000));
        check!(pieces.next() == Some(Err(EINVAL)));
        check!(matches!(pieces.next(), Some(Ok(map)) if map.addr() == u64::MAX - 0xfff));
        check!(pieces.next().is_none() && pieces.next().is_none());
        Ok(())
    }
}
