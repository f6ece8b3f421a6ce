//! An answer on its way out: the box is in use until it is through, and then its connection is free.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use boxherd_herd::InUse;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};

use crate::pool::{Connection, Pool};

/// The body of an answer of a box.
#[derive(Debug)]
pub(crate) struct Answer {
    body: Incoming,
    connection: Option<Connection>,
    pool: Arc<Pool>,
    _awake: InUse,
}

impl Answer {
    /// Without a connection, one that is shared.
    pub(crate) fn new(
        body: Incoming,
        connection: Option<Connection>,
        pool: Arc<Pool>,
        awake: InUse,
    ) -> Self {
        let mut answer = Self { body, connection, pool, _awake: awake };
        answer.free_if_through();
        answer
    }

    fn free_if_through(&mut self) {
        if self.body.is_end_stream() {
            self.free();
        }
    }

    fn free(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.pool.put(connection);
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match &polled {
            Poll::Ready(None) => self.free(),
            // A body of known length is not polled again after its last piece.
            Poll::Ready(Some(Ok(_))) => self.free_if_through(),
            // A connection that broke is of no use to others.
            Poll::Ready(Some(Err(_))) => drop(self.connection.take()),
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
