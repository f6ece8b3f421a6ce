//! Netlink, as little of it as this room needs: a writer of messages, and a socket that sends a
//! datagram of them and reads what the kernel said to each (`man 7 netlink`).
//!
//! The kernel handles a datagram before `send` returns, so every reply can be read without waiting.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

pub(crate) const CREATE: u16 = 0x400;
pub(crate) const EXCL: u16 = 0x200;
pub(crate) const REPLACE: u16 = 0x100;
const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
const DUMP: u16 = 0x300;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// Bytes of the header of a message: length, kind, flags, sequence number, port.
const HEADER: usize = 16;
const NESTED: u16 = 0x8000;
/// A datagram of a dump is at most this long (`NLMSG_GOODSIZE` and its kin).
const RECEIVE: usize = 32 * 1024;

/// A datagram of messages; each has a step, which names it in errors.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    steps: Vec<Step>,
}

#[derive(Debug, Clone, Copy)]
struct Step {
    what: &'static str,
    forgiven: Option<Errno>,
}

/// The step that failed, and why.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) what: &'static str,
    pub(crate) errno: Errno,
}

impl Failed {
    pub(crate) fn into_io(self) -> io::Error {
        self.errno.into()
    }
}

impl Batch {
    pub(crate) fn new() -> Self {
        Self { bytes: Vec::with_capacity(1024), steps: Vec::new() }
    }

