//! Following what a box writes to its console.

use std::time::Duration;

use boxherd_model::{Address, BoxState};
use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::unfold;

use crate::{Herd, HerdError, InUse};

/// How often a console that is followed is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Where reading a console ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follow {
    /// Where it ended when reading began, however fast the box goes on writing.
    SoFar,
    /// When the box has stopped and everything was read.
    UntilStopped,
}

struct Reading {
    herd: Herd,
    address: Address,
    from: u64,
    /// `None` while it is followed.
    end: Option<u64>,
    _awake: InUse,
}

impl Herd {
    /// What a box wrote to its console, from the oldest byte that is kept.
    pub async fn follow_console(
        &self,
        address: &Address,
        follow: Follow,
    ) -> Result<impl Stream<Item = Result<Bytes, HerdError>> + Send + use<>, HerdError> {
        let (_, awake) = self.keep_awake(address).await?;
        let begun = self.console(address, 0).await?;
        let end = (follow == Follow::SoFar).then_some(begun.end);
        let (herd, address) = (self.clone(), address.clone());
        let reading = Reading { herd, address, from: begun.start, end, _awake: awake };
        Ok(unfold(Some(reading), next))
    }
}

async fn next(reading: Option<Reading>) -> Option<(Result<Bytes, HerdError>, Option<Reading>)> {
    let mut reading = reading?;
    match reading.piece().await {
        Ok(Some(data)) => Some((Ok(data), Some(reading))),
        Ok(None) => None,
        Err(error) => Some((Err(error), None)),
    }
}

impl Reading {
    async fn piece(&mut self) -> Result<Option<Bytes>, HerdError> {
        loop {
            if self.end.is_some_and(|end| end <= self.from) {
                return Ok(None);
            }
            // Looked at first: what it wrote before it stopped is still to be read.
            let state = match self.end {
                Some(_) => BoxState::Stopped,
                None => self.herd.show(&self.address).await?.state,
            };
            let mut chunk = self.herd.console(&self.address, self.from).await?;
            if let Some(end) = self.end {
                let kept = usize::try_from(end.saturating_sub(chunk.start)).unwrap_or(usize::MAX);
                chunk.data.truncate(kept);
            }
            self.from = chunk.next();
            if !chunk.data.is_empty() {
                return Ok(Some(chunk.data));
            }
            if matches!(state, BoxState::Stopped | BoxState::Failed | BoxState::Gone) {
                return Ok(None);
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}
