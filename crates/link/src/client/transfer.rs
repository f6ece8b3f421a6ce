//! The content of files and trees, on its way.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{decode, gave_up, unexpected};
use crate::conn::{Inbound, Stream};
use crate::proto::{self, Answer, Do};
use crate::{LinkError, channel, window};

/// What a failure is about.
#[derive(Debug, Clone)]
pub(super) struct About {
    pub(super) op: &'static str,
    pub(super) path: PathBuf,
}

impl About {
    pub(super) fn new(op: &'static str, path: impl Into<PathBuf>) -> Self {
        Self { op, path: path.into() }
    }

    /// Gives a file's error its operation and path.
    pub(super) fn name(&self, error: LinkError) -> LinkError {
        match error {
            LinkError::File { errno, .. } => {
                LinkError::File { op: self.op, path: self.path.clone(), errno }
            }
            other => other,
        }
    }
}

/// What is being read. The first piece or the first error comes when the file was opened.
pub struct FileReader {
    stream: Stream,
    about: About,
    owed: u32,
    rest: Bytes,
    ended: bool,
    distance: Option<Distance>,
}

/// How a transfer learns how far it goes: by the time until its first answer, where the link does not
/// know yet.
#[derive(Debug)]
struct Distance {
    window: u32,
    most: u32,
    asked: Instant,
}

impl Distance {
    /// Of a transfer that was just asked for.
    fn of(stream: &Stream, most: u32) -> Self {
        Self { window: stream.bulk_window(most), most, asked: Instant::now() }
    }

    /// By how much the window is too small, now that the first answer is there.
    fn learn(self, stream: &Stream) -> u32 {
        stream.took(self.asked.elapsed());
        stream.bulk_window(self.most).saturating_sub(self.window)
    }
}

impl FileReader {
    pub(super) fn new(stream: Stream, about: About) -> Self {
        let distance = Distance::of(&stream, window::MOST_OUT);
        stream.grant(distance.window);
        let distance = Some(distance);
        Self { stream, about, owed: 0, rest: Bytes::new(), ended: false, distance }
    }

    /// The next piece; `None` at the end. Safe to cancel.
    pub async fn next(&mut self) -> Result<Option<Bytes>, LinkError> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Everything, at most `limit` bytes.
    pub async fn read_all(mut self, limit: usize) -> Result<Bytes, LinkError> {
        let mut all = bytes::BytesMut::new();
        while let Some(piece) = self.next().await? {
            if all.len() + piece.len() > limit {
                return Err(LinkError::TooLarge { limit });
            }
            all.extend_from_slice(&piece);
        }
        Ok(all.freeze())
    }

    fn poll_next(&mut self, cx: &Context<'_>) -> Poll<Result<Option<Bytes>, LinkError>> {
        if !self.rest.is_empty() {
            return Poll::Ready(Ok(Some(std::mem::take(&mut self.rest))));
        }
        self.stream.release(std::mem::take(&mut self.owed));
        while !self.ended {
            match ready!(self.stream.poll_recv(cx))? {
                Inbound::Data { bytes, cost, .. } => {
                    self.owed += cost;
                    if let Some(far) = self.distance.take()
                        && let more @ 1.. = far.learn(&self.stream)
                    {
                        self.stream.grant(more);
                    }
                    if !bytes.is_empty() {
                        return Poll::Ready(Ok(Some(bytes)));
                    }
                }
                Inbound::Message(message) => match decode(message) {
                    Ok(Answer::Done(_)) => self.ended = true,
                    Ok(_) => return Poll::Ready(Err(unexpected())),
                    Err(error) => return Poll::Ready(Err(self.about.name(error))),
                },
                Inbound::End | Inbound::Reset => return Poll::Ready(Err(gave_up())),
            }
        }
        Poll::Ready(Ok(None))
    }
}

