//! Boxes: made, found, changed, copied, removed.

use std::time::{Duration, Instant};

use boxherd_boxd_api as api;
use boxherd_engine::Usage;
use boxherd_herd::{Create, Fork, HerdError, MachineSpec, Selector};
use boxherd_model::{BoxName, BoxSpec, BoxStatus};

use crate::desk::Desk;
use crate::translate::{self, invalid};
use crate::{disks, machine, proxies, shape};

/// How long a box that is stopped may take to end by itself.
const GRACE: Duration = Duration::from_secs(10);
/// The longest that anybody may ask for: nothing else is done with the box meanwhile.
const LONGEST_GRACE: Duration = Duration::from_secs(60);

type Answer<T> = Result<T, HerdError>;

pub(crate) async fn create(
    desk: &Desk<'_>,
    asked: api::CreateVmRequest,
) -> Answer<api::CreateVmResponse> {
    desk.own_org(&asked.org).await?;
    let name = match asked.name.as_str() {
        "" => desk.herd.suggest_name(),
        name => translate::name("name", name)?,
    };
    let proxies = proxies::wanted(asked.config.as_ref())?;
    let volumes = disks::wanted(asked.config.as_ref())?;
    let engine = match asked.boxherd_engine.as_str() {
        "" => None,
        name => Some(name.parse().map_err(|error| invalid("boxherd_engine", error))?),
    };
    let (spec, machine) = wanted(name, &asked)?;
    let create = Create { engine, volumes, machine, ..spec.into() };
    let made = desk.herd.create(create).await?;
    desk.about(made.id);
    proxies::make(desk, &made.address(), proxies).await?;
    let label = desk.herd.label_of(made.id).await?;
    let boxherd_vm = told_if(asked.boxherd_status, desk, &made).await?;
    Ok(api::CreateVmResponse { boxherd_vm, ..translate::created(&made, &label, desk.config) })
}

fn wanted(name: BoxName, asked: &api::CreateVmRequest) -> Answer<(BoxSpec, Option<MachineSpec>)> {
    if !asked.boxherd_spec.is_empty() {
        return Ok((translate::whole_spec(asked)?, None));
    }
    let machine = machine::wanted(asked)?;
    let spec = match &machine {
        Some(machine) => machine::box_spec(name, asked, machine)?,
        None => translate::spec(name, asked)?,
    };
    Ok((spec, machine))
}

pub(crate) async fn get(desk: &Desk<'_>, asked: api::GetVmRequest) -> Answer<api::GetVmResponse> {
    let status = desk.herd.show(&desk.address("vm_id", &asked.vm_id)?).await?;
    let mut vm = told(desk, &status).await?;
    if asked.boxherd_status {
        vm.boxherd_status = document(&status, usage(desk, &status).await)?;
    }
    Ok(vm)
}

async fn told(desk: &Desk<'_>, status: &BoxStatus) -> Answer<api::GetVmResponse> {
    let network = desk.herd.network_of(status).await?;
    let mut vm = translate::vm(status, network, desk.config);
    machine::tell(desk, status, &mut vm, true).await?;
    Ok(vm)
}

/// A box that was just made, for whoever would ask for it next. It is not measured.
async fn told_if(
    asked: bool,
    desk: &Desk<'_>,
    made: &BoxStatus,
) -> Answer<Option<api::GetVmResponse>> {
    if !asked {
        return Ok(None);
    }
    let boxherd_status = document(made, None)?;
    Ok(Some(api::GetVmResponse { boxherd_status, ..told(desk, made).await? }))
}

/// What a box uses; only of one that is there, which may end while it is looked at.
async fn usage(desk: &Desk<'_>, status: &BoxStatus) -> Option<Usage> {
    if !status.state.is_measured() {
        return None;
    }
    let measured = desk.herd.usage(&status.address()).await;
    measured.inspect_err(|error| tracing::warn!(%error, "a box cannot be measured")).ok()
}

