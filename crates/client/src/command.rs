//! What is to be run in a box. Pure.

use std::time::Duration;

use boxherd_boxd_api::ExecChunk;

use crate::{Error, quote};

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PtySize {
    /// Lines.
    pub rows: u16,
    /// Columns.
    pub cols: u16,
}

/// What is to be run.
///
/// ```no_run
/// use boxherd_client::Command;
///
/// let compile = Command::argv(["make", "-j2"]).env("CC", "clang").workdir("/src");
/// let count = Command::shell("ls | wc -l");
/// ```
#[derive(Debug, Clone)]
pub struct Command {
    line: String,
    env: Vec<(String, String)>,
    workdir: Option<String>,
    pty: Option<PtySize>,
    pub(crate) user: Option<String>,
    pub(crate) keep: Option<Duration>,
    pub(crate) timeout: Option<Duration>,
}

impl Command {
    /// A program and its arguments, as they are.
    ///
    /// ```no_run
    /// let command = boxherd_client::Command::argv(["echo", "it's $5"]);
    /// ```
    #[must_use]
    pub fn argv<I>(argv: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        let argv: Vec<String> = argv.into_iter().map(Into::into).collect();
        Self::shell(quote::argv(&argv))
    }

    /// A line for `sh -c` in the box.
    ///
    /// ```no_run
    /// let command = boxherd_client::Command::shell("echo $HOME");
    /// ```
    #[must_use]
    pub fn shell(line: impl Into<String>) -> Self {
        let line = line.into();
        let (env, workdir, pty) = (Vec::new(), None, None);
        Self { line, env, workdir, pty, user: None, keep: None, timeout: None }
    }

    /// With a variable. It is sent in the line, so that its name must be one that a shell can set.
    ///
    /// ```no_run
    /// let command = boxherd_client::Command::shell("echo $A").env("A", "1");
    /// ```
    #[must_use]
    pub fn env(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push((key.into(), value.into()));
        self
    }

    /// In this folder of the box.
    ///
    /// ```no_run
    /// let command = boxherd_client::Command::argv(["ls"]).workdir("/etc");
    /// ```
    #[must_use]
    pub fn workdir(mut self, folder: impl Into<String>) -> Self {
        self.workdir = Some(folder.into());
        self
    }

    /// On a terminal, to which standard error goes too.
    ///
    /// ```no_run
    /// use boxherd_client::{Command, PtySize};
    ///
    /// let command = Command::argv(["bash", "-l"]).pty(PtySize { rows: 24, cols: 80 });
    /// ```
    #[must_use]
    pub fn pty(mut self, size: PtySize) -> Self {
        self.pty = Some(size);
        self
    }

    /// As this user of the box: a name or a number, or either with `:GROUP`. Only servers of Boxherd can be
    /// told.
    ///
    /// ```no_run
    /// let command = boxherd_client::Command::argv(["id"]).user("nobody");
    /// ```
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Kept for so long, at least a second and at most an hour, when the connection to the server or the
    /// server itself is lost: [`Running::next`](crate::Running::next) then goes on with it as soon as there
    /// is a server again, with nothing lost and nothing repeated. Servers other than Boxherd do not know of
    /// this; there the command ends with its call. Nobody ends such a command when this program is killed
    /// before that time.
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// let build = boxherd_client::Command::argv(["make"]).keep(Duration::from_secs(60));
    /// ```
    #[must_use]
    pub fn keep(mut self, time: Duration) -> Self {
        self.keep = Some(time.clamp(Duration::from_secs(1), Duration::from_secs(3600)));
        self
    }

    /// Not for longer than so, counted from when it is started: then [`Error::TimedOut`] comes instead of
    /// what it does next, and the command ends with its [`Running`](crate::Running).
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// let check = boxherd_client::Command::argv(["true"]).timeout(Duration::from_secs(5));
    /// ```
    #[must_use]
    pub fn timeout(mut self, time: Duration) -> Self {
        self.timeout = Some(time);
        self
    }

    pub(crate) fn first(&self, of: &str) -> Result<ExecChunk, Error> {
        let prefix = quote::prefix(&self.env, self.workdir.as_deref())?;
        let size = self.pty.unwrap_or(PtySize { rows: 0, cols: 0 });
        Ok(ExecChunk {
            vm_id: of.to_owned(),
            command: format!("{prefix}{}", self.line),
            tty: self.pty.is_some(),
            rows: size.rows.into(),
            cols: size.cols.into(),
            boxherd_user: self.user.clone().unwrap_or_default(),
            ..ExecChunk::default()
        })
    }
}
