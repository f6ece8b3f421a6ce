//! Commands in boxes: what is run, its input and its output, over one bidirectional stream.

use std::fmt;
use std::time::Duration;

use boxherd_boxd_api::ExecChunk;
use bytes::Bytes;
use futures_util::{Stream, stream};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tonic::{Code, Streaming};

use crate::client::{Client, Wire};
use crate::kept::{Call, Kept};
use crate::uplink::{Open, WAITING, uplink};
use crate::{Command, Error, PtySize};

/// Bytes of input in one message.
const PIECE: usize = 1024 * 1024;

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
    /// What it was started with, and when that is up.
    limit: Option<(Duration, Instant)>,
    open: Open,
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("exit", &self.exit).finish_non_exhaustive()
    }
}

impl Running {
    /// Without input, if that is `over` before it begins: the server is told in the same breath.
    pub(crate) async fn start(
        client: &Client,
        of: &str,
        command: &Command,
        over: bool,
    ) -> Result<Self, Error> {
        let first = command.first(of)?;
        if command.user.is_some() {
            client.needs("user").await?;
        }
        // What is too far away never comes.
        let limit =
            command.timeout.and_then(|time| Some((time, Instant::now().checked_add(time)?)));
        let starting = async {
            match command.keep {
                Some(keep) => Self::start_kept(client, of, first, keep).await,
                None => Self::start_plain(client, first, over).await,
            }
        };
        let mut running = within(limit, starting).await?;
        running.limit = limit;
        Ok(running)
    }

    async fn start_plain(client: &Client, first: ExecChunk, over: bool) -> Result<Self, Error> {
        let mut ends = None;
        // Anew each time: a stream whose call was refused is gone.
        let asked = || {
            let (sender, open, frames) = uplink(first.clone());
            let resizer = Resizer(sender.downgrade());
            ends = Some(((!over).then_some(Stdin(sender)), resizer, open));
            frames
        };
        let method = |mut wire: Wire, asked| async move { wire.exec(asked).await };
        let frames = client.authorised(asked, method).await?;
        let (stdin, resizer, open) = ends.ok_or_else(|| Error::server("the call was not made"))?;
        Ok(Self { frames, stdin, resizer, exit: None, kept: None, limit: None, open })
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
        Ok(Self { frames, stdin, resizer, exit: None, kept, limit: None, open })
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
        within(self.limit, self.event()).await
    }

    async fn event(&mut self) -> Result<Event, Error> {
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

/// What is done before the time is up.
async fn within<T>(
    limit: Option<(Duration, Instant)>,
    done: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let Some((time, end)) = limit else { return done.await };
    let late = |_| {
        let message = format!("the command took longer than {} s", time.as_secs_f64());
        Error::of(Code::DeadlineExceeded, message)
    };
    timeout_at(end, done).await.map_err(late)?
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
