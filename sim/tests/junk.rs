// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Whatever a host writes, into registers, rings and payloads: the model goes on, and works after a reset.

use mooring_hw_regs::regs::{
    CmdqControl, CmdqTail, CpControl, InfoMagic, DOORBELL_STRIDE, REGISTERS,
};
use mooring_hw_regs::wire::{Command, Opcode, MAGIC};
use mooring_sim::testing::{scenarios, Buffer, CardAccess, InProcess, NetPair, TestDriver};
use mooring_sim::CardConfig;
use proptest::prelude::*;
use zerocopy::FromBytes;

#[derive(Clone, Debug)]
enum Junk {
    Register {
        bar: u8,
        offset: u64,
        data: Vec<u8>,
    },
    Command(Vec<u8>),
    Memory {
        offset: u64,
        data: Vec<u8>,
    },
    Chain {
        index: u16,
        iova: u64,
        length: u32,
        flags: u16,
        next: u16,
        head: u16,
    },
    BusMaster(bool),
    Step,
}

/// Numbers around the limits, and others.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..20u64,
        Just(u64::MAX),
        Just(1 << 32),
        (0..64u32).prop_map(|bit| 1 << bit),
        (0..64u32).prop_map(|bit| (1 << bit) - 1),
        any::<u64>(),
    ]
}

/// A command with a number that exists and arguments of small numbers, so that most get somewhere.
fn command() -> impl Strategy<Value = Vec<u8>> {
    let known = (
        0..Opcode::ALL.len(),
        prop::collection::vec(
            prop_oneof![4 => Just(0u8), 1 => 0..5u8, 1 => any::<u8>()],
            62,
        ),
    );
    prop_oneof![
        8 => known.prop_map(|(opcode, rest)| {
            let opcode = Opcode::ALL[opcode] as u16;
            [&opcode.to_le_bytes()[..], &rest].concat()
        }),
        1 => prop::collection::vec(any::<u8>(), 64),
    ]
}

fn junk() -> impl Strategy<Value = Junk> {
    let register = (0..REGISTERS.len(), any::<u32>(), prop::bool::weighted(0.7)).prop_map(
        |(register, word, small)| {
            let word = if small { word & 0xf } else { word };
            Junk::Register {
                bar: 0,
                offset: REGISTERS[register].offset as u64,
                data: word.to_le_bytes().to_vec(),
            }
        },
    );
    let anywhere = (0..7u8, number(), prop::collection::vec(any::<u8>(), 0..10))
        .prop_map(|(bar, offset, data)| Junk::Register { bar, offset, data });
    let doorbell = (0..70u64).prop_map(|queue| Junk::Register {
        bar: 2,
        offset: queue * DOORBELL_STRIDE as u64,
        data: vec![0; 4],
    });
    let memory = (
        0..NetPair::REGION,
        prop::collection::vec(any::<u8>(), 1..64),
    )
        .prop_map(|(offset, data)| Junk::Memory { offset, data });
    let chain = (0..20u16, number(), number(), 0..8u16, 0..20u16, 0..20u16).prop_map(
        |(index, iova, length, flags, next, head)| Junk::Chain {
            index,
            iova,
            length: length as u32,
            flags,
            next,
            head,
        },
    );
    prop_oneof![
        2 => register,
        1 => anywhere,
        6 => doorbell,
        6 => command().prop_map(Junk::Command),
        4 => memory,
        6 => chain,
        1 => prop::bool::weighted(0.8).prop_map(Junk::BusMaster),
        6 => Just(Junk::Step),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    #[test]
    fn is_survived(all in prop::collection::vec(junk(), 1..120)) {
        let access = InProcess::new(CardConfig::default()).expect("a card");
        let mut driver = TestDriver::new(access);
        let (mut pair, _) = scenarios::running_pair(&mut driver, 0);
        for junk in all {
            match junk {
                Junk::Register { bar, offset, mut data } => {
                    driver.access.card().write(bar, offset, &data);
                    driver.access.card().read(bar, offset, &mut data);
                }
                Junk::Command(bytes) => driver.submit(&Command::read_from_bytes(&bytes).expect("64 bytes")),
                Junk::Memory { offset, data } => {
                    let bus = driver.access.memory_range().start + offset;
                    driver.memory.write(bus, &data).expect("memory");
                }
                Junk::Chain { index, iova, length, flags, next, head } => {
                    pair.tx.write_descriptor(index % 16, iova, length, flags, next);
                    pair.tx.publish(head);
                    pair.rx.write_descriptor(index % 16, iova, length, flags, next);
                    pair.rx.add(&[Buffer { iova, length, writable: true }]);
                    driver.ring(pair.device.first_queue.get() + 1);
                }
                Junk::BusMaster(on) => driver.access.set_bus_master(on),
                Junk::Step => drop(driver.access.card().step()),
            }
        }
        driver.access.settle();
        driver.write(CmdqControl::OFFSET, 0);
        driver.write(CmdqTail::OFFSET, 0);
        driver.write(CpControl::OFFSET, 1);
        prop_assert_eq!(driver.read(InfoMagic::OFFSET), MAGIC);
        driver.set_up();
        let (mut pair, _) = scenarios::running_pair(&mut driver, 0);
        scenarios::expect_echo(&mut driver, &mut pair, 1);
    }
}
