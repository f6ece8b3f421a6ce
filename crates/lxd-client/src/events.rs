//! The ends of operations, pushed by the server over one websocket for each client.
//!
//! ```text
//!            first operation            it is there
//!  silent ───────────────────► opening ─────────────► listening
//!    ▲                            │ it fails              │ it breaks, or is silent
//!    └────────────────────────────┴───────────────────────┘
//! ```
//!
//! An operation is awaited here when this listened already *before* it was started: then its end
//! cannot have been missed. Every other one is awaited by a long poll, which costs a connection for
//! as long as it takes, and opens the websocket for those that follow.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Deserialize;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::client::Client;
use crate::error::Result;
use crate::operations::OperationInfo;
use crate::url::Url;
use crate::websocket::{self, Message, WebSocket};

/// Ends that nobody waits for yet: their operations may be about to be awaited.
const REMEMBERED: usize = 256;

/// A server pings every 10 seconds: one that says nothing for so long is not there any more.
const SILENCE: Duration = Duration::from_secs(45);

/// What listens, for all clones of a client.
#[derive(Default)]
pub(crate) struct Hub {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    phase: Phase,
    /// Counts the times that it began to listen.
    generation: u64,
    waiting: HashMap<String, Vec<oneshot::Sender<OperationInfo>>>,
    ended: VecDeque<OperationInfo>,
}

#[derive(Default)]
enum Phase {
    #[default]
    Silent,
    Opening,
    Listening(JoinHandle<()>),
}

impl Drop for Hub {
    fn drop(&mut self) {
        if let Phase::Listening(task) = &self.state.get_mut().phase {
            task.abort();
        }
    }
}

impl Hub {
    /// What an operation that is started now is to be asked for with; `None` when nobody listens.
    pub(crate) fn mark(&self) -> Option<u64> {
        let state = self.state.lock();
        matches!(state.phase, Phase::Listening(_)).then_some(state.generation)
    }

    /// The end of the operation `id`, which was started at `mark`. The sender is dropped when the
    /// websocket breaks; `None` when it did already.
    pub(crate) fn end_of(&self, id: &str, mark: u64) -> Option<oneshot::Receiver<OperationInfo>> {
        let mut state = self.state.lock();
        if !matches!(state.phase, Phase::Listening(_)) || state.generation != mark {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        match state.ended.iter().find(|info| info.id == id).cloned() {
            Some(info) => drop(sender.send(info)),
            None => state.waiting.entry(id.to_owned()).or_default().push(sender),
        }
        Some(receiver)
    }

    /// Begins to listen, unless it does.
    pub(crate) fn listen(self: &Arc<Self>, client: &Client) {
        let mut state = self.state.lock();
        if matches!(state.phase, Phase::Silent) {
            state.phase = Phase::Opening;
            let client = client.clone();
            let hub = Arc::downgrade(self);
            tokio::spawn(async move { open(hub, client).await });
        }
    }

    fn opened(self: &Arc<Self>, socket: WebSocket) {
        let mut state = self.state.lock();
        state.generation += 1;
        let task = tokio::spawn(hear(Arc::downgrade(self), socket));
        state.phase = Phase::Listening(task);
    }

    fn silent(&self) {
        let mut state = self.state.lock();
        state.phase = Phase::Silent;
        state.waiting.clear();
        state.ended.clear();
    }

    fn ended(&self, info: OperationInfo) {
        let mut state = self.state.lock();
        for sender in state.waiting.remove(&info.id).unwrap_or_default() {
            // Who does not wait any more, need not be told.
            drop(sender.send(info.clone()));
        }
        if state.ended.len() == REMEMBERED {
            state.ended.pop_front();
        }
        state.ended.push_back(info);
    }
}

/// Opens the websocket. The client is let go of before it is listened on, or it would live for ever.
async fn open(hub: Weak<Hub>, client: Client) {
    let socket = events(&client).await;
    drop(client);
    let Some(hub) = hub.upgrade() else { return };
    match socket {
        Ok(socket) => hub.opened(socket),
        Err(error) => {
            // Restricted clients may not: their operations are awaited by long polls.
            tracing::debug!(%error, "no events");
            hub.silent();
        }
    }
}

/// Operations of every project: one in the project `p` may be booked in `default`.
async fn events(client: &Client) -> Result<WebSocket> {
    let url = Url::new(["events"]).query("type", "operation").query("all-projects", "true");
    websocket::open(client, url).await
}

/// Hands ends on until the websocket breaks.
async fn hear(hub: Weak<Hub>, mut socket: WebSocket) {
    loop {
        let message = match tokio::time::timeout(SILENCE, socket.message()).await {
            Ok(Ok(Some(message))) => message,
            Ok(Ok(None)) | Ok(Err(_)) | Err(_) => break,
        };
        let Some(hub) = hub.upgrade() else { return };
        match message {
            Message::Text(text) | Message::Binary(text) => {
                if let Some(info) = end(&text) {
                    hub.ended(info);
                }
            }
            Message::Ping => {}
            Message::Close => break,
        }
    }
    if let Some(hub) = hub.upgrade() {
        hub.silent();
    }
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    metadata: serde_json::Value,
}

/// The operation that an event tells the end of.
fn end(text: &[u8]) -> Option<OperationInfo> {
    let event: Event = serde_json::from_slice(text).ok()?;
    if event.kind != "operation" {
        return None;
    }
    serde_json::from_value::<OperationInfo>(event.metadata).ok().filter(OperationInfo::is_over)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ends_of_operations_are_heard() {
        let event = |kind: &str, code: u16| {
            format!(r#"{{"type":"{kind}","metadata":{{"id":"u","status_code":{code}}}}}"#)
        };
        assert!(end(event("operation", 200).as_bytes()).is_some());
        assert!(end(event("operation", 400).as_bytes()).is_some());
        assert!(end(event("operation", 103).as_bytes()).is_none());
        assert!(end(event("lifecycle", 200).as_bytes()).is_none());
        assert!(end(b"garbage").is_none());
    }
}
