// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What the Mooring driver tells in debugfs: the state of a device's address spaces, read back from the card, and the
//! card's counters.

use anyhow::{bail, Context, Result};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

const ROOT: &str = "/sys/kernel/debug/mooring_vdpa";

/// The debugfs folder of one vDPA device.
pub struct Card {
    folder: PathBuf,
}

/// One address space, as the card reports it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AddressSpace {
    pub asid: u64,
    pub mode: String,
    pub generation: u64,
    pub extents: u64,
    pub bytes: u64,
    pub digest: String,
    /// IOMMU commands on this address space.
    pub commands: u64,
    pub faults: u64,
    /// IOMMU commands on any address space of the card.
    pub card_commands: u64,
    /// The digest of the extents that the driver believes the card to hold.
    pub expected_digest: String,
}

/// One line of the dump of an address space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    pub iova: u64,
    pub bus: u64,
    pub length: u64,
    pub permission: String,
    /// `both`, `card-only` or `driver-only`.
    pub holder: String,
}

/// The dump of an address space: its extents, and what the last line says.
pub struct Dump {
    pub extents: Vec<Extent>,
    pub sum: String,
}

/// The card's counters of one device, by name.
pub type Statistics = BTreeMap<String, u64>;

impl Card {
    pub fn of(device: &str) -> Self {
        Self {
            folder: PathBuf::from(ROOT).join(device),
        }
    }

    fn read(&self, file: &str) -> Result<String> {
        let path = self.folder.join(file);
        fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
    }

    pub fn address_spaces(&self) -> Result<Vec<AddressSpace>> {
        self.read("address_spaces")?
            .lines()
            .map(parse_address_space)
            .collect()
    }

    pub fn address_space(&self, asid: u32) -> Result<AddressSpace> {
        let spaces = self.address_spaces()?;
        spaces
            .into_iter()
            .find(|space| space.asid == u64::from(asid))
            .with_context(|| format!("no address space {asid}"))
    }

    /// Whether the card translates at all. One without an IOMMU leaves that to the platform's, and has no address
    /// spaces to tell of.
    pub fn translates(&self) -> Result<bool> {
        Ok(!self.address_spaces()?.is_empty())
    }

    /// All extents of an address space.
    pub fn dump(&self, asid: u32) -> Result<Dump> {
        let text = self.read(&format!("address_space{asid}"))?;
        parse_dump(&text)
    }

    pub fn statistics(&self) -> Result<Statistics> {
        parse_statistics(&self.read("statistics")?)
    }
}

impl AddressSpace {
    /// What a reset must leave alone: everything that says what is translated, and how often that was changed.
    pub fn translation(&self) -> (&str, u64, u64, u64, &str, u64) {
        (
            &self.mode,
            self.generation,
            self.extents,
            self.bytes,
            &self.digest,
            self.commands,
        )
    }
}

fn parse_address_space(line: &str) -> Result<AddressSpace> {
    let fields: BTreeMap<&str, &str> = line
        .split_whitespace()
        .filter_map(|word| word.split_once('='))
        .collect();
    let text = |name| {
        fields
            .get(name)
            .copied()
            .with_context(|| format!("no {name}= in '{line}'"))
    };
    let number = |name| {
        text(name)?
            .parse::<u64>()
            .with_context(|| format!("{name}= in '{line}'"))
    };
    Ok(AddressSpace {
        asid: number("asid")?,
        mode: text("mode")?.to_string(),
        generation: number("generation")?,
        extents: number("extents")?,
        bytes: number("bytes")?,
        digest: text("digest")?.to_string(),
        commands: number("commands")?,
        faults: number("faults")?,
        card_commands: number("card_commands")?,
        expected_digest: text("expected_digest")?.to_string(),
    })
}

fn parse_dump(text: &str) -> Result<Dump> {
    let lines: Vec<&str> = text.lines().collect();
    let [_, extents @ .., sum] = lines.as_slice() else {
        bail!("a dump of {} lines", lines.len());
    };
    let extents = extents
        .iter()
        .map(|line| parse_extent(line).with_context(|| format!("in '{line}'")))
        .collect::<Result<_>>()?;
    Ok(Dump {
        extents,
        sum: sum.to_string(),
    })
}

fn parse_extent(line: &str) -> Result<Extent> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [iova, bus, length, permission, holder] = words.as_slice() else {
        bail!("{} words", words.len());
    };
    let number = |word: &str| {
        let digits = word.strip_prefix("0x").context("no 0x")?;
        Ok::<u64, anyhow::Error>(u64::from_str_radix(digits, 16)?)
    };
    Ok(Extent {
        iova: number(iova)?,
        bus: number(bus)?,
        length: number(length)?,
        permission: permission.to_string(),
        holder: holder.to_string(),
    })
}

fn parse_statistics(text: &str) -> Result<Statistics> {
    text.lines()
        .map(|line| {
            let (name, value) = line
                .split_once('=')
                .with_context(|| format!("no = in '{line}'"))?;
            Ok((
                name.trim().to_string(),
                value
                    .trim()
                    .parse()
                    .with_context(|| format!("number in '{line}'"))?,
            ))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "asid=0 card=3 mode=translated generation=5 extents=4 bytes=16777216 \
        digest=0x0123456789abcdef commands=7 faults=0 card_commands=12 expected_digest=0x0123456789abcdef";

    #[test]
    fn line_of_an_address_space() {
        let space = parse_address_space(LINE).unwrap();
        assert_eq!(
            space.translation(),
            ("translated", 5, 4, 16777216, "0x0123456789abcdef", 7)
        );
        assert_eq!(space.card_commands, 12);
        assert!(parse_address_space("asid=0 mode=blocked").is_err());
    }

    #[test]
    fn lines_of_a_dump() {
        let text = "asid=0 card=3\n0x0000000000001000 0x0000000000200000 0x3000 rw both\n\
            0x0000000000008000 0x0000000000300000 0x1000 r driver-only\nboth=1 card_only=0 driver_only=1\n";
        let dump = parse_dump(text).unwrap();
        assert_eq!(dump.sum, "both=1 card_only=0 driver_only=1");
        let last = dump.extents.last().unwrap();
        assert_eq!(
            (last.iova, last.bus, last.length),
            (0x8000, 0x300000, 0x1000)
        );
        assert_eq!(
            (last.permission.as_str(), last.holder.as_str()),
            ("r", "driver-only")
        );
        assert!(parse_dump("asid=0\n0x1000 both\nboth=1\n").is_err());
        assert!(parse_dump("asid=0\n").is_err());
    }

    #[test]
    fn statistics_have_names_and_numbers() {
        let statistics = parse_statistics("rx_frames=3\ndma_reads=4\n").unwrap();
        assert_eq!((statistics["rx_frames"], statistics["dma_reads"]), (3, 4));
        assert!(parse_statistics("rx_frames: 3").is_err());
    }
}
