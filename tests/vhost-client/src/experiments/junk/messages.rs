// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! IOTLB messages that make no sense.

use super::{Answers, OK};
use crate::device::{errno, Device};
use crate::iotlb::{self, Message};
use crate::memory::Memory;
use crate::nic::AREA_SIZE;
use crate::Common;
use anyhow::Result;
use vhost::vdpa::VhostVdpa;

/// Sends them. `maps` says whether the parent driver is asked for every map, and is known to look at permissions.
pub fn messages(
    answers: &mut Answers,
    maps: bool,
    common: &Common,
    device: &Device,
    memory: &Memory,
) -> Result<()> {
    let spaces = device.vdpa.get_as_num().map_err(errno)?;
    let (iova, free) = (common.iova, common.iova + 4 * AREA_SIZE);
    let address = memory.address(iova);
    let update = |iova, size| Message::update(0, iova, size, address, iotlb::READ_WRITE);
    let good = update(free, 0x1000);

    if maps {
        // Other parents take these, and would then hold a mapping in the way of what follows. Where the platform's IOMMU
        // holds the map the driver isn't asked, and vhost itself warns of a bug when the IOMMU maps without a permission.
        for permission in [0, 4, 7, 0xff] {
            let what = format!("permission {permission:#x}");
            answers.core(
                &what,
                device.send(Message { permission, ..good }),
                libc::EFAULT,
            );
        }
    }
    answers.core("a size of 0", device.send(update(free, 0)), libc::EINVAL);
    answers.core(
        "a range that is mapped",
        device.send(update(iova, 0x1000)),
        libc::EFAULT,
    );
    answers.core(
        "a range half of which is mapped",
        device.send(update(iova + AREA_SIZE - 0x1000, 0x2000)),
        libc::EFAULT,
    );
    answers.core(
        "a range that wraps",
        device.send(update(!0xfff, 0x2000)),
        libc::EFAULT,
    );
    answers.core(
        "the whole address space",
        device.send(update(0, u64::MAX)),
        libc::EFAULT,
    );
    answers.core(
        "memory that isn't there",
        device.send(Message {
            address: 0x1000,
            ..good
        }),
        libc::EFAULT,
    );
    answers.core(
        "kernel memory",
        device.send(Message {
            address: 0xffff_8880_0000_0000,
            ..good
        }),
        libc::EFAULT,
    );
    answers.core(
        "an address space too many",
        device.send(Message {
            asid: spaces,
            ..good
        }),
        libc::EFAULT,
    );
    answers.core(
        "an address space far away",
        device.send(Message {
            asid: u32::MAX,
            ..good
        }),
        libc::EFAULT,
    );
    if spaces > 1 {
        let unknown = Message::invalidate(1, free, 0x1000);
        answers.core(
            "unmapping in an address space that was never used",
            device.send(unknown),
            libc::EFAULT,
        );
    }
    let range = device.vdpa.get_iova_range().map_err(errno)?;
    if range.last < u64::MAX - 0x1000 {
        answers.core(
            "a range beyond the device's",
            device.send(update(range.last + 1, 0x1000)),
            libc::EFAULT,
        );
    }
    for kind in [0, 1, 4, 7, 0xff] {
        answers.core(
            &format!("a message of kind {kind}"),
            device.send(Message { kind, ..good }),
            libc::EFAULT,
        );
    }
    answers.core(
        "a message of another format",
        device.send(Message { format: 9, ..good }),
        libc::EINVAL,
    );
    for length in [1, 4, 20] {
        let what = format!("the first {length} bytes of a message");
        answers.core(&what, good.send_part(&device.file, length), libc::EINVAL);
    }
    // The kernel's core rounds to whole pages before it asks the parent: accepted, and gone again after unmapping.
    for (what, odd) in [
        ("start", update(free + 0x234, 0x1000)),
        ("size", update(free, 0x1234)),
    ] {
        answers.core(
            &format!("an odd {what} is rounded to pages"),
            device.send(odd),
            OK,
        );
        answers.core(
            "and unmapped",
            device.send(Message::invalidate(0, odd.iova, odd.size)),
            OK,
        );
    }
    answers.core(
        "unmapping what isn't mapped",
        device.send(Message::invalidate(0, free, 0x1000)),
        OK,
    );
    answers.core(
        "a batch",
        device.send(Message::new(iotlb::BATCH_BEGIN, 0)),
        OK,
    );
    if spaces > 1 {
        answers.core(
            "another address space within it",
            device.send(Message { asid: 1, ..good }),
            libc::EFAULT,
        );
    }
    answers.core(
        "its end",
        device.send(Message::new(iotlb::BATCH_END, 0)),
        OK,
    );
    answers.core(
        "another end",
        device.send(Message::new(iotlb::BATCH_END, 0)),
        OK,
    );
    Ok(())
}
