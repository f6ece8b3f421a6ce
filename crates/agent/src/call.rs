//! One question, one answer.

use std::sync::Arc;
use std::time::Duration;

use boxherd_link::conn::Stream;
use boxherd_link::proto::{self, Answer, Ask, Cause};

use crate::{Inner, failure, files, io_failure, ports, refresh, stats, stop};

/// Answers and ends the stream.
pub(crate) async fn answer(inner: Arc<Inner>, stream: Stream, call: proto::Call) {
    let answer = match call.ask {
        Some(Ask::Stop(stop)) => {
            stop::stop(&inner, Duration::from_millis(stop.grace_ms)).await;
            stream.end(Answer::Done(proto::Nothing {}));
            inner.stopped.send_replace(true);
            return;
        }
        Some(Ask::Stats(_)) => Answer::Stats(stats::stats(&inner)),
        // What touches files may block for long, and other commands must go on meanwhile.
        Some(ask) => blocking(move || answer_blocking(&inner, ask)).await,
        None => failure(Cause::Unsupported, 0, "this question"),
    };
    stream.end(answer);
}

/// Runs on a thread that may block.
pub(crate) async fn blocking(run: impl FnOnce() -> Answer + Send + 'static) -> Answer {
    let result = tokio::task::spawn_blocking(run).await;
    result.unwrap_or_else(|_| failure(Cause::Refused, 0, "the agent failed at this request"))
}

fn answer_blocking(inner: &Inner, ask: Ask) -> Answer {
    match ask {
        Ask::Listening(_) => match ports::listening() {
            Ok(listeners) => {
                let listeners = listeners.into_iter().map(Into::into).collect();
                Answer::Listening(proto::Listening { listeners })
            }
            Err(error) => io_failure(&error),
        },
        Ask::Refresh(refresh) => refresh::refresh(inner, &refresh),
        ask => files::answer(inner, ask),
    }
}
