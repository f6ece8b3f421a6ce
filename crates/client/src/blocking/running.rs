//! What goes on after the call that began it.

use bytes::Bytes;

use super::wait::Wait;
use crate::{Error, Event, Output, PtySize};

/// [`Running`](crate::Running), waited for. Dropped, the command is ended as it is there.
#[derive(Debug)]
pub struct Running {
    inner: crate::Running,
    wait: Wait,
}

impl Running {
    pub(super) fn new(inner: crate::Running, wait: Wait) -> Self {
        Self { inner, wait }
    }

    /// As [`Running::stdin`](crate::Running::stdin).
    pub fn stdin(&mut self) -> Option<Stdin> {
        self.inner.stdin().map(|inner| Stdin { inner, wait: self.wait.clone() })
    }

    /// As [`Running::resizer`](crate::Running::resizer).
    #[must_use]
    pub fn resizer(&self) -> Resizer {
        Resizer { inner: self.inner.resizer(), wait: self.wait.clone() }
    }

    /// As [`Running::next`](crate::Running::next), waited for.
    #[expect(clippy::should_implement_trait, reason = "it has the name that it has elsewhere")]
    pub fn next(&mut self) -> Result<Event, Error> {
        self.wait.until(self.inner.next())
    }

    /// As [`Running::events`](crate::Running::events), one after the other.
    pub fn events(self) -> impl Iterator<Item = Result<Event, Error>> + Send {
        let mut running = Some(self);
        std::iter::from_fn(move || {
            let event = running.as_mut()?.next();
            if !matches!(event, Ok(Event::Stdout(_) | Event::Stderr(_))) {
                running = None;
            }
            Some(event)
        })
    }

    /// As [`Running::output`](crate::Running::output), waited for.
    pub fn output(self) -> Result<Output, Error> {
        self.wait.until(self.inner.output())
    }

    /// As [`Running::kill`](crate::Running::kill).
    pub fn kill(self) {
        self.inner.kill();
    }

    /// As [`Running::end`](crate::Running::end), waited for.
    pub fn end(self) {
        self.wait.until(self.inner.end());
    }
}

/// [`Stdin`](crate::Stdin), waited for.
#[derive(Debug)]
pub struct Stdin {
    inner: crate::Stdin,
    wait: Wait,
}

impl Stdin {
    /// As [`Stdin::send`](crate::Stdin::send), waited for.
    pub fn send(&mut self, bytes: impl Into<Bytes>) -> Result<(), Error> {
        self.wait.until(self.inner.send(bytes))
    }

    /// As [`Stdin::close`](crate::Stdin::close).
    pub fn close(self) {
        self.inner.close();
    }
}

/// [`Resizer`](crate::Resizer), waited for.
#[derive(Debug, Clone)]
pub struct Resizer {
    inner: crate::Resizer,
    wait: Wait,
}

impl Resizer {
    /// As [`Resizer::resize`](crate::Resizer::resize), waited for.
    pub fn resize(&self, size: PtySize) -> bool {
        self.wait.until(self.inner.resize(size))
    }
}

macro_rules! pieces {
    ($($Type:ident)*) => {$(
        #[doc = concat!("[`", stringify!($Type), "`](crate::", stringify!($Type), "), waited for.")]
        #[derive(Debug)]
        pub struct $Type {
            inner: crate::$Type,
            wait: Wait,
        }

        impl $Type {
            pub(super) fn new(inner: crate::$Type, wait: Wait) -> Self {
                Self { inner, wait }
            }
        }
    )*};
}

pieces! { Incoming Logs Outgoing Reader }

impl Incoming {
    /// As [`Incoming::next`](crate::Incoming::next), waited for.
    #[expect(clippy::should_implement_trait, reason = "it has the name that it has elsewhere")]
    pub fn next(&mut self) -> Result<Option<Bytes>, Error> {
        self.wait.until(self.inner.next())
    }
}

impl Outgoing {
    /// As [`Outgoing::send`](crate::Outgoing::send), waited for.
    pub fn send(&mut self, bytes: impl Into<Bytes>) -> Result<(), Error> {
        self.wait.until(self.inner.send(bytes))
    }

    /// As [`Outgoing::close`](crate::Outgoing::close).
    pub fn close(self) {
        self.inner.close();
    }
}

impl Logs {
    /// As [`Logs::next`](crate::Logs::next), waited for.
    #[expect(clippy::should_implement_trait, reason = "it has the name that it has elsewhere")]
    pub fn next(&mut self) -> Result<Option<Bytes>, Error> {
        self.wait.until(self.inner.next())
    }
}

impl Reader {
    /// As [`Reader::next`](crate::Reader::next), waited for.
    #[expect(clippy::should_implement_trait, reason = "it has the name that it has elsewhere")]
    pub fn next(&mut self) -> Result<Option<Bytes>, Error> {
        self.wait.until(self.inner.next())
    }
}
