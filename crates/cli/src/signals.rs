//! Signals to this program.

use std::future::poll_fn;
use std::io;
use std::task::Poll;

use crate::failure::Failure;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Signals that would end us, and those that programs give a meaning of their own. From the moment
/// this is made they end nothing any more: whoever made it acts on them.
#[derive(Debug)]
pub(crate) struct Signals(Vec<(i32, Signal)>);

impl Signals {
    /// Takes SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1 and SIGUSR2.
    pub(crate) fn take() -> io::Result<Self> {
        let kinds = [
            SignalKind::interrupt(),
            SignalKind::terminate(),
            SignalKind::hangup(),
            SignalKind::quit(),
            SignalKind::user_defined1(),
            SignalKind::user_defined2(),
        ];
        let taken = kinds.map(|kind| Ok((kind.as_raw_value(), signal(kind)?)));
        taken.into_iter().collect::<io::Result<_>>().map(Self)
    }

    /// The number of the next signal.
    pub(crate) async fn next(&mut self) -> i32 {
        poll_fn(|cx| {
            let mut came = self.0.iter_mut();
            let came = came.find_map(|(number, signal)| {
                matches!(signal.poll_recv(cx), Poll::Ready(Some(()))).then_some(*number)
            });
            came.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// The number of the next signal that asks a program to end.
    pub(crate) async fn ending(&mut self) -> i32 {
        loop {
            let signal = self.next().await;
            if ends(signal) {
                return signal;
            }
        }
    }
}

/// Changes of the terminal's size.
pub(crate) fn resizes() -> io::Result<Signal> {
    signal(SignalKind::window_change())
}

/// Does `work` unless a signal asks us to end; it is dropped then, cleans up after itself, and `left`
/// says what is left of it.
pub(crate) async fn uninterrupted<T, E: Into<Failure>>(
    work: impl Future<Output = Result<T, E>>,
    left: &str,
) -> Result<T, Failure> {
    let mut signals = Signals::take().map_err(|error| Failure::io("signals", &error))?;
    tokio::select! {
        done = work => done.map_err(Into::into),
        _ = signals.ending() => Err(Failure::new("interrupted", "interrupted").hint(left)),
    }
}

/// Whether a signal asks a program to end.
pub(crate) fn ends(signal: i32) -> bool {
    let ends = [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
        SignalKind::quit(),
    ];
    ends.iter().any(|kind| kind.as_raw_value() == signal)
}
