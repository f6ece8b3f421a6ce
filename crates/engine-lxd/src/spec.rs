//! What a user asks for, as the server is asked for it. Pure.

use std::collections::BTreeMap;

use boxherd_engine::{EngineError, Unsupported};
use boxherd_lxd_client::{Devices, InstanceInfo, InstanceKind, NewInstance, Source};
use boxherd_model::{
    BoxId, BoxName, BoxSpec, Capability, CpuLimit, ImageRef, ImageSource, NetworkName, NetworkSpec,
};

use crate::marks;

/// What of a server the translation depends on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ground {
    /// Which installation asks.
    pub(crate) installation: String,
    /// The pool for disks of boxes; the profile's own when there is none.
    pub(crate) pool: Option<String>,
    /// The option that user data are.
    pub(crate) user_data: &'static str,
    /// The profiles of the instance.
    pub(crate) profiles: Vec<String>,
    /// Devices that the profiles give it.
    pub(crate) devices: Devices,
}

/// The profile of instances of which none is said.
pub(crate) const DEFAULT_PROFILE: &str = "default";

/// The profiles of the instance that a spec is.
pub(crate) fn profiles(spec: &BoxSpec) -> Vec<String> {
    match spec.profiles.is_empty() {
        true => vec![DEFAULT_PROFILE.to_owned()],
        false => spec.profiles.iter().map(ToString::to_string).collect(),
    }
}

impl Ground {
    /// The pool that disks of boxes are in.
    pub(crate) fn pool(&self) -> Option<&str> {
        let of_profile = || root_of_profiles(self)?.1.get("pool").map(String::as_str);
        self.pool.as_deref().or_else(of_profile)
    }
}

/// The instance that a spec is.
pub(crate) fn instance(
    id: BoxId,
    spec: &BoxSpec,
    source: Source,
    ground: &Ground,
) -> Result<NewInstance, EngineError> {
    if spec.vm {
        check_machine(spec)?;
    }
    Ok(NewInstance {
        name: name(&spec.name)?.to_owned(),
        kind: kind_of(spec),
        source,
        config: config(id, spec, ground),
        devices: devices(spec, ground)?,
        profiles: Some(ground.profiles.clone()),
        target: spec.target.as_ref().map(ToString::to_string),
        ..NewInstance::default()
    })
}

pub(crate) fn kind_of(spec: &BoxSpec) -> InstanceKind {
    if spec.vm { InstanceKind::VirtualMachine } else { InstanceKind::Container }
}

/// Refuses what only containers have.
fn check_machine(spec: &BoxSpec) -> Result<(), EngineError> {
    let whole = spec.limits.cpus.is_none_or(|cpus| cpus.millis() % 1000 == 0);
    let refused = [
        (!whole, "cpus", Capability::CpuLimit, "virtual machines have whole processors"),
        (
            spec.limits.pids.is_some(),
            "pids",
            Capability::PidsLimit,
            "the kernel of a virtual machine counts its processes itself",
        ),
        (
            spec.nesting,
            "nesting",
            Capability::Nesting,
            "virtual machines make namespaces and mounts as they like: leave it out",
        ),
    ];
    match refused.into_iter().find(|(asked, ..)| *asked) {
        Some((_, op, capability, reason)) => {
            Err(Unsupported { op, capability, reason: reason.to_owned() }.into())
        }
        None => Ok(()),
    }
}

