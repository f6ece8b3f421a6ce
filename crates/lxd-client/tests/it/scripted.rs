//! What real servers do not do, or not when they are asked to.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use boxherd_lxd_client::{
    Client, Credential, Error, ExecRequest, NewInstance, Settings, StateChange, Token,
};
use serde_json::{Value, json};

use crate::script::{Act, Asked as _, Script, several};

fn sync(metadata: Value) -> Act {
    Act::Json(200, json!({ "type": "sync", "status_code": 200, "metadata": metadata }))
}

fn operation(code: u16, metadata: Value) -> Value {
    json!({ "id": "u", "description": "Doing", "status_code": code, "metadata": metadata })
}

fn started(metadata: Value) -> Act {
    let operation = operation(103, metadata);
    Act::Json(
        202,
        json!({ "type": "async", "operation": "/1.0/operations/u", "metadata": operation }),
    )
}

fn server(extensions: &[&str]) -> Act {
    sync(json!({ "auth": "trusted", "api_extensions": extensions }))
}

#[tokio::test]
async fn a_missing_extension_is_named() {
    let script = Script::new([server(&["clustering"])]);
    let client = script.client();
    let server = client.server().await.unwrap();
    server.require("clustering").unwrap();
    let error = server.require("container_exec_recording").unwrap_err();
    assert!(matches!(&error, Error::MissingExtension { extension }
        if extension == "container_exec_recording"));
    assert_eq!(client.server().await.unwrap().api_extensions.len(), 1);
    assert_eq!(script.seen(), ["GET /1.0"]);
}

