//! The table of requests that run: each is a task of its own, and none waits for another.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, Id, JoinError, JoinHandle, JoinSet};

use super::answer::Refusal;
use super::frame::Decoder;
use super::request::{self, About, Control, Message, Request, invalid};
use super::window::{Incoming, Outgoing};
use super::{Desk, exec, files, quick};
use crate::failure::Failure;
use crate::signals::Signals;
use crate::streams;

/// How many requests run at once.
const MAX_REQUESTS: usize = 4096;
/// How many signals may wait for one command.
const MAX_CONTROLS: usize = 64;
/// How long the last answers may take to be read, once nothing more is asked.
const LEAVE: Duration = Duration::from_secs(2);

/// What a request has of its client while it runs.
#[derive(Debug)]
pub(super) struct Ends {
    /// Its input; `None` when it has none. Closed at its end.
    pub(super) data: Option<mpsc::UnboundedReceiver<Bytes>>,
    pub(super) control: mpsc::Receiver<Control>,
    pub(super) incoming: Incoming,
    pub(super) outgoing: Outgoing,
}

impl Ends {
    /// The next bytes; `None` at their end.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        self.data.as_mut()?.recv().await
    }
}

/// A request that runs.
struct Running {
    task: AbortHandle,
    data: Option<mpsc::UnboundedSender<Bytes>>,
    control: mpsc::Sender<Control>,
    incoming: Incoming,
    outgoing: Outgoing,
    /// Why it is ended by us.
    refused: Option<Refusal>,
}

/// Every request that runs.
pub(super) struct Table {
    desk: Desk,
    running: HashMap<u64, Running>,
    ids: HashMap<Id, u64>,
    tasks: JoinSet<Result<(), Refusal>>,
    last: u64,
}

impl Table {
    pub(super) fn new(desk: Desk) -> Self {
        let (running, ids, tasks) = (HashMap::new(), HashMap::new(), JoinSet::new());
        Self { desk, running, ids, tasks, last: 0 }
    }

    /// Answers until there is nobody who asks. `written` is the task that writes answers.
    pub(super) async fn run(
        mut self,
        mut written: JoinHandle<Result<(), Failure>>,
    ) -> Result<(), Failure> {
        let ended = tokio::select! {
            ended = self.answer() => ended,
            // Nobody reads our answers.
            ended = &mut written => {
                self.leave().await;
                return ended.unwrap_or(Ok(()));
            }
        };
        if let Err(failure) = &ended {
            let refusal = Refusal::new("protocol", failure.message());
            self.desk.answers.refuse(0, &refusal);
        }
        self.leave().await;
        // A client that has gone without reading its answers is not waited for.
        let _unread = tokio::time::timeout(LEAVE, written).await;
        ended
    }

    /// Ends everything that runs.
    async fn leave(mut self) {
        self.tasks.shutdown().await;
    }

    async fn answer(&mut self) -> Result<(), Failure> {
        let failed = |error| Failure::io("cannot read standard input", &error);
        let mut signals = Signals::take().map_err(|error| Failure::io("signals", &error))?;
        let (mut input, mut decoder) = (streams::input().map_err(failed)?, Decoder::default());
        loop {
            tokio::select! {
                piece = input.recv() => match piece {
                    Some(piece) => decoder.push(&piece.map_err(failed)?),
                    None => return Ok(()),
                },
                Some(ended) = self.tasks.join_next_with_id() => self.ended(ended),
                _ = signals.ending() => return Ok(()),
            }
            while let Some(frame) =
                decoder.next().map_err(|error| Failure::of(&error, "protocol", None))?
            {
                let message = request::read(frame)
                    .ok_or_else(|| Failure::new("protocol", "a frame without an `id` above 0"))?;
                self.take(message)?;
            }
        }
    }

    fn take(&mut self, message: Message) -> Result<(), Failure> {
        match message {
            Message::Begin(id, request) => {
                self.new_id(id)?;
                self.begin(id, request);
            }
            Message::About(id, about) => self.about(id, about),
            Message::Unfit(id, refusal) if self.running.contains_key(&id) => self.end(id, refusal),
            Message::Unfit(id, refusal) => {
                self.last = self.last.max(id);
                self.desk.answers.refuse(id, &refusal);
            }
        }
        Ok(())
    }

