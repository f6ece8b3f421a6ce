//! Messages of the wire as what the herd knows, and back. Pure.

use std::collections::{BTreeMap, HashMap};

use boxherd_boxd_api as api;
use boxherd_herd::HerdError;
use boxherd_model::{
    BoxName, BoxSpec, BoxState, BoxStatus, ByteSize, CpuLimit, Deadline, ImageRef, Labels,
    NetworkSpec, RestartPolicy, Timers, Timestamp,
};

use crate::Config;
use crate::shape::network;

/// Labels a box may have.
const MAX_LABELS: usize = 64;
/// Bytes of a label's key or value.
const MAX_LABEL: usize = 256;

pub(crate) fn invalid(field: &'static str, reason: impl ToString) -> HerdError {
    HerdError::Invalid { field, reason: reason.to_string() }
}

pub(crate) fn name(field: &'static str, text: &str) -> Result<BoxName, HerdError> {
    text.parse().map_err(|error| invalid(field, error))
}

/// What `CreateVm` asks for.
pub(crate) fn spec(name: BoxName, asked: &api::CreateVmRequest) -> Result<BoxSpec, HerdError> {
    refuse_what_is_not_offered(asked)?;
    let mut spec = BoxSpec::new(name);
    spec.image = image(&asked.image_ref)?;
    spec.env = env(&asked.env)?;
    spec.cmd.clone_from(&asked.cmd);
    spec.restart = restart(&asked.restart_policy)?;
    spec.labels = labels(&asked.labels)?;
    if let NetworkSpec::Bridge { name, isolated, .. } = &mut spec.network {
        *name = network(&asked.networks)?;
        *isolated = asked.isolated;
    }
    configure(&mut spec, asked.config.as_ref())?;
    Ok(spec)
}

/// The same where all of it is said as JSON.
pub(crate) fn whole_spec(asked: &api::CreateVmRequest) -> Result<BoxSpec, HerdError> {
    let field = "boxherd_spec";
    let spec: BoxSpec =
        serde_json::from_str(&asked.boxherd_spec).map_err(|error| invalid(field, error))?;
    let beside = |config: &api::VmConfig| api::VmConfig {
        volumes: config.volumes.clone(),
        network: config.network.clone(),
        ..api::VmConfig::default()
    };
    let kept = api::CreateVmRequest {
        name: asked.name.clone(),
        org: asked.org.clone(),
        config: asked.config.as_ref().map(beside),
        boxherd_spec: asked.boxherd_spec.clone(),
        boxherd_engine: asked.boxherd_engine.clone(),
        boxherd_status: asked.boxherd_status,
        ..api::CreateVmRequest::default()
    };
    if *asked != kept || (!asked.name.is_empty() && asked.name != spec.name.as_str()) {
        return Err(invalid(field, "what it says is not said in other fields again"));
    }
    if spec.ephemeral {
        return Err(invalid(field, "`ephemeral`: the client deletes a box that it is done with"));
    }
    labels(&spec.labels.iter().map(|(key, value)| (key.clone(), value.clone())).collect())?;
    let variable =
        |(key, value): (&String, &String)| api::EnvVar { key: key.clone(), value: value.clone() };
    env(&spec.env.iter().map(variable).collect::<Vec<_>>())?;
    Ok(spec)
}

/// Nothing that was asked for is left out without a word.
fn refuse_what_is_not_offered(asked: &api::CreateVmRequest) -> Result<(), HerdError> {
    refuse(&[("team", !asked.team.is_empty()), ("shared", asked.shared)])
}

/// The same for what is no box that could mount disks.
pub(crate) fn refuse_volumes(config: Option<&api::VmConfig>) -> Result<(), HerdError> {
    refuse(&[("config.volumes", config.is_some_and(|config| !config.volumes.is_empty()))])
}

/// The same for what keeps no ways into its boxes.
pub(crate) fn refuse_proxies(config: Option<&api::VmConfig>) -> Result<(), HerdError> {
    let network = config.and_then(|config| config.network.as_ref());
    let asked = network.is_some_and(|network| !network.proxies.is_empty());
    refuse(&[("config.network.proxies", asked)])
}