    /// Adds a request whose outcome the kernel reports.
    pub(crate) fn request(
        &mut self,
        what: &'static str,
        kind: u16,
        flags: u16,
        body: impl FnOnce(&mut Body<'_>),
    ) -> &mut Self {
        self.message(what, kind, REQUEST | ACK | flags, body)
    }

    /// Adds a request for a list.
    pub(crate) fn dump(
        &mut self,
        what: &'static str,
        kind: u16,
        body: impl FnOnce(&mut Body<'_>),
    ) -> &mut Self {
        self.message(what, kind, REQUEST | DUMP, body)
    }

    /// Adds a message that frames others and is not answered itself.
    pub(crate) fn frame(
        &mut self,
        what: &'static str,
        kind: u16,
        body: impl FnOnce(&mut Body<'_>),
    ) -> &mut Self {
        self.message(what, kind, REQUEST, body)
    }

    /// The last request may fail with `errno`.
    pub(crate) fn forgive(&mut self, errno: Errno) -> &mut Self {
        if let Some(step) = self.steps.last_mut() {
            step.forgiven = Some(errno);
        }
        self
    }

    fn message(
        &mut self,
        what: &'static str,
        kind: u16,
        flags: u16,
        body: impl FnOnce(&mut Body<'_>),
    ) -> &mut Self {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        self.bytes.extend_from_slice(&(self.steps.len() as u32).to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        body(&mut Body { bytes: &mut self.bytes });
        let length = (self.bytes.len() - start) as u32;
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
        self.steps.push(Step { what, forgiven: None });
        self
    }
}

/// The part of a message behind its header: a fixed structure, then attributes.
#[derive(Debug)]
pub(crate) struct Body<'a> {
    bytes: &'a mut Vec<u8>,
}

impl Body<'_> {
    /// The fixed structure; its length must be a multiple of 4, as all of the kernel's are.
    pub(crate) fn fixed(&mut self, bytes: &[u8]) -> &mut Self {
        debug_assert!(bytes.len().is_multiple_of(4));
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// An attribute of raw bytes.
    pub(crate) fn attr(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let length = (4 + value.len()) as u16;
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.pad();
        self
    }

    /// A text attribute, which the kernel wants with a zero at its end.
    pub(crate) fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        let length = (4 + value.len() + 1) as u16;
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.push(0);
        self.pad();
        self
    }

    /// A number in the order of this machine.
    pub(crate) fn number(&mut self, kind: u16, value: u32) -> &mut Self {
        self.attr(kind, &value.to_ne_bytes())
    }

    /// An attribute that holds attributes.
    pub(crate) fn nest(&mut self, kind: u16, inside: impl FnOnce(&mut Body<'_>)) -> &mut Self {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&(kind | NESTED).to_ne_bytes());
        inside(&mut Body { bytes: self.bytes });
        let length = (self.bytes.len() - start) as u16;
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// A netlink socket in the network namespace of the thread that opened it.
#[derive(Debug)]
pub(crate) struct Socket(OwnedFd);

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Socket {
    /// A socket to `NETLINK_ROUTE`, whose number is 0.
    pub(crate) fn route() -> io::Result<Self> {
        Self::open(None)
    }

    /// A socket to `NETLINK_ROUTE` of another network namespace. The calling thread is in there for
    /// as long as it takes to make the socket, and needs `CAP_SYS_ADMIN` over it.
    ///
    /// # Panics
    ///
    /// When the thread cannot return, which would leave the caller in the box's network.
    pub(crate) fn route_in(netns: BorrowedFd<'_>) -> io::Result<Self> {
        let home = File::open("/proc/thread-self/ns/net")?;
        let network = Some(LinkNameSpaceType::Network);
        move_into_link_name_space(netns, network)?;
        let socket = Self::route();
        move_into_link_name_space(home.as_fd(), network).expect("a thread can go home");
        socket
    }

    /// A socket to `NETLINK_NETFILTER`.
    pub(crate) fn netfilter() -> io::Result<Self> {
        Self::open(Some(rustix::net::netlink::NETFILTER))
    }

    fn open(protocol: Option<Protocol>) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC;
        Ok(Self(socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)?))
    }

    /// Sends the datagram and reports the first step that failed. The kernel carries out the steps
    /// behind a failed one too, unless they are framed as a transaction.
    pub(crate) fn exchange(&self, batch: &Batch) -> Result<(), Failed> {
        self.converse(batch, |_, _| {})
    }

    /// Like [`exchange`](Self::exchange), for requests that are answered with messages: `each` gets
    /// the kind and the body of every one.
    pub(crate) fn converse(
        &self,
        batch: &Batch,
        mut each: impl FnMut(u16, &[u8]),
    ) -> Result<(), Failed> {
        let whole = |errno| Failed { what: "send a netlink message", errno };
        send(&self.0, &batch.bytes, SendFlags::empty()).map_err(whole)?;
        let mut buffer = vec![0; RECEIVE];
        let mut failed = None;
        loop {
            let length = match recv(&self.0, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((length, _)) => length,
                Err(Errno::AGAIN) => return failed.map_or(Ok(()), Err),
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(Failed { what: "read a netlink reply", errno }),
            };
            for (kind, step, body) in Messages(&buffer[..length]) {
                match kind {
                    NLMSG_ERROR => failed = failed.or_else(|| batch.judge(step, body)),
                    NLMSG_DONE => {}
                    kind => each(kind, body),
                }
            }
        }
    }
}

impl Batch {
    /// What the kernel's verdict on a step means.
    fn judge(&self, step: u32, verdict: &[u8]) -> Option<Failed> {
        let code = i32::from_ne_bytes(verdict.get(..4)?.try_into().ok()?);
        let errno = match code {
            0 => return None,
            -4095..=-1 => Errno::from_raw_os_error(-code),
            _ => Errno::IO,
        };
        let step = self.steps.get(step as usize);
        let forgiven = step.and_then(|step| step.forgiven) == Some(errno);
        let what = step.map_or("netlink", |step| step.what);
        (!forgiven).then_some(Failed { what, errno })
    }
}

/// The messages of a datagram: kind, sequence number, body. Stops at the first torn one.
struct Messages<'a>(&'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = (u16, u32, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let header = self.0.get(..HEADER)?;
        let length = u32::from_ne_bytes(header[..4].try_into().ok()?) as usize;
        let kind = u16::from_ne_bytes(header[4..6].try_into().ok()?);
        let step = u32::from_ne_bytes(header[8..12].try_into().ok()?);
        let body = self.0.get(HEADER..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, step, body))
    }
}

/// The attributes of a message, behind its fixed structure: kind without flags, value. Stops at the
/// first torn one.
pub(crate) struct Attributes<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = u16::from_ne_bytes(self.0.get(..2)?.try_into().ok()?) as usize;
        let kind = u16::from_ne_bytes(self.0.get(2..4)?.try_into().ok()?) & 0x3fff;
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let mut batch = Batch::new();
        batch.request("a", 16, CREATE, |body| {
            body.fixed(&[7; 16]).text(3, "eth0").nest(18, |inner| {
                inner.attr(1, &[1, 2, 3]);
            });
        });
        batch.dump("b", 18, |_| {});
        let messages: Vec<_> = Messages(&batch.bytes).collect();
        assert_eq!(messages.len(), 2);
        let (kind, step, body) = messages[0];
        assert_eq!((kind, step), (16, 0));
        let attributes: Vec<_> = Attributes(&body[16..]).collect();
        assert_eq!(attributes[0], (3, b"eth0\0".as_slice()));
        assert_eq!(Attributes(attributes[1].1).collect::<Vec<_>>(), [(1, [1, 2, 3].as_slice())]);
        assert_eq!((messages[1].0, messages[1].1), (18, 1));
    }

    #[test]
    fn a_failed_step_is_named_unless_it_is_forgiven() {
        let mut batch = Batch::new();
        batch.request("first", 1, 0, |_| {}).forgive(Errno::EXIST).request("second", 1, 0, |_| {});
        let verdict = (-Errno::EXIST.raw_os_error()).to_ne_bytes();
        assert!(batch.judge(0, &verdict).is_none());
        assert_eq!(batch.judge(1, &verdict).unwrap().what, "second");
        assert!(batch.judge(1, &0i32.to_ne_bytes()).is_none());
    }

    proptest! {
        #[test]
        fn garbage_ends_the_reading(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Messages(&bytes).count() <= bytes.len() / HEADER);
            prop_assert!(Attributes(&bytes).count() <= bytes.len() / 4);
        }
    }
}
