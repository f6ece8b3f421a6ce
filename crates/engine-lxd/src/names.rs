//! Which instance a box is.
//!
//! An instance tells by its configuration which box it is. The server is asked for all of them when a
//! box is looked for that is not known yet, or is not where it was, as after somebody renamed it.

use std::collections::HashMap;

use boxherd_lxd_client::InstanceInfo;
use boxherd_model::BoxId;
use parking_lot::Mutex;

use crate::marks;

/// Instances, by box. What is in it was so once.
#[derive(Debug, Default)]
pub(crate) struct Names(Mutex<HashMap<BoxId, Seen>>);

/// What was seen of an instance.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) name: String,
    /// Why its agent does not run, where that is written down.
    pub(crate) native: Option<String>,
}

impl Names {
    pub(crate) fn get(&self, id: BoxId) -> Option<Seen> {
        self.0.lock().get(&id).cloned()
    }

    /// One that is new, or was started anew: nothing is known of its agent.
    pub(crate) fn put(&self, id: BoxId, name: &str) {
        self.0.lock().insert(id, Seen { name: name.to_owned(), native: None });
    }

    /// What the server says of one.
    pub(crate) fn see(&self, id: BoxId, info: &InstanceInfo) {
        let seen = Seen { name: info.name.clone(), native: marks::native(info) };
        self.0.lock().insert(id, seen);
    }

    pub(crate) fn has_no_agent(&self, id: BoxId, why: &str) {
        if let Some(seen) = self.0.lock().get_mut(&id) {
            seen.native = Some(why.to_owned());
        }
    }

    pub(crate) fn forget(&self, id: BoxId) {
        self.0.lock().remove(&id);
    }
}
