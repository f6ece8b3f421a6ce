//! Machine specs on the wire.

use boxherd_boxd_api as api;
use boxherd_herd::{HerdError, Machine, MachineChange, MachineSpec, Package, UpdateMachine};
use boxherd_model::{BoxName, BoxSpec, BoxStatus, NetworkSpec, Timestamp};

use crate::desk::Desk;
use crate::shape::network;
use crate::translate::{self, invalid};

type Answer<T> = Result<T, HerdError>;

/// The document that `CreateVm` brings, if it brings one.
pub(crate) fn wanted(asked: &api::CreateVmRequest) -> Answer<Option<MachineSpec>> {
    let Some(spec) = asked.spec.as_ref().filter(|spec| **spec != api::MachineSpec::default())
    else {
        return Ok(None);
    };
    let config = asked.config.clone().unwrap_or_default();
    let twice = [
        ("image_ref", !asked.image_ref.is_empty()),
        ("env", !asked.env.is_empty()),
        ("networks", !asked.networks.is_empty()),
        ("isolated", asked.isolated),
        ("labels", !asked.labels.is_empty()),
        ("config.vcpu", config.vcpu != 0),
        ("config.memory_bytes", config.memory_bytes != 0),
    ];
    if let Some((field, _)) = twice.into_iter().find(|(_, asked)| *asked) {
        return Err(invalid(field, "the spec says it: put it there"));
    }
    let spec = from_wire(spec).checked()?;
    check(&spec)?;
    Ok(Some(spec))
}

/// What only this front door bounds.
fn check(spec: &MachineSpec) -> Answer<()> {
    translate::labels(&spec.labels.clone().into_iter().collect())?;
    network(&spec.networks).map(drop)
}

/// The box that a document describes; what else `CreateVm` says is laid over it.
pub(crate) fn box_spec(
    name: BoxName,
    asked: &api::CreateVmRequest,
    machine: &MachineSpec,
) -> Answer<BoxSpec> {
    let mut spec = translate::spec(name, asked)?;
    machine.apply(&mut spec)?;
    if let NetworkSpec::Bridge { name, .. } = &mut spec.network {
        *name = network(&machine.networks)?;
    }
    Ok(spec)
}

fn from_wire(spec: &api::MachineSpec) -> MachineSpec {
    let spec = spec.clone();
    let base = spec.base.map(|base| match base.kind {
        Some(api::machine_spec_base::Kind::Team(team)) => serde_json::json!({ "team": team }),
        Some(api::machine_spec_base::Kind::Snapshot(name)) => {
            serde_json::json!({ "snapshot": name })
        }
        None => serde_json::Value::Null,
    });
    MachineSpec {
        version: spec.version,
        base,
        size: spec.size,
        assign_to: spec.assign_to,
        labels: spec.labels.into_iter().collect(),
        networks: spec.networks,
        isolated: spec.isolated,
        egress: spec.egress,
        env: spec.env.into_iter().collect(),
        connections: spec.connections.into_iter().collect(),
        agents: spec.agents,
        secrets: spec.secrets,
        packages: spec.packages,
    }
}

fn to_wire(spec: MachineSpec) -> api::MachineSpec {
    // What is not offered is in no spec that was kept.
    api::MachineSpec {
        version: spec.version,
        size: spec.size,
        labels: spec.labels.into_iter().collect(),
        networks: spec.networks,
        isolated: spec.isolated,
        egress: spec.egress,
        env: spec.env.into_iter().collect(),
        secrets: spec.secrets,
        packages: spec.packages,
        ..api::MachineSpec::default()
    }
}

/// Adds to what is told of a box; with the output of its commands when that is asked for.
pub(crate) async fn tell(
    desk: &Desk<'_>,
    status: &BoxStatus,
    vm: &mut api::GetVmResponse,
    output: bool,
) -> Answer<()> {
    let Some(Machine { spec, created, packages }) = desk.herd.machine_of(status).await? else {
        return Ok(());
    };
    vm.spec = Some(to_wire(spec));
    vm.created_spec = Some(to_wire(created));
    vm.packages = packages.into_iter().map(|package| told(package, output)).collect();
    Ok(())
}

fn told(package: Package, output: bool) -> api::MachinePackage {
    let millis = |time: Option<Timestamp>| time.map_or(0, Timestamp::millis);
    api::MachinePackage {
        command: package.command,
        state: package.state.as_str().to_owned(),
        exit_code: package.exit_code,
        output_tail: if output { package.output } else { String::new() },
        reason: package.reason,
        started_at_ms: millis(package.started),
        finished_at_ms: millis(package.finished),
    }
}

pub(crate) async fn update(
    desk: &Desk<'_>,
    asked: api::UpdateMachineSpecRequest,
) -> Answer<api::UpdateMachineSpecResponse> {
    let address = desk.address("vm", &asked.vm)?;
    // A box that is not one's own is not there, whatever else is asked.
    desk.about(desk.herd.show(&address).await?.id);
    let expected = (!asked.expected_spec.is_empty())
        .then(|| MachineSpec::from_json("expected_spec", &asked.expected_spec)?.checked());
    let update = UpdateMachine {
        patch: if asked.patch.is_empty() { "{}".to_owned() } else { asked.patch },
        dry_run: asked.dry_run,
        reboot: asked.reboot,
        retry_packages: asked.retry_packages,
        expected: expected.transpose()?,
    };
    let done = desk.herd.update_machine(&address, update, check).await?;
    let any = |apply| done.changes.iter().any(|change| change.apply == apply);
    Ok(api::UpdateMachineSpecResponse {
        reboot_required: any("reboot"),
        reboot_recommended: any("reboot_recommended"),
        changes: done.changes.into_iter().map(changed).collect(),
        spec: Some(to_wire(done.spec)),
        applied: done.applied,
        rebooted: done.rebooted,
        resize_error: String::new(),
    })
}

fn changed(change: MachineChange) -> api::MachineSpecChange {
    let note = match change.apply {
        "live" => "holds from now on",
        "reboot" => "holds after the box was restarted",
        "reboot_recommended" => "commands that begin see it; what runs keeps what it has",
        _ => "cannot change",
    };
    let undone = change.field == "packages" && !change.removed.is_empty();
    let warnings = undone.then(|| "what a command did stays done".to_owned());
    api::MachineSpecChange {
        field: change.field.to_owned(),
        apply: change.apply.to_owned(),
        added: change.added,
        removed: change.removed,
        changed: change.changed,
        before: change.before,
        after: change.after,
        note: note.to_owned(),
        warnings: warnings.into_iter().collect(),
        skipped: change.skipped,
        unskipped: change.unskipped,
    }
}
