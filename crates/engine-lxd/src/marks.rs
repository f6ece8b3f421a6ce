//! What the configuration of an instance says of its box.

use std::collections::{BTreeMap, HashMap};

use boxherd_agent_blob::SHA256;
use boxherd_lxd_client::{Error, Instance, InstanceInfo};
use boxherd_model::{BoxId, BoxSpec};

/// Whose an instance is: the installation that made it.
pub(crate) const INSTALLATION: &str = "user.boxherd.installation";
/// Which box it is.
pub(crate) const ID: &str = "user.boxherd.id";
/// What the box is called, which the instance may be only when it is stopped next.
pub(crate) const NAME: &str = "user.boxherd.name";
/// What the instance was called when the box got its name.
pub(crate) const INSTANCE: &str = "user.boxherd.instance";
/// What of its spec the agent has to know, as JSON.
pub(crate) const SPEC: &str = "user.boxherd.spec";

/// It was there before the box.
pub(crate) const ADOPTED: &str = "user.boxherd.adopted";

/// Which agent does not run in it, since it was started last, and why.
pub(crate) const NATIVE: &str = "user.boxherd.native";

/// Where the agent is, when it is not where it is looked for first.
pub(crate) const FOLDER: &str = "user.boxherd.folder";

/// The token of whoever claimed it last, where servers share a store.
pub(crate) const FENCE: &str = "user.boxherd.fence";

/// Every one that a box's instance can have.
pub(crate) const ALL: [&str; 9] =
    [INSTALLATION, ID, NAME, INSTANCE, SPEC, ADOPTED, NATIVE, FOLDER, FENCE];

/// What the server tells an instance by, whatever it is called: a copy that it makes has another, and one
/// that it imports the same. Ours have the id of their box.
pub(crate) const UUID: &str = "volatile.uuid";

