//! How a client finds a server.

use std::path::Path;
use std::process::Command;

use boxherd_client::{Client, Error, NewBox, blocking};

use crate::lab::{Lab, Said};
use crate::sdk::output;
use crate::server::{KEY, Server, with_server};
use crate::wait;

with_server! {
    a_key_may_be_exchanged_elsewhere(server) {
        let exchange = format!("{}/api/v1/auth/token", server.url);
        let client = server.builder().exchange_url(exchange).connect().await.unwrap();
        assert_eq!(client.whoami().await.unwrap().name, "admin");
        let nowhere = server.builder().exchange_url(format!("{}/no/such", server.url));
        let refused = nowhere.connect().await;
        assert!(matches!(refused, Err(Error::Server(_))), "{refused:?}");
        let closed = server.builder().exchange_url("http://127.0.0.1:9/token").connect().await;
        assert!(matches!(closed, Err(Error::Unavailable { .. })), "{closed:?}");
    }
}

/// In the child of [`child`], what it was told.
const TOLD: &str = "BOXHERD_TEST_TOLD";

/// Runs the test that is called so once more, in a process with these variables.
fn child(test: &str, variables: &[(&str, &str)]) {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    let unset =
        ["BOXHERD_SERVER", "BOXHERD_API_KEY", "BOXHERD_TOKEN", "BOXD_TOKEN", "BOXD_API_KEY"];
    for name in unset {
        command.env_remove(name);
    }
    command.args(["--exact", "--nocapture", &format!("connect::{test}")]);
    command.envs(variables.iter().copied());
    let said: Said = command.output().expect("it runs").into();
    assert!(said.out.contains("1 passed"), "{said:?}");
}

#[test]
fn the_environment_names_a_server() {
    let test = "the_environment_names_a_server";
    if std::env::var_os(TOLD).is_some() {
        let client = blocking::Client::from_env().unwrap();
        assert_eq!(client.whoami().unwrap().name, "admin");
        return;
    }
    let Some(server) = Server::open(test) else { return };
    let plain = server.url.strip_prefix("http://").expect("plain");
    let exchange = format!("{}/api/v1/auth/token", server.url);
    child(test, &[(TOLD, ""), ("BOXHERD_SERVER", &server.socket), ("BOXHERD_API_KEY", KEY)]);
    child(test, &[(TOLD, ""), ("BOXD_BASE_URL", plain), ("BOXD_API_KEY", KEY)]);
    let old = ("BOXD_API_URL", server.url.as_str());
    child(test, &[(TOLD, ""), old, ("BOXD_API_KEY", KEY), ("BOXD_EXCHANGE_URL", &exchange)]);
}

#[test]
fn a_data_folder_is_served_while_there_is_a_client() {
    let test = "a_data_folder_is_served_while_there_is_a_client";
    if let Some(data) = std::env::var_os(TOLD) {
        let runtime = tokio::runtime::Runtime::new().expect("an event loop");
        return runtime.block_on(embedded(Path::new(&data)));
    }
    let Some(lab) = Lab::open(test) else { return };
    let data = lab.data();
    let program = env!("CARGO_BIN_EXE_boxherd");
    child(test, &[(TOLD, data.to_str().expect("text")), ("BOXHERD_BIN", program)]);
    // Nobody dropped the last client, but it was of a process that has ended.
    has_ended(&data);
    assert_eq!(lab.boxherd(&["ls", "-o", "name"]).ok(), "");
}

async fn embedded(data: &Path) {
    let client = Client::embedded(data).await.unwrap();
    client.boxes().create(NewBox::named("web")).await.unwrap();
    let clone = client.clone();
    drop(client);
    assert_eq!(output(&clone, "web", "echo here").await.stdout, b"here\n");
    drop(clone);
    has_ended(data);
    // With the key that was kept.
    let again = Client::embedded(data).await.unwrap();
    assert_eq!(output(&again, "web", "echo still").await.stdout, b"still\n");
    assert_eq!(again.keys().list().await.unwrap().len(), 1);
    again.boxes().destroy("web").await.unwrap();
    std::mem::forget(again);
}

/// Waits until no server listens for embedded clients any more.
fn has_ended(data: &Path) {
    wait::until("the server ends", || (!data.join("embedded.sock").exists()).then_some(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_trusted_by_its_certificate() {
    let test = "a_server_is_trusted_by_its_certificate";
    let Some(server) = Server::open_with(test, &["--tls-dev"]) else { return };
    assert!(server.url.starts_with("https://"), "{}", server.url);
    let file = server.lab.data().join("tls/ca.pem");
    let authority = std::fs::read(&file).unwrap();
    let trusting = || server.builder().ca(authority.clone());
    let client = trusting().connect().await.unwrap();
    client.boxes().create(NewBox::named("web")).await.unwrap();
    assert_eq!(output(&client, "web", "echo here").await.stdout, b"here\n");
    client.boxes().destroy("web").await.unwrap();
    let exchange = format!("{}/api/v1/auth/token", server.url);
    trusting().exchange_url(exchange).connect().await.unwrap();
    let stranger = server.builder().connect().await;
    let refused = matches!(stranger, Err(Error::Unavailable { maybe_done: false, .. }));
    assert!(refused || matches!(stranger, Err(Error::Config(_))), "{stranger:?}");
    let said = server.boxherd(&["ls", "-o", "name", "--ca", file.to_str().expect("text")]);
    assert_eq!(said.ok(), "");
}
