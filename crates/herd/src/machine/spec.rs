//! What a machine spec says, as its owner writes and reads it. Pure.

use std::collections::BTreeMap;

use boxherd_model::{BoxSpec, ByteSize, CpuLimit, EgressRule, NetworkSpec};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::HerdError;

/// The only version there is.
const VERSION: u32 = 1;
/// Commands a spec may list, and bytes of one of them.
const MAX_COMMANDS: usize = 50;
const MAX_COMMAND: usize = 4096;
/// The fields that are merged key by key.
const MAPS: [&str; 3] = ["labels", "env", "connections"];

/// A machine spec: empty fields are left out of its text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct MachineSpec {
    /// Always 1.
    pub version: u32,
    /// Not offered: boxes are made of snapshots by a call of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<Value>,
    /// Processors and GiB of memory, such as `2x8`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub size: String,
    /// Not offered.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub assign_to: String,
    /// As of the box.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The network of the box.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<String>,
    /// See no other box.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub isolated: bool,
    /// What the box may reach; everything when empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub egress: Vec<String>,
    /// As of the box.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Not offered.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub connections: BTreeMap<String, String>,
    /// Not offered.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub agents: Vec<String>,
    /// Secrets that the owner must have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
    /// Shell commands that are run once, in order, after the first start.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<String>,
}

fn invalid(field: &'static str, reason: impl ToString) -> HerdError {
    HerdError::Invalid { field, reason: reason.to_string() }
}

impl MachineSpec {
    /// Reads the text form.
    pub fn from_json(field: &'static str, text: &str) -> Result<Self, HerdError> {
        serde_json::from_str(text).map_err(|error| invalid(field, error))
    }

    /// Refuses what is not offered and what makes no sense; a spec that passes is in the form that is
    /// told. Labels and networks are checked where they are used.
    pub fn checked(mut self) -> Result<Self, HerdError> {
        let offered = [
            ("spec.base", self.base.is_none()),
            ("spec.assignTo", self.assign_to.is_empty()),
            ("spec.connections", self.connections.is_empty()),
            ("spec.agents", self.agents.is_empty()),
        ];
        if let Some((field, _)) = offered.into_iter().find(|(_, offered)| !offered) {
            return Err(invalid(field, "this server does not offer it"));
        }
        if self.version > VERSION {
            return Err(invalid("spec.version", "this server knows version 1"));
        }
        self.version = VERSION;
        if !self.size.is_empty() {
            let (cpus, gib) = size(&self.size)?;
            self.size = format!("{cpus}x{gib}");
        }
        if let Some(name) = self.secrets.iter().find(|name| self.env.contains_key(*name)) {
            return Err(invalid("spec.secrets", format!("`{name}` is in `env` too")));
        }
        if self.env.keys().any(|name| name.is_empty() || name.contains(['=', '\0']))
            || self.env.values().any(|value| value.contains('\0'))
        {
            return Err(invalid("spec.env", "a name is no name of a variable, or a value has NUL"));
        }
        check_commands(&self.packages)?;
        self.egress()?;
        Ok(self)
    }

    /// Puts sizes, environment and labels into the spec of a box.
    pub fn apply(&self, spec: &mut BoxSpec) -> Result<(), HerdError> {
        self.apply_size(spec)?;
        spec.env.clone_from(&self.env);
        spec.labels.clone_from(&self.labels);
        let rules = self.egress()?;
        if let NetworkSpec::Bridge { isolated, egress, .. } = &mut spec.network {
            *isolated = self.isolated;
            *egress = rules;
        }
        Ok(())
    }

    pub(crate) fn apply_size(&self, spec: &mut BoxSpec) -> Result<(), HerdError> {
        if self.size.is_empty() {
            return Ok(());
        }
        let (cpus, gib) = size(&self.size)?;
        let limit = cpus.to_string().parse::<CpuLimit>();
        spec.limits.cpus = Some(limit.map_err(|error| invalid("spec.size", error))?);
        let bytes = gib.checked_mul(1 << 30).ok_or_else(|| too_large(&self.size))?;
        spec.limits.memory = Some(ByteSize::from_bytes(bytes));
        Ok(())
    }

    pub(crate) fn egress(&self) -> Result<Option<Vec<EgressRule>>, HerdError> {
        let rules = self.egress.iter().map(|entry| entry.parse());
        let rules: Vec<_> =
            rules.collect::<Result<_, _>>().map_err(|error| invalid("spec.egress", error))?;
        Ok((!rules.is_empty()).then_some(rules))
    }

    /// This spec, with what the box is like now, which may have been changed without it.
    pub(crate) fn as_of(&self, spec: &BoxSpec, network: Option<String>) -> Self {
        let mut told = self.clone();
        told.labels = spec.labels.clone();
        told.env = spec.env.clone();
        told.networks = network.into_iter().collect();
        if let NetworkSpec::Bridge { isolated, egress, .. } = &spec.network {
            told.isolated = *isolated;
            told.egress = egress.iter().flatten().map(ToString::to_string).collect();
        }
        if let (false, Some(cpus), Some(memory)) =
            (self.size.is_empty(), spec.limits.cpus, spec.limits.memory)
        {
            let gib = memory.bytes().div_ceil(1 << 30);
            told.size = format!("{}x{gib}", cpus.millis().div_ceil(1000));
        }
        told
    }