#[tokio::test]
async fn garbage_is_no_answer() {
    for garbage in ["SSH-2.0-OpenSSH\r\n\r\n", "HTTP/1.1 200 X\r\nContent-Length: 3\r\n\r\nabc"] {
        let script = Script::new([Act::Raw(garbage.into())]);
        let error = script.client().server().await.unwrap_err();
        assert!(matches!(error, Error::Protocol { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_silent_server_does_not_hang_anybody() {
    let script = Script::new([Act::Silence]);
    let error = script.client().server().await.unwrap_err();
    assert!(matches!(&error, Error::Timeout { call, .. } if call == "GET /1.0"), "{error:?}");
}

#[tokio::test]
async fn a_read_that_breaks_is_repeated_and_a_change_is_not() {
    let cut = || Act::Raw(b"HTTP/1.1 200 X\r\nContent-Le".to_vec());
    let script = Script::new([cut(), cut(), server(&[])]);
    script.patient_client(2).server().await.unwrap();
    assert_eq!(script.seen().len(), 3);

    let script = Script::new([cut(), started(Value::Null)]);
    let change = script.patient_client(2).instance("c").change_state(StateChange::START).await;
    assert!(matches!(change, Err(Error::Broken { .. })), "{change:?}");
    assert_eq!(script.seen(), ["PUT /1.0/instances/c/state"]);
}

#[tokio::test]
async fn a_body_that_is_cut_is_told() {
    let cut = b"HTTP/1.1 200 X\r\nContent-Length: 100\r\n\r\n{\"type\":";
    let script = Script::new([Act::Raw(cut.to_vec())]);
    let error = script.client().server().await.unwrap_err();
    assert!(matches!(error, Error::Broken { .. }), "{error:?}");
}

#[tokio::test]
async fn a_kept_connection_that_the_server_closed_is_replaced() {
    let close = b"HTTP/1.1 200 X\r\nContent-Length: 29\r\n\r\n{\"type\":\"sync\",\"metadata\":[]}";
    let script = Script::new([Act::Raw(close.to_vec()), started(Value::Null)]);
    let client = script.client();
    client.instances().await.unwrap();
    // The close has to arrive before the next call, or that call is cut, not replaced.
    tokio::time::sleep(Duration::from_millis(50)).await;
    client.instance("c").change_state(StateChange::START).await.unwrap();
    assert_eq!(client.connections_opened(), 2);
}

#[tokio::test]
async fn an_operation_that_never_ends_is_left_when_the_caller_says_so() {
    let script = Script::new([
        // Neither the poll nor the events are answered.
        started(Value::Null),
        Act::Silence,
        Act::Silence,
    ]);
    let operation = script.client().instance("c").change_state(StateChange::FREEZE).await.unwrap();
    let error = operation.wait_for(Duration::from_millis(200)).await.unwrap_err();
    assert!(matches!(&error, Error::Timeout { call, .. } if call == "Doing"), "{error:?}");
}

#[tokio::test]
async fn the_end_of_an_operation_is_what_it_came_to() {
    let cases = [
        (operation(200, json!({ "return": 5 })), "Ok(Object {\"return\": Number(5)})"),
        (operation(401, Value::Null), "Err(Cancelled { operation: \"Doing\" })"),
    ];
    for (end, expected) in cases {
        // Whether the poll or the events come first is open: both get an answer.
        let script = Script::new([started(Value::Null), sync(end.clone()), sync(end)]);
        let operation = script.client().instance("c").change_state(StateChange::START).await;
        let ended = operation.unwrap().wait().await;
        assert_eq!(format!("{ended:?}"), expected);
    }
}

#[tokio::test]
async fn an_exec_without_its_streams_is_no_exec() {
    let script = Script::new([started(json!({ "fds": { "0": "secret" } }))]);
    let error = script.client().instance("c").exec(&ExecRequest::new(["x"])).await.unwrap_err();
    assert!(matches!(error, Error::Protocol { .. }), "{error:?}");
    assert!(!format!("{error:?}").contains("secret"));
}

#[tokio::test]
async fn the_next_endpoint_is_asked_when_one_cannot_be_reached() {
    let folder = tempfile::tempdir().unwrap();
    let gone = folder.path().join("gone");
    let script = Script::new([sync(json!([])), sync(json!([]))]);
    let remote = several([gone.clone(), script.socket()]);
    let client = Client::new(&remote).unwrap();
    client.instances().await.unwrap();
    client.instances().await.unwrap();
    assert_eq!(client.connections_opened(), 2, "one in vain, one that is kept");
    Client::new(&remote).unwrap().warm(2, 2).await.unwrap();

    let settings = Settings { retries: 0, ..Settings::default() };
    let none = several([gone.clone(), gone]);
    let error = Client::with_settings(&none, settings).unwrap().instances().await.unwrap_err();
    assert!(error.nothing_happened());
    assert!(matches!(&error, Error::NoEndpoint { causes } if causes.len() == 2), "{error:?}");
}

#[tokio::test]
async fn a_server_that_comes_back_is_asked_again() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let settings =
        Settings { retries: 5, retry_after: Duration::from_millis(20), ..Settings::default() };
    let client = Client::with_settings(&several([socket.clone()]), settings).unwrap();
    let script = Script::new([sync(json!([]))]);
    let from = script.socket();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        std::fs::rename(from, socket).unwrap();
    });
    client.instances().await.unwrap();
}

#[tokio::test]
async fn a_token_is_sent_where_each_server_looks_for_it() {
    let json = format!(
        r#"{{"client_name":"c","fingerprint":"{}","addresses":["a:1"],"secret":"s"}}"#,
        "ab".repeat(32)
    );
    let text = STANDARD.encode(json);
    let credential = Credential::Token(Token::parse(&text).unwrap());
    let untrusted =
        |extensions: &[&str]| sync(json!({ "auth": "untrusted", "api_extensions": extensions }));
    for (extensions, password) in [(&["explicit_trust_token"][..], Value::Null), (&[], json!(text))]
    {
        let script = Script::new([untrusted(extensions), sync(Value::Null), server(&[])]);
        script.client().become_trusted("me", &credential).await.unwrap();
        assert_eq!(script.seen()[1], "POST /1.0/certificates");
        let body = &script.bodies()[0];
        assert_eq!((&body["trust_token"], &body["password"]), (&json!(text), &password));
        assert_eq!((&body["name"], &body["type"]), (&json!("me"), &json!("client")));
    }

    let script = Script::new([server(&[])]);
    script.client().become_trusted("me", &credential).await.unwrap();
    assert_eq!(script.seen(), ["GET /1.0"], "who is trusted keeps its token");
}

#[tokio::test]
async fn calls_name_their_project_and_their_member() {
    let script = Script::new([sync(json!([])), started(Value::Null), sync(json!([]))]);
    let client = script.client();
    let inside = client.in_project("a b");
    inside.instances().await.unwrap();
    let new = NewInstance { name: "n".into(), target: Some("m1".into()), ..Default::default() };
    inside.create_instance(&new).await.unwrap();
    client.instances().await.unwrap();
    let seen = script.seen();
    assert_eq!(seen[0], "GET /1.0/instances?project=a%20b&recursion=1");
    assert_eq!(seen[1], "POST /1.0/instances?project=a%20b&target=m1");
    assert_eq!(seen[2], "GET /1.0/instances?recursion=1");
}
