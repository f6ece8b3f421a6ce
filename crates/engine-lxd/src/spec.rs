//! What a user asks for, as the server is asked for it. Pure.

use std::collections::BTreeMap;

use boxherd_engine::EngineError;
use boxherd_lxd_client::{Devices, InstanceInfo, InstanceKind, NewInstance, Source};
use boxherd_model::{
    BoxId, BoxName, BoxSpec, CpuLimit, ImageRef, ImageSource, Limits, NetworkName, NetworkSpec,
};

use crate::marks;

/// What of a server the translation depends on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ground {
    /// Which installation asks.
    pub(crate) installation: String,
    /// What boxes are made of whose spec says `host`, which only the embedded engine has.
    pub(crate) image: Option<ImageRef>,
    /// The pool for disks of boxes; the profile's own when there is none.
    pub(crate) pool: Option<String>,
    /// Devices that the profiles give every instance.
    pub(crate) devices: Devices,
}

impl Ground {
    /// The pool that disks of boxes are in.
    pub(crate) fn pool(&self) -> Option<&str> {
        let of_profile = || root(self).ok()?.1.get("pool").map(String::as_str);
        self.pool.as_deref().or_else(of_profile)
    }
}

/// The instance that a spec is.
pub(crate) fn instance(
    id: BoxId,
    spec: &BoxSpec,
    ground: &Ground,
) -> Result<NewInstance, EngineError> {
    Ok(NewInstance {
        name: name(&spec.name)?.to_owned(),
        kind: InstanceKind::Container,
        source: source(&spec.image, ground)?,
        config: config(id, spec, ground),
        devices: devices(spec, ground)?,
        ..NewInstance::default()
    })
}

/// What is known of an instance that somebody else made. Its limits and its network are the server's.
pub(crate) fn of(info: &InstanceInfo, name: &BoxName) -> BoxSpec {
    let image = info.config.get("image.description").map(|text| text.replace(' ', "-"));
    let image = image.and_then(|text| text.parse().ok()).unwrap_or_else(ImageRef::host);
    BoxSpec { image, ..BoxSpec::new(name.clone()) }
}

/// The server takes names that a box can have, but for those that begin with a digit.
pub(crate) fn name(name: &BoxName) -> Result<&str, EngineError> {
    let name = name.as_str();
    if name.starts_with(|first: char| first.is_ascii_digit()) {
        let reason = format!("`{name}` begins with a digit, which no name of an instance does");
        return Err(EngineError::refused("name the instance", reason));
    }
    Ok(name)
}

fn source(image: &ImageRef, ground: &Ground) -> Result<Source, EngineError> {
    let image = match (&ground.image, image.source()) {
        (Some(default), ImageSource::Host) => default,
        (None, ImageSource::Host) => {
            return Err(EngineError::Image {
                image: image.to_string(),
                reason: "these are the files of this machine, and the instance is on another"
                    .to_owned(),
                hint: Some(
                    "name one of the server's with `--image`; `boxherd engine add --image` says \
                     which to use when none is named"
                        .to_owned(),
                ),
            });
        }
        _ => image,
    };
    let text = image.as_str();
    let is_fingerprint = text.len() >= 12 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    Ok(if is_fingerprint { Source::fingerprint(text) } else { Source::alias(text) })
}

/// The options of a box that is made.
pub(crate) fn config(id: BoxId, spec: &BoxSpec, ground: &Ground) -> BTreeMap<String, String> {
    let mut config = marks::of(id, spec, &ground.installation);
    config.extend(limits(&spec.limits));
    if spec.nesting {
        config.insert("security.nesting".to_owned(), "true".to_owned());
    }
    config
}

/// The limits that are options of an instance; that of its disk is one of a device.
fn limits(limits: &Limits) -> BTreeMap<String, String> {
    let mut config = BTreeMap::new();
    if let Some(memory) = limits.memory {
        config.insert("limits.memory".to_owned(), format!("{}B", memory.bytes()));
    }
    if let Some(cpus) = limits.cpus {
        config.insert("limits.cpu.allowance".to_owned(), allowance(cpus));
    }
    if let Some(pids) = limits.pids {
        config.insert("limits.processes".to_owned(), pids.to_string());
    }
    config
}

/// The options of a box that is to be another; what it has no more is empty.
pub(crate) fn reshaped(spec: &BoxSpec) -> BTreeMap<String, String> {
    let every = ["limits.memory", "limits.cpu.allowance", "limits.processes"];
    let mut config: BTreeMap<_, _> =
        every.into_iter().map(|key| (key.to_owned(), String::new())).collect();
    config.extend(limits(&spec.limits));
    config
}

/// Milliseconds of processor time in every tenth of a second, which is a hard limit.
fn allowance(cpus: CpuLimit) -> String {
    format!("{}ms/100ms", cpus.millis().div_ceil(10).max(1))
}

