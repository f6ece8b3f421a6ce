//! A stream to an agent of which nobody knows yet whether it is there.
//!
//! What is said first goes out at once, with the program's start and not after its first word, and is
//! kept until that comes. Where the program turns out not to be there, the agent is settled, and what was
//! kept is said again: nobody has heard it.
//!
//! ```text
//!  asked ──── its first word ─────────────────────► open
//!    └─────── it ended unheard ──► settling ───────► open
//! ```

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use boxherd_engine::{EngineError, LinkStream};
use boxherd_model::BoxId;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::error::with_causes;
use crate::guest::{FIRST_WORD, Heard, Relay};

/// How much may be said before the first word, in bytes.
const EARLY: usize = 64 * 1024;

/// The agent of a box, wherever it is in the end.
pub(crate) type Settled = BoxFuture<'static, Result<Box<dyn LinkStream>, EngineError>>;

/// See the [module](self).
pub(crate) struct Early {
    id: BoxId,
    at: At,
    /// Who writes, and has to wait for what reading comes to.
    writer: Option<Waker>,
}

enum At {
    Asked(Box<Asked>),
    Settling(Settled),
    Open(Box<dyn LinkStream>),
    Failed,
}

/// A program that runs or not.
struct Asked {
    relay: Relay,
    said: Vec<u8>,
    until: Pin<Box<Sleep>>,
    otherwise: Settled,
}

impl Early {
    /// A stream to a program that was just asked for; what is to be done when it is not there.
    pub(crate) fn asked(id: BoxId, relay: Relay, otherwise: Settled) -> Self {
        let until = Box::pin(sleep_until(Instant::now() + FIRST_WORD));
        let asked = Asked { relay, said: Vec::new(), until, otherwise };
        Self { id, at: At::Asked(Box::new(asked)), writer: None }
    }

    /// A stream to what is being looked for.
    pub(crate) fn settling(id: BoxId, settled: Settled) -> Self {
        Self { id, at: At::Settling(settled), writer: None }
    }

    fn is_at(&mut self, at: At) -> At {
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
        std::mem::replace(&mut self.at, at)
    }

    fn wait<T>(&mut self, cx: &Context<'_>) -> Poll<T> {
        self.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    fn fail(&mut self, error: &EngineError) -> io::Error {
        self.is_at(At::Failed);
        io::Error::other(with_causes(error))
    }
}

/// What comes of a program that ended without a word.
async fn settle(asked: Asked) -> Result<Box<dyn LinkStream>, EngineError> {
    let Asked { relay, said, otherwise, .. } = asked;
    match relay.ended().await {
        Heard::Nothing(_) => {}
        // Said again it would be done twice.
        Heard::Perhaps(why) => return Err(EngineError::refused("hear from the agent", why)),
    }
    let mut stream = otherwise.await?;
    let again = stream.write_all(&said).await;
    again.map_err(|error| EngineError::refused("speak with the agent", error))?;
    Ok(stream)
}

impl AsyncRead for Early {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            match &mut self.at {
                At::Asked(asked) => {
                    let before = buffer.filled().len();
                    let read = Pin::new(&mut asked.relay.stream).poll_read(cx, buffer);
                    if read.is_pending() && asked.until.as_mut().poll(cx).is_ready() {
                        let silent = EngineError::AgentSilent { id: self.id, after: FIRST_WORD };
                        return Poll::Ready(Err(self.fail(&silent)));
                    }
                    ready!(read)?;
                    let heard = buffer.filled().len() > before;
                    let At::Asked(asked) = self.is_at(At::Failed) else { continue };
                    if heard {
                        self.at = At::Open(Box::new(asked.relay.stream));
                        return Poll::Ready(Ok(()));
                    }
                    self.at = At::Settling(Box::pin(settle(*asked)));
                }
                At::Settling(settled) => match ready!(settled.as_mut().poll(cx)) {
                    Ok(stream) => drop(self.is_at(At::Open(stream))),
                    Err(error) => return Poll::Ready(Err(self.fail(&error))),
                },
                At::Open(stream) => return Pin::new(stream).poll_read(cx, buffer),
                At::Failed => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
    }
}

impl AsyncWrite for Early {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.at {
            At::Asked(asked) => {
                let room = EARLY.saturating_sub(asked.said.len()).min(bytes.len());
                if room == 0 {
                    return self.wait(cx);
                }
                match ready!(Pin::new(&mut asked.relay.stream).poll_write(cx, &bytes[..room])) {
                    Ok(count) => {
                        asked.said.extend_from_slice(&bytes[..count]);
                        Poll::Ready(Ok(count))
                    }
                    // It has ended; reading finds out what that means.
                    Err(_) => self.wait(cx),
                }
            }
            At::Settling(_) => self.wait(cx),
            At::Open(stream) => Pin::new(stream).poll_write(cx, bytes),
            At::Failed => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.at {
            At::Asked(asked) => match ready!(Pin::new(&mut asked.relay.stream).poll_flush(cx)) {
                Ok(()) => Poll::Ready(Ok(())),
                Err(_) => self.wait(cx),
            },
            At::Settling(_) => self.wait(cx),
            At::Open(stream) => Pin::new(stream).poll_flush(cx),
            At::Failed => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.at {
            At::Asked(_) | At::Settling(_) => self.wait(cx),
            At::Open(stream) => Pin::new(stream).poll_shutdown(cx),
            At::Failed => Poll::Ready(Ok(())),
        }
    }
}
