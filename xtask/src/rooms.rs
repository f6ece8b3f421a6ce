//! Holds the walls between the rooms: which crate may depend on which.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Every room and the rooms it may know. Tests may know more (`dev-dependencies` are not looked at).
const MAY_KNOW: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("sys", &[]),
    ("agent-blob", &[]),
    ("testkit", &[]),
    ("lxd-client", &[]),
    ("link", &["model"]),
    ("agent", &["link", "model", "sys"]),
    ("engine", &["model", "link"]),
    ("image", &["model", "sys"]),
    ("net", &["model", "sys"]),
    ("store", &["model"]),
    ("boxd-api", &[]),
    ("client", &["boxd-api"]),
    ("herd", &["engine", "link", "model", "store"]),
    ("engine-fake", &["agent", "engine", "link", "model", "sys"]),
    ("engine-local", &["agent-blob", "engine", "image", "link", "model", "net", "sys"]),
    ("engine-lxd", &["agent-blob", "engine", "link", "lxd-client", "model"]),
    ("gateway-grpc", &["boxd-api", "engine", "herd", "link", "model"]),
    ("gateway-http", &["herd", "model"]),
    ("gateway-proxy", &["herd", "link", "model"]),
    ("bench", &["client", "engine", "herd", "link", "lxd-client", "model", "sys"]),
    (
        "cli",
        &[
            "bench",
            "client",
            "engine",
            "engine-fake",
            "engine-local",
            "engine-lxd",
            "gateway-grpc",
            "gateway-http",
            "gateway-proxy",
            "herd",
            "link",
            "lxd-client",
            "model",
            "net",
            "store",
            "sys",
        ],
    ),
];

/// Crates that one room only may know: whoever else needs what they do asks that room.
const ONLY: &[(&str, &str)] =
    &[("rusqlite", "store"), ("tokio-postgres", "store"), ("tokio-postgres-rustls", "store")];

const PREFIX: &str = "boxherd-";

/// Every room, with the names of all crates that it depends on.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--locked"])
        .output()
        .expect("cargo runs");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("metadata is JSON");
    let packages = metadata["packages"].as_array().expect("metadata lists packages");
    packages.iter().filter_map(room).collect()
}

fn room(package: &Value) -> Option<(String, BTreeSet<String>)> {
    let name = package["name"].as_str()?.strip_prefix(PREFIX)?.to_owned();
    let known = package["dependencies"]
        .as_array()?
        .iter()
        .filter(|dependency| dependency["kind"].is_null())
        .filter_map(|dependency| dependency["name"].as_str().map(str::to_owned))
        .collect();
    Some((name, known))
}

#[test]
fn every_room_knows_only_whom_it_may() {
    let allowed: BTreeMap<_, _> = MAY_KNOW.iter().copied().collect();
    for (room, known) in dependencies() {
        let may =
            allowed.get(room.as_str()).unwrap_or_else(|| panic!("`{room}` is not in the plan"));
        for other in known.iter().filter_map(|name| name.strip_prefix(PREFIX)) {
            assert!(may.contains(&other), "`{room}` must not know `{other}`");
        }
    }
}

#[test]
fn one_room_only_knows_sql() {
    let mut rooms = dependencies();
    // It is never in what is built for others, and starts servers for tests of several rooms.
    rooms.remove("testkit").expect("it is a room");
    for (room, known) in rooms {
        for (name, only) in ONLY {
            assert!(room == *only || !known.contains(*name), "`{room}` must not know `{name}`");
        }
    }
}
