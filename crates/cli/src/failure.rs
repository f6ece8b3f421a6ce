//! What went wrong, as people and scripts read it.

use std::borrow::Cow;
use std::error::Error;
use std::io;

use rustix::io::Errno;
use serde_json::json;

use crate::columns::plain;

/// The exit code of `run`, `exec` and `shell` when Boxherd itself failed.
pub(crate) const OURS: u8 = 125;
/// What a shell makes of a program that SIGPIPE ended.
const BROKEN_PIPE: u8 = 141;

/// The code of a link that broke while it was used.
pub(crate) const LINK_LOST: &str = "link-lost";

/// Why a command of ours failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// To be told, with a stable code and perhaps a way out.
    Told {
        /// The message, with its causes.
        message: String,
        /// Stable, for scripts.
        code: Cow<'static, str>,
        /// What to do.
        hint: Option<String>,
    },
    /// Whoever read our output has gone: nothing to tell and nobody to tell it to.
    BrokenPipe,
    /// Everything was told already.
    Quiet,
}

impl Failure {
    /// A mistake in what was asked for.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new("usage", message)
    }

    /// A failure without a known way out.
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self::Told { message: message.into(), code: code.into(), hint: None }
    }

    /// With a way out.
    #[must_use]
    pub(crate) fn hint(mut self, text: impl Into<String>) -> Self {
        if let Self::Told { hint, .. } = &mut self {
            *hint = Some(text.into());
        }
        self
    }

    /// From an error and its causes.
    pub(crate) fn of(error: &dyn Error, code: &'static str, hint: Option<String>) -> Self {
        Self::Told { message: chain(error), code: code.into(), hint }
    }

    /// An error of the system about something.
    pub(crate) fn io(what: impl std::fmt::Display, error: &io::Error) -> Self {
        Self::new("io", format!("{what}: {}", chain(error)))
    }

    /// Of writing to our standard output.
    pub(crate) fn output(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::BrokenPipe,
            _ => Self::io("cannot write to standard output", error),
        }
    }

    /// The stable code, of what is to be told.
    pub(crate) fn code(&self) -> Option<&str> {
        match self {
            Self::Told { code, .. } => Some(code),
            Self::BrokenPipe | Self::Quiet => None,
        }
    }

    /// What is to be told, without what to do.
    pub(crate) fn message(&self) -> &str {
        match self {
            Self::Told { message, .. } => message,
            Self::BrokenPipe | Self::Quiet => "",
        }
    }

    /// The lines for standard error; empty when there is nothing to tell.
    pub(crate) fn render(&self, json: bool, color: bool) -> String {
        let Self::Told { message, code, hint } = self else { return String::new() };
        if json {
            let error = json!({ "error": { "code": code, "message": message, "hint": hint } });
            return format!("{error}\n");
        }
        let (red, blue, off) =
            if color { ("\x1b[1;31m", "\x1b[1;34m", "\x1b[0m") } else { ("", "", "") };
        let message = plain(message).replace('\n', " ");
        let mut text = format!("{red}error:{off} {message}\n");
        if let Some(hint) = hint {
            text.push_str(&format!("{blue}hint:{off} {}\n", plain(hint).replace('\n', " ")));
        }
        text
    }

    /// What to exit with, where `told` is for failures that were told.
    pub(crate) fn exit_code(&self, told: u8) -> u8 {
        match self {
            Self::BrokenPipe => BROKEN_PIPE,
            Self::Told { .. } | Self::Quiet => told,
        }
    }
}

/// An error and its causes in one line, without a cause that the text before it has said.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

impl From<boxherd_engine::EngineError> for Failure {
    fn from(error: boxherd_engine::EngineError) -> Self {
        Self::of(&error, error.code(), error.hint().map(str::to_owned))
    }
}

impl From<boxherd_link::LinkError> for Failure {
    fn from(error: boxherd_link::LinkError) -> Self {
        use boxherd_link::LinkError as E;
        let code = match error {
            E::Lost { .. } | E::Closed => LINK_LOST,
            E::Silent { .. } => "agent-silent",
            E::Protocol(_) | E::Version { .. } => "protocol",
            E::File { .. } => "file",
            E::Dial { .. } => "port",
            E::Refused { .. } => "refused",
            _ => "link",
        };
        let full = error.errno().is_some_and(|errno| {
            [Errno::NOSPC, Errno::DQUOT].contains(&Errno::from_raw_os_error(errno))
        });
        let hint = full.then(|| {
            "free space in the box; if it has no limit of its own, on the filesystem of the data folder"
                .to_owned()
        });
        Self::of(&error, code, hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_and_a_hint() {
        let failure = Failure::new("in-use", "the name is taken").hint("choose another");
        assert_eq!(
            failure.render(false, false),
            "error: the name is taken\nhint: choose another\n"
        );
    }

    #[test]
    fn scripts_get_an_object() {
        let failure = Failure::new("in-use", "a\nb");
        let parsed: serde_json::Value = serde_json::from_str(&failure.render(true, true)).unwrap();
        assert_eq!(parsed["error"]["code"], "in-use");
        assert_eq!(parsed["error"]["message"], "a\nb");
        assert!(parsed["error"]["hint"].is_null());
    }

    #[test]
    fn causes_are_said_once() {
        let inner = io::Error::other("no space");
        let outer = boxherd_engine::EngineError::refused("write the record", inner);
        let Failure::Told { message, code, .. } = outer.into() else { panic!() };
        assert_eq!((message.as_str(), &*code), ("write the record failed: no space", "refused"));
    }

    #[test]
    fn a_broken_pipe_is_quiet() {
        let failure = Failure::output(&io::ErrorKind::BrokenPipe.into());
        assert_eq!(failure.render(false, false), "");
        assert_eq!(failure.exit_code(1), 141);
    }

    #[test]
    fn a_box_cannot_paint_our_terminal() {
        let failure = Failure::new("refused", "\x1b[2Jevil\nhint: do it");
        assert!(!failure.render(false, false).contains('\x1b'));
        assert_eq!(failure.render(false, false).lines().count(), 1);
    }
}