/// All of them, for a box that is made.
pub(crate) fn of(id: BoxId, spec: &BoxSpec, installation: &str) -> BTreeMap<String, String> {
    // User data are an option of their own, and may be large.
    let kept = BoxSpec { cloud_init: None, ..spec.clone() };
    let text = serde_json::to_string(&kept).expect("a spec is JSON");
    [
        (INSTALLATION, installation.to_owned()),
        (ID, id.to_string()),
        (NAME, spec.name.to_string()),
        (INSTANCE, spec.name.to_string()),
        (SPEC, text),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

/// The box that an instance is, if this installation made it. A copy that somebody made at the server has
/// the same marks and another name, and is theirs.
pub(crate) fn box_of(info: &InstanceInfo, installation: &str) -> Option<BoxId> {
    let named = says(info, NAME, &info.name) || says(info, INSTANCE, &info.name);
    let ours = says(info, INSTALLATION, installation) && named;
    ours.then(|| info.config.get(ID)?.parse().ok()).flatten()
}

/// The boxes among all instances, and what each is called. One whose marks say another name, as after a
/// snapshot of another time was restored, is the box if none says the right one and it alone is what
/// was made for the box.
pub(crate) fn boxes_of<'i>(
    all: impl Iterator<Item = &'i InstanceInfo> + Clone,
    installation: &str,
) -> HashMap<BoxId, String> {
    let named = all.clone().filter_map(|info| Some((box_of(info, installation)?, &info.name)));
    let mut boxes: HashMap<_, _> = named.map(|(id, name)| (id, name.clone())).collect();
    // `None` where there are several.
    let mut made: HashMap<BoxId, Option<String>> = HashMap::new();
    for info in all.filter(|info| says(info, INSTALLATION, installation)) {
        let id = info.config.get(ID).filter(|id| says(info, UUID, id));
        let Some(id) = id.and_then(|id| id.parse().ok()) else { continue };
        made.entry(id).and_modify(|other| *other = None).or_insert_with(|| Some(info.name.clone()));
    }
    for (id, name) in made {
        if let Some(name) = name {
            boxes.entry(id).or_insert(name);
        }
    }
    boxes
}

fn says(info: &InstanceInfo, key: &str, what: &str) -> bool {
    info.config.get(key).is_some_and(|text| text == what)
}

/// Whether it is only lent: whoever made it keeps it.
pub(crate) fn is_adopted(info: &InstanceInfo) -> bool {
    info.config.get(ADOPTED).is_some_and(|text| !text.is_empty())
}

/// The greatest token with which it was claimed; 0, which nobody has, when it never was or says something
/// else: whoever claimed it is turned away then.
pub(crate) fn fence(info: &InstanceInfo) -> u64 {
    info.config.get(FENCE).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Whether any installation says that it is its own.
pub(crate) fn is_somebodys(info: &InstanceInfo) -> bool {
    info.config.contains_key(INSTALLATION)
}

/// What the box is called.
pub(crate) fn name(info: &InstanceInfo) -> Option<String> {
    info.config.get(NAME).cloned()
}

/// What it was made from.
pub(crate) fn spec(info: &InstanceInfo) -> Option<BoxSpec> {
    serde_json::from_str(info.config.get(SPEC)?).ok()
}

/// Whether it runs a program besides the agent.
pub(crate) fn has_cmd(info: &InstanceInfo) -> bool {
    spec(info).is_some_and(|spec| !spec.cmd.is_empty())
}

/// Why this agent does not run in it, where that was found out.
pub(crate) fn native(info: &InstanceInfo) -> Option<String> {
    let (agent, why) = info.config.get(NATIVE)?.split_once(' ')?;
    (agent == SHA256).then(|| why.to_owned())
}

/// What [`NATIVE`] is of an instance in which this agent does not run.
pub(crate) fn native_for(why: &str) -> String {
    format!("{SHA256} {why}")
}

/// Writes one of them down, or takes it away when it is empty.
pub(crate) async fn set(instance: &Instance, mark: &str, text: &str) -> Result<(), Error> {
    instance.patch(&serde_json::json!({ "config": { (mark): text } })).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_this_installation_made_is_a_box() {
        let id = BoxId::new();
        let spec = BoxSpec::new("web".parse().unwrap());
        let called = |name: &str, config| InstanceInfo {
            name: name.to_owned(),
            config,
            ..InstanceInfo::default()
        };
        let info = |config| called("web", config);
        let made = info(of(id, &spec, "a"));
        assert_eq!((box_of(&made, "a"), box_of(&made, "b")), (Some(id), None));
        assert_eq!((name(&made).as_deref(), super::spec(&made)), (Some("web"), Some(spec.clone())));
        let mut renamed = of(id, &spec, "a");
        renamed.insert(NAME.to_owned(), "new".to_owned());
        for (name, is_ours) in [("web", true), ("new", true), ("copy", false)] {
            let found = box_of(&called(name, renamed.clone()), "a");
            assert_eq!(found.is_some(), is_ours, "{name}");
        }
        // Whatever the server calls it, as after a snapshot of a time with another name was restored, and
        // unless there are several, of which somebody has imported one.
        renamed.insert(UUID.to_owned(), id.to_string());
        let several = |names: &[&str]| {
            let all: Vec<_> = names.iter().map(|name| called(name, renamed.clone())).collect();
            boxes_of(all.iter(), "a").remove(&id)
        };
        assert_eq!(several(&["other"]).as_deref(), Some("other"));
        for all in [["other", "new"], ["new", "other"]] {
            assert_eq!(several(&all).as_deref(), Some("new"));
        }
        assert_eq!(several(&["other", "third"]), None);
        assert_eq!(several(&["other", "third", "fourth"]), None);
        assert!(boxes_of([called("other", renamed.clone())].iter(), "b").is_empty());
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let unsaid = info([pair(ID, &id.to_string())].into());
        assert_eq!(box_of(&unsaid, "a"), None);
        let nonsense = info([pair(INSTALLATION, "a"), pair(ID, "no id")].into());
        assert_eq!(box_of(&nonsense, "a"), None);
    }
}
