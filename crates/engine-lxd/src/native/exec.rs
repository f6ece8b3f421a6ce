//! Commands, each an exec of the server's.

use std::future::pending;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use boxherd_link::channel::{STDERR, STDOUT};
use boxherd_link::conn::{Inbound, Stream};
use boxherd_link::proto::{self, Answer, Do, Failure};
use boxherd_link::users::{User, find_user};
use boxherd_lxd_client::{Error, ExecRequest, LiveExec, Output, Signals};
use bytes::Bytes;
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::{Native, end, failed, refused, text};
use crate::console::content;

/// The largest `/etc/passwd` that is read, in bytes.
const MOST_ACCOUNTS: usize = 1 << 20;
/// What is read of a terminal at once, in bytes.
const PIECE: usize = 64 * 1024;
const SIGKILL: i32 = 9;

/// How a command of the server's ended.
enum End {
    Exit(Result<i32, Error>),
    TimedOut,
    /// Nobody waits for it any more.
    Left,
}

impl Native {
    /// Runs a command and ends the stream with how it ended.
    pub(super) async fn exec(&self, stream: Stream, asked: &proto::Exec) {
        let request = match self.request(asked).await {
            Ok(request) => request,
            Err(failure) => return end(&stream, failure),
        };
        let timeout = asked.timeout_ms.map(Duration::from_millis);
        let ended = match asked.pty {
            None => self.live(&stream, &request, asked.stdin, timeout).await,
            Some(size) => self.terminal(&stream, &request, size, timeout).await,
        };
        let ended = match ended {
            Ok(End::Exit(Ok(code))) => proto::Ended::Code(code),
            Ok(End::TimedOut) => proto::Ended::TimedOut(proto::Nothing {}),
            Ok(End::Left) => return,
            Ok(End::Exit(Err(Error::OperationFailed { message, .. })))
                if let Some((code, why)) = like_a_shell(&message) =>
            {
                let program = request.command.first().map_or("", String::as_str);
                // Who has left needs no reason.
                drop(stream.send(STDERR, format!("{program}: {why}\n").into()).await);
                proto::Ended::Code(code)
            }
            Ok(End::Exit(Err(error))) | Err(error) => return end(&stream, failed(&error)),
        };
        stream.end(Answer::Exit(proto::Exit { ended: Some(ended) }));
    }

    async fn live(
        &self,
        stream: &Stream,
        request: &ExecRequest,
        has_input: bool,
        timeout: Option<Duration>,
    ) -> Result<End, Error> {
        let exec = self.instance.exec(request).await?;
        let code = exec.wait();
        let LiveExec { mut stdin, mut stdout, mut stderr, signals, .. } = exec;
        if !has_input {
            // It may have ended already.
            drop(stdin.shutdown().await);
        }
        started(stream, has_input);
        let outputs = async {
            // Of a stream that is gone the rest of this hears too.
            let (out, err) = tokio::join!(
                pass_on(&mut stdout, stream, STDOUT),
                pass_on(&mut stderr, stream, STDERR)
            );
            out.and(err)
        };
        let never_resized = |_| async {};
        Ok(tokio::select! {
            end = async { outputs.await; End::Exit(code.await) } => end,
            end = follow(stream, stdin, &signals, never_resized) => end,
            end = time_out(timeout, &signals) => end,
        })
    }

    async fn terminal(
        &self,
        stream: &Stream,
        request: &ExecRequest,
        size: proto::Size,
        timeout: Option<Duration>,
    ) -> Result<End, Error> {
        let (columns, rows) = (cells(size.cols), cells(size.rows));
        let terminal = self.instance.exec_terminal(request, columns, rows).await?;
        let code = terminal.wait();
        let signals = terminal.signals().clone();
        started(stream, true);
        let (mut output, input) = tokio::io::split(terminal);
        let output = async {
            let mut piece = vec![0; PIECE];
            // A terminal that ends with an error has ended.
            while let Ok(count @ 1..) = output.read(&mut piece).await {
                let bytes = Bytes::copy_from_slice(&piece[..count]);
                if stream.send(STDOUT, bytes).await.is_err() {
                    return;
                }
            }
        };
        let resize = |size: proto::Size| {
            let signals = signals.clone();
            // One whose command has ended has no size.
            async move { drop(signals.resize(cells(size.cols), cells(size.rows)).await) }
        };
        Ok(tokio::select! {
            end = async { output.await; End::Exit(code.await) } => end,
            end = follow(stream, input, &signals, resize) => end,
            end = time_out(timeout, &signals) => end,
        })
    }

