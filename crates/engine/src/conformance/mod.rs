//! The suite that every engine passes: what the contracts of [`Engine`](crate::Engine) mean, as
//! cases that run against real boxes.
//!
//! An engine's tests implement [`Subject`] and call [`main`] from a test target with
//! `harness = false`, so that each case is a test of its own under `cargo test` and nextest:
//!
//! ```ignore
//! fn main() -> std::process::ExitCode {
//!     boxherd_engine::conformance::main(|| Ok(std::sync::Arc::new(MySubject::open()?)))
//! }
//! ```
//!
//! Each theme is a file of short cases that get a [`Stage`]. What a case needs beyond what every
//! engine has stands in one place, `needs.rs`; nothing else is ever skipped. Cases run side by side
//! on one engine, so that none may look at boxes other than its own.
//!
//! Start reading in `lifecycle.rs`.

mod crowd;
mod disks;
mod entries;
mod exec;
mod exec_table;
mod fences;
mod files;
mod fork;
mod lifecycle;
mod limits;
mod memory;
mod needs;
mod ports;
mod pty;
mod reattach;
mod reopen;
mod runner;
mod snapshots;
mod stage;
mod streams;
mod suspend;
mod trees;

pub use needs::{Need, needs};
pub use runner::{Report, main, main_of, run};
pub use stage::{Guest, Stage, Subject};

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// How a case ends: an assertion that does not hold panics, a call that fails is returned.
pub type Outcome = Result<(), Box<dyn Error + Send + Sync>>;

type Run = Arc<dyn Fn(Arc<Stage>) -> Pin<Box<dyn Future<Output = Outcome> + Send>> + Send + Sync>;

/// One case of the suite.
#[derive(Clone)]
pub struct Case {
    /// `THEME::SENTENCE`, unique.
    pub name: String,
    run: Run,
}

impl Case {
    fn new<F>(
        name: impl Into<String>,
        run: impl Fn(Arc<Stage>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        let run: Run = Arc::new(move |stage| Box::pin(run(stage)));
        Self { name: name.into(), run }
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Lists the cases of a theme: the functions by name.
macro_rules! theme {
    ($theme:literal: $($case:ident),+ $(,)?) => {
        pub(super) fn cases() -> Vec<super::Case> {
            vec![$(super::Case::new(
                concat!($theme, "::", stringify!($case)),
                |stage| async move { $case(&stage).await },
            )),+]
        }
    };
}
use theme;

/// Every case, theme by theme.
#[must_use]
pub fn cases() -> Vec<Case> {
    let themes = [
        lifecycle::cases,
        limits::cases,
        exec_table::cases,
        exec::cases,
        streams::cases,
        pty::cases,
        reattach::cases,
        files::cases,
        entries::cases,
        trees::cases,
        ports::cases,
        fork::cases,
        snapshots::cases,
        disks::cases,
        suspend::cases,
        memory::cases,
        reopen::cases,
        fences::cases,
        crowd::cases,
    ];
    themes.into_iter().flat_map(|theme| theme()).collect()
}
