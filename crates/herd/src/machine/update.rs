//! Changing the spec of a box that is there.

use std::collections::BTreeMap;
use std::time::Duration;

use boxherd_model::{Address, BoxSpec, BoxState, NetworkName, NetworkSpec, Request};

use super::packages::{self, PackageState, Relisted};
use super::{Machine, MachineSpec};
use crate::herd::decide;
use crate::reshape::When;
use crate::{Herd, HerdError};

/// How long a box that is restarted may take to end by itself.
const GRACE: Duration = Duration::from_secs(10);

/// A change that is asked for.
#[derive(Debug, Clone, Default)]
pub struct UpdateMachine {
    /// A JSON merge patch.
    pub patch: String,
    /// Only say what would be done.
    pub dry_run: bool,
    /// A box that runs may be restarted for it.
    pub reboot: bool,
    /// Run the first command that failed and those after it again.
    pub retry_packages: bool,
    /// The spec that the patch was made for.
    pub expected: Option<MachineSpec>,
}

/// What was done, or would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineUpdate {
    /// By field.
    pub changes: Vec<MachineChange>,
    /// The spec after it.
    pub spec: MachineSpec,
    /// Whether it was done.
    pub applied: bool,
    /// Whether the box was restarted for it.
    pub rebooted: bool,
}

/// The change of one field.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MachineChange {
    /// Which.
    pub field: &'static str,
    /// `live`, `reboot_recommended`, `reboot` or `refused`.
    pub apply: &'static str,
    /// Keys or entries.
    pub added: Vec<String>,
    /// Keys or entries.
    pub removed: Vec<String>,
    /// Keys with another value; commands that run again.
    pub changed: Vec<String>,
    /// Of a field with one value.
    pub before: String,
    /// Of a field with one value.
    pub after: String,
    /// Commands that never run.
    pub skipped: Vec<String>,
    /// Commands that run after all.
    pub unskipped: Vec<String>,
}

impl Herd {
    /// Changes the spec of a box that was made from one, and the box with it. `check` may refuse what
    /// would come of it.
    pub async fn update_machine(
        &self,
        address: &Address,
        update: UpdateMachine,
        check: impl Fn(&MachineSpec) -> Result<(), HerdError> + Send,
    ) -> Result<MachineUpdate, HerdError> {
        let status = self.show(address).await?;
        let none = || HerdError::Invalid {
            field: "vm",
            reason: "the box was not made from a spec and has none to change".to_owned(),
        };
        let machine = self.machine_of(&status).await?.ok_or_else(none)?;
        let before = machine.spec.clone();
        if update.expected.as_ref().is_some_and(|expected| *expected != before) {
            return Err(HerdError::Stale { name: status.spec.name.to_string() });
        }
        let after = before.patched(&update.patch)?.checked()?;
        check(&after)?;
        self.check_secrets(&after).await?;
        let running = status.state != BoxState::Stopped;
        let changes = changes(machine, &after, running, update.retry_packages)?;
        let of = |apply| changes.iter().filter(move |change| change.apply == apply);
        if update.dry_run {
            return Ok(MachineUpdate { changes, spec: after, applied: false, rebooted: false });
        }
        if let Some(change) = of("refused").next() {
            let reason = format!("`{}` of a box cannot change", change.field);
            return Err(HerdError::Invalid { field: "patch", reason });
        }
        let reboots = of("reboot").next().is_some();
        if reboots && !update.reboot {
            decide(&self.find(address).await?, Request::Change)?;
        }
        let by_id = status.address();
        let rebooted = self.reshape_to(&by_id, &before, &after, reboots).await?;
        if after.labels != before.labels {
            let gone = before.labels.keys().filter(|key| !after.labels.contains_key(*key));
            self.label(&by_id, after.labels.clone(), gone.cloned().collect()).await?;
        }
        let record = self.find(&by_id).await?;
        let kept = self.edit_machine(&record, |machine| {
            relist(&mut machine.packages, &after.packages)?;
            if update.retry_packages {
                packages::retry(&mut machine.packages);
            }
            machine.spec = after.clone();
            Ok(())
        });
        kept.await?;
        self.start_packages(record.id);
        Ok(MachineUpdate { changes, spec: after, applied: true, rebooted })
    }

