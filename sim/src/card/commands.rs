// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The commands' way through the card: fetched, kept while they wait, carried out by the firmware, and completed.

use std::time::Instant;

use mooring_hw_regs::wire::{Command, STATUS_OK};

use super::Card;

/// Commands that one step handles at most.
const COMMANDS: usize = 16;

/// A command that was fetched and has to wait for requests of the queue that it stops.
#[derive(Clone, Copy)]
pub(super) struct Waiting {
    command: Command,
    queue: u16,
    /// When it waits no longer, whatever became of them.
    pub(super) until: Instant,
}

impl Card {
    /// Carries out what was sent.
    pub(super) fn commands(&mut self) {
        let mut completed = false;
        for _ in 0..COMMANDS {
            if self.hangs() || self.is_gone() {
                break;
            }
            let waited = self.waiting.take();
            let command = match (&waited, &mut self.blocks.mailbox) {
                (Some(waited), _) => Some(waited.command),
                (None, Some(mailbox)) => mailbox.fetch(),
                (None, None) => self.cmdq.fetch(&self.blocks.bus, &mut self.registers),
            };
            let Some(command) = command else {
                break;
            };
            match waited.or_else(|| self.hold_back(&command)) {
                Some(waiting) if self.still_waits(&waiting) => {
                    self.waiting = Some(waiting);
                    break;
                }
                Some(Waiting { queue, .. }) if self.blocks.disks.is_busy(queue) => {
                    log::warn!("vq {queue}: stops without answers that its disk owes");
                }
                _ => {}
            }
            let completion = self.firmware.execute(&mut self.blocks, &command);
            if completion.status.get() != STATUS_OK && self.limit.allows() {
                log::warn!(
                    "cp: refused with status {}: {command:x?}",
                    completion.status.get()
                );
            }
            self.commands = self.commands.saturating_add(1);
            self.tell_changes();
            match &mut self.blocks.mailbox {
                Some(mailbox) => mailbox.complete(&mut self.registers, &completion),
                None => {
                    completed |=
                        self.cmdq
                            .complete(&self.blocks.bus, &mut self.registers, &completion)
                }
            }
        }
        if let Some(vector) = self.cmdq.vector().filter(|_| completed) {
            self.raise(vector);
        }
    }

    /// What a command waits for: one that stops a queue does, until the requests that were taken from its ring are answered,
    /// since it tells how far the queue has come. All else on the card goes on meanwhile. No more requests are taken from the
    /// ring, so that there is an end; and if the disk doesn't come to one, the queue stops without their answers, because who
    /// waits for the command takes a card that doesn't complete it for dead.
    fn hold_back(&mut self, command: &Command) -> Option<Waiting> {
        let queue = self.firmware.queue_to_disable(command)?;
        self.blocks.disks.hold(queue);
        Some(Waiting {
            command: *command,
            queue,
            until: Instant::now() + self.config.disk_patience,
        })
    }

    /// Whether a command has to wait any longer.
    pub(super) fn still_waits(&self, waiting: &Waiting) -> bool {
        self.blocks.disks.is_busy(waiting.queue) && Instant::now() < waiting.until
    }

    /// Forgets the command that waits if the way that it came is switched off: it would complete to whoever comes next. Its
    /// queue goes on, because it was not stopped.
    pub(super) fn drop_waiting_if_off(&mut self) {
        let on = match &self.blocks.mailbox {
            Some(mailbox) => mailbox.is_enabled(),
            None => self.cmdq.is_enabled(),
        };
        if let Some(waiting) = self.waiting.take_if(|_| !on) {
            self.blocks.disks.release(waiting.queue);
            self.doorbells.mark(waiting.queue);
        }
    }

    /// Whether any is left.
    pub(super) fn has_commands(&self) -> bool {
        match &self.blocks.mailbox {
            Some(mailbox) => mailbox.has_commands(),
            None => self.cmdq.has_commands(),
        }
    }

    /// Whether the control processor has stopped taking commands, as a test may ask for.
    pub(super) fn hangs(&self) -> bool {
        self.config
            .hang_after
            .is_some_and(|limit| self.commands >= limit)
    }

    /// Whether the card has been pulled out, as a test may ask for.
    pub(super) fn is_gone(&self) -> bool {
        self.config
            .gone_after
            .is_some_and(|limit| self.commands >= limit)
    }
}