    /// A command as the server is asked for it.
    async fn request(&self, asked: &proto::Exec) -> Result<ExecRequest, Failure> {
        let argv: Vec<&[u8]> = match (&asked.shell, asked.argv.is_empty()) {
            (Some(line), true) => vec![b"/bin/sh", b"-c", b"--", line],
            (None, false) => asked.argv.iter().map(Vec::as_slice).collect(),
            _ => return Err(refused("give a program or a shell line, and not both")),
        };
        let words: Result<Vec<_>, _> = argv.iter().map(|word| text(word, "an argument")).collect();
        let mut request = ExecRequest::new(words?);
        let (mut user, mut group) = (0, 0);
        if let Some(who) = asked.user.as_deref().filter(|who| !matches!(*who, "0" | "root")) {
            let found = self.user(who).await?;
            (user, group) = (found.uid, found.gid);
            let name = String::from_utf8_lossy(&found.name).into_owned();
            let home = found.home.to_string_lossy().into_owned();
            let shell = String::from_utf8_lossy(&found.shell).into_owned();
            let known = [("HOME", &home), ("USER", &name), ("LOGNAME", &name), ("SHELL", &shell)];
            let known = known.map(|(key, value)| (key.to_owned(), value.clone()));
            request.environment.extend(known);
            request.cwd = home;
        }
        for proto::Env { name, value } in &asked.env {
            let name = text(name, "the name of a variable")?.to_owned();
            let value = text(value, &format!("the value of `{name}`"))?.to_owned();
            request.environment.insert(name, value);
        }
        if let Some(folder) = &asked.workdir {
            request.cwd = text(folder, "the folder")?.to_owned();
        }
        Ok(ExecRequest { user, group, ..request })
    }

    async fn user(&self, who: &str) -> Result<User, Failure> {
        let read = async |path| content(&self.instance, path, MOST_ACCOUNTS).await;
        let (passwd, group) = tokio::try_join!(read("/etc/passwd"), read("/etc/group"))
            .map_err(|error| failed(&error))?;
        // A box without these files still has numbers.
        find_user(who, &passwd.unwrap_or_default(), &group.unwrap_or_default()).map_err(refused)
    }
}

/// What a shell exits with, and says, when the server says that of a program that it did not run.
pub(crate) fn like_a_shell(message: &str) -> Option<(i32, &'static str)> {
    match message {
        "Command not found" => Some((127, "not found")),
        "Command not executable" => Some((126, "permission denied")),
        _ => None,
    }
}

fn started(stream: &Stream, stdin_open: bool) {
    // No other link goes on with it: the number only tells it from others.
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    let started = proto::Started { id, stdin: 0, stdin_open };
    stream.message(&proto::Reply { answer: Some(Answer::Started(started)) });
}

/// Passes one output on; `None` when nobody takes it any more.
async fn pass_on(output: &mut Output, stream: &Stream, channel: u8) -> Option<()> {
    // An output that breaks has ended: the end of the command says how.
    while let Ok(Some(bytes)) = output.chunk().await {
        stream.send(channel, bytes).await.ok()?;
    }
    Some(())
}

/// Does what the other end of the stream says, until it leaves.
async fn follow<F: Future<Output = ()>>(
    stream: &Stream,
    stdin: impl AsyncWrite + Unpin,
    signals: &Signals,
    resize: impl Fn(proto::Size) -> F,
) -> End {
    // The window bounds what waits in it.
    let (inputs, waiting) = mpsc::unbounded_channel();
    let heard = async {
        loop {
            let message = match stream.recv().await {
                Ok(Inbound::Data { bytes, cost, fin, .. }) => {
                    // Whoever feeds the command lives as long as this.
                    drop(inputs.send(Input { bytes, cost, fin }));
                    continue;
                }
                Ok(Inbound::Message(message)) => message,
                Ok(Inbound::End | Inbound::Reset) | Err(_) => return End::Left,
            };
            match proto::Control::decode(message).ok().and_then(|control| control.what) {
                // A command that has ended hears nothing.
                Some(Do::Signal(signal)) => drop(signals.send(signal).await),
                Some(Do::Resize(size)) => resize(size).await,
                // It ends with its link, whatever is wanted: nobody there would keep it.
                // Windows are those of files.
                Some(Do::Detach(_) | Do::Widen(_)) | None => {}
            }
        }
    };
    tokio::select! {
        left = heard => left,
        never = feed(stream, stdin, waiting) => never,
    }
}

/// A part of a command's input.
struct Input {
    bytes: Bytes,
    cost: u32,
    fin: bool,
}

async fn feed(
    stream: &Stream,
    mut stdin: impl AsyncWrite + Unpin,
    mut inputs: mpsc::UnboundedReceiver<Input>,
) -> End {
    while let Some(Input { bytes, cost, fin }) = inputs.recv().await {
        // What a command reads no more is used up, as by a shell.
        drop(stdin.write_all(&bytes).await);
        drop(stdin.flush().await);
        stream.release(cost);
        if fin {
            drop(stdin.shutdown().await);
        }
    }
    pending().await
}

async fn time_out(timeout: Option<Duration>, signals: &Signals) -> End {
    match timeout {
        None => pending().await,
        Some(timeout) => sleep(timeout).await,
    }
    // One that has ended meanwhile hears nothing.
    drop(signals.send(SIGKILL).await);
    End::TimedOut
}

/// A number of rows or columns as the kernel counts them.
fn cells(count: u32) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}