    /// What a JSON merge patch (RFC 7396) makes of it: maps are merged key by key, everything else is
    /// replaced.
    pub fn patched(&self, patch: &str) -> Result<Self, HerdError> {
        let refused = |error| invalid("patch", error);
        let patch: Value = serde_json::from_str(patch).map_err(refused)?;
        let Value::Object(patch) = patch else {
            return Err(invalid("patch", "it is no JSON object"));
        };
        let mut document = match serde_json::to_value(self).map_err(refused)? {
            Value::Object(document) => document,
            _ => serde_json::Map::new(),
        };
        for (key, value) in patch {
            match value {
                Value::Null => drop(document.remove(&key)),
                Value::Object(changes) if MAPS.contains(&key.as_str()) => {
                    let map =
                        document.entry(key).or_insert_with(|| Value::Object(Default::default()));
                    let Value::Object(map) = map else { continue };
                    for (name, value) in changes {
                        match value {
                            Value::Null => drop(map.remove(&name)),
                            value => drop(map.insert(name, value)),
                        }
                    }
                }
                value => drop(document.insert(key, value)),
            }
        }
        serde_json::from_value(Value::Object(document)).map_err(refused)
    }
}

/// Processors and GiB.
fn size(text: &str) -> Result<(u32, u64), HerdError> {
    let parts = text.trim().split_once(['x', 'X']);
    let parts = parts.and_then(|(cpus, gib)| {
        Some((cpus.trim().parse::<u32>().ok()?, gib.trim().parse::<u64>().ok()?))
    });
    match parts {
        Some((cpus, gib)) if cpus > 0 && gib > 0 => Ok((cpus, gib)),
        _ => {
            let shown: String = text.chars().take(80).collect();
            let reason = format!("`{shown}` is no number of processors and GiB, such as `2x8`");
            Err(invalid("spec.size", reason))
        }
    }
}

fn too_large(size: &str) -> HerdError {
    invalid("spec.size", format!("`{size}` is more than there are numbers for"))
}

fn check_commands(commands: &[String]) -> Result<(), HerdError> {
    let refused = |reason: String| Err(invalid("spec.packages", reason));
    if commands.len() > MAX_COMMANDS {
        return refused(format!("at most {MAX_COMMANDS} commands are run"));
    }
    for (place, command) in commands.iter().enumerate() {
        if command.trim().is_empty() || command.contains('\0') || command.len() > MAX_COMMAND {
            return refused(format!(
                "a command is empty, has a NUL byte or is longer than {MAX_COMMAND} bytes"
            ));
        }
        if commands[..place].contains(command) {
            let shown: String = command.chars().take(80).collect();
            return refused(format!("`{shown}` is listed twice"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<MachineSpec, HerdError> {
        MachineSpec::from_json("spec", text)?.checked()
    }

    #[test]
    fn sizes_are_processors_and_gib() {
        let mut spec = BoxSpec::new("web".parse().unwrap());
        read(r#"{"size": " 02X8 ", "env": {"A": "1"}}"#).unwrap().apply(&mut spec).unwrap();
        assert_eq!(spec.limits.cpus.unwrap().millis(), 2000);
        assert_eq!(spec.limits.memory.unwrap().bytes(), 8 << 30);
        assert_eq!(spec.env["A"], "1");
        for size in ["", "2", "x8", "0x1", "1x0", "2x8GiB", "-1x2", "1.5x2"] {
            let text = format!(r#"{{"size": "{size}"}}"#);
            assert_eq!(read(&text).is_ok(), size.is_empty(), "{size}");
        }
        let far = MachineSpec { size: format!("1x{}", u64::MAX), ..MachineSpec::default() };
        assert!(far.apply(&mut spec).is_err());
    }

    #[test]
    fn what_is_not_offered_or_makes_no_sense_is_refused_by_field() {
        let field = |text: &str| match read(text) {
            Err(HerdError::Invalid { field, .. }) => field,
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(field(r#"{"base": {"team": "eng"}}"#), "spec.base");
        assert_eq!(field(r#"{"agents": ["claude"]}"#), "spec.agents");
        assert_eq!(field(r#"{"version": 2}"#), "spec.version");
        assert_eq!(field(r#"{"env": {"A": ""}, "secrets": ["A"]}"#), "spec.secrets");
        assert_eq!(field(r#"{"env": {"A=": ""}}"#), "spec.env");
        assert_eq!(field(r#"{"packages": [" "]}"#), "spec.packages");
        assert_eq!(field(r#"{"packages": ["a", "b", "a"]}"#), "spec.packages");
        assert_eq!(field(&format!(r#"{{"packages": ["{}"]}}"#, "a".repeat(4097))), "spec.packages");
        assert_eq!(field(r#"{"colour": "red"}"#), "spec");
    }

    #[test]
    fn a_patch_merges_maps_and_replaces_the_rest() {
        let before = read(r#"{"labels": {"a": "1", "b": "2"}, "packages": ["x"], "size": "1x1"}"#);
        let before = before.unwrap();
        let patch = r#"{"labels": {"a": null, "c": "3"}, "packages": ["y"], "size": null}"#;
        let after = before.patched(patch).unwrap();
        let wanted = read(r#"{"labels": {"b": "2", "c": "3"}, "packages": ["y"]}"#).unwrap();
        assert_eq!(after, wanted);
        assert_eq!(before.patched("{}").unwrap(), before);
        for nonsense in ["", "[]", "1", r#"{"labels": 5}"#, r#"{"colour": 1}"#] {
            assert!(before.patched(nonsense).is_err(), "{nonsense}");
        }
    }
}
