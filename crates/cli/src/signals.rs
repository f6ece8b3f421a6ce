//! Signals to this program.

use std::future::poll_fn;
use std::io;
use std::task::Poll;

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