pub(crate) fn refuse(wanted: &[(&'static str, bool)]) -> Result<(), HerdError> {
    match wanted.iter().find(|(_, asked)| *asked) {
        Some((field, _)) => Err(invalid(field, "this server does not offer it")),
        None => Ok(()),
    }
}

pub(crate) fn image(text: &str) -> Result<ImageRef, HerdError> {
    match text {
        "" => Ok(ImageRef::host()),
        text => text.parse().map_err(|error| invalid("image_ref", error)),
    }
}

fn env(pairs: &[api::EnvVar]) -> Result<BTreeMap<String, String>, HerdError> {
    let pair = |pair: &api::EnvVar| match pair.key.is_empty() || pair.key.contains(['=', '\0']) {
        true => Err(invalid("env", format!("`{}` is no name of a variable", pair.key))),
        false => Ok((pair.key.clone(), pair.value.clone())),
    };
    pairs.iter().map(pair).collect()
}

fn restart(text: &str) -> Result<RestartPolicy, HerdError> {
    match text {
        "" => Ok(RestartPolicy::Never),
        text => text.parse().map_err(|error| invalid("restart_policy", error)),
    }
}

pub(crate) fn labels(asked: &HashMap<String, String>) -> Result<Labels, HerdError> {
    if asked.len() > MAX_LABELS {
        return Err(invalid("labels", format!("a box has at most {MAX_LABELS}")));
    }
    for (key, value) in asked {
        let bad = |text: &str| text.len() > MAX_LABEL || text.contains(['\n', '\r', '\0']);
        if key.is_empty() || key.contains(['=', ',', '!']) || bad(key) || bad(value) {
            let shown: String = key.chars().take(80).collect();
            let rule = format!("use up to {MAX_LABEL} bytes, and no `=`, `,` or `!` in keys");
            return Err(invalid("labels", format!("`{shown}`: {rule}")));
        }
    }
    Ok(asked.iter().map(|(key, value)| (key.clone(), value.clone())).collect())
}

pub(crate) fn cpus(count: u32) -> Result<CpuLimit, HerdError> {
    count.to_string().parse().map_err(|error| invalid("vcpu", error))
}

/// Puts what a `VmConfig` says into a spec; 0 leaves what is there.
pub(crate) fn configure(
    spec: &mut BoxSpec,
    config: Option<&api::VmConfig>,
) -> Result<(), HerdError> {
    let Some(config) = config else { return Ok(()) };
    if config.vcpu != 0 {
        spec.limits.cpus = Some(cpus(config.vcpu)?);
    }
    if config.memory_bytes != 0 {
        spec.limits.memory = Some(ByteSize::from_bytes(config.memory_bytes));
    }
    if config.disk_bytes != 0 {
        spec.limits.disk = Some(ByteSize::from_bytes(config.disk_bytes));
    }
    if let Some(srf) = &config.srf {
        spec.timers = timers(srf);
    }
    match config.idle_ignore_outbound {
        // Outbound traffic never counts here.
        None | Some(true) => Ok(()),
        Some(false) => {
            Err(invalid("idle_ignore_outbound", "only inbound traffic keeps a box awake"))
        }
    }
}

fn timers(srf: &api::SrfConfig) -> Timers {
    Timers {
        suspend_after_idle: srf.auto_suspend_timeout_secs.filter(|seconds| *seconds != 0),
        delete_after: Some(u64::from(srf.auto_destroy_timeout_secs))
            .filter(|seconds| *seconds != 0),
        ..Timers::default()
    }
}

/// What `GetVm` and `ListVms` answer of a box in a network that its user made, or in none of those.
pub(crate) fn vm(
    status: &BoxStatus,
    network: Option<String>,
    config: &Config,
) -> api::GetVmResponse {
    let spec = &status.spec;
    let (isolated, egress) = match &spec.network {
        NetworkSpec::None => (true, Vec::new()),
        NetworkSpec::Bridge { isolated, egress, .. } => {
            (*isolated, egress.iter().flatten().map(ToString::to_string).collect())
        }
    };
    api::GetVmResponse {
        vm_id: status.id.to_string(),
        name: spec.name.to_string(),
        image_ref: spec.image.to_string(),
        public_ip: address(status, config),
        status: state(status.state).to_owned(),
        restart_policy: spec.restart.to_string(),
        disk_bytes: bytes(spec.limits.disk),
        auto_suspend_timeout_secs: spec.timers.suspend_after_idle.unwrap_or(0),
        auto_hibernate_timeout_secs: spec.timers.hibernate_after_idle.unwrap_or(0),
        auto_destroy_timeout_secs: spec.timers.delete_after.map_or(0, saturated),
        vcpu: spec.limits.cpus.map_or(0, |cpus| cpus.millis().div_ceil(1000)),
        memory_bytes: bytes(spec.limits.memory),
        created_at: seconds(status.created),
        boot_time_ms: i64::try_from(boot_millis(status)).unwrap_or(i64::MAX),
        // Clients put the name of the box before it.
        access_domain: config.web.as_ref().map_or_else(String::new, |_| config.zone.clone()),
        isolated,
        egress_allow: egress,
        networks: network.into_iter().collect(),
        delete_at_ms: spec.timers.delete_at.map_or(0, Timestamp::millis),
        delete_after_cron: match &spec.timers.deadline {
            Some(Deadline::Cron(expression)) => expression.clone(),
            _ => String::new(),
        },
        idle_ignore_outbound: true,
        labels: spec.labels.clone().into_iter().collect(),
        ..api::GetVmResponse::default()
    }
}

/// What `CreateVm` answers.
pub(crate) fn created(status: &BoxStatus, label: &str, config: &Config) -> api::CreateVmResponse {
    api::CreateVmResponse {
        vm_id: status.id.to_string(),
        name: status.spec.name.to_string(),
        public_ip: address(status, config),
        url: config.url(label),
        image: status.spec.image.to_string(),
        status: state(status.state).to_owned(),
        boot_time_ms: boot_millis(status),
        ..api::CreateVmResponse::default()
    }
}

/// What `ForkVm` answers.
pub(crate) fn forked(
    status: &BoxStatus,
    label: &str,
    from: String,
    config: &Config,
) -> api::ForkVmResponse {
    let created = created(status, label, config);
    api::ForkVmResponse {
        vm_id: created.vm_id,
        name: created.name,
        public_ip: created.public_ip,
        url: created.url,
        image: created.image,
        status: created.status,
        forked_from: from,
        boot_time_ms: created.boot_time_ms,
        ..api::ForkVmResponse::default()
    }
}

/// The wire's word for a state.
pub(crate) const fn state(state: BoxState) -> &'static str {
    match state {
        BoxState::Gone | BoxState::Deleting => "destroyed",
        other => other.as_str(),
    }
}

/// A box without an address of its own is reached through the host.
fn address(status: &BoxStatus, config: &Config) -> String {
    let own = status.addresses.first().map(ToString::to_string);
    own.unwrap_or_else(|| config.host.clone())
}

/// At least 1 for a box that was started: 0 says that nobody knows.
fn boot_millis(status: &BoxStatus) -> u64 {
    u64::try_from(status.timings.total().as_millis()).unwrap_or(u64::MAX).max(1)
}

fn bytes(size: Option<ByteSize>) -> u64 {
    size.map_or(0, ByteSize::bytes)
}

fn saturated(seconds: u64) -> u32 {
    u32::try_from(seconds).unwrap_or(u32::MAX)
}

pub(crate) fn seconds(time: Timestamp) -> i64 {
    time.millis() / 1000
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_whole_spec_is_taken_as_it_is_or_refused() {
        let with = |boxherd_spec: &str| api::CreateVmRequest {
            name: "web".to_owned(),
            boxherd_spec: boxherd_spec.to_owned(),
            ..api::CreateVmRequest::default()
        };
        let spec = r#"{"name":"web","user":"nobody","network":"none"}"#;
        let taken = whole_spec(&with(spec)).unwrap();
        assert_eq!((taken.user.as_deref(), taken.network), (Some("nobody"), NetworkSpec::None));
        let cmd = vec!["true".to_owned()];
        for (asked, why) in [
            (with("{"), "EOF"),
            (with(r#"{"name":"web","colour":"red"}"#), "colour"),
            (with(r#"{"name":"web","ephemeral":true}"#), "ephemeral"),
            (with(r#"{"name":"web","env":{"a=b":"c"}}"#), "a=b"),
            (with(r#"{"name":"web","labels":{"":"c"}}"#), "labels"),
            (with(r#"{"name":"other"}"#), "other fields"),
            (api::CreateVmRequest { cmd, ..with(spec) }, "other fields"),
        ] {
            let refused = whole_spec(&asked).unwrap_err().to_string();
            assert!(refused.contains(why), "{refused}");
        }
    }

    /// Any JSON, not deep.
    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..4)
                    .prop_map(|map| map.into_iter().collect()),
            ]
        })
    }

    proptest! {
        /// One field of a whole spec is something else. It is refused, or is a spec that says the same
        /// when it is read once more.
        #[test]
        fn nonsense_within_a_whole_spec_is_refused_or_kept(which in any::<prop::sample::Index>(), put in json()) {
            let spec = BoxSpec::new("web".parse().unwrap());
            let mut document = serde_json::to_value(&spec).unwrap();
            let fields: Vec<_> = document.as_object().unwrap().keys().cloned().collect();
            document[&fields[which.index(fields.len())]] = put;
            let asked = |document: &Value| api::CreateVmRequest {
                boxherd_spec: document.to_string(),
                ..api::CreateVmRequest::default()
            };
            if let Ok(taken) = whole_spec(&asked(&document)) {
                let again = serde_json::to_value(&taken).unwrap();
                prop_assert_eq!(whole_spec(&asked(&again)).unwrap(), taken);
            }
        }
    }

    fn asked() -> api::CreateVmRequest {
        api::CreateVmRequest::default()
    }

    fn box_name() -> BoxName {
        "web".parse().unwrap()
    }

    #[test]
    fn an_empty_request_is_a_box_with_every_default() {
        assert_eq!(spec(box_name(), &asked()).unwrap(), BoxSpec::new(box_name()));
    }

    #[test]
    fn sizes_and_timers_are_taken_over() {
        let srf =
            api::SrfConfig { auto_suspend_timeout_secs: Some(30), auto_destroy_timeout_secs: 60 };
        let config = api::VmConfig {
            vcpu: 2,
            memory_bytes: 1 << 30,
            srf: Some(srf),
            ..api::VmConfig::default()
        };
        let made = spec(box_name(), &api::CreateVmRequest { config: Some(config), ..asked() });
        let made = made.unwrap();
        assert_eq!(made.limits.cpus.unwrap().millis(), 2000);
        assert_eq!(made.limits.memory.unwrap().bytes(), 1 << 30);
        assert_eq!(made.limits.disk, None);
        assert_eq!(made.timers.suspend_after_idle, Some(30));
        assert_eq!(made.timers.delete_after, Some(60));
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_field() {
        let refused = |asked: api::CreateVmRequest| match spec(box_name(), &asked) {
            Err(HerdError::Invalid { field, .. }) => field,
            other => panic!("{other:?}"),
        };
        let policy = "sometimes".to_owned();
        assert_eq!(
            refused(api::CreateVmRequest { restart_policy: policy, ..asked() }),
            "restart_policy"
        );
        let team = "red".to_owned();
        assert_eq!(refused(api::CreateVmRequest { team, ..asked() }), "team");
        let env = vec![api::EnvVar { key: "A=B".to_owned(), value: String::new() }];
        assert_eq!(refused(api::CreateVmRequest { env, ..asked() }), "env");
        let labels = HashMap::from([("a,b".to_owned(), String::new())]);
        assert_eq!(refused(api::CreateVmRequest { labels, ..asked() }), "labels");
        let config = Some(api::VmConfig { vcpu: 100_000, ..api::VmConfig::default() });
        assert_eq!(refused(api::CreateVmRequest { config, ..asked() }), "vcpu");
    }

    #[test]
    fn what_is_being_deleted_is_gone() {
        assert_eq!(state(BoxState::Deleting), "destroyed");
        assert_eq!(state(BoxState::Hibernated), "hibernated");
    }
}
