//! Requests that are one question and one answer.

use boxherd_model::BoxStatus;
use serde_json::{Value, json};

use super::answer::Refusal;
use super::frame::MAX_BODY;
use super::request::{Hello, List, Open};
use super::window::WINDOW;
use super::{Desk, PROTOCOL};
use crate::engines;
use crate::failure::Failure;

/// What is spoken, and how much of it at once.
pub(super) fn hello(desk: &Desk, id: u64, asked: &Hello) -> Result<(), Refusal> {
    if asked.protocol != PROTOCOL {
        let message = format!("protocol {} is not spoken, {PROTOCOL} is", asked.protocol);
        return Err(Refusal::new("protocol", message));
    }
    let told = json!({
        "protocol": PROTOCOL,
        "version": env!("CARGO_PKG_VERSION"),
        "features": ["engines", "list", "open", "exec", "put", "get"],
        "window": WINDOW,
        "max_body": MAX_BODY,
    });
    desk.answers.event(id, "hello", told);
    Ok(())
}

/// Every engine.
pub(super) fn engines(desk: &Desk, id: u64) {
    let engine = |(name, kind): &(String, &str)| json!({ "name": name, "kind": kind });
    let told: Vec<_> = desk.engines.iter().map(engine).collect();
    desk.answers.event(id, "engines", json!({ "engines": told }));
}

/// Every box, or those of one engine.
pub(super) async fn list(desk: &Desk, id: u64, asked: List) -> Result<(), Refusal> {
    let wanted = |name: &str| asked.engine.as_ref().is_none_or(|engine| engine.as_str() == name);
    if let Some(engine) = &asked.engine
        && !desk.engines.iter().any(|(name, _)| wanted(name))
    {
        return Err(engines::no_such(engine).into());
    }
    let listing = desk.herd.list().await?;
    let boxes = listing.boxes.iter().filter(|found| wanted(found.engine.as_str()));
    let boxes: Vec<_> = boxes.map(|found| told(desk, found)).collect();
    let unreachable: Vec<_> = listing
        .unreachable
        .into_iter()
        .filter(|(engine, _)| wanted(engine.as_str()))
        .map(|(engine, error)| {
            json!({ "engine": engine.as_str(), "reason": Failure::from(error).message() })
        })
        .collect();
    desk.answers.event(id, "boxes", json!({ "boxes": boxes, "unreachable": unreachable }));
    Ok(())
}

/// Whether a box is there and its agent answers. The link is kept for what comes next.
pub(super) async fn open(desk: &Desk, id: u64, asked: Open) -> Result<(), Refusal> {
    let agent = desk.herd.agent(&asked.address).await?;
    let told = match agent.native() {
        None => json!({ "agent": agent.version, "path": "agent" }),
        Some(why) => json!({ "path": "native", "reason": why }),
    };
    desk.answers.event(id, "opened", told);
    Ok(())
}

fn told(desk: &Desk, found: &BoxStatus) -> Value {
    let engine = found.engine.as_str();
    let kind = desk.engines.iter().find(|(name, _)| name == engine).map(|(_, kind)| *kind);
    json!({
        "address": format!("{engine}:{}", found.spec.name),
        "name": found.spec.name.as_str(),
        "engine": engine,
        "kind": kind,
        "id": found.id.to_string(),
        "state": found.state.as_str(),
        "labels": found.spec.labels,
    })
}
