//! Commands in boxes: what is run, its input and its output, over one bidirectional stream.

use std::fmt;
use std::time::Duration;

use boxherd_boxd_api::ExecChunk;
use bytes::Bytes;
use futures_util::{Stream, stream};
use tokio::sync::mpsc;
use tonic::Streaming;

use crate::client::{Client, Wire};
use crate::kept::{Call, Kept};
use crate::uplink::{Open, WAITING, uplink};
use crate::{Error, quote};

/// Bytes of input in one message.
const PIECE: usize = 1024 * 1024;

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
    keep: Option<Duration>,
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
        Self { line: line.into(), env: Vec::new(), workdir: None, pty: None, keep: None }
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

    /// Kept for so long, at least a second and at most an hour, when the connection to the server or the
    /// server itself is lost: [`Running::next`] then goes on with it as soon as there is a server again,
    /// with nothing lost and nothing repeated. Servers other than Boxherd do not know of this; there the
    /// command ends with its call. Nobody ends such a command when this program is killed before that time.
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

    fn first(&self, of: &str) -> Result<ExecChunk, Error> {
        let prefix = quote::prefix(&self.env, self.workdir.as_deref())?;
        let size = self.pty.unwrap_or(PtySize { rows: 0, cols: 0 });
        Ok(ExecChunk {
            vm_id: of.to_owned(),
            command: format!("{prefix}{}", self.line),
            tty: self.pty.is_some(),
            rows: size.rows.into(),
            cols: size.cols.into(),
            ..ExecChunk::default()
        })
    }
}

/// What a command does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It wrote to standard output, or to its terminal.
    Stdout(Bytes),
    /// It wrote to standard error.
    Stderr(Bytes),
    /// It ended: its own code, 128+N when signal N ended it, 126 and 127 as of a shell.
    Exit(i32),
}

/// What a command wrote, and how it ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    /// As of [`Event::Exit`].
    pub code: i32,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
}

/// A command that runs. Dropped, the command is ended with its process group.
///
/// ```no_run
/// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
/// use boxherd_client::{Command, Event};
///
/// let mut running = client.boxes().exec("web", Command::argv(["sort"])).await?;
/// let mut stdin = running.stdin().expect("taken once");
/// stdin.send("b\na\n").await?;
/// stdin.close();
/// loop {
///     match running.next().await? {
///         Event::Stdout(bytes) => print!("{}", String::from_utf8_lossy(&bytes)),
///         Event::Stderr(bytes) => eprint!("{}", String::from_utf8_lossy(&bytes)),
///         Event::Exit(code) => break assert_eq!(code, 0),
///     }
/// }
/// # Ok(())
/// # }
/// ```
pub struct Running {
    frames: Streaming<ExecChunk>,
    stdin: Option<Stdin>,
    resizer: Resizer,
    exit: Option<i32>,
    kept: Option<Kept>,
    open: Open,
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("exit", &self.exit).finish_non_exhaustive()
    }
}

impl Running {
    pub(crate) async fn start(client: &Client, of: &str, command: &Command) -> Result<Self, Error> {
        let first = command.first(of)?;
        if let Some(keep) = command.keep {
            return Self::start_kept(client, of, first, keep).await;
        }
        let mut ends = None;
        // Anew each time: a stream whose call was refused is gone.
        let asked = || {
            let (sender, open, frames) = uplink(first.clone());
            ends = Some((sender, open));
            frames
        };
        let method = |mut wire: Wire, asked| async move { wire.exec(asked).await };
        let frames = client.authorised(asked, method).await?;
        let (sender, open) = ends.ok_or_else(|| Error::server("the call was not made"))?;
        let resizer = Resizer(sender.downgrade());
        let stdin = Some(Stdin(sender));
        Ok(Self { frames, stdin, resizer, exit: None, kept: None, open })
    }

    async fn start_kept(
        client: &Client,
        of: &str,
        first: ExecChunk,
        keep: Duration,
    ) -> Result<Self, Error> {
        let (sender, input) = mpsc::channel(WAITING);
        let (resizer, stdin) = (Resizer(sender.downgrade()), Some(Stdin(sender)));
        let (kept, call) = Kept::start((client, of), first, keep, input).await?;
        let Call { frames, open } = call;
        Ok(Self { frames, stdin, resizer, exit: None, kept, open })
    }

