// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The frames' way through the card: from a transmit queue or the uplink through the switch to the ports that take them.

use super::Card;
use crate::net::{self, offload, Offload, HEADER_SIZE, MAX_FRAME};
use crate::switch::Route;
use crate::vq::Received;
use crate::{Direction, Port};

/// Frames of a queue and frames from the uplink that one step handles at most. Of a queue's frames each one counts that a port
/// gets, and those that come of the last frame may be more.
const QUEUE_FRAMES: usize = 64;
const UPLINK_FRAMES: usize = 64;

impl Card {
    /// Forwards what a transmit queue holds. Returns whether there may be more.
    pub(super) fn transmit(&mut self, queue: u16) -> bool {
        let Some(device) = self.blocks.engine.device(queue) else {
            return false;
        };
        let mut packet = std::mem::take(&mut self.packet);
        let mut more = true;
        let mut budget = QUEUE_FRAMES;
        while budget > 0 {
            budget -= 1;
            let (engine, mut dma) = self.blocks.engine();
            more = engine.transmit(&mut dma, queue, &mut packet);
            if !more {
                break;
            }
            let Some(Some(net)) = self.blocks.net.get(usize::from(device)) else {
                continue;
            };
            if !net.link {
                continue;
            }
            let frame = net::frame(&packet);
            match Offload::from_packet(&packet, net.features) {
                Ok(offload) if net.fits(frame, &offload) => {
                    let frames = self.forward(Port::Device(device), &mut packet, &offload);
                    budget = budget.saturating_sub(frames.saturating_sub(1));
                }
                _ if self.limit.allows() => log::warn!(
                    "net {device}: sends a frame of {} bytes that is too long or has a bad header; it is dropped",
                    frame.len()
                ),
                _ => {}
            }
        }
        self.packet = packet;
        more
    }

    /// Forwards what came from the uplink. Returns whether there may be more.
    pub(super) fn receive_from_uplink(&mut self) -> bool {
        let mut packet = std::mem::take(&mut self.packet);
        let mut frame = std::mem::take(&mut self.frame);
        let mut more = true;
        for _ in 0..UPLINK_FRAMES {
            more = match self.uplink.receive(&mut frame) {
                Ok(more) => more,
                Err(error) => {
                    if self.limit.allows() {
                        log::warn!("uplink: receiving: {error}");
                    }
                    false
                }
            };
            if !more {
                break;
            }
            if frame.len() > MAX_FRAME {
                continue;
            }
            packet.clear();
            packet.resize(HEADER_SIZE, 0);
            packet.extend_from_slice(&frame);
            self.forward(Port::Uplink, &mut packet, &Offload::NONE);
        }
        self.packet = packet;
        self.frame = frame;
        more
    }

    /// Switches a packet. Returns how many frames ports got.
    fn forward(&mut self, source: Port, packet: &mut [u8], offload: &Offload) -> usize {
        let mut plain = std::mem::take(&mut self.plain);
        plain.clear();
        let mut frames = 0;
        net::set_receive_header(packet, offload);
        self.observe(source, Direction::FromPort, packet, offload);
        match self.blocks.switch.route(source, net::frame(packet)) {
            Route::Drop => {}
            Route::One(port) => frames += self.hand_over(port, packet, offload, &mut plain),
            Route::Flood => {
                // CAST: there are 1024 devices at most.
                for device in 0..self.blocks.net.len() as u16 {
                    if source != Port::Device(device) {
                        frames += self.hand_over(Port::Device(device), packet, offload, &mut plain);
                    }
                }
                if source != Port::Uplink {
                    frames += self.hand_over(Port::Uplink, packet, offload, &mut plain);
                }
            }
        }
        // The frames for the wire are made once for all ports.
        if !plain.is_empty() {
            let mut scratch = std::mem::take(&mut self.scratch);
            offload::plain(packet, offload, &mut scratch, |piece| {
                for port in &plain {
                    frames += self.deliver(*port, piece, &Offload::NONE);
                }
            });
            self.scratch = scratch;
        }
        self.plain = plain;
        frames
    }

    /// Hands a packet to a port if it takes the packet as it is, or adds the port to `plain` if it takes frames for the wire.
    /// Returns how many frames it got.
    fn hand_over(
        &mut self,
        port: Port,
        packet: &mut [u8],
        offload: &Offload,
        plain: &mut Vec<Port>,
    ) -> usize {
        let suits = match port {
            Port::Uplink => offload.is_none(),
            Port::Device(device) => {
                let frame = net::frame(packet);
                match self.blocks.net.get(usize::from(device)) {
                    Some(Some(net)) if net.accepts(frame) && net.fits(frame, offload) => {
                        offload.suits(net.features)
                    }
                    _ => return 0,
                }
            }
        };
        if suits {
            return self.deliver(port, packet, offload);
        }
        plain.push(port);
        0
    }

    /// Gives a port a packet that it takes. Returns how many frames that was: none if the port doesn't run.
    fn deliver(&mut self, port: Port, packet: &mut [u8], offload: &Offload) -> usize {
        let device = match port {
            Port::Uplink => {
                self.observe(port, Direction::ToPort, packet, offload);
                if let Err(error) = self.uplink.send(net::frame(packet)) {
                    if self.limit.allows() {
                        log::warn!("uplink: sending: {error}");
                    }
                }
                return 1;
            }
            Port::Device(device) => device,
        };
        let Some(Some(net)) = self.blocks.net.get(usize::from(device)) else {
            return 0;
        };
        let merge = net.merges_buffers();
        for queue in net.receive_queues(net::frame(packet)) {
            let (engine, mut dma) = self.blocks.engine();
            match engine.receive(&mut dma, queue, packet, merge) {
                Received::Stopped => continue,
                Received::Delivered | Received::Dropped => {
                    self.observe(port, Direction::ToPort, packet, offload);
                    return 1;
                }
            }
        }
        0
    }

    /// Shows the observer, if there is one, the frames for the wire that a packet stands for.
    fn observe(&mut self, port: Port, direction: Direction, packet: &[u8], offload: &Offload) {
        let Some(observer) = &mut self.observer else {
            return;
        };
        if offload.is_none() {
            observer.frame(port, direction, net::frame(packet));
            return;
        }
        offload::plain(packet, offload, &mut Vec::new(), |piece| {
            observer.frame(port, direction, net::frame(piece))
        });
    }
}