/// Devices in place of those that the profiles have.
pub(crate) fn devices(spec: &BoxSpec, ground: &Ground) -> Result<Devices, EngineError> {
    let mut devices = Devices::new();
    let nics = ground.devices.iter().filter(|(_, device)| kind(device) == "nic");
    match &spec.network {
        NetworkSpec::None => {
            let none = || [("type".to_owned(), "none".to_owned())].into();
            devices.extend(nics.map(|(name, _)| (name.clone(), none())));
        }
        NetworkSpec::Bridge { name, .. } if *name == NetworkName::default_network() => {}
        NetworkSpec::Bridge { name, .. } => {
            let first = nics.map(|(name, _)| name.as_str()).next().unwrap_or("eth0");
            let nic = [("type", "nic"), ("name", "eth0"), ("network", name.as_str())];
            devices.insert(first.to_owned(), nic.map(owned).into());
        }
    }
    if spec.limits.disk.is_some() || ground.pool.is_some() {
        let (name, root) = root(ground)?;
        let mut root = root.clone();
        if let Some(pool) = &ground.pool {
            root.insert("pool".to_owned(), pool.clone());
        }
        if let Some(disk) = spec.limits.disk {
            root.insert("size".to_owned(), format!("{}B", disk.bytes()));
        }
        devices.insert(name.clone(), root);
    }
    Ok(devices)
}

fn root(ground: &Ground) -> Result<(&String, &BTreeMap<String, String>), EngineError> {
    let is_root = |(_, device): &(&String, &BTreeMap<String, String>)| {
        kind(device) == "disk" && device.get("path").is_some_and(|path| path == "/")
    };
    ground.devices.iter().find(is_root).ok_or_else(|| {
        let reason = "the profile `default` has no root disk that could be another";
        EngineError::refused("say where the disk is and how large", reason)
    })
}

fn kind(device: &BTreeMap<String, String>) -> &str {
    device.get("type").map_or("", String::as_str)
}

fn owned((key, value): (&str, &str)) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

#[cfg(test)]
mod tests {
    use boxherd_model::ByteSize;

    use super::*;

    fn ground() -> Ground {
        let nic = [("type", "nic"), ("network", "lxdbr0")].map(owned).into();
        let root = [("type", "disk"), ("path", "/"), ("pool", "default")].map(owned).into();
        Ground {
            installation: "here".to_owned(),
            image: None,
            pool: None,
            devices: [("eth0".to_owned(), nic), ("root".to_owned(), root)].into(),
        }
    }

    fn spec() -> BoxSpec {
        BoxSpec { image: "deb12".parse().unwrap(), ..BoxSpec::new("web".parse().unwrap()) }
    }

    #[test]
    fn an_instance_says_whose_it_is_and_has_what_was_asked_for() {
        let mut spec = spec();
        spec.limits.memory = Some(ByteSize::from_mib(512));
        spec.limits.cpus = Some("1.5".parse().unwrap());
        spec.limits.pids = Some(99);
        spec.limits.disk = Some(ByteSize::from_mib(100));
        spec.nesting = true;
        let id = BoxId::new();
        let made = instance(id, &spec, &ground()).unwrap();
        assert_eq!((made.name.as_str(), made.source.alias.as_deref()), ("web", Some("deb12")));
        let of = |key: &str| made.config[key].as_str();
        assert_eq!((of(marks::INSTALLATION), of(marks::ID)), ("here", id.to_string().as_str()));
        assert_eq!(
            (of("limits.memory"), of("limits.cpu.allowance")),
            ("536870912B", "150ms/100ms")
        );
        assert_eq!((of("limits.processes"), of("security.nesting")), ("99", "true"));
        assert_eq!(made.devices["root"]["size"], "104857600B");
        assert_eq!(made.devices["root"]["pool"], "default", "the rest of the device stays");
        assert!(!made.devices.contains_key("eth0"), "the profile's own network");
    }

    #[test]
    fn a_network_is_that_of_the_profile_another_or_none() {
        let none = BoxSpec { network: NetworkSpec::None, ..spec() };
        assert_eq!(devices(&none, &ground()).unwrap()["eth0"]["type"], "none");
        let network =
            NetworkSpec::Bridge { name: "other".parse().unwrap(), isolated: false, egress: None };
        let other = BoxSpec { network, ..spec() };
        assert_eq!(devices(&other, &ground()).unwrap()["eth0"]["network"], "other");
    }

    #[test]
    fn images_are_aliases_fingerprints_or_the_default() {
        let of = |text: &str, ground: &Ground| source(&text.parse().unwrap(), ground);
        assert_eq!(of("deb12", &ground()).unwrap().alias.as_deref(), Some("deb12"));
        let print = "0123456789abcdef";
        assert_eq!(of(print, &ground()).unwrap().fingerprint.as_deref(), Some(print));
        assert!(of("host", &ground()).unwrap_err().hint().unwrap().contains("--image"));
        let with = Ground { image: Some("deb12".parse().unwrap()), ..ground() };
        assert_eq!(of("host", &with).unwrap().alias.as_deref(), Some("deb12"));
    }

    #[test]
    fn a_name_that_the_server_does_not_take_is_told() {
        let refused = name(&"1st".parse().unwrap()).unwrap_err();
        assert_eq!(refused.code(), "refused");
    }
}