    /// The input of the command, once. While nobody has taken it, it stays open.
    ///
    /// ```no_run
    /// # async fn example(mut running: boxherd_client::Running) -> Result<(), boxherd_client::Error> {
    /// running.stdin().expect("taken once").send("hello\n").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn stdin(&mut self) -> Option<Stdin> {
        self.stdin.take()
    }

    /// What changes the size of the command's terminal.
    ///
    /// ```no_run
    /// # async fn example(running: boxherd_client::Running) {
    /// let size = boxherd_client::PtySize { rows: 50, cols: 200 };
    /// running.resizer().resize(size).await;
    /// # }
    /// ```
    #[must_use]
    pub fn resizer(&self) -> Resizer {
        self.resizer.clone()
    }

    /// What the command does next; after [`Event::Exit`], that again.
    ///
    /// ```no_run
    /// # async fn example(mut running: boxherd_client::Running) -> Result<(), boxherd_client::Error> {
    /// println!("{:?}", running.next().await?);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn next(&mut self) -> Result<Event, Error> {
        loop {
            if let Some(kept) = &mut self.kept {
                kept.say_what_arrived();
            }
            match self.frames.message().await {
                Ok(Some(frame)) => {
                    if let Some(event) = self.take(frame) {
                        return Ok(event);
                    }
                }
                Ok(None) => {
                    let none = || Error::lost("the command's end was not told");
                    return self.exit.map(Event::Exit).ok_or_else(none);
                }
                Err(status) => match (self.exit, &mut self.kept) {
                    (Some(code), Some(_)) => return Ok(Event::Exit(code)),
                    (_, Some(kept)) => {
                        let call = kept.go_on(status.into()).await?;
                        (self.frames, self.open) = (call.frames, call.open);
                    }
                    (_, None) => return Err(status.into()),
                },
            }
        }
    }

    fn take(&mut self, frame: ExecChunk) -> Option<Event> {
        if let (Some(kept), Some(ours)) = (&self.kept, &frame.boxherd) {
            kept.taken(ours.stdin);
            return None;
        }
        if frame.data.is_empty() {
            self.exit = Some(frame.exit_code);
            if let Some(kept) = &self.kept {
                kept.say_the_end();
            }
            return None;
        }
        if let Some(kept) = &mut self.kept {
            kept.arrived(frame.is_stderr, frame.data.len());
        }
        Some(match frame.is_stderr {
            true => Event::Stderr(frame.data),
            false => Event::Stdout(frame.data),
        })
    }

    /// Everything that the command does, until it ends.
    ///
    /// ```no_run
    /// # async fn example(running: boxherd_client::Running) -> Result<(), boxherd_client::Error> {
    /// use futures_util::TryStreamExt as _;
    ///
    /// let events: Vec<_> = running.events().try_collect().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn events(self) -> impl Stream<Item = Result<Event, Error>> + Send {
        stream::unfold(Some(self), |running| async {
            let mut running = running?;
            match running.next().await {
                Ok(Event::Exit(code)) => Some((Ok(Event::Exit(code)), None)),
                Ok(event) => Some((Ok(event), Some(running))),
                Err(error) => Some((Err(error), None)),
            }
        })
    }

    /// Everything that the command writes, when it has ended. Unless somebody took its input, there
    /// is none.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// use boxherd_client::Command;
    ///
    /// let output = client.boxes().exec("web", Command::shell("exit 3")).await?.output().await?;
    /// assert_eq!(output.code, 3);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn output(mut self) -> Result<Output, Error> {
        drop(self.stdin.take());
        let mut output = Output::default();
        loop {
            match self.next().await? {
                Event::Stdout(bytes) => output.stdout.extend_from_slice(&bytes),
                Event::Stderr(bytes) => output.stderr.extend_from_slice(&bytes),
                Event::Exit(code) => return Ok(Output { code, ..output }),
            }
        }
    }

    /// Ends the command with its process group, as dropping this does.
    ///
    /// ```no_run
    /// # async fn example(running: boxherd_client::Running) {
    /// running.kill();
    /// # }
    /// ```
    pub fn kill(self) {
        drop(self);
    }

    /// The same, and waits until the server knows: for programs that end right after it.
    ///
    /// ```no_run
    /// # async fn example(running: boxherd_client::Running) {
    /// running.end().await;
    /// # }
    /// ```
    pub async fn end(mut self) {
        if let (None, Some(kept)) = (self.exit, self.kept.take()) {
            kept.ended().await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The end of the call is not that of such a command.
        if let (None, Some(kept)) = (self.exit, &self.kept) {
            kept.end_soon();
        }
    }
}

/// The input of a command. Dropped, it has ended, and a terminal is given the end of input.
#[derive(Debug)]
pub struct Stdin(mpsc::Sender<ExecChunk>);

impl Stdin {
    /// Gives the command more, when it has taken what came before. An error says that it takes no
    /// more.
    ///
    /// ```no_run
    /// # async fn example(mut stdin: boxherd_client::Stdin) -> Result<(), boxherd_client::Error> {
    /// stdin.send("hello\n").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn send(&mut self, bytes: impl Into<Bytes>) -> Result<(), Error> {
        let mut bytes = bytes.into();
        while !bytes.is_empty() {
            let data = bytes.split_to(bytes.len().min(PIECE));
            let chunk = ExecChunk { data, stdin: true, ..ExecChunk::default() };
            self.0.send(chunk).await.map_err(|_| Error::lost("the command takes no more input"))?;
        }
        Ok(())
    }

    /// Ends the input.
    ///
    /// ```no_run
    /// # fn example(stdin: boxherd_client::Stdin) {
    /// stdin.close();
    /// # }
    /// ```
    pub fn close(self) {
        drop(self);
    }
}

/// Changes the size of a command's terminal.
#[derive(Debug, Clone)]
pub struct Resizer(mpsc::WeakSender<ExecChunk>);

impl Resizer {
    /// Says that the terminal has another size; `false` when the command takes no more input, which
    /// ends this too.
    ///
    /// ```no_run
    /// # async fn example(resizer: boxherd_client::Resizer) {
    /// resizer.resize(boxherd_client::PtySize { rows: 50, cols: 200 }).await;
    /// # }
    /// ```
    pub async fn resize(&self, size: PtySize) -> bool {
        let Some(sender) = self.0.upgrade() else { return false };
        let (rows, cols) = (size.rows.into(), size.cols.into());
        let chunk = ExecChunk { window_change: true, rows, cols, ..ExecChunk::default() };
        sender.send(chunk).await.is_ok()
    }
}
