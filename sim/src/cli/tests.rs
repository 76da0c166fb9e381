// SPDX-License-Identifier: GPL-2.0-only OR MIT

use super::*;

fn options(line: &str) -> Result<Options, String> {
    let words = ["mooring-sim", "--socket", "/s"]
        .into_iter()
        .chain(line.split_whitespace());
    Arguments::try_parse_from(words)
        .map_err(|error| error.to_string())?
        .options()
}

#[test]
fn without_options_the_card_is_the_default_one() {
    let options = options("").unwrap();
    assert_eq!(options.card, CardConfig::default());
    assert_eq!(options.uplink, UplinkKind::None);
    assert_eq!(options.layout.register_bar_size, 4096);
    assert_eq!(options.layout.vectors, options.card.vectors);
    assert!(options.captures.is_empty());
}

#[test]
fn sizes_reach_the_card_and_its_face() {
    let options =
        options("--queues 8 --devices 2 --address-spaces 3 --extents 99 --max-queue-size 64")
            .unwrap();
    let card = &options.card;
    assert_eq!(
        (card.queues, card.devices, card.address_spaces, card.extents),
        (8, 2, 3, 99)
    );
    assert_eq!((card.max_queue_size, card.vectors), (64, 9));
    assert_eq!((options.layout.queues, options.layout.vectors), (8, 9));
}

#[test]
fn disks_keep_their_order() {
    let disks = options("--disk a --disk b,ro,block-size=4096")
        .unwrap()
        .disks;
    let told: Vec<_> = disks
        .iter()
        .map(|disk| (disk.path.to_str().unwrap(), disk.read_only, disk.block_size))
        .collect();
    assert_eq!(told, [("a", false, 512), ("b", true, 4096)]);
    assert!(options("--disk a,rw").is_err());
}

#[test]
fn abilities_reach_the_card() {
    let options = options("--iommu explicit --max-batch 4").unwrap();
    assert_eq!(
        (options.card.iommu, options.card.max_batch),
        (IommuKind::Explicit, 4)
    );
}

#[test]
fn address_bits_reach_the_card() {
    assert_eq!(options("--iova-bits 39").unwrap().card.iova_bits, 39);
    assert!(options("--iova-bits 31").is_err());
    assert!(options("--iova-bits 65").is_err());
    assert_eq!(options("--bus-bits 40").unwrap().card.bus_bits, 40);
    assert!(options("--bus-bits 31").is_err());
    assert!(options("--bus-bits 65").is_err());
}

#[test]
fn vectors_fit_the_kind_of_interrupts() {
    assert_eq!(options("--queues 64").unwrap().card.vectors, 65);
    assert_eq!(options("--queues 4096").unwrap().card.vectors, 65);
    assert_eq!(options("--interrupts msi").unwrap().card.vectors, 32);
    assert_eq!(
        options("--interrupts msi --queues 9").unwrap().card.vectors,
        8
    );
    assert_eq!(
        options("--interrupts msi --vectors 4")
            .unwrap()
            .card
            .vectors,
        4
    );
    assert!(options("--interrupts msi --vectors 3").is_err());
    assert!(options("--interrupts msi --vectors 64").is_err());
    assert!(options("--interrupts msi --vectors 0").is_err());
    assert!(options("--vectors 0").is_err());
}

#[test]
fn captures() {
    let options = options("--pcap uplink=/a --pcap 3=b=c").unwrap();
    assert_eq!(
        options.captures,
        [(Port::Uplink, "/a".into()), (Port::Device(3), "b=c".into())]
    );
    assert!(super::tests::options("--pcap x=y").is_err());
    assert!(super::tests::options("--pcap uplink").is_err());
}

#[test]
fn bad_cards() {
    let options =
        options("--bad-magic --interface-version 7.3 --register-bar-size 1024 --hang-after 9 --gone-after 8 --boot-fails --false-queues 7")
            .unwrap();
    assert_ne!(options.card.magic, CardConfig::default().magic);
    assert_eq!(options.card.interface_version, (7, 3));
    assert_eq!(options.card.hang_after, Some(9));
    assert_eq!(options.card.gone_after, Some(8));
    assert!(options.card.boot_fails);
    assert_eq!(options.card.false_queues, Some(7));
    assert_eq!(options.layout.register_bar_size, 1024);
    for bad in [
        "--interface-version 7",
        "--interface-version 7.x",
        "--register-bar-size 100",
        "--queues 0",
    ] {
        assert!(super::tests::options(bad).is_err(), "{bad}");
    }
}

#[test]
fn the_help_is_consistent() {
    <Arguments as clap::CommandFactory>::command().debug_assert();
}
