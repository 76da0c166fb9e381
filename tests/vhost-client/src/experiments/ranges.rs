// SPDX-License-Identifier: GPL-2.0-only OR MIT

use super::{check_traffic, open, send_from, setup, translating_card};
use crate::card::AddressSpace;
use crate::device::{errno, Device};
use crate::iotlb::{Message, BATCH_BEGIN, BATCH_END, READ_WRITE};
use crate::memory::{Memory, Span, Window};
use crate::nic::{Nic, AREA_SIZE};
use crate::output::Report;
use crate::{parse_number, Common};
use anyhow::{Context, Result};
use clap::Args;
use vhost::vdpa::VhostVdpa;

/// Map ranges at both ends of the device's addresses, and of sizes from a page to a gigabyte, and send frames out of both
/// ends of each
///
/// Needs a page in /proc/sys/vm/nr_hugepages, which lies behind all of the larger ranges.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    pub common: Common,
    /// Bits of the I/O virtual addresses that the device should offer
    #[arg(long, value_name = "N", default_value_t = 64)]
    bits: u32,
    /// How much to map at once, at last, in pieces of a gigabyte
    #[arg(long, value_name = "BYTES", default_value = "0", value_parser = parse_number)]
    total: u64,
    /// The largest range to map by itself
    #[arg(long, value_name = "BYTES", default_value = "1G", value_parser = parse_number)]
    largest: u64,
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const PAGE: u64 = 4 * KIB;

/// Sizes of ranges: pages, huge pages, odd multiples of both, and just less and more.
const SIZES: [u64; 10] = [
    PAGE,
    3 * PAGE,
    65 * PAGE,
    2 * MIB - PAGE,
    2 * MIB,
    2 * MIB + PAGE,
    3 * 2 * MIB,
    77 * MIB + 5 * PAGE,
    GIB - PAGE,
    GIB,
];

impl Options {
    pub fn run(&self, report: &mut Report) -> Result<()> {
        let common = &self.common;
        let device = open(common)?;
        let last = u64::MAX >> (64 - self.bits);
        let range = device
            .vdpa
            .get_iova_range()
            .map_err(errno)
            .context("VHOST_VDPA_GET_IOVA_RANGE")?;
        report.check_same(
            "the addresses that the device offers",
            (range.first, range.last),
            (0, last),
        );
        let memory = Memory::new(&[Span::new(common.iova, AREA_SIZE)], common.backing)?;
        device
            .send(memory.map_message(0, &memory.spans()[0]))
            .context("mapping the driver's memory")?;
        let window = Window::new(GIB)?;
        let mut nic = Nic::start(&device, &memory, setup(common), common.limit())?;

        let top = last - PAGE + 1;
        for (name, iova, size) in [
            ("the first page", 0, PAGE),
            ("the last page", top, PAGE),
            ("the last 6 MiB", last - 6 * MIB + 1, 6 * MIB),
        ] {
            self.try_range(report, &device, &window, &mut nic, name, iova, size)?;
        }
        self.check_refusals(report, &device, &window, last)?;
        for size in SIZES.into_iter().filter(|&size| size <= self.largest) {
            // From an odd page on.
            let iova = common.iova + 2 * AREA_SIZE + 7 * PAGE;
            let name = format!("{size:#x} bytes");
            self.try_range(report, &device, &window, &mut nic, &name, iova, size)?;
        }
        if self.total > 0 {
            self.map_total(report, &device, &window, &mut nic)?;
        }
        check_traffic(report, "frames flow at the end", &nic.loopback(16)?, 16);
        Ok(())
    }

    /// Address space 0 as the card tells of it; `None` of a card without an IOMMU, where only the frames can tell.
    fn space(&self, device: &Device) -> Result<Option<AddressSpace>> {
        let card = translating_card(&self.common, device)?;
        card.map(|card| card.address_space(0)).transpose()
    }

