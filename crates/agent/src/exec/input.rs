//! The input of a command: bytes that have arrived and are not written yet.

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::task::{Context, Poll};

use boxherd_sys::watch::Watched;
use bytes::{Buf, Bytes};
use rustix::io::{Errno, write};

/// What a terminal takes for the end of input.
const END_OF_TRANSMISSION: &[u8] = b"\x04";

/// Bytes on their way to a command.
pub(super) struct Input {
    fd: Option<Arc<Watched>>,
    terminal: bool,
    /// With what they cost, if they came over the link that is attached now.
    queue: VecDeque<(Bytes, u32)>,
    received: u64,
    ended: bool,
}

impl Input {
    pub(super) fn new(fd: Option<Arc<Watched>>, terminal: bool) -> Self {
        Self { fd, terminal, queue: VecDeque::new(), received: 0, ended: false }
    }

    /// Bytes that have arrived, from the start.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Whether more may come.
    pub(super) fn is_open(&self) -> bool {
        self.fd.is_some() && !self.ended
    }

    /// Takes bytes, and whether they are the last.
    pub(super) fn push(&mut self, bytes: Bytes, fin: bool, cost: u32) {
        self.received += bytes.len() as u64;
        self.queue.push_back((bytes, cost));
        if fin && !self.ended {
            self.ended = true;
            if self.terminal {
                self.queue.push_back((Bytes::from_static(END_OF_TRANSMISSION), 0));
            }
        }
    }

    /// The link that the waiting bytes came over is gone: nobody is owed credit for them.
    pub(super) fn forget_costs(&mut self) {
        for (_, cost) in &mut self.queue {
            *cost = 0;
        }
    }

    /// The command has ended, or reads no more.
    pub(super) fn close(&mut self) {
        self.fd = None;
    }

    /// Writes what it can and says what the written bytes had cost. Pending while nothing can be
    /// written. A command that has closed its input swallows everything.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<u32> {
        loop {
            let Some((bytes, cost)) = self.queue.front_mut() else {
                if self.ended && !self.terminal {
                    self.fd = None;
                }
                return Poll::Pending;
            };
            let written = match &self.fd {
                Some(fd) if !bytes.is_empty() => match poll_write_some(fd, cx, bytes) {
                    Poll::Ready(written) => written,
                    Poll::Pending => return Poll::Pending,
                },
                _ => None,
            };
            match written {
                Some(count) if count < bytes.len() => bytes.advance(count),
                Some(_) => {
                    let cost = *cost;
                    self.queue.pop_front();
                    return Poll::Ready(cost);
                }
                None => {
                    let cost = *cost;
                    if !bytes.is_empty() {
                        self.fd = None;
                    }
                    self.queue.pop_front();
                    return Poll::Ready(cost);
                }
            }
        }
    }
}

/// How much was written; `None` when nobody reads any more.
fn poll_write_some(fd: &Watched, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Option<usize>> {
    loop {
        let Ok(mut guard) = std::task::ready!(fd.poll_write_ready(cx)) else {
            return Poll::Ready(None);
        };
        match write(fd.as_fd(), bytes) {
            Ok(count) => return Poll::Ready(Some(count)),
            Err(Errno::AGAIN) => guard.clear_ready(),
            Err(Errno::INTR) => {}
            Err(_) => return Poll::Ready(None),
        }
    }
}
