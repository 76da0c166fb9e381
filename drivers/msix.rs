// SPDX-License-Identifier: GPL-2.0-only

//! Interrupts: a vector for events, and one for each queue as long as there are enough.
//!
//! Vector 0 belongs to the event queue. The card's queue `q` has vector `1 + q mod (n - 1)` of the `n`
//! that the system granted. With fewer vectors than queues several queues share one, and its handler
//! asks all of them, which virtio allows; with a single vector everything shares it. A vector of the
//! function still needs one of a processor's, of which there are some 200 each on x86: `request_irq()`
//! is where they run out.

use crate::{
    card::Card,
    pci::{
        register,
        register_threaded, //
    },
    vdpa::{
        irq_affinity,
        set_irq_affinity,
        Callbacks, //
    },
};
use kernel::{
    cpumask::Cpumask,
    device,
    irq::{
        self,
        IrqReturn,
        ThreadedIrqReturn, //
    },
    new_spinlock_irq, pci,
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

/// Vector of the event queue.
pub(crate) const EVENT_VECTOR: u16 = 0;

/// Whom a queue's interrupt is for.
struct Target {
    callbacks: Arc<Callbacks>,
    /// Index of the queue in its device.
    queue: u16,
}

/// The entry of one queue, locked because an interrupt may look at it at any time.
#[pin_data]
struct Entry {
    #[pin]
    target: SpinLockIrq<Option<Target>>,
}

impl Entry {
    fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            target <- new_spinlock_irq!(None, "msix::Entry::target"),
        })
    }
}

/// Who gets the interrupts of each of the card's queues.
pub(crate) struct Table {
    queues: Pin<KBox<[Entry]>>,
    /// Linux's interrupt number of each vector; 0 while there is none.
    irqs: KVec<Atomic<u32>>,
    /// Vectors granted.
    granted: Atomic<u32>,
}

impl Table {
    /// A table for `queues` queues.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if there is no memory.
    pub(crate) fn new(queues: u16) -> Result<Self> {
        let count = usize::from(queues) + 1;
        let mut irqs = KVec::with_capacity(count, GFP_KERNEL)?;
        for _ in 0..count {
            irqs.push(Atomic::new(0), GFP_KERNEL)?;
        }

        Ok(Self {
            queues: KBox::pin_slice(|_| Entry::new(), usize::from(queues), GFP_KERNEL)?,
            irqs,
            granted: Atomic::new(1),
        })
    }

    /// The vector of the card's queue `queue`.
    pub(crate) fn vector(&self, queue: u16) -> u16 {
        match self.granted.load(Relaxed) {
            0 | 1 => EVENT_VECTOR,
            // CAST: the remainder is smaller than the number of vectors, which is at most 2048.
            granted => 1 + (u32::from(queue) % (granted - 1)) as u16,
        }
    }

    /// Linux's interrupt number of the card's queue `queue` if the queue has a vector to itself.
    pub(crate) fn private_irq(&self, queue: u16) -> Option<u32> {
        let queues = u32::try_from(self.queues.len()).ok()?;

        if self.granted.load(Relaxed) <= queues {
            return None;
        }
        match self
            .irqs
            .get(usize::from(self.vector(queue)))?
            .load(Relaxed)
        {
            0 => None,
            irq => Some(irq),
        }
    }

    /// Has the interrupts of the card's queue `queue` go to these CPUs.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` if the queue shares its vector with others, else what `irq_set_affinity()` fails with.
    pub(crate) fn set_affinity(&self, queue: u16, mask: &Cpumask) -> Result {
        let irq = self.private_irq(queue).ok_or(EOPNOTSUPP)?;

        set_irq_affinity(irq, mask)
    }

    /// Writes into `mask` where they go.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` if the queue shares its vector with others.
    pub(crate) fn affinity(&self, queue: u16, mask: &mut Cpumask) -> Result {
        let irq = self.private_irq(queue).ok_or(EOPNOTSUPP)?;

        irq_affinity(irq, mask)
    }

    /// Sends the interrupts of queues `first..` to `callbacks`, as many as those have.
    pub(crate) fn attach(&self, first: u16, callbacks: &Arc<Callbacks>) {
        for (index, entry) in (0..callbacks.nvqs()).zip(self.queues.iter().skip(first.into())) {
            *entry.target.lock() = Some(Target {
                callbacks: callbacks.clone(),
                queue: index,
            });
        }
    }

    /// Sends the interrupts of queues `first..first + count` nowhere. An interrupt that is under way has
    /// been delivered when this returns.
    pub(crate) fn detach(&self, first: u16, count: u16) {
        for entry in self.queues.iter().skip(first.into()).take(count.into()) {
            // The lock is released before what may be the last reference goes.
            let old = entry.target.lock().take();
            drop(old);
        }
    }

