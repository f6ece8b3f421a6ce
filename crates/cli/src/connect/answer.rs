//! Answers: what is told of a request, and the one task that writes it.

use std::borrow::Cow;

use boxherd_herd::HerdError;
use boxherd_link::LinkError;
use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::frame::{self, Header};
use crate::failure::Failure;
use crate::streams::Output;

/// How many frames are written at once.
const BATCH: usize = 32;

/// Why a request failed.
#[derive(Debug)]
pub(super) struct Refusal {
    code: Cow<'static, str>,
    message: String,
    hint: Option<String>,
    /// The error number, where the kernel of the box gave one.
    errno: Option<i32>,
}

impl Refusal {
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), hint: None, errno: None }
    }

    /// Of a file in a box.
    pub(super) fn file(path: &str, message: &str, errno: rustix::io::Errno) -> Self {
        let errno = Some(errno.raw_os_error());
        Self { errno, ..Self::new("file", format!("`{path}`: {message}")) }
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Told { message, code, hint } => Self { code, message, hint, errno: None },
            Failure::BrokenPipe | Failure::Quiet => {
                Self::new("internal", "nothing is known of why")
            }
        }
    }
}

impl From<LinkError> for Refusal {
    fn from(error: LinkError) -> Self {
        let errno = error.errno();
        Self { errno, ..Failure::from(error).into() }
    }
}

impl From<HerdError> for Refusal {
    fn from(error: HerdError) -> Self {
        Failure::from(error).into()
    }
}

/// Where answers go. What waits to be written is bounded by the windows of the requests.
#[derive(Debug, Clone)]
pub(super) struct Answers(mpsc::UnboundedSender<Bytes>);

impl Answers {
    /// Tells something of the request `id`.
    pub(super) fn event(&self, id: u64, event: &str, fields: Value) {
        self.send(id, event, fields, &[]);
    }

    /// The same with raw bytes.
    pub(super) fn bytes(&self, id: u64, event: &str, bytes: &[u8]) {
        for piece in bytes.chunks(frame::MAX_BODY) {
            self.send(id, event, Value::Null, piece);
        }
    }

    /// The request `id` has failed, and is over. Of 0: everything is.
    pub(super) fn refuse(&self, id: u64, refusal: &Refusal) {
        let Refusal { code, message, hint, errno } = refusal;
        let mut error = json!({ "code": code, "message": message, "hint": hint });
        if let Some(errno) = errno {
            error["errno"] = (*errno).into();
        }
        self.put(
            Header::from_iter([("id".to_owned(), id.into()), ("error".to_owned(), error)]),
            &[],
        );
    }

    fn send(&self, id: u64, event: &str, fields: Value, body: &[u8]) {
        let mut header = match fields {
            Value::Object(fields) => fields,
            _ => Header::new(),
        };
        header.insert("id".to_owned(), id.into());
        header.insert("event".to_owned(), event.into());
        self.put(header, body);
    }

    fn put(&self, header: Header, body: &[u8]) {
        // When nobody reads any more the table ends, and whoever tells something with it.
        let _nobody_reads = self.0.send(frame::encode(header, body));
    }
}

/// Answers, and the task that writes them to standard output until the last sender is gone.
pub(super) fn open() -> (Answers, JoinHandle<Result<(), Failure>>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Answers(sender), tokio::spawn(write(receiver)))
}

async fn write(mut from: mpsc::UnboundedReceiver<Bytes>) -> Result<(), Failure> {
    let output = Output::stdout();
    let mut frames = Vec::with_capacity(BATCH);
    while from.recv_many(&mut frames, BATCH).await > 0 {
        let bytes = match frames.len() {
            1 => frames.remove(0),
            _ => joined(&mut frames),
        };
        output.write(bytes).await.map_err(|error| Failure::output(&error))?;
    }
    Ok(())
}

fn joined(frames: &mut Vec<Bytes>) -> Bytes {
    let mut all = BytesMut::with_capacity(frames.iter().map(Bytes::len).sum());
    frames.drain(..).for_each(|frame| all.extend_from_slice(&frame));
    all.freeze()
}