    /// Says whether the box was restarted.
    async fn reshape_to(
        &self,
        address: &Address,
        before: &MachineSpec,
        after: &MachineSpec,
        reboots: bool,
    ) -> Result<bool, HerdError> {
        let shape = |spec: &MachineSpec| {
            (spec.size.clone(), spec.networks.clone(), spec.egress.clone(), spec.env.clone())
        };
        if shape(before) == shape(after) {
            return Ok(false);
        }
        let egress = after.egress()?;
        let network = match after.networks.first() {
            Some(name) => name
                .parse()
                .map_err(|_| HerdError::NoSuch { what: "network", name: name.clone() })?,
            None => NetworkName::default_network(),
        };
        let record = self.find(address).await?;
        let network = self.engine_network(self.engine_of(&record)?, &network).await?;
        let change = |spec: &mut BoxSpec| {
            after.apply_size(spec)?;
            spec.env.clone_from(&after.env);
            if let NetworkSpec::Bridge { name, egress: rules, .. } = &mut spec.network {
                if before.networks != after.networks {
                    *name = network;
                }
                *rules = egress;
            }
            Ok(())
        };
        let when = if reboots { When::Restarted(GRACE) } else { When::Next };
        self.reshape(address, when, change).await.map(|(_, rebooted)| rebooted)
    }
}

/// What a new spec changes, in the order of the fields. Pure.
fn changes(
    machine: Machine,
    after: &MachineSpec,
    running: bool,
    retry: bool,
) -> Result<Vec<MachineChange>, HerdError> {
    let before = &machine.spec;
    let at_start = if running { "reboot" } else { "live" };
    let in_env = if running { "reboot_recommended" } else { "live" };
    let one = |field, apply, before: &str, after: &str| MachineChange {
        field,
        apply,
        before: before.to_owned(),
        after: after.to_owned(),
        ..MachineChange::default()
    };
    let mut changes = Vec::new();
    if before.size != after.size {
        // Without a size a box keeps what it has.
        let apply = if after.size.is_empty() { "refused" } else { at_start };
        changes.push(one("size", apply, &before.size, &after.size));
    }
    changes.extend(of_map("labels", "live", &before.labels, &after.labels));
    changes.extend(of_list("networks", at_start, &before.networks, &after.networks));
    if before.isolated != after.isolated {
        let text = |isolated: bool| isolated.to_string();
        changes.push(one("isolated", "refused", &text(before.isolated), &text(after.isolated)));
    }
    changes.extend(of_list("egress", at_start, &before.egress, &after.egress));
    changes.extend(of_map("env", in_env, &before.env, &after.env));
    changes.extend(of_list("secrets", in_env, &before.secrets, &after.secrets));
    changes.extend(of_packages(machine, after, retry)?);
    Ok(changes)
}

fn of_packages(
    machine: Machine,
    after: &MachineSpec,
    retry: bool,
) -> Result<Option<MachineChange>, HerdError> {
    let mut list = machine.packages;
    let Relisted { skipped, unskipped } = relist(&mut list, &after.packages)?;
    let again = if retry { packages::retry(&mut list) } else { Vec::new() };
    let change = of_list("packages", "live", &machine.spec.packages, &after.packages);
    if change.is_none() && again.is_empty() {
        return Ok(None);
    }
    let none = || MachineChange { field: "packages", apply: "live", ..Default::default() };
    Ok(Some(MachineChange { changed: again, skipped, unskipped, ..change.unwrap_or_else(none) }))
}

fn relist(list: &mut Vec<super::Package>, listed: &[String]) -> Result<Relisted, HerdError> {
    debug_assert!(list.iter().filter(|p| p.state == PackageState::Running).count() <= 1);
    packages::relist(list, listed).map_err(|command| {
        let shown: String = command.chars().take(80).collect();
        let reason = format!("`{shown}` runs and cannot be taken out until it has ended");
        HerdError::Invalid { field: "patch", reason }
    })
}

fn of_map(
    field: &'static str,
    apply: &'static str,
    before: &BTreeMap<String, String>,
    after: &BTreeMap<String, String>,
) -> Option<MachineChange> {
    let missing = |from: &BTreeMap<String, String>, in_: &BTreeMap<String, String>| {
        from.keys().filter(|key| !in_.contains_key(*key)).cloned().collect::<Vec<_>>()
    };
    let other = |(key, value): (&String, &String)| {
        before.get(key).filter(|old| *old != value).map(|_| key.clone())
    };
    (before != after).then(|| MachineChange {
        field,
        apply,
        added: missing(after, before),
        removed: missing(before, after),
        changed: after.iter().filter_map(other).collect(),
        ..MachineChange::default()
    })
}

fn of_list(
    field: &'static str,
    apply: &'static str,
    before: &[String],
    after: &[String],
) -> Option<MachineChange> {
    let missing = |from: &[String], in_: &[String]| {
        from.iter().filter(|entry| !in_.contains(entry)).cloned().collect::<Vec<_>>()
    };
    (before != after).then(|| MachineChange {
        field,
        apply,
        added: missing(after, before),
        removed: missing(before, after),
        ..MachineChange::default()
    })
}
