// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Groups, configuration, features and status.

use super::{Answers, OK};
use crate::device::{
    errno, Device, BACKEND_IOTLB_PERSIST, FEATURE_ACCESS_PLATFORM, FEATURE_VERSION_1,
    STATUS_ACKNOWLEDGE, STATUS_DRIVER, STATUS_DRIVER_OK, STATUS_FEATURES_OK,
};
use crate::raw;
use anyhow::{Context, Result};
use vhost::vdpa::VhostVdpa;
use vhost::vhost_kern::vhost_binding::*;
use vhost::VhostBackend;

pub fn spaces_and_config(answers: &mut Answers, device: &Device) -> Result<()> {
    let groups = device.vdpa.get_group_num().map_err(errno)?;
    let spaces = device.vdpa.get_as_num().map_err(errno)?;
    // vhost compares the group with the number of virtqueues first, and calls that a lack of buffers.
    let queues = device.vdpa.get_vqs_count().map_err(errno)?;
    let refusal = match groups < queues {
        true => libc::EINVAL,
        false => libc::ENOBUFS,
    };
    answers.core(
        "a group too many",
        device.set_group_asid(groups, 0),
        refusal,
    );
    answers.core(
        "an address space too many for a group",
        device.set_group_asid(0, spaces),
        libc::EINVAL,
    );
    answers.core(
        "a group far away",
        device.set_group_asid(u32::MAX, 0),
        libc::ENOBUFS,
    );
    let size = device.vdpa.get_config_size().map_err(errno)?;
    for number in [VHOST_VDPA_GET_CONFIG(), VHOST_VDPA_SET_CONFIG()] {
        for (offset, length) in [
            (0, 0),
            (size, 1),
            (0, size + 1),
            (u32::MAX, 1),
            (1, u32::MAX),
            (u32::MAX, u32::MAX),
        ] {
            let what = format!("{length} bytes of configuration at {offset}");
            answers.core(
                &what,
                raw::config(&device.file, number, offset, length),
                libc::EINVAL,
            );
        }
    }
    answers.core(
        "an ioctl that doesn't exist",
        raw::vring_state(&device.file, raw::VHOST_UNKNOWN(), 0, 0),
        libc::ENOTTY,
    );
    // Before DRIVER_OK there is nothing to suspend or resume, and the kernel's core says so with success.
    answers.core(
        "resuming what doesn't run",
        raw::plain(&device.file, raw::VHOST_VDPA_RESUME()),
        OK,
    );
    let backend = raw::word(
        &device.file,
        VHOST_SET_BACKEND_FEATURES(),
        (1 << 40) | BACKEND_IOTLB_PERSIST,
    );
    answers.core("unknown backend features", backend, libc::EOPNOTSUPP);
    Ok(())
}

pub fn features_and_status(answers: &mut Answers, device: &Device) -> Result<()> {
    let offered = device.vdpa.get_features().map_err(errno)?;
    let good = FEATURE_VERSION_1 | FEATURE_ACCESS_PLATFORM;
    let set_features = |features| device.vdpa.set_features(features).map_err(errno);
    device
        .set_status(STATUS_ACKNOWLEDGE)
        .context("ACKNOWLEDGE")?;
    device
        .set_status(STATUS_ACKNOWLEDGE | STATUS_DRIVER)
        .context("DRIVER")?;
    let unknown = (0..64)
        .map(|bit| 1u64 << bit)
        .find(|bit| offered & bit == 0)
        .unwrap_or(0);
    answers.parent(
        "a feature that isn't offered",
        set_features(good | unknown),
        libc::EINVAL,
    );
    answers.parent(
        "features without ACCESS_PLATFORM",
        set_features(FEATURE_VERSION_1),
        libc::EINVAL,
    );
    answers.core("good features", set_features(good), OK);
    answers.core(
        "a status that takes bits back",
        device.set_status(STATUS_DRIVER),
        libc::EINVAL,
    );
    let _ = device.set_status(STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_DRIVER_OK);
    let runs = device.status()? & STATUS_DRIVER_OK != 0;
    if !answers.foreign {
        answers.report.check(
            "DRIVER_OK without FEATURES_OK is refused",
            !runs,
            "the device says that it runs",
        );
    }
    device.reset()?;
    device.negotiate()?;
    answers.core(
        "features after FEATURES_OK",
        set_features(good),
        libc::EBUSY,
    );
    device.reset()
}

pub fn while_running(answers: &mut Answers, device: &Device) -> Result<()> {
    let status = device.status()?;
    answers.core(
        "a group's space while running",
        device.set_group_asid(0, 0),
        libc::EBUSY,
    );
    answers.core(
        "features while running",
        device.vdpa.set_features(FEATURE_VERSION_1).map_err(errno),
        libc::EBUSY,
    );
    let base = raw::vring_state(&device.file, VHOST_SET_VRING_BASE(), 0, 5);
    answers.core("a queue's position while running", base, libc::EINVAL);
    let address = vhost_vring_addr {
        index: 0,
        ..Default::default()
    };
    let moved = raw::vring_address(&device.file, VHOST_SET_VRING_ADDR(), &address);
    answers.core("a queue's rings while running", moved, libc::EINVAL);
    let lowered = device.set_status(status & !(STATUS_DRIVER_OK | STATUS_FEATURES_OK));
    answers.core("a status that takes DRIVER_OK back", lowered, libc::EINVAL);
    answers
        .report
        .check_same("the status is as it was", device.status()?, status);
    Ok(())
}
