//! Connections that are something else from the answer on: websockets, and whatever `Upgrade` says.

use std::io;

use boxherd_herd::InUse;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use crate::way::End;

/// What is read before it is written on, in bytes, each way.
const PIECE: usize = 64 * 1024;

/// Carries bytes both ways, once both sides have changed over, until both have ended, or the box has.
pub(crate) async fn carry(outside: OnUpgrade, inside: OnUpgrade, end: End, awake: InUse) {
    tokio::select! {
        biased;
        () = pass(outside, inside) => {}
        () = end.come() => tracing::debug!("a box ended with connections to it"),
    }
    drop(awake);
}

async fn pass(outside: OnUpgrade, inside: OnUpgrade) {
    let (outside, inside) = match tokio::try_join!(outside, inside) {
        Ok(both) => both,
        Err(error) => return tracing::debug!(%error, "an upgrade did not come about"),
    };
    let (mut outside, mut inside) = (TokioIo::new(outside), TokioIo::new(inside));
    let carried =
        tokio::io::copy_bidirectional_with_sizes(&mut outside, &mut inside, PIECE, PIECE).await;
    match carried {
        Ok(_) => {}
        // Either side may hang up as it likes.
        Err(error) if is_hang_up(&error) => {}
        Err(error) => tracing::debug!(%error, "an upgraded connection ended early"),
    }
}

fn is_hang_up(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof
            | io::ErrorKind::NotConnected
    )
}
