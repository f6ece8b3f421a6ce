//! The terminal that the user sits at: its size, and raw mode that always ends.

use std::io;
use std::sync::{Mutex, PoisonError};

use boxherd_link::PtySize;
use rustix::stdio::{stderr, stdin, stdout};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};

/// What the terminal was before it was made raw. For the panic hook, which has no other way to it:
/// a release build aborts and drops nothing.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Whether standard input is a terminal.
pub(crate) fn input_is_terminal() -> bool {
    isatty(stdin())
}

/// Whether standard output is a terminal.
pub(crate) fn output_is_terminal() -> bool {
    isatty(stdout())
}

/// The size of the terminal, or what a terminal without one is taken for.
pub(crate) fn size() -> PtySize {
    let sizes = [tcgetwinsize(stdout()), tcgetwinsize(stdin()), tcgetwinsize(stderr())];
    let known = sizes.into_iter().flatten().find(|size| size.ws_row > 0 && size.ws_col > 0);
    known.map_or(PtySize { rows: 24, cols: 80 }, |size| PtySize {
        rows: size.ws_row,
        cols: size.ws_col,
    })
}

/// The terminal passes every byte on as it is. Dropped, it is as it was.
#[derive(Debug)]
pub(crate) struct RawMode(());

impl RawMode {
    /// Makes the terminal raw.
    pub(crate) fn enter() -> io::Result<Self> {
        let before = tcgetattr(stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        restore_on_panic();
        // Not flushed: what was typed ahead is for the command.
        tcsetattr(stdin(), OptionalActions::Drain, &raw)?;
        Ok(Self(()))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(before) = before {
        // A terminal that has hung up has no mode to be given back.
        let _ = tcsetattr(stdin(), OptionalActions::Now, &before);
    }
}

fn restore_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        restore();
        report(panic);
    }));
}
