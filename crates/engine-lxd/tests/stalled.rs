//! Operations that never end, of a scripted server: they are given up, and nothing waits for them.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use boxherd_engine::{Engine as _, EngineError};
use boxherd_engine_lxd::{Facts, LxdEngine, Settings};
use boxherd_lxd_client::Remote;
use boxherd_model::{BoxId, BoxSpec, SnapshotId};
use boxherd_testkit::{Act, Script};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(1);
/// Longer than any call takes that gives up.
const LONGEST: Duration = Duration::from_secs(20);

fn engine(socket: PathBuf) -> LxdEngine {
    let settings = Settings {
        name: "lxd".parse().unwrap(),
        installation: "stalled".to_owned(),
        image: Some("debian/12".parse().unwrap()),
        pool: None,
        remotes: None,
        patience: Some(PATIENCE),
        facts: Facts::default(),
    };
    LxdEngine::new(settings, &Remote::unix(socket)).unwrap()
}

fn sync(metadata: Value) -> Act {
    Act::Json(200, json!({ "type": "sync", "status_code": 200, "metadata": metadata }))
}

const RUNNING: u16 = 103;
const STOPPED: u16 = 102;

/// A server with one instance that begins everything and ends nothing.
fn server(id: BoxId, status: u16) -> Script {
    let operation = |description: &str| {
        json!({ "id": "the-operation", "description": description, "status_code": 103,
            "updated_at": "2026-01-01T00:00:00Z" })
    };
    let begun = move |description: &str| {
        Act::Json(
            202,
            json!({ "type": "async", "operation": "/1.0/operations/the-operation",
                "metadata": operation(description) }),
        )
    };
    let info = json!({ "name": "web", "type": "container", "status_code": status,
        "profiles": ["default"], "config": {
            "user.boxherd.installation": "stalled", "user.boxherd.id": id.to_string(),
            "user.boxherd.name": "web", "user.boxherd.instance": "web" } });
    Script::answering(move |request| match request {
        "GET /1.0" => sync(json!({ "auth": "trusted", "api_extensions": ["cloud_init"],
            "environment": { "server": "lxd", "server_version": "5.0.2" } })),
        "GET /1.0/profiles/default" => sync(json!({ "name": "default", "devices": {
            "root": { "type": "disk", "path": "/", "pool": "p" } } })),
        "GET /1.0/instances/web" => sync(info.clone()),
        "GET /1.0/instances?recursion=1" | "GET /1.0/instances?recursion=2" => sync(json!([info])),
        "POST /1.0/instances" => begun("Creating instance"),
        "PUT /1.0/instances/web/state" => begun("Changing the state"),
        "DELETE /1.0/instances/web" => begun("Deleting instance"),
        "POST /1.0/instances/web/snapshots" => begun("Snapshotting instance"),
        "GET /1.0/instances/web/snapshots?recursion=1" => sync(json!([])),
        _ if request.starts_with("GET /1.0/operations/the-operation") => {
            sync(operation("it goes on"))
        }
        _ => Act::Json(404, json!({ "type": "error", "error_code": 404, "error": "not found" })),
    })
}

/// That it says which server was to do what, and what to do about it.
fn is_stalled(begun: Instant, error: &EngineError, what: &str) {
    assert!(begun.elapsed() < LONGEST, "{what}: {:?}", begun.elapsed());
    let EngineError::Unfinished { source, hint, .. } = error else { panic!("{what}: {error:?}") };
    let said = source.to_string();
    for word in [what, "socket", "no progress", "the-operation"] {
        assert!(said.contains(word), "{word} in {said}");
    }
    assert!(hint.contains("lxc operation list") && hint.contains("--patience"), "{hint}");
}

fn count(script: &Script, request: &str) -> usize {
    script.seen().iter().filter(|seen| *seen == request).count()
}

const CANCEL: &str = "DELETE /1.0/operations/the-operation";

#[tokio::test]
async fn an_instance_that_is_never_made_is_given_up() {
    let id = BoxId::new();
    let script = server(id, STOPPED);
    let engine = engine(script.socket());
    let (begun, spec) = (Instant::now(), BoxSpec::new("web".parse().unwrap()));
    let error = engine.create(id, &spec).await.unwrap_err();
    is_stalled(begun, &error, "Creating instance");
    assert_eq!(count(&script, CANCEL), 1, "it is cancelled, where the server can");
}

#[tokio::test]
async fn neither_start_nor_delete_nor_snapshot_waits_for_ever() {
    let id = BoxId::new();
    let script = server(id, STOPPED);
    let engine = engine(script.socket());
    let begun = Instant::now();
    is_stalled(begun, &engine.start(id).await.unwrap_err(), "Changing the state");
    let begun = Instant::now();
    is_stalled(begun, &engine.delete(id).await.unwrap_err(), "Deleting instance");
    let snapshots = engine.snapshots().unwrap();
    let begun = Instant::now();
    let taken = snapshots.take(id, SnapshotId::new()).await;
    is_stalled(begun, &taken.unwrap_err(), "Snapshotting instance");
    assert_eq!(count(&script, CANCEL), 3);
}

#[tokio::test]
async fn a_stop_has_its_grace_and_no_more() {
    let id = BoxId::new();
    let script = server(id, RUNNING);
    let (engine, grace) = (engine(script.socket()), Duration::from_secs(3));
    let begun = Instant::now();
    let error = engine.stop(id, grace).await.unwrap_err();
    is_stalled(begun, &error, "Changing the state");
    assert!(begun.elapsed() >= grace + PATIENCE, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn meanwhile_others_are_served() {
    let id = BoxId::new();
    let script = server(id, RUNNING);
    let engine = Arc::new(engine(script.socket()));
    let (stopping, over) = (Arc::clone(&engine), Arc::new(AtomicBool::new(false)));
    let ended = Arc::clone(&over);
    let stop = tokio::spawn(async move {
        let stopped = stopping.stop(id, Duration::from_secs(3)).await;
        ended.store(true, Ordering::SeqCst);
        stopped
    });
    while count(&script, "PUT /1.0/instances/web/state") == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(engine.list().await.unwrap().len(), 1);
    assert!(engine.inspect(id).await.unwrap().is_some());
    assert!(!over.load(Ordering::SeqCst), "it was not waited for");
    let error = stop.await.unwrap().unwrap_err();
    assert_eq!(error.code(), "unfinished");
}
