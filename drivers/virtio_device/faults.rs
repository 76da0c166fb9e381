// SPDX-License-Identifier: GPL-2.0-only

//! IOMMU faults of a device: counted, kept, and told to the operator.
//!
//! What the card refuses reaches the device's owner as `NEEDS_RESET`, by another event. The operator hears of it
//! by a line in the log and a uevent, both as often as [`Limit`] allows, because an owner can cause faults at
//! will; and finds the card's count of all and the last one in debugfs.

use crate::{
    limit::Limit,
    vdpa::ChangeNotifier,
    wire, //
};
use kernel::{
    device,
    fmt,
    new_mutex,
    prelude::*,
    str::CString,
    sync::Mutex, //
};

/// A refused access, as the card told of it. Nothing in it is more than a number to show.
#[derive(Clone, Copy)]
pub(crate) struct Fault {
    /// Index of the queue in its device.
    queue: u16,
    /// The card's number of the address space.
    address_space: u16,
    iova: u64,
    length: u32,
    /// Permission bits that the access needed.
    access: u32,
}

impl Fault {
    fn access(&self) -> &'static str {
        match self.access {
            wire::PERMISSION_READ => "read",
            wire::PERMISSION_WRITE => "write",
            _ => "access",
        }
    }
}

impl From<&wire::Event> for Fault {
    fn from(event: &wire::Event) -> Self {
        Self {
            queue: event.queue.get(),
            address_space: event.address_space.get(),
            iova: event.iova.get(),
            length: event.length.get(),
            access: event.detail.get(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "last_queue={} last_card={} last_access={} last_length={} last_iova={:#x}",
            self.queue,
            self.address_space,
            self.access(),
            self.length,
            self.iova
        )
    }
}

/// The faults of a device.
#[pin_data]
pub(crate) struct Faults {
    limit: Limit,
    #[pin]
    last: Mutex<Option<Fault>>,
    /// The vDPA device, while it is registered.
    #[pin]
    notifier: Mutex<Option<ChangeNotifier>>,
}

impl Faults {
    /// No faults, and nobody to be told of them.
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            limit: Limit::new(),
            last <- new_mutex!(None, "Faults::last"),
            notifier <- new_mutex!(None, "Faults::notifier"),
        })
    }

    /// Has uevents sent about this device from now on, or about none any more.
    pub(crate) fn set_notifier(&self, notifier: Option<ChangeNotifier>) {
        let old = core::mem::replace(&mut *self.notifier.lock(), notifier);

        // Not under the lock: it may be the last reference to the device.
        drop(old);
    }

    /// How many the card has told of. There were more if events were lost: the card's own count knows.
    pub(crate) fn told(&self) -> u32 {
        self.limit.total()
    }

    /// The last one.
    pub(crate) fn last(&self) -> Option<Fault> {
        *self.last.lock()
    }

    /// Takes one that the card tells of. `dev` and `number` name the device in the log. May sleep.
    pub(super) fn report(&self, dev: &device::Device, number: u16, fault: Fault) {
        *self.last.lock() = Some(fault);
        let Some(line) = self.limit.count() else {
            return;
        };
        let count = line.total;

        dev_err!(
            dev,
            "IOMMU fault {}: device {} queue {} card address space {}: {} of {} bytes at {:#x}\n",
            line,
            number,
            fault.queue,
            fault.address_space,
            fault.access(),
            fault.length,
            fault.iova
        );
        let notifier = self.notifier.lock().clone();
        if let Some(notifier) = notifier {
            // Without memory for it there is still the log.
            let _ = notify(&notifier, count, &fault);
        }
    }
}

/// Tells userspace, in the variables of a uevent.
fn notify(notifier: &ChangeNotifier, count: u32, fault: &Fault) -> Result {
    let variables = [
        CString::try_from_fmt(fmt!("MOORING_EVENT=iommu-fault"))?,
        CString::try_from_fmt(fmt!("MOORING_FAULT_COUNT={count}"))?,
        CString::try_from_fmt(fmt!("MOORING_FAULT_QUEUE={}", fault.queue))?,
        CString::try_from_fmt(fmt!("MOORING_FAULT_ADDRESS_SPACE={}", fault.address_space))?,
        CString::try_from_fmt(fmt!("MOORING_FAULT_ACCESS={}", fault.access()))?,
        CString::try_from_fmt(fmt!("MOORING_FAULT_LENGTH={}", fault.length))?,
        CString::try_from_fmt(fmt!("MOORING_FAULT_IOVA={:#x}", fault.iova))?,
    ];

    notifier.notify(&variables)
}