/// What is known of an instance that somebody else made. Its limits and its network are the server's.
pub(crate) fn of(info: &InstanceInfo, name: &BoxName) -> BoxSpec {
    let image = info.config.get("image.description").map(|text| text.replace(' ', "-"));
    let image = image.and_then(|text| text.parse().ok()).unwrap_or_else(ImageRef::host);
    let profiles = match &info.profiles[..] {
        [only] if only == DEFAULT_PROFILE => Vec::new(),
        all => all.iter().filter_map(|profile| profile.parse().ok()).collect(),
    };
    let vm = info.kind == InstanceKind::VirtualMachine;
    BoxSpec { image, profiles, vm, ..BoxSpec::new(name.clone()) }
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

/// The image that a spec means.
pub(crate) fn image<'a>(
    image: &'a ImageRef,
    default: Option<&'a ImageRef>,
) -> Result<&'a ImageRef, EngineError> {
    match (default, image.source()) {
        (Some(default), ImageSource::Host) => Ok(default),
        (None, ImageSource::Host) => Err(EngineError::Image {
            image: image.to_string(),
            reason: "these are the files of this machine, and the instance is on another"
                .to_owned(),
            hint: Some(
                "name one of the server's with `--image`; `boxherd engine add --image` says \
                     which to use when none is named"
                    .to_owned(),
            ),
        }),
        _ => Ok(image),
    }
}

/// The options of a box that is made.
pub(crate) fn config(id: BoxId, spec: &BoxSpec, ground: &Ground) -> BTreeMap<String, String> {
    let mut config = marks::of(id, spec, &ground.installation);
    config.insert(marks::UUID.to_owned(), id.to_string());
    config.extend(limits(spec));
    if spec.nesting {
        config.insert("security.nesting".to_owned(), "true".to_owned());
    }
    if let Some(data) = &spec.cloud_init {
        config.insert(ground.user_data.to_owned(), data.to_string());
    }
    config
}

/// The limits that are options of an instance; that of its disk is one of a device.
fn limits(spec: &BoxSpec) -> BTreeMap<String, String> {
    let limits = &spec.limits;
    let mut config = BTreeMap::new();
    if let Some(memory) = limits.memory {
        config.insert("limits.memory".to_owned(), format!("{}B", memory.bytes()));
    }
    match limits.cpus {
        Some(cpus) if spec.vm => {
            config.insert("limits.cpu".to_owned(), (cpus.millis() / 1000).to_string());
        }
        Some(cpus) => {
            config.insert("limits.cpu.allowance".to_owned(), allowance(cpus));
        }
        None => {}
    }
    if let Some(pids) = limits.pids {
        config.insert("limits.processes".to_owned(), pids.to_string());
    }
    config
}

/// The options of a box that is to be another; what it has no more is empty.
pub(crate) fn reshaped(spec: &BoxSpec) -> Result<BTreeMap<String, String>, EngineError> {
    let every: &[_] = match spec.vm {
        true => &["limits.memory", "limits.cpu"],
        false => &["limits.memory", "limits.cpu.allowance", "limits.processes"],
    };
    if spec.vm {
        check_machine(spec)?;
    }
    let mut config: BTreeMap<_, _> =
        every.iter().map(|key| ((*key).to_owned(), String::new())).collect();
    config.extend(limits(spec));
    Ok(config)
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
        let (name, mut root) = root(ground)?;
        if let Some(pool) = &ground.pool {
            root.insert("pool".to_owned(), pool.clone());
        }
        if let Some(disk) = spec.limits.disk {
            root.insert("size".to_owned(), format!("{}B", disk.bytes()));
        }
        devices.insert(name, root);
    }
    Ok(devices)
}

fn root_of_profiles(ground: &Ground) -> Option<(&String, &BTreeMap<String, String>)> {
    let is_root = |(_, device): &(&String, &BTreeMap<String, String>)| {
        kind(device) == "disk" && device.get("path").is_some_and(|path| path == "/")
    };
    ground.devices.iter().find(is_root)
}

