// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Queues that don't exist, sizes and addresses that can't be.

use super::{Answers, OK};
use crate::device::{errno, Device};
use crate::{raw, Common};
use anyhow::Result;
use vhost::vdpa::VhostVdpa;
use vhost::vhost_kern::vhost_binding::*;

pub fn queues(answers: &mut Answers, common: &Common, device: &Device) -> Result<()> {
    let count = device.vdpa.get_vqs_count().map_err(errno)?;
    let maximum = u32::from(device.vdpa.get_vring_num().map_err(errno)?);
    let state = |number, index, num| raw::vring_state(&device.file, number, index, num);
    for index in [count, u32::MAX] {
        answers.core(
            &format!("the size of queue {index}"),
            state(VHOST_SET_VRING_NUM(), index, 64),
            libc::ENOBUFS,
        );
        answers.core(
            &format!("the position of queue {index}"),
            state(VHOST_GET_VRING_BASE(), index, 0),
            libc::ENOBUFS,
        );
        answers.core(
            &format!("enabling queue {index}"),
            state(VHOST_VDPA_SET_VRING_ENABLE(), index, 1),
            libc::ENOBUFS,
        );
        answers.core(
            &format!("the group of queue {index}"),
            state(VHOST_VDPA_GET_VRING_GROUP(), index, 0),
            libc::ENOBUFS,
        );
        answers.core(
            &format!("the descriptors' group of queue {index}"),
            state(raw::VHOST_VDPA_GET_VRING_DESC_GROUP(), index, 0),
            libc::ENOBUFS,
        );
    }
    for size in [0, 3, 0x1_0000, 2 * maximum, u32::MAX] {
        answers.core(
            &format!("{size} entries"),
            state(VHOST_SET_VRING_NUM(), 0, size),
            libc::EINVAL,
        );
    }
    answers.core(
        "a position of 17 bits",
        state(VHOST_SET_VRING_BASE(), 0, 0x1_0000),
        libc::EINVAL,
    );

    // What wraps depends on the size, so that a good one comes first.
    answers.core("64 entries", state(VHOST_SET_VRING_NUM(), 0, 64), OK);
    let iova = common.iova;
    let good = vhost_vring_addr {
        index: 0,
        flags: 0,
        desc_user_addr: iova,
        used_user_addr: iova + 0x2000,
        avail_user_addr: iova + 0x1000,
        log_guest_addr: 0,
    };
    let set = |address: vhost_vring_addr| {
        raw::vring_address(&device.file, VHOST_SET_VRING_ADDR(), &address)
    };
    answers.core(
        "rings of a queue too many",
        set(vhost_vring_addr {
            index: count,
            ..good
        }),
        libc::ENOBUFS,
    );
    answers.core(
        "unknown flags of rings",
        set(vhost_vring_addr {
            flags: 0x10,
            ..good
        }),
        libc::EOPNOTSUPP,
    );
    let odd = vhost_vring_addr {
        avail_user_addr: iova + 1,
        ..good
    };
    answers.core("an odd available ring", set(odd), libc::EINVAL);
    let odd = vhost_vring_addr {
        used_user_addr: iova + 2,
        ..good
    };
    answers.core("a used ring that isn't aligned", set(odd), libc::EINVAL);
    let odd = vhost_vring_addr {
        desc_user_addr: iova + 8,
        ..good
    };
    answers.parent("descriptors that aren't aligned", set(odd), libc::EINVAL);
    let odd = vhost_vring_addr {
        desc_user_addr: !0xf,
        ..good
    };
    answers.parent("descriptors that wrap", set(odd), libc::EINVAL);
    let odd = vhost_vring_addr {
        used_user_addr: !0x3,
        ..good
    };
    answers.parent("a used ring that wraps", set(odd), libc::EINVAL);
    Ok(())
}
