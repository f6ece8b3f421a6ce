//! Keeping others away from a box where several servers share one store: a lease, whose token the
//! engine and the store check. A server that stood still past its lease changes nothing more.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use boxherd_model::BoxId;
use boxherd_store::{BoxRecord, FencingToken, Store};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::{AbortHandle, JoinSet};
use uuid::Uuid;

use crate::lookup::engine_error;
use crate::{Herd, HerdError};

/// How many times a lease is renewed before it would end.
const RENEWALS: u32 = 3;

/// What this process has of leases. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Here {
    /// The boxes that it works on. One that has lost its lease and does not know yet is there until it
    /// does, so that a second token does not open what the first one shut.
    boxes: Arc<Mutex<HashSet<BoxId>>>,
    /// Leases that are being given back.
    returns: Arc<Mutex<JoinSet<()>>>,
}

impl Here {
    /// Waits until every lease that was dropped is given back.
    pub(crate) async fn settle(&self) {
        let returns = std::mem::take(&mut *self.returns.lock());
        returns.join_all().await;
    }
}

/// A lease that is renewed until it is dropped, and given back then.
#[derive(Debug)]
pub(crate) struct Leased {
    store: Arc<dyn Store>,
    id: BoxId,
    token: FencingToken,
    renewing: AbortHandle,
    place: Place,
}

/// A place in [`Here`].
#[derive(Debug)]
struct Place {
    here: Here,
    id: BoxId,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.here.boxes.lock().remove(&self.id);
    }
}

impl Drop for Leased {
    fn drop(&mut self) {
        self.renewing.abort();
        let (store, id, token) = (Arc::clone(&self.store), self.id, self.token);
        // One that is not given back ends by itself.
        let Ok(runtime) = Handle::try_current() else { return };
        let mut returns = self.place.here.returns.lock();
        while returns.try_join_next().is_some() {}
        let give_back = async move {
            if let Err(error) = store.release(id, token).await {
                tracing::warn!(%id, %error, "a lease was not given back");
            }
        };
        returns.spawn_on(give_back, &runtime);
    }
}

impl Herd {
    /// Tries once to take the lease of a box for `ttl`.
    pub(crate) async fn lease(
        &self,
        record: &BoxRecord,
        ttl: Duration,
    ) -> Result<Option<Leased>, HerdError> {
        let id = record.id;
        if !self.here.boxes.lock().insert(id) {
            return Ok(None);
        }
        let place = Place { here: self.here.clone(), id };
        // Another name each time: what was lost is never found again as one's own.
        let holder = Uuid::now_v7().to_string();
        let Some(token) = self.store.acquire(id, &holder, ttl).await? else { return Ok(None) };
        let renewing = tokio::spawn(renew(Arc::clone(&self.store), id, token, ttl));
        let renewing = renewing.abort_handle();
        let store = Arc::clone(&self.store);
        let leased = Leased { store, id, token, renewing, place };
        let claimed = self.engine_of(record)?.claim(id, token.0).await;
        claimed.map_err(|source| engine_error("take over", record, source))?;
        Ok(Some(leased))
    }
}

async fn renew(store: Arc<dyn Store>, id: BoxId, token: FencingToken, ttl: Duration) {
    let mut ticks = tokio::time::interval(ttl / RENEWALS);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        match store.renew(id, token, ttl).await {
            Ok(true) => {}
            Ok(false) => return tracing::warn!(%id, "another server has taken over the box"),
            // It is asked again, and what is written meanwhile is refused if it must be.
            Err(error) => tracing::warn!(%id, %error, "a lease was not renewed"),
        }
    }
}