    /// Tells the owners of all queues with vector `vector`. Callable from an interrupt.
    pub(crate) fn deliver(&self, vector: u16) {
        let (first, step) = match self.granted.load(Relaxed) {
            0 | 1 => (0, 1),
            granted => match vector.checked_sub(1) {
                // CAST: as in `vector()`.
                Some(first) => (first.into(), granted as usize - 1),
                None => return,
            },
        };

        for entry in self.queues.iter().skip(first).step_by(step) {
            if let Some(target) = &*entry.target.lock() {
                target.callbacks.call_vq(target.queue);
            }
        }
    }
}

/// Handles the interrupts of a queue vector.
struct QueueHandler {
    card: Arc<Card>,
    vector: u16,
}

impl irq::Handler for QueueHandler {
    fn handle(&self) -> IrqReturn {
        self.card.interrupts.deliver(self.vector);
        IrqReturn::Handled
    }
}

/// Handles the event vector: in a thread, because handling an event may sleep.
struct EventHandler(Arc<Card>);

impl irq::ThreadedHandler for EventHandler {
    fn handle(&self) -> ThreadedIrqReturn {
        // If it is the only vector, the queues share it.
        self.0.interrupts.deliver(EVENT_VECTOR);
        ThreadedIrqReturn::WakeThread
    }

    fn handle_threaded(&self) -> IrqReturn {
        self.0.handle_events();
        IrqReturn::Handled
    }
}

/// Says what to do if there is no vector even for the events.
pub(crate) fn explain(dev: &device::Device, error: Error) {
    if error == ENOSPC {
        dev_err!(
            dev,
            "no interrupt vector is left for events; take some from other devices, or bring more processors online\n"
        );
    }
}

/// The registered interrupt handlers of a function.
pub(crate) struct Handlers<'bound> {
    /// Each stays registered for as long as this lives.
    _queues: KVec<Pin<KBox<irq::Registration<'bound, QueueHandler>>>>,
    _events: Pin<KBox<irq::ThreadedRegistration<'bound, EventHandler>>>,
}

impl<'bound> Handlers<'bound> {
    /// Registers a handler for every vector in `vectors` that a processor has room for, and for the events of
    /// `card`. What is left over is not used.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if there is no memory, `ENOSPC` if there is not even a vector for the events, else what
    /// `request_irq()` fails with.
    pub(crate) fn new(
        vectors: &'bound pci::IrqVectorRegistration<'bound>,
        card: Arc<Card>,
    ) -> impl Init<Self, Error> + 'bound {
        pin_init::init_scope(move || {
            let granted = u16::try_from(vectors.len())?;
            let mut queues = KVec::with_capacity(vectors.len(), GFP_KERNEL)?;

            // Before the queues, which may take all that is left.
            let request = irq::IrqRequest::from(vectors.index(EVENT_VECTOR.into())?);
            let handler = EventHandler(card.clone());
            let events = KBox::pin_init(
                register_threaded(request, c"mooring_vdpa events", handler),
                GFP_KERNEL,
            )
            .inspect_err(|&error| explain(card.dev(), error))?;

            for vector in 1..granted.min(card.info.num_queues.saturating_add(1)) {
                let request = irq::IrqRequest::from(vectors.index(vector.into())?);
                if let Some(irq) = card.interrupts.irqs.get(usize::from(vector)) {
                    irq.store(request.irq(), Relaxed);
                }
                let handler = QueueHandler {
                    card: card.clone(),
                    vector,
                };
                let registration = KBox::pin_init(
                    register(request, c"mooring_vdpa queue", handler),
                    GFP_KERNEL,
                );
                match registration {
                    Ok(registration) => queues.push(registration, GFP_KERNEL)?,
                    // The function has the vector, but no processor has one for it. Half of them go back, because whoever comes
                    // after this function needs some, too.
                    Err(ENOSPC) => {
                        queues.truncate(queues.len() / 2);
                        dev_warn!(
                            card.dev(),
                            "the processors have no interrupt vector left after {}: {} queues share {}\n",
                            vector,
                            card.info.num_queues,
                            queues.len().max(1)
                        );
                        break;
                    }
                    Err(error) => return Err(error),
                }
            }
            // No device exists yet, so nobody has asked for a queue's vector so far.
            card.interrupts
                .granted
                .store(queues.len() as u32 + 1, Relaxed);

            Ok(try_init!(Self {
                _queues: queues,
                _events: events,
            }))
        })
    }
}
