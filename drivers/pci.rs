// SPDX-License-Identifier: GPL-2.0-only

//! The PCI function: probe, BARs, and the order in which all of it goes away.
//!
//! What is dropped when the function is unbound, in this order, by the fields of [`Function`]:
//!
//! 1. the management devices, which delete every vDPA device; after that no operation runs any more;
//! 2. the interrupt handlers;
//! 3. the command and event queue, after the card was told to stop using them and cut off from memory, and
//!    with the last reference to [`Card`] the BARs;
//! 4. the function itself is switched off;
//! 5. the interrupt vectors.

use crate::{
    card::Card,
    cmdq::commands,
    cp,
    info::Info,
    mgmt,
    msix,
    regs,
    vdpa::{
        ManagementDevice,
        ManagementInfo,
        ManagementOperations, //
    },
    wire, //
};
use kernel::{
    bindings,
    device::{
        self,
        Bound,
        Core, //
    },
    dma::{
        Device as _,
        DmaMask, //
    },
    driver,
    io::Io,
    irq, pci,
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    },
};

kernel::static_assert!(bindings::PCI_VENDOR_ID_REDHAT == wire::PCI_VENDOR_ID as u32);

kernel::pci_device_table!(
    PCI_TABLE,
    <MooringDriver as pci::Driver>::IdInfo,
    [(
        pci::DeviceId::from_id(pci::Vendor::REDHAT, wire::PCI_DEVICE_ID as u32),
        ()
    )]
);

/// BAR 0, mapped until the function is unbound.
pub(crate) struct Registers(pci::DevresBar<{ regs::REGISTERS_SIZE }>);

/// What a register access goes through.
pub(crate) type RegisterBar<'a> = pci::Bar<'a, { regs::REGISTERS_SIZE }>;

impl Registers {
    /// Runs `access` on the registers. It may not sleep.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the function has been unbound.
    pub(crate) fn with<R>(&self, access: impl FnOnce(&RegisterBar<'_>) -> R) -> Result<R> {
        self.0.try_access_with(|bar| access(bar)).ok_or(ENODEV)
    }

    /// Whether the card has gone away: reads of a removed card are all ones.
    pub(crate) fn gone(&self) -> bool {
        self.with(|io| io.read(regs::INFO_MAGIC).into_raw() == u32::MAX)
            .unwrap_or(true)
    }
}

/// BAR 2, one page a queue.
pub(crate) struct Doorbells {
    bar: pci::DevresBar,
    /// Physical address of the first page.
    start: u64,
}

impl Doorbells {
    /// Rings the doorbell of the card's queue `queue`. Callable from any context. Does nothing if the
    /// function was unbound.
    pub(crate) fn ring(&self, queue: u16, value: u32) {
        let offset = usize::from(queue) * regs::DOORBELL_STRIDE;

        // Only a queue outside the BAR could fail, and probe has compared the two. A write to a card
        // that isn't there any more goes nowhere, as a kick may.
        let _ = self
            .bar
            .try_access_with(|bar| bar.try_write32(value, offset));
    }

    /// Physical address of the page with the doorbell of the card's queue `queue`.
    pub(crate) fn page(&self, queue: u16) -> u64 {
        self.start + u64::from(queue) * regs::DOORBELL_STRIDE as u64
    }
}

/// Returns the C structure.
fn as_raw(dev: &pci::Device<impl device::DeviceContext>) -> *mut bindings::pci_dev {
    // `pci::Device` is a transparent wrapper of the C structure.
    core::ptr::from_ref(dev).cast_mut().cast()
}

/// Takes the function's right to reach host memory away. May be called from any context that may take
/// a spinlock; does nothing if the function has been unbound, because it has lost it then.
pub(crate) fn clear_bus_master(dev: &pci::Device, registers: &Registers) {
    let _ = registers.with(|_| {
        // SAFETY: `dev` is a live `pci_dev`, and the driver is still bound to it while the access lasts,
        // because the BAR is revoked before the driver is unbound.
        unsafe { bindings::pci_clear_master(as_raw(dev)) }
    });
}

/// The highest bus address that the platform may give out for the function: of its memory, or less where an IOMMU
/// chooses addresses that fit the function's mask.
fn required_mask(pdev: &pci::Device<Bound>) -> u64 {
    let dev: &device::Device<Bound> = pdev.as_ref();

    // SAFETY: `device::Device` is a transparent wrapper of `struct device`, and this one is bound. The function only reads.
    unsafe { bindings::dma_get_required_mask(core::ptr::from_ref(dev).cast_mut().cast()) }
}

/// The first and the last address that the domain translates in which the platform's IOMMU has a function; [`None`] if
/// there is no domain, or any address passes it.
///
/// To be called only while nobody can move the function to another domain: by an operation that the owner of the device
/// waits for. vhost-vdpa, for one, attaches its domain before it asks and detaches it when it is closed.
pub(crate) fn domain_aperture(dev: &device::Device<Bound>) -> Option<(u64, u64)> {
    // SAFETY: As in `required_mask()`.
    let domain =
        unsafe { bindings::iommu_get_domain_for_dev(core::ptr::from_ref(dev).cast_mut().cast()) };
    // SAFETY: It is null, or the domain that the function is attached to. That one exists as long as the function stays in it:
    // the owner of the device keeps its own, and the core keeps the default domain while a driver is bound. A domain's
    // geometry doesn't change.
    let geometry = unsafe { domain.as_ref() }?.geometry;

    geometry
        .force_aperture
        .then_some((geometry.aperture_start, geometry.aperture_end))
}

/// A function that was enabled and is disabled on drop, which also ends its DMA.
struct Enabled<'bound>(&'bound pci::Device<Bound>);

