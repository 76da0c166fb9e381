// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Registers, commands, devices.

use mooring_hw_regs::regs::{
    CmdqHead, CpFirmwareVersion, InfoCardRevision, InfoInterfaceVersion, InfoNumDevices,
    InfoNumQueues, InfoScratch,
};
use mooring_hw_regs::wire::{ErrorCode, Opcode, INTERFACE_MAJOR, INTERFACE_MINOR, NO_DEVICE};

use crate::testing::{CardAccess, TestDriver};

const CTRL_VQ: u64 = 1 << 17;
const MQ: u64 = 1 << 22;
const MUST_HAVE: u64 = (1 << 32) | (1 << 33);

/// The card says what it is, and holds what it should hold.
pub fn identity<A: CardAccess>(access: A) {
    let mut driver = TestDriver::new(access);
    let version = InfoInterfaceVersion(driver.read(InfoInterfaceVersion::OFFSET));
    assert_eq!(
        (version.major(), version.minor()),
        (INTERFACE_MAJOR, INTERFACE_MINOR)
    );
    assert!(InfoCardRevision(driver.read(InfoCardRevision::OFFSET)).model());
    assert_ne!(driver.read(CpFirmwareVersion::OFFSET), 0);
    driver.write(InfoScratch::OFFSET, 0xdead_beef);
    assert_eq!(driver.read(InfoScratch::OFFSET), 0xdead_beef);
    driver.write(InfoNumQueues::OFFSET, 0);
    assert_ne!(driver.read(InfoNumQueues::OFFSET), 0);
    assert_eq!(driver.read(0x0ffc), 0);
}

/// Commands complete in order, also those behind a refused one, and wake the host.
pub fn commands<A: CardAccess>(access: A) {
    let mut driver = TestDriver::new(access);
    for _ in 0..20 {
        driver
            .command(Opcode::Nop, NO_DEVICE, &[0u8; 0], &[])
            .expect("nop");
    }
    assert!(driver.access.wait_interrupt(0));
    assert_eq!(CmdqHead(driver.read(CmdqHead::OFFSET)).index(), 20);
    let mut unknown = mooring_hw_regs::wire::Command {
        opcode: 0x7777.into(),
        tag: 1.into(),
        device: NO_DEVICE.into(),
        reserved: 0.into(),
        payload: 0.into(),
        payload_length: 0.into(),
        reserved2: 0.into(),
        arguments: [0xff; 40],
    };
    assert_eq!(driver.execute(&unknown), Err(ErrorCode::UnknownOpcode));
    unknown.opcode = (Opcode::Nop as u16).into();
    assert!(driver.execute(&unknown).is_ok());
}

/// Devices come and go; what is exhausted is refused and comes back; numbers that nobody has are refused.
pub fn devices<A: CardAccess>(access: A) {
    let mut driver = TestDriver::new(access);
    let queues = InfoNumQueues(driver.read(InfoNumQueues::OFFSET)).value();
    let limit = InfoNumDevices(driver.read(InfoNumDevices::OFFSET)).value();
    let mut macs = Vec::new();
    let mut devices = Vec::new();
    let refused = loop {
        match driver.create_device(1, 0) {
            Ok(device) => {
                assert_eq!(device.num_queues.get(), 2);
                assert_eq!(device.mtu.get(), 1500);
                assert_eq!(device.features.get() & (CTRL_VQ | MQ), 0);
                assert!(
                    !macs.contains(&device.mac),
                    "every device has its own MAC address"
                );
                macs.push(device.mac);
                devices.push(device.device.get());
            }
            Err(code) => break code,
        }
    };
    assert_eq!(refused, ErrorCode::NoResources);
    assert_eq!(devices.len(), usize::from(limit.min(queues / 2)));
    for device in &devices {
        driver.destroy_device(*device).expect("destroy");
        assert_eq!(driver.destroy_device(*device), Err(ErrorCode::NoSuchDevice));
        assert_eq!(driver.reset_device(*device), Err(ErrorCode::NoSuchDevice));
    }
    assert_eq!(driver.reset_device(NO_DEVICE), Err(ErrorCode::NoSuchDevice));

    // All queues in one device, and not one more.
    let pairs = (queues - 1) / 2;
    let device = driver.create_device(pairs, 0).expect("a large device");
    assert_eq!(device.num_queues.get(), 2 * pairs + 1);
    assert_eq!(device.features.get() & (CTRL_VQ | MQ), CTRL_VQ | MQ);
    assert_eq!(
        driver.create_device(1, 0).map(drop),
        Err(ErrorCode::NoResources)
    );
    driver.destroy_device(device.device.get()).expect("destroy");
    assert_eq!(
        driver.create_device(pairs + 1, 0).map(drop),
        Err(ErrorCode::NoResources)
    );

    // Provisioned features.
    let device = driver
        .create_device(1, MUST_HAVE | CTRL_VQ)
        .expect("a device with a control queue");
    assert_eq!(device.num_queues.get(), 3);
    assert_eq!(device.features.get(), MUST_HAVE | CTRL_VQ);
    assert_eq!(
        driver.set_features(device.device.get(), 1 << 40),
        Err(ErrorCode::InvalidArgument)
    );
    driver
        .set_features(device.device.get(), MUST_HAVE)
        .expect("features");
    assert_eq!(
        driver.create_device(1, CTRL_VQ).map(drop),
        Err(ErrorCode::InvalidArgument)
    );
    assert_eq!(
        driver.create_device(0, 0).map(drop),
        Err(ErrorCode::InvalidArgument)
    );
}
