// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The card and the threads that run it.
//!
//! Its work is done in bounded steps, by the worker; but by whoever brings the work if the worker sleeps, because to wake a
//! thread takes longer than most steps. That is the vfio-user thread, which reads and writes the card's registers; what it is asked
//! next waits for a step at most. Doorbells go past the lock, see [`Doorbells`](crate::Doorbells): who rings one calls
//! [`SharedCard::run`] afterwards. A disk's thread only wakes the worker, since it has the next request to carry out.

use crate::Card;
use nix::errno::Errno;
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// A card that threads share.
pub struct SharedCard {
    /// Nothing once the model shuts down.
    card: Mutex<Option<Card>>,
    /// Threads that wait for the lock, besides those that step.
    waiting: AtomicUsize,
    waker: Waker,
}

impl SharedCard {
    /// Shares `card`.
    ///
    /// # Errors
    ///
    /// If the process has no file descriptor left.
    pub fn new(card: Card) -> io::Result<Self> {
        Ok(Self {
            card: Mutex::new(Some(card)),
            waiting: AtomicUsize::new(0),
            waker: Waker::new()?,
        })
    }

    /// Runs `access` with the card between two steps of the worker. Returns nothing if the card is gone.
    pub fn with<T>(&self, access: impl FnOnce(&mut Card) -> T) -> Option<T> {
        // Announced, because the worker would otherwise take a busy card's lock again before this thread has woken.
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let mut card = self.card.lock().unwrap_or_else(PoisonError::into_inner);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        card.as_mut().map(access)
    }

    /// Has the work done that there may be: a step of it on this thread if the worker sleeps and nobody else has the card; what
    /// is left, or all of it, by the worker.
    pub fn run(&self) {
        if !(self.waker.sleeps() && self.step_here()) {
            self.wake();
        }
    }

    /// Tells the worker that there may be work.
    pub fn wake(&self) {
        self.waker.wake();
    }

    /// Whether a thread panicked while it had the card, so that the card's state can't be trusted any more.
    pub fn is_broken(&self) -> bool {
        self.card.is_poisoned()
    }

    /// Does a step if that is possible at once. Returns whether the worker may sleep on: it was done, nothing is left, and
    /// nothing happens earlier than the worker knew.
    fn step_here(&self) -> bool {
        let Ok(mut card) = self.card.try_lock() else {
            return false;
        };
        let Some(card) = card.as_mut() else {
            return true;
        };
        let wakes_at = card.wakes_at();
        !card.step() && card.wakes_at() == wakes_at
    }

    /// Does a step of the card's work. Returns what comes next, or nothing if the card is gone.
    fn step(&self) -> Option<Next> {
        while self.waiting.load(Ordering::SeqCst) > 0 {
            thread::yield_now();
        }
        self.card
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_mut()
            .map(|card| match card.step() {
                true => Next::Step,
                false => Next::Rest(card.wakes_at()),
            })
    }
}

/// What comes after a step.
enum Next {
    /// Another one.
    Step,
    /// Nothing, until something happens or it is that late.
    Rest(Option<Instant>),
}

/// The worker thread.
pub struct Worker {
    card: Arc<SharedCard>,
    thread: JoinHandle<()>,
}

impl Worker {
    /// Starts to run `card`, which is also woken whenever `uplink` is readable.
    ///
    /// # Errors
    ///
    /// If the system has no thread left.
    pub fn start(card: Arc<SharedCard>, uplink: Option<OwnedFd>) -> io::Result<Self> {
        let shared = card.clone();
        let run = move || {
            let _guard = AbortOnPanic;
            work(&shared, uplink);
        };
        let thread = thread::Builder::new().name("card".into()).spawn(run)?;
        Ok(Self { card, thread })
    }

    /// Ends the thread and drops the card, and with it the uplink and the captures.
    pub fn stop(self) {
        let card = self
            .card
            .card
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        drop(card);
        self.card.wake();
        let _ = self.thread.join();
    }
}

/// A model whose card doesn't run any more would look alive to everybody: better that it ends, and is seen to.
pub(crate) struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            std::process::abort();
        }
    }
}

fn work(card: &SharedCard, mut uplink: Option<OwnedFd>) {
    loop {
        card.waker.begin();
        let until = loop {
            match card.step() {
                Some(Next::Step) => {}
                Some(Next::Rest(until)) => break until,
                None => return,
            }
        };
        if card.waker.may_sleep() && card.waker.sleep(uplink.as_ref(), until).is_err() {
            log::error!("the uplink is broken; nothing more is received from it");
            uplink = None;
        }
    }
}

/// Wakes the worker without a system call while it is awake, and without ever losing a wake-up.
struct Waker {
    state: AtomicU8,
    event: EventFd,
}

/// The worker runs and has seen everything that happened before it began.
const RUNNING: u8 = 0;
/// Something happened since.
const NOTIFIED: u8 = 1;
/// The worker sleeps, or is about to: who notifies it also signals the event.
const SLEEPING: u8 = 2;

impl Waker {
    fn new() -> io::Result<Self> {
        let event = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
        Ok(Self {
            state: AtomicU8::new(RUNNING),
            event,
        })
    }