/// The root disk of the profiles. Where they have none, as in a project with profiles of its own that
/// nobody has filled, the pool says all that is needed.
fn root(ground: &Ground) -> Result<(String, BTreeMap<String, String>), EngineError> {
    if let Some((name, device)) = root_of_profiles(ground) {
        return Ok((name.clone(), device.clone()));
    }
    if ground.pool.is_some() {
        let device = [("type", "disk"), ("path", "/")].map(owned).into();
        return Ok(("root".to_owned(), device));
    }
    let profiles = ground.profiles.join(", ");
    Err(EngineError::Refused {
        step: "say where the disk is and how large".to_owned(),
        source: format!("no root disk that could be another is in the profiles: {profiles}").into(),
        hint: Some("`--pool` of `boxherd engine add` names the storage pool for it".to_owned()),
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
            pool: None,
            user_data: "cloud-init.user-data",
            profiles: vec!["default".to_owned()],
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
        let made = instance(id, &spec, Source::alias("deb12"), &ground()).unwrap();
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
    fn profiles_user_data_and_a_member_are_the_servers_own() {
        let plain = instance(BoxId::new(), &spec(), Source::none(), &ground()).unwrap();
        assert_eq!((plain.profiles, plain.target), (Some(vec!["default".to_owned()]), None));
        let spec = BoxSpec {
            profiles: vec!["default".parse().unwrap(), "web".parse().unwrap()],
            cloud_init: Some("#!/bin/sh\n".parse().unwrap()),
            target: Some("n2".parse().unwrap()),
            ..spec()
        };
        let ground = Ground { profiles: profiles(&spec), user_data: "user.user-data", ..ground() };
        let made = instance(BoxId::new(), &spec, Source::none(), &ground).unwrap();
        assert_eq!(made.profiles.unwrap(), ["default", "web"]);
        assert_eq!(made.target.as_deref(), Some("n2"));
        assert_eq!(made.config["user.user-data"], "#!/bin/sh\n");
        assert!(!made.config[marks::SPEC].contains("#!/bin/sh"), "it is there once");
    }

    #[test]
    fn a_virtual_machine_has_whole_processors_and_counts_its_own_processes() {
        let mut spec = BoxSpec { vm: true, ..spec() };
        spec.limits.cpus = Some("2".parse().unwrap());
        let made = instance(BoxId::new(), &spec, Source::none(), &ground()).unwrap();
        assert_eq!(made.kind, InstanceKind::VirtualMachine);
        assert_eq!(made.config["limits.cpu"], "2");
        assert_eq!(reshaped(&spec).unwrap()["limits.memory"], "");
        let refusal = |spec: &BoxSpec| match instance(BoxId::new(), spec, Source::none(), &ground())
        {
            Err(EngineError::Unsupported(Unsupported { op, .. })) => op,
            other => panic!("{other:?}"),
        };
        assert_eq!(refusal(&BoxSpec { nesting: true, ..spec.clone() }), "nesting");
        let mut many = spec.clone();
        many.limits.pids = Some(9);
        assert_eq!(refusal(&many), "pids");
        spec.limits.cpus = Some("1.5".parse().unwrap());
        assert_eq!(refusal(&spec), "cpus");
    }

    #[test]
    fn an_instance_of_somebody_elses_tells_its_profiles_and_kind() {
        let info = InstanceInfo {
            profiles: vec!["default".to_owned(), "web".to_owned()],
            kind: InstanceKind::VirtualMachine,
            ..InstanceInfo::default()
        };
        let spec = of(&info, &"web".parse().unwrap());
        assert_eq!((spec.profiles.len(), spec.vm), (2, true));
        let plain = InstanceInfo { profiles: vec!["default".to_owned()], ..info };
        assert!(of(&plain, &"web".parse().unwrap()).profiles.is_empty());
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
    fn who_names_no_image_gets_the_default_or_is_told_to_name_one() {
        let (host, named): (ImageRef, ImageRef) = (ImageRef::host(), "tiny".parse().unwrap());
        let default: ImageRef = "deb12".parse().unwrap();
        assert_eq!(image(&host, Some(&default)).unwrap(), &default);
        assert_eq!(image(&named, Some(&default)).unwrap(), &named);
        assert!(image(&host, None).unwrap_err().hint().unwrap().contains("--image"));
    }

    #[test]
    fn a_name_that_the_server_does_not_take_is_told() {
        let refused = name(&"1st".parse().unwrap()).unwrap_err();
        assert_eq!(refused.code(), "refused");
    }
}
