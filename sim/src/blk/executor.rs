// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Where requests to disks are carried out: at once, or on a thread for each disk.

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::Arc;
use std::thread;

use super::request::Job;
use crate::worker::AbortOnPanic;

/// Carries requests out, those to one disk in their order.
pub(crate) enum Executor {
    /// When they are submitted.
    Inline(VecDeque<Job>),
    /// On threads, which end when this is dropped.
    Threads {
        /// To the thread of each disk.
        submit: Vec<Sender<Job>>,
        finished: Receiver<Job>,
    },
}

impl Executor {
    /// One that carries a request out when it is submitted.
    pub fn inline() -> Self {
        Self::Inline(VecDeque::new())
    }

    /// One with a thread for each of `count` disks, which calls `wake` after each request.
    pub fn threads(count: usize, wake: Arc<dyn Fn() + Send + Sync>) -> io::Result<Self> {
        let (done, finished) = channel();
        let submit = (0..count)
            .map(|disk| {
                let (submit, jobs) = channel();
                let (done, wake) = (done.clone(), wake.clone());
                thread::Builder::new()
                    .name(format!("disk {disk}"))
                    .spawn(move || {
                        let _guard = AbortOnPanic;
                        work(&jobs, &done, &*wake);
                    })?;
                Ok(submit)
            })
            .collect::<io::Result<_>>()?;
        Ok(Self::Threads { submit, finished })
    }

    /// Has a request carried out.
    pub fn submit(&mut self, mut job: Job) {
        match self {
            Self::Inline(finished) => {
                job.run();
                finished.push_back(job);
            }
            Self::Threads { submit, .. } => {
                // Fails only if the thread has ended, which it doesn't before this is dropped.
                if let Some(submit) = submit.get(usize::from(job.disk_number)) {
                    let _ = submit.send(job);
                }
            }
        }
    }

    /// A request that was carried out, if there is one.
    pub fn finished(&mut self) -> Option<Job> {
        match self {
            Self::Inline(finished) => finished.pop_front(),
            Self::Threads { finished, .. } => finished.try_recv().ok(),
        }
    }
}

fn work(jobs: &Receiver<Job>, done: &Sender<Job>, wake: &dyn Fn()) {
    for mut job in jobs {
        job.run();
        if done.send(job).is_err() {
            return;
        }
        wake();
    }
}
