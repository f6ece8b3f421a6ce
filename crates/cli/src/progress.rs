//! Progress bars, on standard error, when somebody sees them.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use boxherd_model::{Progress, ProgressEvent};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::printer::Printer;

/// One transfer.
#[derive(Debug)]
pub(crate) struct Bar(ProgressBar);

impl Bar {
    /// Seen when the printer shows progress.
    pub(crate) fn new(printer: &Printer) -> Self {
        if !printer.shows_progress() {
            return Self(ProgressBar::hidden());
        }
        Self(style(ProgressBar::no_length()))
    }

    /// How much there will be, in bytes.
    pub(crate) fn expect(&self, bytes: u64) {
        self.0.set_length(bytes);
    }

    /// This much more is done.
    pub(crate) fn advance(&self, bytes: usize) {
        self.0.inc(bytes as u64);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Several transfers at once, such as the layers of an image.
pub(crate) struct Bars {
    all: Option<MultiProgress>,
    bars: Mutex<HashMap<String, ProgressBar>>,
}

impl Bars {
    /// Seen when the printer shows progress.
    pub(crate) fn new(printer: &Printer) -> Self {
        let all = printer.shows_progress().then(MultiProgress::new);
        Self { all, bars: Mutex::default() }
    }
}

impl Progress for Bars {
    fn event(&self, event: ProgressEvent<'_>) {
        let Some(all) = &self.all else { return };
        let mut bars = self.bars.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            ProgressEvent::Begin { item, total } => {
                let bar = total.map_or_else(ProgressBar::no_length, ProgressBar::new);
                let bar = style(all.add(bar)).with_message(item.to_owned());
                bars.insert(item.to_owned(), bar);
            }
            ProgressEvent::At { item, done } => {
                if let Some(bar) = bars.get(item) {
                    bar.set_position(done);
                }
            }
            ProgressEvent::End { item } => {
                if let Some(bar) = bars.remove(item) {
                    bar.finish_and_clear();
                }
            }
        }
    }
}

impl Drop for Bars {
    /// What failed or was interrupted leaves no bar beside what is said of it.
    fn drop(&mut self) {
        let bars = self.bars.get_mut().unwrap_or_else(PoisonError::into_inner);
        bars.values().for_each(ProgressBar::finish_and_clear);
    }
}

impl fmt::Debug for Bars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bars").finish_non_exhaustive()
    }
}

fn style(bar: ProgressBar) -> ProgressBar {
    let template =
        "{msg:24!} {wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}";
    // The template is ours and valid; a bar that looks otherwise is no reason to fail.
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
