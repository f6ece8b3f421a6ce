//! Operations that never end, and servers that are lost while they do one.

use std::time::{Duration, Instant};

use boxherd_lxd_client::{Client, Error, ExecRequest, Operation, Remote, Settings, StateChange};
use serde_json::{Value, json};

use crate::script::{Act, Asked as _, Script};

const PATIENCE: Duration = Duration::from_secs(2);

fn operation(code: u16, updated_at: &str) -> Value {
    json!({ "id": "u", "description": "Doing", "status_code": code, "updated_at": updated_at })
}

fn told(operation: Value) -> Act {
    Act::Json(200, json!({ "type": "sync", "status_code": 200, "metadata": operation }))
}

/// Answers what is asked of the operation by `look`, which is told how often it was asked before.
fn server(mut look: impl FnMut(u32) -> Act + Send + 'static) -> Script {
    let mut looks = 0;
    Script::answering(move |request| match request {
        "PUT /1.0/instances/c/state" => Act::Json(
            202,
            json!({ "type": "async", "operation": "/1.0/operations/u",
                "metadata": operation(103, "begun") }),
        ),
        _ if request.starts_with("GET /1.0/operations/u/wait") => {
            looks += 1;
            look(looks - 1)
        }
        "DELETE /1.0/operations/u" => told(Value::Null),
        _ => Act::Json(403, json!({ "type": "error", "error_code": 403, "error": "no events" })),
    })
}

async fn begin(script: &Script) -> Operation {
    let settings = Settings {
        operation_patience: PATIENCE,
        lost_patience: PATIENCE,
        retries: 0,
        ..Settings::default()
    };
    let client = Client::with_settings(&Remote::unix(script.socket()), settings).unwrap();
    client.instance("c").change_state(StateChange::START).await.unwrap()
}

#[tokio::test]
async fn an_operation_of_which_nothing_changes_is_given_up_and_cancelled() {
    let script = server(|_| told(operation(103, "begun")));
    let begun = Instant::now();
    let error = begin(&script).await.wait().await.unwrap_err();
    let Error::Stalled { endpoint, operation, id, after } = &error else { panic!("{error:?}") };
    assert_eq!((operation.as_str(), id.as_str(), *after), ("Doing", "u", PATIENCE));
    assert!(endpoint.contains("socket"), "{endpoint}");
    assert!(begun.elapsed() >= PATIENCE && error.may_go_on());
    let seen = script.seen();
    assert_eq!(seen.last().unwrap(), "DELETE /1.0/operations/u");
    // It was not asked all the time, either.
    assert!(seen.len() < 12, "{seen:?}");
}

#[tokio::test]
async fn one_that_gets_anywhere_is_waited_for() {
    let slow = |looks| match looks {
        0..10 => told(operation(103, &format!("step {looks}"))),
        _ => told(operation(200, "over")),
    };
    let begun = Instant::now();
    begin(&server(slow)).await.wait().await.unwrap();
    assert!(begun.elapsed() > 2 * PATIENCE);
}

#[tokio::test]
async fn one_of_which_nothing_is_to_be_heard_gets_its_time() {
    let slow = |looks| told(operation(if looks < 6 { 103 } else { 200 }, "begun"));
    begin(&server(slow)).await.quiet_for(PATIENCE * 4).wait().await.unwrap();
}

#[tokio::test]
async fn a_server_that_was_started_anew_has_forgotten_it() {
    let script = server(|looks| match looks {
        0 => Act::Raw(Vec::new()),
        1 => Act::Json(503, json!({ "type": "error", "error_code": 503, "error": "starting" })),
        _ => Act::Json(404, json!({ "type": "error", "error_code": 404, "error": "not found" })),
    });
    let error = begin(&script).await.wait().await.unwrap_err();
    assert!(
        matches!(&error, Error::OperationForgotten { operation } if operation == "Doing"),
        "{error:?}"
    );
    assert!(!error.may_go_on());
}

#[tokio::test]
async fn a_server_that_stays_away_is_told_as_lost() {
    let script = server(|_| Act::Raw(Vec::new()));
    let error = begin(&script).await.wait().await.unwrap_err();
    assert!(matches!(&error, Error::OperationLost { .. }), "{error:?}");
    assert!(error.may_go_on() && !error.nothing_happened());
}

#[tokio::test]
async fn what_breaks_may_have_been_begun_unless_it_only_reads() {
    let cut = || Script::answering(|_| Act::Raw(b"HTTP/1.1 2".to_vec()));
    let client = |script: &Script| {
        let settings = Settings { retries: 0, ..Settings::default() };
        Client::with_settings(&Remote::unix(script.socket()), settings).unwrap()
    };
    let script = cut();
    let error = client(&script).instances().await.unwrap_err();
    assert!(!error.may_go_on(), "{error:?}");
    let change = client(&script).instance("c").change_state(StateChange::START).await;
    let error = change.unwrap_err();
    assert!(error.may_go_on(), "{error:?}");
}

/// A server speaks with whoever came first with a secret, and takes the second all the same.
#[tokio::test]
async fn a_websocket_that_broke_is_not_asked_for_again() {
    let streams = json!({ "0": "a", "1": "b", "2": "c", "control": "d" });
    let mut begun = operation(103, "begun");
    begun["metadata"] = json!({ "fds": streams });
    let script = Script::answering(move |request| match request {
        "POST /1.0/instances/c/exec" => Act::Json(
            202,
            json!({ "type": "async", "operation": "/1.0/operations/u", "metadata": begun }),
        ),
        _ => Act::Raw(Vec::new()),
    });
    let error = script.patient_client(3).instance("c").exec(&ExecRequest::new(["x"])).await;
    assert!(matches!(error, Err(Error::Broken { .. })), "{error:?}");
    let mut sockets = script.seen();
    sockets.retain(|request| request.contains("/websocket"));
    let all = sockets.len();
    sockets.sort();
    sockets.dedup();
    assert!(!sockets.is_empty() && sockets.len() == all, "{sockets:?} of {all}");
}