    /// Maps a range, sends a frame out of its beginning and one out of its end, and unmaps it.
    #[allow(clippy::too_many_arguments)]
    fn try_range(
        &self,
        report: &mut Report,
        device: &Device,
        window: &Window,
        nic: &mut Nic,
        name: &str,
        iova: u64,
        size: u64,
    ) -> Result<()> {
        let before = self.space(device)?;
        map(device, window, iova, size).with_context(|| format!("mapping {name}"))?;
        if let (Some(before), Some(mapped)) = (&before, self.space(device)?) {
            report.check_same(
                format!("{name}: bytes on the card"),
                mapped.bytes - before.bytes,
                size,
            );
        }
        self.check_ends(report, window, nic, name, iova, size)?;
        device
            .send(Message::invalidate(0, iova, size))
            .with_context(|| format!("unmapping {name}"))?;
        if let (Some(before), Some(after)) = (before, self.space(device)?) {
            report.check_same(
                format!("{name}: the card holds what it held before"),
                (
                    after.extents,
                    after.bytes,
                    &after.digest,
                    &after.expected_digest,
                ),
                (before.extents, before.bytes, &before.digest, &before.digest),
            );
        }
        Ok(())
    }

    fn check_ends(
        &self,
        report: &mut Report,
        window: &Window,
        nic: &mut Nic,
        name: &str,
        iova: u64,
        size: u64,
    ) -> Result<()> {
        // Larger than any frame, so that none leaves its page.
        const FROM_THE_END: u64 = 2048;
        for (end, offset) in [("beginning", 0), ("end", size - FROM_THE_END)] {
            let put = |bytes: &[u8]| window.write(offset, bytes);
            let traffic = send_from(nic, iova + offset, put)?;
            let name = format!("{name}: a frame flows out of its {end}");
            check_traffic(report, &name, &traffic, 1);
        }
        Ok(())
    }

    /// What lies beyond the device's addresses, or wraps, is refused and changes nothing.
    fn check_refusals(
        &self,
        report: &mut Report,
        device: &Device,
        window: &Window,
        last: u64,
    ) -> Result<()> {
        let before = self.space(device)?;
        let mut bad = vec![("across the end", last - PAGE + 1, 2 * PAGE)];
        if let Some(beyond) = last.checked_add(1) {
            bad.push(("behind the end", beyond, PAGE));
            bad.push(("at the end of all addresses", u64::MAX - PAGE + 1, PAGE));
        }
        for (name, iova, size) in bad {
            let result = map(device, window, iova, size);
            report.check(
                format!("a range {name} is refused"),
                result.is_err(),
                "it was mapped",
            );
        }
        let after = self.space(device)?;
        report.check_same(
            "what was refused changed nothing",
            after.as_ref().map(AddressSpace::translation),
            before.as_ref().map(AddressSpace::translation),
        );
        Ok(())
    }

    fn map_total(
        &self,
        report: &mut Report,
        device: &Device,
        window: &Window,
        nic: &mut Nic,
    ) -> Result<()> {
        let before = self.space(device)?;
        let first = self.common.iova.next_multiple_of(GIB) + GIB;
        let count = self.total / GIB;
        device
            .send(Message::new(BATCH_BEGIN, 0))
            .context("BATCH_BEGIN")?;
        for number in 0..count {
            map(device, window, first + number * GIB, GIB).with_context(|| {
                format!("mapping gigabyte {number}; see vhost_vdpa's parameter max_iotlb_entries")
            })?;
        }
        device
            .send(Message::new(BATCH_END, 0))
            .context("BATCH_END")?;
        if let (Some(before), Some(mapped)) = (before, self.space(device)?) {
            report.check_same(
                "all at once: bytes on the card",
                mapped.bytes - before.bytes,
                count * GIB,
            );
            report.check_same(
                "all at once: card and driver agree on the digest",
                &mapped.digest,
                &mapped.expected_digest,
            );
            report.value("extents", mapped.extents);
        }
        for number in [0, count - 1] {
            let name = format!("gigabyte {number}");
            self.check_ends(report, window, nic, &name, first + number * GIB, GIB)?;
        }
        device
            .send(Message::invalidate(0, first, count * GIB))
            .context("unmapping")?;
        Ok(())
    }
}

fn map(device: &Device, window: &Window, iova: u64, size: u64) -> std::io::Result<()> {
    device.send(Message::update(0, iova, size, window.address(), READ_WRITE))
}
