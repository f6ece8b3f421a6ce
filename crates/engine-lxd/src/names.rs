//! Which instance a box is.
//!
//! An instance tells by its configuration which box it is. The server is asked for all of them when a
//! box is looked for that is not known yet, or is not where it was, as after somebody renamed it.

use std::collections::HashMap;

use boxherd_lxd_client::InstanceInfo;
use boxherd_model::BoxId;
use parking_lot::Mutex;

/// Whose an instance is: the installation that made it.
pub(crate) const INSTALLATION: &str = "user.boxherd.installation";
/// Which box it is.
pub(crate) const ID: &str = "user.boxherd.id";

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

    /// Takes what the server has in place of what was known.
    pub(crate) fn replace(&self, known: impl Iterator<Item = (BoxId, String)>) {
        *self.0.lock() = known.collect();
    }
}

/// The box that an instance is, if this installation made it.
pub(crate) fn box_of(info: &InstanceInfo, installation: &str) -> Option<BoxId> {
    let ours = info.config.get(INSTALLATION).is_some_and(|of| of == installation);
    ours.then(|| info.config.get(ID)?.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_this_installation_made_is_a_box() {
        let id = BoxId::new();
        let info = |pairs: &[(&str, &str)]| InstanceInfo {
            config: pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect(),
            ..InstanceInfo::default()
        };
        let text = id.to_string();
        assert_eq!(box_of(&info(&[(INSTALLATION, "a"), (ID, &text)]), "a"), Some(id));
        assert_eq!(box_of(&info(&[(INSTALLATION, "b"), (ID, &text)]), "a"), None);
        assert_eq!(box_of(&info(&[(ID, &text)]), "a"), None);
        assert_eq!(box_of(&info(&[(INSTALLATION, "a"), (ID, "no id")]), "a"), None);
    }
}