impl Drop for Enabled<'_> {
    fn drop(&mut self) {
        // SAFETY: The function is bound as long as `'bound` lasts, and `enable_device_mem()` succeeded.
        unsafe { bindings::pci_disable_device(as_raw(self.0)) };
    }
}

/// Registers an interrupt handler.
pub(crate) fn register<'a, T: irq::Handler + 'a>(
    request: irq::IrqRequest<'a>,
    name: &'static CStr,
    handler: T,
) -> impl PinInit<irq::Registration<'a, T>, Error> + 'a {
    // SAFETY: The result can be pinned only, and this crate keeps it in `msix::Handlers`, which the driver
    // core drops when the function is unbound; nothing here forgets a pinned value.
    unsafe { irq::Registration::new(request, irq::Flags::TRIGGER_NONE, name, Ok(handler)) }
}

/// Registers a threaded interrupt handler.
pub(crate) fn register_threaded<'a, T: irq::ThreadedHandler + 'a>(
    request: irq::IrqRequest<'a>,
    name: &'static CStr,
    handler: T,
) -> impl PinInit<irq::ThreadedRegistration<'a, T>, Error> + 'a {
    // SAFETY: As in `register()`.
    unsafe { irq::ThreadedRegistration::new(request, irq::Flags::TRIGGER_NONE, name, Ok(handler)) }
}

/// Registers a management device.
pub(crate) fn register_management<'a, M: ManagementOperations + 'a>(
    parent: &'a device::Device<Bound>,
    info: ManagementInfo<'a>,
    manager: M,
) -> impl PinInit<ManagementDevice<'a, M>, Error> + 'a {
    // SAFETY: The result can be pinned only, and this crate keeps it in `Function`, which the driver core
    // drops when the function is unbound; nothing here forgets a pinned value.
    unsafe { ManagementDevice::new(parent, info, Ok::<_, Error>(manager)) }
}

/// Stops the card's use of its queues on drop.
struct Shutdown(Arc<Card>);

impl Drop for Shutdown {
    fn drop(&mut self) {
        self.0.shutdown();
    }
}

/// The module: the driver.
#[pin_data]
pub(crate) struct MooringModule {
    #[pin]
    driver: driver::Registration<pci::Adapter<MooringDriver>>,
}

impl kernel::InPlaceModule for MooringModule {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            driver <- driver::Registration::new(
                <Self as kernel::ModuleMetadata>::NAME,
                module,
            ),
        })
    }
}

/// What the driver holds for a bound function. Dropped in the order of the fields.
#[pin_data]
pub(crate) struct Function<'bound> {
    #[pin]
    management: mgmt::Management<'bound>,
    /// That of block devices, if the card has disks.
    block_management: Option<Pin<KBox<mgmt::Management<'bound>>>>,
    #[pin]
    interrupts: msix::Handlers<'bound>,
    shutdown: Shutdown,
    enabled: Enabled<'bound>,
    vectors: Pin<KBox<pci::IrqVectorRegistration<'bound>>>,
}

/// The PCI driver.
pub(crate) struct MooringDriver;

impl pci::Driver for MooringDriver {
    type IdInfo = ();
    type Data<'bound> = Function<'bound>;
    const ID_TABLE: pci::IdTable<Self::IdInfo> = &PCI_TABLE;

