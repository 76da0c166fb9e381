// SPDX-License-Identifier: GPL-2.0-only

//! Stands in for `drivers/pci.rs`: a function whose registers are memory, with a control processor
//! ([`cp`](crate::kunit::cp)) that sees to what was written as soon as the driver has written it.

use crate::{
    kunit::{
        cp::ControlProcessor,
        trace::{
            self,
            Step, //
        },
    },
    regs,
    vdpa::{
        ManagementDevice,
        ManagementInfo,
        ManagementOperations, //
    },
    wire::Event,
};
use kernel::{
    device::{
        self,
        Bound, //
    },
    io::{
        Region,
        SysMem, //
    },
    irq, new_spinlock_irq,
    page::PAGE_SIZE,
    pci,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        SpinLockIrq, //
    },
};

/// What a register access goes through.
pub(crate) type RegisterBar<'a> = SysMem<'a, Region<{ regs::REGISTERS_SIZE }>>;

/// The registers, and who reads them on the other side.
#[pin_data]
struct Bar {
    words: KVec<Atomic<u32>>,
    #[pin]
    cp: SpinLockIrq<ControlProcessor>,
}

/// BAR 0.
#[derive(Clone)]
pub(crate) struct Registers(Arc<Bar>);

impl Registers {
    /// A card that was just reset.
    pub(crate) fn new() -> Result<Self> {
        let count = regs::REGISTERS_SIZE / size_of::<u32>();
        let mut words = KVec::with_capacity(count, GFP_KERNEL)?;
        for _ in 0..count {
            words.push(Atomic::new(0), GFP_KERNEL)?;
        }

        Ok(Self(Arc::pin_init(
            try_pin_init!(Bar {
                words,
                cp <- new_spinlock_irq!(ControlProcessor::new(), "kunit::ControlProcessor"),
            }),
            GFP_KERNEL,
        )?))
    }

    /// The registers, without the control processor seeing what is done to them.
    fn io(&self) -> RegisterBar<'_> {
        let words = self.0.words.as_ptr().cast_mut().cast::<u8>();
        let region = Region::ptr_from_raw_parts_mut(words, regs::REGISTERS_SIZE);

        // SAFETY: It is the memory of `words`, which has that many bytes, is aligned, may change through
        // shared references, and is accessed in no other way.
        unsafe { SysMem::new(region) }
    }

    /// See the driver's function of this name.
    pub(crate) fn with<R>(&self, access: impl FnOnce(&RegisterBar<'_>) -> R) -> Result<R> {
        let io = self.io();
        let result = access(&io);

        self.0.cp.lock().run(io);
        Ok(result)
    }

    /// See the driver's function of this name.
    pub(crate) fn gone(&self) -> bool {
        self.0.cp.lock().is_gone()
    }

    /// Changes what the control processor does.
    pub(crate) fn cp<R>(&self, change: impl FnOnce(&mut ControlProcessor) -> R) -> R {
        change(&mut self.0.cp.lock())
    }

    /// Has the card post an event.
    pub(crate) fn post(&self, event: Event) {
        let io = self.io();

        self.0.cp.lock().post(io, event);
    }
}

/// What was written to the doorbells.
pub(crate) struct Rung {
    count: Atomic<u32>,
    /// The card's queue whose doorbell it was, above the value.
    last: Atomic<u64>,
}

impl Rung {
    /// Nothing was written so far.
    pub(crate) fn new() -> Self {
        Self {
            count: Atomic::new(0),
            last: Atomic::new(0),
        }
    }

    /// How often a doorbell was rung.
    pub(crate) fn count(&self) -> u32 {
        self.count.load(Relaxed)
    }

    /// The card's queue whose doorbell was rung last, and the value.
    pub(crate) fn last(&self) -> (u16, u32) {
        let last = self.last.load(Relaxed);

        // CAST: What `ring()` has put together.
        ((last >> 32) as u16, last as u32)
    }
}

/// BAR 2: notes what is written.
pub(crate) struct Doorbells {
    rung: Arc<Rung>,
}

impl Doorbells {
    /// Doorbells that note in `rung`.
    pub(crate) fn new(rung: Arc<Rung>) -> Self {
        Self { rung }
    }

    /// See the driver's function of this name.
    pub(crate) fn ring(&self, queue: u16, value: u32) {
        let last = u64::from(queue) << 32 | u64::from(value);

        self.rung.last.store(last, Relaxed);
        self.rung.count.fetch_add(1, Relaxed);
    }

    /// See the driver's function of this name. There is no such page, so nobody may map it.
    pub(crate) fn page(&self, queue: u16) -> u64 {
        u64::from(queue) * PAGE_SIZE as u64
    }
}

/// See the driver's function of this name.
pub(crate) fn clear_bus_master(_dev: &pci::Device, registers: &Registers) {
    let _ = registers.with(|_| trace::note(Step::BusMasterCleared));
}

/// See the driver's function of this name. No IOMMU has the tests' function.
pub(crate) fn domain_aperture(_dev: &device::Device<Bound>) -> Option<(u64, u64)> {
    None
}

/// See the driver's function of this name. No test has interrupt vectors.
pub(crate) fn register<'a, T: irq::Handler + 'a>(
    _request: irq::IrqRequest<'a>,
    _name: &'static CStr,
    _handler: T,
) -> impl PinInit<irq::Registration<'a, T>, Error> + 'a {
    Err::<irq::Registration<'a, T>, _>(ENODEV)
}

/// See the driver's function of this name. No test has interrupt vectors.
pub(crate) fn register_threaded<'a, T: irq::ThreadedHandler + 'a>(
    _request: irq::IrqRequest<'a>,
    _name: &'static CStr,
    _handler: T,
) -> impl PinInit<irq::ThreadedRegistration<'a, T>, Error> + 'a {
    Err::<irq::ThreadedRegistration<'a, T>, _>(ENODEV)
}

/// See the driver's function of this name.
pub(crate) fn register_management<'a, M: ManagementOperations + 'a>(
    parent: &'a device::Device<Bound>,
    info: ManagementInfo<'a>,
    manager: M,
) -> impl PinInit<ManagementDevice<'a, M>, Error> + 'a {
    // SAFETY: The tests keep it in a box, which they drop before their parent device goes.
    unsafe { ManagementDevice::new(parent, info, Ok::<_, Error>(manager)) }
}