/// A box as `boxherd show -o json` prints it.
fn document(status: &BoxStatus, usage: Option<Usage>) -> Answer<String> {
    let failed = |error: serde_json::Error| invalid("boxherd_status", error);
    let mut document = serde_json::to_value(status).map_err(failed)?;
    document["usage"] = serde_json::to_value(usage).map_err(failed)?;
    Ok(document.to_string())
}

pub(crate) async fn list(
    desk: &Desk<'_>,
    asked: api::ListVmsRequest,
) -> Answer<api::ListVmsResponse> {
    let selectors = asked.label_selector.iter().map(|text| text.parse());
    let selectors: Vec<Selector> =
        selectors.collect::<Result<_, _>>().map_err(|error| invalid("label_selector", error))?;
    let boxes = desk.herd.list().await?.boxes;
    let saved = desk.herd.copies_saved().await?;
    let chosen = boxes
        .iter()
        .filter(|status| !saved.contains(&status.id))
        .filter(|status| translate::state(status.state) != "destroyed")
        .filter(|status| selectors.iter().all(|selector| selector.selects(&status.spec.labels)));
    let mut vms = Vec::new();
    let from_specs = desk.herd.made_from_specs().await?;
    for status in chosen {
        let network = desk.herd.network_of(status).await?;
        let mut vm = translate::vm(status, network, desk.config);
        if from_specs.contains(&status.id) {
            machine::tell(desk, status, &mut vm, false).await?;
        }
        if asked.boxherd_status {
            vm.boxherd_status = document(status, None)?;
        }
        vms.push(vm);
    }
    Ok(api::ListVmsResponse { vms, ssh_host_key: String::new() })
}

pub(crate) async fn destroy(
    desk: &Desk<'_>,
    asked: api::DestroyVmRequest,
) -> Answer<api::DestroyVmResponse> {
    desk.herd.delete(&desk.address("vm_id", &asked.vm_id)?).await?;
    Ok(api::DestroyVmResponse {})
}

pub(crate) async fn start(
    desk: &Desk<'_>,
    asked: api::StartVmRequest,
) -> Answer<api::StartVmResponse> {
    let status = desk.herd.start(&desk.address("vm_id", &asked.vm_id)?).await?;
    desk.about(status.id);
    Ok(api::StartVmResponse {})
}

/// How long processes have to end by themselves.
fn grace(millis: Option<u64>) -> Answer<Duration> {
    let grace = millis.map_or(GRACE, Duration::from_millis);
    match grace > LONGEST_GRACE {
        true => Err(invalid("boxherd_grace_ms", format!("{LONGEST_GRACE:?} at most"))),
        false => Ok(grace),
    }
}

pub(crate) async fn stop(
    desk: &Desk<'_>,
    asked: api::StopVmRequest,
) -> Answer<api::StopVmResponse> {
    let grace = grace(asked.boxherd_grace_ms)?;
    let status = desk.herd.stop(&desk.address("vm_id", &asked.vm_id)?, grace).await?;
    desk.about(status.id);
    Ok(api::StopVmResponse {})
}

pub(crate) async fn reboot(
    desk: &Desk<'_>,
    asked: api::RebootVmRequest,
) -> Answer<api::RebootVmResponse> {
    let grace = grace(asked.boxherd_grace_ms)?;
    let status = desk.herd.restart(&desk.address("vm_id", &asked.vm_id)?, grace).await?;
    desk.about(status.id);
    Ok(api::RebootVmResponse {})
}

pub(crate) async fn suspend(
    desk: &Desk<'_>,
    asked: api::SuspendVmRequest,
) -> Answer<api::SuspendVmResponse> {
    let began = Instant::now();
    let status = desk.herd.suspend(&desk.address("vm_id", &asked.vm_id)?).await?;
    desk.about(status.id);
    Ok(api::SuspendVmResponse { suspend_us: micros(began) })
}

