//! Which instance a box is.
//!
//! An instance tells by its configuration which box it is. The server is asked for all of them when a
//! box is looked for that is not known yet, or is not where it was, as after somebody renamed it.

use std::collections::HashMap;

use boxherd_model::BoxId;
use parking_lot::Mutex;

/// Names of instances, by box. What is in it was so once.
#[derive(Debug, Default)]
pub(crate) struct Names(Mutex<HashMap<BoxId, String>>);

impl Names {
    pub(crate) fn get(&self, id: BoxId) -> Option<String> {
        self.0.lock().get(&id).cloned()
    }

    pub(crate) fn put(&self, id: BoxId, name: &str) {
        self.0.lock().insert(id, name.to_owned());
    }

    pub(crate) fn forget(&self, id: BoxId) {
        self.0.lock().remove(&id);
    }
}
