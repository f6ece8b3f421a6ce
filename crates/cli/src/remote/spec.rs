//! A spec as the wire has it. Pure.

use std::time::Duration;

use boxherd_client::NewBox;
use boxherd_herd::{Create, Volume};
use boxherd_model::{BoxSpec, NetworkSpec};

use super::refuse;
use crate::failure::Failure;

/// A spec as the wire has it.
pub(super) fn new_box(create: Create) -> Result<NewBox, Failure> {
    // What the command line has no words for is not set.
    let Create { mut spec, engine, volumes, .. } = create;
    let plain = BoxSpec::new(spec.name.clone());
    let (network, isolated) = match &spec.network {
        NetworkSpec::Bridge { name, isolated, egress } => {
            refuse("--egress", egress.is_some())?;
            let own = *name == boxherd_model::NetworkName::default_network();
            ((!own).then(|| name.to_string()), *isolated)
        }
        NetworkSpec::None => {
            refuse("--network none", true)?;
            (None, false)
        }
    };
    let cpus = spec.limits.cpus.map(boxherd_model::CpuLimit::millis);
    refuse("--cpus with a fraction", cpus.is_some_and(|millis| millis % 1000 != 0))?;
    refuse("--engine", engine.is_some())?;
    refuse("--pids", spec.limits.pids.is_some())?;
    refuse("--workdir", spec.workdir.is_some())?;
    refuse("--user", spec.user.is_some())?;
    refuse("--nesting", spec.nesting)?;
    refuse("--isolation", spec.isolation != plain.isolation)?;
    let timers = std::mem::take(&mut spec.timers);
    refuse("hibernate_after_idle", timers.hibernate_after_idle.is_some())?;
    refuse("delete_at", timers.delete_at.is_some())?;
    let limits = std::mem::take(&mut spec.limits);
    Ok(NewBox {
        name: spec.name.to_string(),
        image: spec.image.to_string(),
        cmd: spec.cmd,
        env: spec.env,
        restart: spec.restart.to_string(),
        cpus: cpus.map(|millis| millis / 1000),
        memory: limits.memory.map(boxherd_model::ByteSize::bytes),
        disk: limits.disk.map(boxherd_model::ByteSize::bytes),
        labels: spec.labels.into_iter().collect(),
        volumes: volumes.into_iter().map(volume).collect(),
        proxies: Vec::new(),
        suspend_after_idle: timers.suspend_after_idle.map(|s| Duration::from_secs(s.into())),
        delete_after: timers.delete_after.map(Duration::from_secs),
        network,
        isolated,
        spec: None,
    })
}

fn volume(volume: Volume) -> boxherd_client::Volume {
    let Volume { disk, path, read_only } = volume;
    boxherd_client::Volume { disk, path: path.to_string(), read_only }
}

#[cfg(test)]
mod tests {
    use boxherd_model::EngineName;

    use super::*;

    fn spec() -> BoxSpec {
        BoxSpec::new("web".parse().unwrap())
    }

    #[test]
    fn what_a_server_cannot_be_asked_for_is_refused() {
        let told = |spec| new_box(Create::from(spec)).unwrap_err().render(false, false);
        assert!(told(BoxSpec { nesting: true, ..spec() }).contains("`--nesting`"));
        assert!(told(BoxSpec { user: Some("a".to_owned()), ..spec() }).contains("`--user`"));
        assert!(told(BoxSpec { network: NetworkSpec::None, ..spec() }).contains("none"));
        assert!(new_box(Create { engine: Some(EngineName::local()), ..spec().into() }).is_err());
    }

    #[test]
    fn a_plain_box_asks_for_nothing_special() {
        let expected = NewBox {
            image: "host".to_owned(),
            restart: spec().restart.to_string(),
            ..NewBox::named("web")
        };
        assert_eq!(new_box(Create::from(spec())).unwrap(), expected);
    }
}