    /// Ids are not used twice, so that what is said of a request that has ended is nobody else's.
    fn new_id(&mut self, id: u64) -> Result<(), Failure> {
        if id <= self.last {
            let message = format!("request {id} does not come after {}", self.last);
            return Err(Failure::new("protocol", message));
        }
        self.last = id;
        Ok(())
    }

    fn begin(&mut self, id: u64, request: Request) {
        if self.running.len() >= MAX_REQUESTS {
            let message = format!("{MAX_REQUESTS} requests run already");
            return self.desk.answers.refuse(id, &Refusal::new("busy", message));
        }
        let takes_data = match &request {
            Request::Put(_) => true,
            Request::Exec(exec) => exec.stdin,
            _ => false,
        };
        let (data, data_end) = takes_data.then(mpsc::unbounded_channel).unzip();
        let (control, control_end) = mpsc::channel(MAX_CONTROLS);
        let (incoming, outgoing) = (Incoming::default(), Outgoing::new());
        let ends = Ends {
            data: data_end,
            control: control_end,
            incoming: incoming.clone(),
            outgoing: outgoing.clone(),
        };
        let task = self.tasks.spawn(answer(self.desk.clone(), id, request, ends));
        self.ids.insert(task.id(), id);
        self.running.insert(id, Running { task, data, control, incoming, outgoing, refused: None });
    }

    /// What is said of a request that has just ended comes too late, and is no mistake.
    fn about(&mut self, id: u64, about: About) {
        let Some(running) = self.running.get_mut(&id) else { return };
        let taken = match about {
            About::Data(bytes) => running.data(bytes),
            About::End => running.data.take().map(drop).ok_or_else(no_input),
            About::Credit(bytes) => running.outgoing.give(bytes),
            About::Control(control) => running.control.try_send(control).or_else(dropped),
            About::Cancel => Err(Refusal::new("cancelled", "cancelled as it was asked for")),
        };
        if let Err(refusal) = taken {
            self.end(id, refusal);
        }
    }

    /// Ends a request; its client is told why when it has.
    fn end(&mut self, id: u64, refusal: Refusal) {
        if let Some(running) = self.running.get_mut(&id) {
            running.refused.get_or_insert(refusal);
            running.task.abort();
        }
    }

    fn ended(&mut self, ended: Result<(Id, Result<(), Refusal>), JoinError>) {
        let (task, result) = match ended {
            Ok((task, result)) => (task, result),
            Err(error) => (error.id(), Err(Refusal::new("internal", error.to_string()))),
        };
        let Some(id) = self.ids.remove(&task) else { return };
        let refused = self.running.remove(&id).and_then(|running| running.refused);
        if let Err(refusal) = result {
            self.desk.answers.refuse(id, &refused.unwrap_or(refusal));
        }
    }
}

impl Running {
    fn data(&mut self, bytes: Bytes) -> Result<(), Refusal> {
        let data = self.data.as_ref().ok_or_else(no_input)?;
        self.incoming.arrived(bytes.len())?;
        // Its end is gone only with the request, which says what has become of it.
        let _just_ended = data.send(bytes);
        Ok(())
    }
}

fn no_input() -> Refusal {
    invalid("the request takes no data, or no more of it")
}

fn dropped(error: mpsc::error::TrySendError<Control>) -> Result<(), Refusal> {
    match error {
        mpsc::error::TrySendError::Full(_) => {
            Err(Refusal::new("busy", format!("{MAX_CONTROLS} signals wait already")))
        }
        // It has just ended, or is none that signals are sent to.
        mpsc::error::TrySendError::Closed(_) => Ok(()),
    }
}

async fn answer(desk: Desk, id: u64, request: Request, ends: Ends) -> Result<(), Refusal> {
    match request {
        Request::Hello(asked) => quick::hello(&desk, id, &asked),
        Request::Engines => {
            quick::engines(&desk, id);
            Ok(())
        }
        Request::List(asked) => quick::list(&desk, id, asked).await,
        Request::Open(asked) => quick::open(&desk, id, asked).await,
        Request::Exec(asked) => exec::exec(&desk, id, &asked, ends).await,
        Request::Put(asked) => files::put(&desk, id, asked, ends).await,
        Request::Get(asked) => files::get(&desk, id, &asked, ends).await,
    }
}