pub(crate) async fn resume(
    desk: &Desk<'_>,
    asked: api::ResumeVmRequest,
) -> Answer<api::ResumeVmResponse> {
    let began = Instant::now();
    let status = desk.herd.resume(&desk.address("vm_id", &asked.vm_id)?).await?;
    desk.about(status.id);
    Ok(api::ResumeVmResponse { resume_us: micros(began) })
}

/// At least 1: clients take 0 for nothing having been done.
fn micros(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX).max(1)
}

pub(crate) async fn hibernate(
    desk: &Desk<'_>,
    asked: api::HibernateVmRequest,
) -> Answer<api::HibernateVmResponse> {
    let status = desk.herd.hibernate(&desk.address("vm_id", &asked.vm_id)?).await?;
    desk.about(status.id);
    Ok(api::HibernateVmResponse {})
}

pub(crate) async fn wake(
    desk: &Desk<'_>,
    asked: api::WakeVmRequest,
) -> Answer<api::WakeVmResponse> {
    let status = desk.herd.resume(&desk.address("vm_id", &asked.vm_id)?).await?;
    desk.about(status.id);
    Ok(api::WakeVmResponse {})
}

pub(crate) async fn fork(
    desk: &Desk<'_>,
    asked: api::ForkVmRequest,
) -> Answer<api::ForkVmResponse> {
    let source = desk.herd.show(&desk.address("source_vm_id", &asked.source_vm_id)?).await?;
    let name = match asked.name.as_str() {
        "" => desk.herd.suggest_copy_name(&source.spec.name),
        name => translate::name("name", name)?,
    };
    let change = shape::of_copy(&asked)?;
    let proxies = proxies::wanted(asked.config.as_ref())?;
    let network = match &asked.networks[..] {
        [] => None,
        networks => Some(shape::network(networks)?),
    };
    let fork = Fork { names: vec![name], live: asked.boxherd_live };
    let copies = desk.herd.fork_changed(&source.address(), fork, network.as_ref(), change).await?;
    let copy = copies.first().ok_or_else(|| invalid("name", "no copy was made"))?;
    desk.about(copy.id);
    proxies::make(desk, &copy.address(), proxies).await?;
    let label = desk.herd.label_of(copy.id).await?;
    let boxherd_vm = told_if(asked.boxherd_status, desk, copy).await?;
    let forked = translate::forked(copy, &label, source.id.to_string(), desk.config);
    Ok(api::ForkVmResponse { boxherd_vm, ..forked })
}

pub(crate) async fn rename(
    desk: &Desk<'_>,
    asked: api::RenameVmRequest,
) -> Answer<api::RenameVmResponse> {
    let name = translate::name("new_name", &asked.new_name)?;
    let status = desk.herd.rename(&desk.address("vm_id", &asked.vm_id)?, name).await?;
    desk.about(status.id);
    Ok(api::RenameVmResponse { name: status.spec.name.to_string() })
}

pub(crate) async fn label(
    desk: &Desk<'_>,
    asked: api::UpdateVmLabelsRequest,
) -> Answer<api::UpdateVmLabelsResponse> {
    let address = desk.address("vm", &asked.vm)?;
    let set = translate::labels(&asked.set)?;
    let mut remove = asked.remove;
    if asked.replace_all {
        let present = desk.herd.show(&address).await?.spec.labels;
        remove = present.into_keys().filter(|key| !set.contains_key(key)).collect();
    }
    let status = desk.herd.label(&address, set, remove).await?;
    desk.about(status.id);
    Ok(api::UpdateVmLabelsResponse { labels: status.spec.labels.into_iter().collect() })
}

pub(crate) async fn suggest_name(
    desk: &Desk<'_>,
    _asked: api::SuggestVmNameRequest,
) -> Answer<api::SuggestVmNameResponse> {
    Ok(api::SuggestVmNameResponse { name: desk.herd.suggest_name().to_string() })
}
