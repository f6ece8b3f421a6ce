//! Commands that outlive their call: going on with one, and ending it.

use std::time::{Duration, Instant};

use boxherd_boxd_api::{BoxherdExec, ExecChunk};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tonic::Streaming;

use crate::Error;
use crate::client::{Client, Wire};
use crate::tape::{Start, Tape};
use crate::uplink::Open;

/// How long is waited before the server is tried again: from, to.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// How much output may have arrived before the server is told, in bytes.
const UNSAID: u64 = 32 * 1024;
/// How long a command that nobody wants any more is tried to be ended.
const ENDING: Duration = Duration::from_secs(5);
const SIGKILL: i32 = 9;

/// A command that outlives its call.
#[derive(Debug)]
pub(crate) struct Kept {
    client: Client,
    /// In which it is ended when it is dropped elsewhere.
    runtime: Handle,
    of: String,
    keep: Duration,
    tty: bool,
    id: String,
    tape: Tape,
    /// Output that has arrived, in bytes from the start.
    stdout: u64,
    stderr: u64,
    said: u64,
}

/// A call that is under way.
pub(crate) struct Call {
    pub(crate) frames: Streaming<ExecChunk>,
    pub(crate) open: Open,
}

/// What a server said of the command.
type Answer = (Call, Option<(String, u64)>);

impl Kept {
    /// Starts a command; `None` where the server does not know of keeping one.
    pub(crate) async fn start(
        (client, of): (&Client, &str),
        mut first: ExecChunk,
        keep: Duration,
        input: mpsc::Receiver<ExecChunk>,
    ) -> Result<(Option<Self>, Call), Error> {
        let keep_ms = u64::try_from(keep.as_millis()).unwrap_or(u64::MAX);
        let tty = first.tty;
        first.boxherd = Some(BoxherdExec { keep_ms, ..BoxherdExec::default() });
        let tape = Tape::new(input);
        let (call, which) = call(client, &tape, first).await?;
        let (client, of, runtime) = (client.clone(), of.to_owned(), Handle::current());
        let (stdout, stderr, said) = (0, 0, 0);
        let kept =
            |(id, _)| Self { client, runtime, of, keep, tty, id, tape, stdout, stderr, said };
        Ok((which.map(kept), call))
    }

    /// Goes on with the command after its call was lost, for as long as it is kept.
    pub(crate) async fn go_on(&mut self, mut lost: Error) -> Result<Call, Error> {
        let until = Instant::now() + self.keep;
        let mut pause = PAUSES.0;
        if !matches!(lost, Error::Unavailable { .. } | Error::Server(_)) {
            return Err(lost);
        }
        loop {
            match call(&self.client, &self.tape, self.again(0)).await {
                Ok((call, Some(_))) => return Ok(call),
                Ok((_, None)) => return Err(lost),
                Err(Error::NotFound(_)) => return Err(Error::lost("the command is gone")),
                Err(error @ Error::Unavailable { .. }) if Instant::now() < until => lost = error,
                Err(error) => return Err(error),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    pub(crate) fn taken(&self, stdin: u64) {
        self.tape.taken(stdin);
    }

    pub(crate) fn arrived(&mut self, stderr: bool, length: usize) {
        *if stderr { &mut self.stderr } else { &mut self.stdout } += length as u64;
    }

    /// Lets the agent keep no longer what has arrived, if that is much.
    pub(crate) fn say_what_arrived(&mut self) {
        let (stdout, stderr) = (self.stdout, self.stderr);
        if stdout + stderr >= self.said + UNSAID {
            self.said = stdout + stderr;
            self.tape.say(BoxherdExec { stdout, stderr, ..BoxherdExec::default() });
        }
    }

    pub(crate) fn say_the_end(&self) {
        self.tape.say(BoxherdExec { done: true, ..BoxherdExec::default() });
    }

    /// Begins to end the command.
    pub(crate) fn end_soon(&self) {
        self.runtime.spawn(self.ended());
    }

    /// Ends the command over a call of its own: the old one may be stuck. A server that is not there
    /// cannot be told; then the box ends it when its time is up.
    pub(crate) fn ended(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        let (client, tape) = (self.client.clone(), Tape::new(mpsc::channel(1).1));
        let first = self.again(SIGKILL);
        let over = async move {
            let (mut call, _) = call(&client, &tape, first).await?;
            while let Some(frame) = call.frames.message().await? {
                if frame.data.is_empty() && frame.boxherd.is_none() {
                    tape.say(BoxherdExec { done: true, ..BoxherdExec::default() });
                }
            }
            Ok::<_, Error>(())
        };
        async {
            // Nobody is there any more to whom a failure could be told.
            let _told = tokio::time::timeout(ENDING, over).await;
        }
    }

    /// What asks for the command again.
    fn again(&self, signal: i32) -> ExecChunk {
        let ours = BoxherdExec {
            exec_id: self.id.clone(),
            stdout: self.stdout,
            stderr: self.stderr,
            signal,
            ..BoxherdExec::default()
        };
        let (vm_id, tty) = (self.of.clone(), self.tty);
        ExecChunk { vm_id, tty, boxherd: Some(ours), ..ExecChunk::default() }
    }
}

async fn call(client: &Client, tape: &Tape, first: ExecChunk) -> Result<Answer, Error> {
    let mut ends = None;
    let which = Mutex::new(None);
    // Anew each time: a stream whose call was refused is gone.
    let asked = || {
        let (start, from) = oneshot::channel();
        let (open, closed) = Open::new();
        ends = Some((start, open));
        tape.frames(first.clone(), from, closed)
    };
    let which_of = &which;
    let method = |mut wire: Wire, asked| async move {
        let answer = wire.exec(asked).await?;
        let told = |name| answer.metadata().get(name)?.to_str().ok();
        *which_of.lock() = told("boxherd-exec-id")
            .zip(told("boxherd-stdin").and_then(|stdin| stdin.parse().ok()))
            .map(|(id, stdin): (&str, u64)| (id.to_owned(), stdin));
        Ok(answer)
    };
    let frames = client.authorised(asked, method).await?;
    let (start, open) = ends.ok_or_else(|| Error::server("the call was not made"))?;
    let which = which.into_inner();
    let begun = which.as_ref().map_or(Start::Plain, |(_, stdin)| Start::From(*stdin));
    if !tape.wind(begun) {
        return Err(Error::lost("the command wants input that is not kept any more"));
    }
    // A call that has ended already takes none.
    let _ended = start.send(begun);
    Ok((Call { frames, open }, which))
}