    fn probe<'bound>(
        pdev: &'bound pci::Device<Core<'_>>,
        _info: Option<&'bound Self::IdInfo>,
    ) -> impl PinInit<Self::Data<'bound>, Error> + 'bound {
        pin_init::pin_init_scope(move || {
            let dev = pdev.as_ref();

            pdev.enable_device_mem()?;
            let enabled = Enabled(pdev);

            check_bar(pdev, regs::BAR_REGISTERS, regs::REGISTERS_SIZE as u64)?;
            let registers = Registers(
                pdev.iomap_region_sized::<{ regs::REGISTERS_SIZE }>(
                    regs::BAR_REGISTERS,
                    c"mooring_vdpa registers",
                )?
                .into_devres()?,
            );
            let info = Info::read(dev, &registers)?;

            check_bar(
                pdev,
                regs::BAR_DOORBELLS,
                u64::from(info.num_queues) * regs::DOORBELL_STRIDE as u64,
            )?;
            let doorbells = Doorbells {
                bar: pdev
                    .iomap_region(regs::BAR_DOORBELLS, c"mooring_vdpa doorbells")?
                    .into_devres()?,
                start: pdev.resource_start(regs::BAR_DOORBELLS)?,
            };

            let required = required_mask(pdev);
            let given = info.on_platform(required);
            if given.translation != info.translation {
                dev_info!(
                    pdev,
                    "bus addresses up to {:#x} don't fit the card's I/O virtual ones of {} bits: address spaces are not made 1:1\n",
                    required,
                    info.iova_bits
                );
            }
            let info = given;

            // SAFETY: No DMA has been set up yet; the mask is changed nowhere else.
            unsafe { pdev.dma_set_mask_and_coherent(DmaMask::try_new(info.bus_bits.into())?)? };

            cp::reset(dev, &registers)?;
            pdev.set_master();

            let vectors = pdev
                .alloc_irq_vectors(
                    1,
                    info.num_vectors.into(),
                    pci::IrqTypes::default()
                        .with(pci::IrqType::MsiX)
                        .with(pci::IrqType::Msi),
                )
                .inspect_err(|&error| msix::explain(dev, error))?;
            let vectors = KBox::pin(vectors, GFP_KERNEL)?;

            let card = Card::new(
                ARef::from(&**pdev),
                pdev.as_ref(),
                registers,
                doorbells,
                info,
            )?;
            let shutdown = Shutdown(card.clone());
            card.enable()?;
            // What went wrong is in the log; for the driver core there is no card then.
            commands::nop(&card).map_err(|_| ENODEV)?;
            if card.registers().gone() {
                dev_err!(
                    pdev,
                    "card went away while it was set up; check its slot and power\n"
                );
                return Err(ENODEV);
            }
            let (major, minor, patch) = cp::firmware_version(card.registers())?;
            dev_info!(
                pdev,
                "firmware {}.{}.{}, {} queues, {} address spaces, {} vectors granted of {}\n",
                major,
                minor,
                patch,
                info.num_queues,
                info.num_address_spaces,
                vectors.len(),
                info.num_vectors
            );

            // SAFETY: The vectors are in a box of their own, which is the last field of `Function` to be
            // dropped: whatever borrows them is gone by then. If initialisation fails, fields are dropped
            // in the reverse order of the literal below, where the box comes first.
            let borrowed = unsafe { &*core::ptr::from_ref(&*vectors) };
            let handlers = msix::Handlers::new(borrowed, card.clone());
            let block_card = card.clone();
            let management = mgmt::Manager::register(pdev.as_ref(), card);

            Ok(try_pin_init!(Function {
                vectors: vectors,
                enabled: enabled,
                shutdown: shutdown,
                interrupts <- handlers,
                block_management: match info.num_disks {
                    0 => None,
                    _ => Some(KBox::pin_init(
                        mgmt::Manager::register_block(pdev.as_ref(), block_card),
                        GFP_KERNEL,
                    )?),
                },
                management <- management,
            }))
        })
    }
}

/// Checks that a BAR is there and has at least `size` bytes.
fn check_bar(pdev: &pci::Device<Bound>, bar: u32, size: u64) -> Result {
    let actual = pdev.resource_len(bar)?;

    if actual < size {
        dev_err!(
            pdev,
            "BAR {} has {:#x} bytes, expected {:#x} or more; not a card that this driver can run\n",
            bar,
            actual,
            size
        );
        return Err(ENODEV);
    }
    Ok(())
}
