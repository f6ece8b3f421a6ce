//! The one door to standard output and standard error, but for the streams of a command in a box.

use std::io::{self, IsTerminal as _, Write as _};

use serde::Serialize;

use crate::args::{Format, Global};
use crate::columns::plain;
use crate::env;
use crate::failure::Failure;

/// Prints results and notes in the form that was asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Printer {
    format: Format,
    quiet: bool,
    color: bool,
}

impl Printer {
    /// As the flags and the terminal say.
    pub(crate) fn new(global: &Global) -> Self {
        Self { quiet: global.quiet, ..Self::of_mistakes(global.output, global.no_color) }
    }

    /// For who typed something that is no command.
    pub(crate) fn of_mistakes(format: Format, no_color: bool) -> Self {
        let color = !no_color && env::var("NO_COLOR").is_none() && io::stderr().is_terminal();
        Self { format, quiet: false, color }
    }

    /// Prints a result: as a document, or as `table` or `names` make it.
    pub(crate) fn result<T: Serialize>(
        &self,
        value: &T,
        table: impl FnOnce(&T) -> String,
        names: impl FnOnce(&T) -> Vec<String>,
    ) -> Result<(), Failure> {
        self.text(&self.form(value, table, names)?)
    }

    fn form<T: Serialize>(
        &self,
        value: &T,
        table: impl FnOnce(&T) -> String,
        names: impl FnOnce(&T) -> Vec<String>,
    ) -> Result<String, Failure> {
        let failed = |error: &dyn std::error::Error| Failure::of(error, "output", None);
        Ok(match self.format {
            Format::Table => table(value),
            Format::Name => names(value).iter().map(|name| format!("{name}\n")).collect(),
            Format::Json => {
                let json = serde_json::to_string_pretty(value).map_err(|error| failed(&error))?;
                format!("{json}\n")
            }
            Format::Yaml => serde_saphyr::to_string(value).map_err(|error| failed(&error))?,
        })
    }

    /// Prints text as it is.
    pub(crate) fn text(&self, text: &str) -> Result<(), Failure> {
        self.bytes(text.as_bytes())
    }

    /// Prints bytes as they are.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        let written = out.write_all(bytes).and_then(|()| out.flush());
        written.map_err(|error| Failure::output(&error))
    }

    /// Says something beside the result, unless quiet.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet {
            self.stderr(&format!("note: {}\n", plain(text)));
        }
    }

    /// Tells a failure.
    pub(crate) fn failure(&self, failure: &Failure) {
        self.stderr(&failure.render(self.format == Format::Json, self.color));
    }

    /// Shows help to who did not ask for it.
    pub(crate) fn help(&self, text: &str) {
        self.stderr(text);
    }

    /// Whether a progress bar would be seen.
    pub(crate) fn shows_progress(&self) -> bool {
        !self.quiet && self.format == Format::Table && io::stderr().is_terminal()
    }

    /// Whether only names were asked for.
    pub(crate) fn names_only(mut self, quiet_means_names: bool) -> Self {
        if quiet_means_names && self.quiet && self.format == Format::Table {
            self.format = Format::Name;
        }
        self
    }

    /// Whether results are columns for people.
    pub(crate) fn is_table(&self) -> bool {
        self.format == Format::Table
    }

    fn stderr(&self, text: &str) {
        // Nobody is left to be told that standard error cannot be written.
        drop(io::stderr().lock().write_all(text.as_bytes()));
    }
}
