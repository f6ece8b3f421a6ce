//! Boxes as text.

use boxherd_model::{BoxSpec, BoxStatus, ByteSize, CloudInit, Isolation, NetworkSpec, StopReason};

use crate::clock;
use crate::columns::{pairs, table};
use crate::commands::Shown;
use crate::failure::Failure;
use crate::printer::Printer;

/// Boxes that were made: people and scripts want their names.
pub(crate) fn created(printer: &Printer, boxes: &[BoxStatus]) -> Result<(), Failure> {
    let lines =
        |boxes: &&[BoxStatus]| names(boxes).iter().map(|name| format!("{name}\n")).collect();
    printer.result(&boxes, lines, |boxes| names(boxes))
}

/// Boxes that were changed: nothing to say to people, who know their names.
pub(crate) fn changed(printer: &Printer, boxes: &[BoxStatus]) -> Result<(), Failure> {
    printer.result(&boxes, |_| String::new(), |boxes| names(boxes))
}

/// Boxes in columns.
pub(crate) fn list(printer: &Printer, boxes: &[BoxStatus]) -> Result<(), Failure> {
    let now = clock::now();
    let row = |status: &BoxStatus| {
        let addresses: Vec<_> = status.addresses.iter().map(ToString::to_string).collect();
        [
            status.spec.name.to_string(),
            status.engine.to_string(),
            state(status),
            status.spec.image.to_string(),
            clock::age(status.created, now),
            addresses.join(","),
        ]
    };
    let rows = |boxes: &&[BoxStatus]| boxes.iter().map(row).collect::<Vec<_>>();
    let head = ["NAME", "ENGINE", "STATE", "IMAGE", "AGE", "ADDRESS"];
    printer.names_only(true).result(&boxes, |boxes| table(head, &rows(boxes)), |boxes| names(boxes))
}

/// With why, unless it is as somebody wanted it; what was seen last where nobody can look.
fn state(status: &BoxStatus) -> String {
    if status.unreachable {
        return format!("unreachable ({})", status.state);
    }
    match status.reason {
        None | Some(StopReason::Requested) => status.state.to_string(),
        Some(reason) => format!("{} ({reason})", status.state),
    }
}

/// Everything about a box.
pub(crate) fn shown(printer: &Printer, shown: &Shown) -> Result<(), Failure> {
    printer.result(shown, sheet, |shown| vec![shown.status.spec.name.to_string()])
}

fn names(boxes: &[BoxStatus]) -> Vec<String> {
    boxes.iter().map(|status| status.spec.name.to_string()).collect()
}

fn sheet(shown: &Shown) -> String {
    let BoxStatus { spec, .. } = &shown.status;
    let status = &shown.status;
    let mut lines = vec![
        ("name", spec.name.to_string()),
        ("id", status.id.to_string()),
        ("engine", status.engine.to_string()),
        (
            "state",
            match status.unreachable {
                false => status.state.to_string(),
                true => format!("unreachable, and {} when it was seen last", status.state),
            },
        ),
    ];
    lines.extend(status.location.clone().map(|member| ("location", member)));
    lines.extend(status.reason.map(|reason| ("reason", reason.to_string())));
    lines.extend(status.failure.clone().map(|failure| ("failure", failure)));
    lines.push(("image", spec.image.to_string()));
    lines.extend(status.image_digest.clone().map(|digest| ("digest", digest)));
    lines.push(("created", clock::rfc3339(status.created)));
    lines.extend(status.addresses.iter().map(|address| ("address", address.to_string())));
    lines.extend(limits(&spec.limits));
    lines.extend(network(&spec.network));
    lines.extend(asked_for(spec));
    lines.extend(usage(shown));
    let phases = status.timings.0.iter().map(|phase| {
        let took = clock::millis(std::time::Duration::from_micros(phase.micros));
        ("phase", format!("{} {took}", phase.name))
    });
    lines.extend(phases);
    lines.extend(status.notes.iter().map(|note| ("note", note.clone())));
    pairs(&lines)
}

fn network(network: &NetworkSpec) -> Vec<(&'static str, String)> {
    let NetworkSpec::Bridge { name, isolated, egress } = network else {
        return vec![("network", "none: loopback only".to_owned())];
    };
    let isolated = if *isolated { ", isolated" } else { "" };
    let mut lines = vec![("network", format!("{name}{isolated}"))];
    if let Some(rules) = egress {
        lines.extend(rules.iter().map(|rule| ("egress", rule.to_string())));
        if rules.is_empty() {
            lines.push(("egress", "nothing".to_owned()));
        }
    }
    lines
}

/// What was asked for besides image, limits and network.
fn asked_for(spec: &BoxSpec) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    if spec.isolation == Isolation::Gvisor {
        lines.push(("isolation", "gvisor".to_owned()));
    }
    if spec.nesting {
        lines.push(("nesting", "allowed".to_owned()));
    }
    if spec.vm {
        lines.push(("kind", "virtual machine".to_owned()));
    }
    lines.extend(spec.profiles.iter().map(|profile| ("profile", profile.to_string())));
    lines.extend(spec.target.iter().map(|member| ("target", member.to_string())));
    let first = |data: &CloudInit| data.as_str().lines().next().unwrap_or_default().to_owned();
    lines.extend(spec.cloud_init.iter().map(|data| ("cloud-init", first(data))));
    if !spec.cmd.is_empty() {
        lines.push(("command", spec.cmd.join(" ")));
    }
    lines.extend(spec.workdir.clone().map(|folder| ("workdir", folder)));
    lines.extend(spec.user.clone().map(|user| ("user", user)));
    let pairs = |name, (key, value): (&String, &String)| (name, format!("{key}={value}"));
    lines.extend(spec.env.iter().map(|pair| pairs("env", pair)));
    lines.push(("restart", spec.restart.to_string()));
    lines.extend(spec.labels.iter().map(|pair| pairs("label", pair)));
    if spec.ephemeral {
        lines.push(("ephemeral", "deleted when its maker ends".to_owned()));
    }
    lines
}

fn limits(limits: &boxherd_model::Limits) -> Vec<(&'static str, String)> {
    let given = [
        ("memory limit", limits.memory.map(|size| size.to_string())),
        ("processors", limits.cpus.map(|cpus| cpus.to_string())),
        ("process limit", limits.pids.map(|pids| pids.to_string())),
        ("disk limit", limits.disk.map(|size| size.to_string())),
    ];
    given.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

fn usage(shown: &Shown) -> Vec<(&'static str, String)> {
    let Some(usage) = shown.usage else { return Vec::new() };
    let size = |bytes: u64| ByteSize::from_bytes(bytes.next_multiple_of(1024)).to_string();
    let cpu = |micros: u64| clock::millis(std::time::Duration::from_micros(micros));
    let measured = [
        ("memory used", usage.memory.map(size)),
        ("processor time", usage.cpu_micros.map(cpu)),
        ("processes", usage.pids.map(|pids| pids.to_string())),
        ("disk used", usage.disk.map(size)),
    ];
    measured.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}