impl AsyncRead for FileReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.rest.is_empty() {
            self.rest = ready!(self.poll_next(cx))?.unwrap_or_default();
        }
        let count = buffer.remaining().min(self.rest.len());
        buffer.put_slice(&self.rest[..count]);
        self.rest.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl fmt::Debug for FileReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileReader").field("about", &self.about).finish_non_exhaustive()
    }
}

/// What is being written. Nothing is in place before [`finish`](Self::finish) has returned;
/// dropping it, or losing the link, leaves what was there before.
pub struct FileWriter {
    stream: Stream,
    about: About,
    shut: bool,
    outcome: Option<Result<(), LinkError>>,
    distance: Option<Distance>,
    waited: bool,
}

impl FileWriter {
    pub(super) fn new(stream: Stream, about: About) -> Self {
        let distance = Distance::of(&stream, window::MOST_IN);
        widen(&stream, distance.window - window::NEAR);
        let distance = Some(distance);
        Self { stream, about, shut: false, outcome: None, distance, waited: false }
    }

    /// Sends all of `bytes` without copying them. Fails with the agent's error as soon as it is
    /// known, such as a full disk.
    pub async fn send(&mut self, mut bytes: Bytes) -> Result<(), LinkError> {
        while !bytes.is_empty() {
            let room = std::future::poll_fn(|cx| self.poll_room(cx)).await?;
            let part = bytes.split_to(room.min(bytes.len()));
            self.stream.send_now(channel::MAIN, part, false);
        }
        Ok(())
    }

    /// Ends the content and waits until the agent has put it in its place.
    pub async fn finish(mut self) -> Result<(), LinkError> {
        self.end_content();
        std::future::poll_fn(|cx| self.poll_outcome(cx)).await
    }

    fn end_content(&mut self) {
        if !self.shut {
            self.shut = true;
            self.stream.finish(channel::MAIN);
        }
    }

    fn poll_room(&mut self, cx: &Context<'_>) -> Poll<Result<usize, LinkError>> {
        match self.stream.poll_room(cx) {
            // The agent ended the stream before the content did: it says why.
            Poll::Ready(Err(LinkError::Closed)) => {
                let outcome = ready!(self.poll_outcome(cx));
                Poll::Ready(Err(outcome.err().unwrap_or_else(gave_up)))
            }
            // What it waited for first is the agent's answer to what was asked for.
            Poll::Ready(Ok(room)) => {
                if self.waited
                    && let Some(far) = self.distance.take()
                {
                    widen(&self.stream, far.learn(&self.stream));
                }
                Poll::Ready(Ok(room))
            }
            Poll::Pending => {
                self.waited = true;
                Poll::Pending
            }
            failed => failed,
        }
    }

    fn poll_outcome(&mut self, cx: &Context<'_>) -> Poll<Result<(), LinkError>> {
        while self.outcome.is_none() {
            self.outcome = match ready!(self.stream.poll_recv(cx))? {
                Inbound::Message(message) => match decode(message) {
                    Ok(Answer::Done(_)) => Some(Ok(())),
                    Ok(_) => Some(Err(unexpected())),
                    Err(error) => Some(Err(self.about.name(error))),
                },
                Inbound::Data { .. } => Some(Err(unexpected())),
                Inbound::End | Inbound::Reset => Some(Err(gave_up())),
            };
        }
        Poll::Ready(self.outcome.clone().unwrap_or(Ok(())))
    }
}

/// Has an agent let `more` bytes be under way than those that it does near.
fn widen(stream: &Stream, more: u32) {
    if more > 0 {
        stream.message(&proto::Control { what: Some(Do::Widen(more)) });
    }
}

/// `shutdown` does what [`FileWriter::finish`] does.
impl AsyncWrite for FileWriter {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.shut {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let count = ready!(self.poll_room(cx))?.min(bytes.len());
        self.stream.send_now(channel::MAIN, Bytes::copy_from_slice(&bytes[..count]), false);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end_content();
        self.poll_outcome(cx).map_err(Into::into)
    }
}

impl fmt::Debug for FileWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileWriter").field("about", &self.about).finish_non_exhaustive()
    }
}
