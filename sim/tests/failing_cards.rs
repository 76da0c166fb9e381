// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Cards that fail on purpose, for tests of drivers: they must fail in just the way that was asked for.

use mooring_hw_regs::regs::{
    CpError, CpState, CpStatus, InfoNumQueues, BAR_DOORBELLS, BAR_REGISTERS,
};
use mooring_hw_regs::wire::{Command, Opcode, MAGIC, NO_DEVICE};
use mooring_sim::testing::{CardAccess, InProcess, TestDriver};
use mooring_sim::CardConfig;
use zerocopy::FromZeros;

/// A command that does nothing.
fn nop() -> Command {
    Command {
        opcode: (Opcode::Nop as u16).into(),
        device: NO_DEVICE.into(),
        ..Command::new_zeroed()
    }
}

fn driver(config: CardConfig) -> TestDriver<InProcess> {
    TestDriver::new(InProcess::new(config).expect("a card"))
}

/// Word 0 of a BAR: of the registers, the magic number.
fn word(driver: &mut TestDriver<InProcess>, bar: u32) -> u32 {
    driver
        .access
        .read32(u8::try_from(bar).expect("a BAR's number"), 0)
}

#[test]
fn hung_card_still_answers_register_reads() {
    let mut driver = driver(CardConfig {
        hang_after: Some(2),
        ..CardConfig::default()
    });
    for _ in 0..2 {
        driver.execute(&nop()).expect("a command before the hang");
    }
    driver.submit(&nop());
    assert!(driver.wait_completion().is_none());
    assert_eq!(word(&mut driver, BAR_REGISTERS), MAGIC);
}

#[test]
fn control_processor_that_fails_at_its_boot_says_so() {
    let mut card = InProcess::new(CardConfig {
        boot_fails: true,
        ..CardConfig::default()
    })
    .expect("a card");
    card.settle();
    let mut register = |offset: usize| card.read32(0, offset as u64);
    assert_eq!(register(CpStatus::OFFSET), CpState::Failed as u32);
    assert_ne!(register(CpError::OFFSET), 0);
}

#[test]
fn false_number_of_queues_is_shown() {
    let mut card = InProcess::new(CardConfig {
        false_queues: Some(9999),
        ..CardConfig::default()
    })
    .expect("a card");
    assert_eq!(card.read32(0, InfoNumQueues::OFFSET as u64), 9999);
}

#[test]
fn card_that_is_pulled_out_reads_as_all_ones() {
    let mut driver = driver(CardConfig {
        gone_after: Some(2),
        ..CardConfig::default()
    });
    driver.execute(&nop()).expect("a command while it is there");
    assert_eq!(word(&mut driver, BAR_REGISTERS), MAGIC);
    driver.execute(&nop()).expect("the last command");
    assert_eq!(word(&mut driver, BAR_REGISTERS), u32::MAX);
    assert_eq!(word(&mut driver, BAR_DOORBELLS), u32::MAX);
    driver.submit(&nop());
    assert!(driver.wait_completion().is_none());
}
