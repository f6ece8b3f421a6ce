//! Which boxes are used, and when others were last: what timers of idleness look at.

use std::collections::HashMap;
use std::sync::Arc;

use boxherd_model::{Address, BoxId, Timestamp};
use boxherd_store::BoxRecord;
use parking_lot::Mutex;

use crate::{Herd, HerdError};

/// How boxes are used by this process. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Activity(Arc<Mutex<Uses>>);

#[derive(Debug, Default)]
struct Uses {
    of: HashMap<BoxId, Use>,
    /// How often a box was put away because nobody used it.
    dozes: u64,
}

/// How one box is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Use {
    /// Execs, logs, proxies and forwards that are open.
    pub(crate) open: usize,
    /// When something last came in, or the last of them was closed.
    pub(crate) last: Timestamp,
}

/// A box that was found, for what is done in it at once.
#[derive(Debug, Clone)]
pub struct Found(pub(crate) BoxRecord);

impl Found {
    /// Which box it is.
    #[must_use]
    pub fn id(&self) -> BoxId {
        self.0.id
    }
}

/// A box is in use until this is dropped.
pub struct InUse {
    herd: Herd,
    id: BoxId,
}

impl std::fmt::Debug for InUse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("InUse").field(&self.id).finish()
    }
}

impl InUse {
    /// Bytes came in.
    pub fn touch(&self) {
        self.herd.activity.change(self.id, self.herd.now(), 0);
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.herd.activity.change(self.id, self.herd.now(), -1);
    }
}

impl Activity {
    fn change(&self, id: BoxId, now: Timestamp, by: isize) {
        let mut uses = self.0.lock();
        let used = uses.of.entry(id).or_insert(Use { open: 0, last: now });
        used.open = used.open.saturating_add_signed(by);
        used.last = now;
    }

    /// How a box is used. One that this process has not seen used counts from now on.
    pub(crate) fn of(&self, id: BoxId, now: Timestamp) -> Use {
        *self.0.lock().of.entry(id).or_insert(Use { open: 0, last: now })
    }

    /// A box was put away, and that is written down. `false` when somebody began to use it before.
    pub(crate) fn doze(&self, id: BoxId) -> bool {
        let mut uses = self.0.lock();
        let unused = uses.of.get(&id).is_none_or(|used| used.open == 0);
        uses.dozes += u64::from(unused);
        unused
    }

    fn dozes(&self) -> u64 {
        self.0.lock().dozes
    }

    pub(crate) fn forget(&self, id: BoxId) {
        self.0.lock().of.remove(&id);
    }
}

impl Herd {
    /// Says that a box is being used until the guard is dropped, and which box that is.
    pub async fn keep_awake(&self, address: &Address) -> Result<(Found, InUse), HerdError> {
        let dozes = self.activity.dozes();
        let record = self.find(address).await?;
        let in_use = self.in_use(record.id);
        // It may have been put away between the two, when it is to be woken.
        let record = match self.activity.dozes() == dozes {
            true => record,
            false => self.find(address).await?,
        };
        Ok((Found(record), in_use))
    }

    /// The same for a box that was found already.
    #[must_use]
    pub fn in_use(&self, id: BoxId) -> InUse {
        self.activity.change(id, self.now(), 1);
        InUse { herd: self.clone(), id }
    }
}
