// SPDX-License-Identifier: GPL-2.0-only

//! What an operation that netlink asked for answers with: numbers, and words about what is wrong.
//!
//! C headers: [`include/linux/netlink.h`](srctree/include/linux/netlink.h),
//! [`include/net/netlink.h`](srctree/include/net/netlink.h)

use super::bindings;
use core::{
    fmt::Write,
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    bindings as kbindings,
    error::to_result,
    fmt,
    prelude::*,
    str::Formatter, //
};

/// Where an operation says what is wrong, for the user to read: `struct netlink_ext_ack`.
///
/// # Invariants
///
/// `raw`, if there is one, is valid, initialised, and used by nobody else for `'a`.
pub struct ExtAck<'a> {
    raw: Option<NonNull<kbindings::netlink_ext_ack>>,
    _borrow: PhantomData<&'a mut kbindings::netlink_ext_ack>,
}

impl ExtAck<'_> {
    /// Borrows the C structure; null if nobody reads what is said.
    ///
    /// # Safety
    ///
    /// `raw` must be null, or valid, initialised, and used by nobody else for the lifetime.
    pub(super) unsafe fn from_raw(raw: *mut kbindings::netlink_ext_ack) -> Self {
        // INVARIANT: By the safety requirements.
        Self {
            raw: NonNull::new(raw),
            _borrow: PhantomData,
        }
    }

    /// Sets the message that the user gets beside the errno; the last one counts. It is cut off after
    /// `NETLINK_MAX_FMTMSG_LEN - 1` bytes, which are 79.
    ///
    /// The text is copied. So nothing refers to the driver's module, which may be gone when netlink gets to
    /// sending it.
    pub fn set(&mut self, message: fmt::Arguments<'_>) {
        let Some(mut raw) = self.raw else {
            return;
        };
        // SAFETY: By the type invariant; `self` is borrowed mutably.
        let raw = unsafe { raw.as_mut() };

        let Some((last, text)) = raw._msg_buf.split_last_mut() else {
            return;
        };
        let mut writer = Formatter::new(text);
        // It fails if the text is too long; what fits has been written then.
        let _ = writer.write_fmt(message);
        let written = writer.bytes_written();
        match text.get_mut(written) {
            Some(end) => *end = 0,
            None => *last = 0,
        }
        raw._msg = raw._msg_buf.as_ptr();
    }
}

/// The statistics of a virtqueue, on their way to the user: names and values, in a netlink message.
///
/// # Invariants
///
/// `msg` is valid, and nobody else uses it for `'a`.
pub struct VendorStats<'a> {
    msg: NonNull<kbindings::sk_buff>,
    full: bool,
    _borrow: PhantomData<&'a mut kbindings::sk_buff>,
}

impl VendorStats<'_> {
    /// Borrows the message.
    ///
    /// # Safety
    ///
    /// `msg` must be valid, be a netlink message that is being made, and be used by nobody else for the lifetime.
    pub(super) unsafe fn from_raw(msg: *mut kbindings::sk_buff) -> Result<Self> {
        // INVARIANT: By the safety requirements.
        Ok(Self {
            msg: NonNull::new(msg).ok_or(EINVAL)?,
            full: false,
            _borrow: PhantomData,
        })
    }

    /// Adds a counter: `VDPA_ATTR_DEV_VENDOR_ATTR_NAME` and `VDPA_ATTR_DEV_VENDOR_ATTR_VALUE`.
    ///
    /// # Errors
    ///
    /// `EMSGSIZE` if there is no room left in the message. The whole request fails with it then, whatever the
    /// operation returns: the user must not get a part for the whole. A few dozens of counters fit.
    pub fn put(&mut self, name: &CStr, value: u64) -> Result {
        let result = self.try_put(name, value);

        self.full |= result.is_err();
        result
    }

    fn try_put(&mut self, name: &CStr, value: u64) -> Result {
        // Attributes' lengths have 16 bits.
        let len = u16::try_from(name.to_bytes_with_nul().len()).map_err(|_| EMSGSIZE)?;

        // SAFETY: By the type invariant, `msg` is a netlink message; `name` is valid for `len` bytes, and `nla_put()`
        // checks that there is room.
        to_result(unsafe {
            kbindings::nla_put(
                self.msg.as_ptr(),
                bindings::vdpa_attr_VDPA_ATTR_DEV_VENDOR_ATTR_NAME as c_int,
                len.into(),
                name.as_char_ptr().cast(),
            )
        })?;
        // SAFETY: As above, for the eight bytes of `value`.
        to_result(unsafe {
            kbindings::nla_put_64bit(
                self.msg.as_ptr(),
                bindings::vdpa_attr_VDPA_ATTR_DEV_VENDOR_ATTR_VALUE as c_int,
                size_of::<u64>() as c_int,
                (&raw const value).cast(),
                bindings::vdpa_attr_VDPA_ATTR_PAD as c_int,
            )
        })
    }

    /// Returns whether all that was put is there.
    pub(super) fn finish(self) -> Result {
        match self.full {
            true => Err(EMSGSIZE),
            false => Ok(()),
        }
    }
}