    fn wake(&self) {
        if self.state.swap(NOTIFIED, Ordering::SeqCst) == SLEEPING {
            // Fails only if the counter is full, and then the event is signalled.
            let _ = self.event.write(1);
        }
    }

    /// Whether the worker sleeps, or is about to, having found nothing to do.
    fn sleeps(&self) -> bool {
        self.state.load(Ordering::SeqCst) == SLEEPING
    }

    /// The worker begins to look for work; what happens from here on is a new notification.
    fn begin(&self) {
        self.state.store(RUNNING, Ordering::SeqCst);
    }

    /// Whether nothing happened since [`begin`](Self::begin). If so, the worker has announced that it sleeps.
    fn may_sleep(&self) -> bool {
        self.state
            .compare_exchange(RUNNING, SLEEPING, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    }

    /// Sleeps until a notification, until `uplink` is readable, or until it is so late. An error means that `uplink` can't be
    /// waited for.
    fn sleep(&self, uplink: Option<&OwnedFd>, until: Option<Instant>) -> Result<(), Errno> {
        // A bit longer, because what is rounded down would be too early, again and again until it is time.
        let timeout = until.map_or(PollTimeout::NONE, |until| {
            let left = until.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
        });
        let mut fds = vec![PollFd::new(self.event.as_fd(), PollFlags::POLLIN)];
        fds.extend(uplink.map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN)));
        match poll(&mut fds, timeout) {
            Err(Errno::EINTR) | Ok(_) => {}
            Err(error) => return Err(error),
        }
        let _ = self.event.read();
        let seen = fds
            .get(1)
            .and_then(PollFd::revents)
            .unwrap_or(PollFlags::empty());
        if seen.intersects(PollFlags::POLLERR | PollFlags::POLLHUP | PollFlags::POLLNVAL) {
            return Err(Errno::EIO);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{InProcess, TestUplink};
    use crate::CardConfig;
    use std::sync::atomic::{AtomicBool, AtomicU64};
    use std::time::{Duration, Instant};

    #[test]
    fn no_wake_up_is_lost() {
        let waker = Arc::new(Waker::new().unwrap());
        let (posted, seen) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let stop = Arc::new(AtomicBool::new(false));
        let worker = thread::spawn({
            let (waker, posted, seen, stop) =
                (waker.clone(), posted.clone(), seen.clone(), stop.clone());
            move || {
                while !stop.load(Ordering::SeqCst) {
                    waker.begin();
                    seen.store(posted.load(Ordering::SeqCst), Ordering::SeqCst);
                    if waker.may_sleep() {
                        waker.sleep(None, None).unwrap();
                    }
                }
            }
        });
        for number in 1..=20_000 {
            posted.store(number, Ordering::SeqCst);
            waker.wake();
            // Each round waits at another point of the worker's loop.
            let deadline = Instant::now() + Duration::from_secs(10);
            while number % 3 == 0 && seen.load(Ordering::SeqCst) < number {
                assert!(Instant::now() < deadline, "the worker sleeps on work");
                thread::yield_now();
            }
        }
        stop.store(true, Ordering::SeqCst);
        waker.wake();
        worker.join().unwrap();
    }

    #[test]
    fn work_is_done_by_who_brings_it_only_while_the_worker_sleeps() {
        let card = InProcess::new(CardConfig::default()).unwrap().into_card();
        let doorbells = card.doorbells();
        let card = SharedCard::new(card).unwrap();
        let rings_are_seen = || {
            doorbells.ring(3);
            card.run();
            !doorbells.any()
        };
        // There is a worker in theory; it runs.
        assert!(!rings_are_seen());
        assert!(!card.waker.may_sleep(), "it was not told");
        card.waker.begin();
        assert!(card.waker.may_sleep());
        assert!(rings_are_seen());
        assert!(card.waker.sleeps(), "it was woken for nothing");
        let others = card.with(|_| rings_are_seen());
        assert_eq!(others, Some(false), "another thread has the card");
        assert!(!card.waker.sleeps(), "nobody does the work");
    }

    #[test]
    fn what_a_step_leaves_is_the_workers() {
        let uplink = TestUplink::default();
        let left = || uplink.to_card.lock().unwrap().len();
        // More than a step carries.
        let frames = std::iter::repeat_n(vec![0xff; 60], 200);
        uplink.to_card.lock().unwrap().extend(frames);
        let access = InProcess::with_uplink(CardConfig::default(), uplink.clone()).unwrap();
        let card = SharedCard::new(access.into_card()).unwrap();
        assert!(card.waker.may_sleep());
        card.run();
        assert!((1..200).contains(&left()), "{} frames are left", left());
        assert!(!card.waker.sleeps(), "it was not told of the others");
        card.waker.begin();
        while let Some(Next::Step) = card.step() {}
        assert_eq!(left(), 0);
    }

    #[test]
    fn an_uplink_that_hangs_up_is_an_error() {
        let waker = Waker::new().unwrap();
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        drop(theirs);
        assert!(waker.may_sleep());
        assert!(waker.sleep(Some(&OwnedFd::from(ours)), None).is_err());
    }
}
