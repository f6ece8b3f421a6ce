//! Which instance a box is.
//!
//! An instance tells by its configuration which box it is. The server is asked for all of them when a
//! box is looked for that is not known yet, or is not where it was, as after somebody renamed it.

use std::collections::{HashMap, HashSet};

use boxherd_lxd_client::InstanceInfo;
use boxherd_model::BoxId;
use parking_lot::Mutex;

use crate::marks;

/// Instances, by box. What is in it was so once.
#[derive(Debug, Default)]
pub(crate) struct Names {
    seen: Mutex<HashMap<BoxId, Seen>>,
    /// What boxes may be called that were not seen yet.
    told: Mutex<HashMap<BoxId, String>>,
    /// Boxes that are to be made, and for which nothing has been asked of the server yet.
    intended: Mutex<HashSet<BoxId>>,
}

/// What was seen of an instance.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) name: String,
    /// Where its agent is, when it was found.
    pub(crate) folder: Option<String>,
}

impl Names {
    pub(crate) fn get(&self, id: BoxId) -> Option<Seen> {
        self.seen.lock().get(&id).cloned()
    }

    /// Where to begin with a box: what was seen of it, or else is said of it.
    pub(crate) fn guess(&self, id: BoxId) -> Option<Seen> {
        let told = || Some(Seen { name: self.told.lock().get(&id)?.clone(), folder: None });
        self.get(id).or_else(told)
    }

    pub(crate) fn tell(&self, id: BoxId, name: &str) {
        self.told.lock().insert(id, name.to_owned());
    }

    /// One is to be made. Until it [begins](Self::begins) there is nothing of it.
    pub(crate) fn intend(&self, id: BoxId) {
        self.intended.lock().insert(id);
    }

    /// From now on there may be something of it.
    pub(crate) fn begins(&self, id: BoxId) {
        self.intended.lock().remove(&id);
    }

    pub(crate) fn is_only_intended(&self, id: BoxId) -> bool {
        self.intended.lock().contains(&id)
    }

    /// One that is new.
    pub(crate) fn put(&self, id: BoxId, name: &str) {
        self.seen.lock().insert(id, Seen { name: name.to_owned(), folder: None });
    }

    /// What the server says of one.
    pub(crate) fn see(&self, id: BoxId, info: &InstanceInfo) {
        let folder = info.config.get(marks::FOLDER).filter(|folder| !folder.is_empty()).cloned();
        self.seen.lock().insert(id, Seen { name: info.name.clone(), folder });
    }

    pub(crate) fn forget(&self, id: BoxId) {
        self.seen.lock().remove(&id);
        self.intended.lock().remove(&id);
        self.told.lock().remove(&id);
    }
}
