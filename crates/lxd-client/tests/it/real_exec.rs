//! Commands in a real instance.

use std::collections::BTreeMap;
use std::time::Duration;

use boxherd_lxd_client::{Error, ExecRequest, FileMeta, Instance, NewFile};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::guest::with_guest;

fn sh(script: &str) -> ExecRequest {
    ExecRequest::new(["/bin/sh", "-c", script])
}

#[test]
fn a_command_has_three_streams_and_an_exit_code() {
    with_guest("a_command_has_three_streams_and_an_exit_code", |guest| async move {
        let mut exec = guest.exec(&sh("cat; echo problem >&2; exit 7")).await.unwrap();
        exec.stdin.write_all(b"hello").await.unwrap();
        exec.stdin.shutdown().await.unwrap();
        let mut out = Vec::new();
        exec.stdout.read_to_end(&mut out).await.unwrap();
        let mut err = Vec::new();
        exec.stderr.read_to_end(&mut err).await.unwrap();
        assert_eq!(out, b"hello");
        assert_eq!(err, b"problem\n");
        assert_eq!(exec.wait().await.unwrap(), 7);
    });
}

#[test]
fn a_duplex_carries_bytes_both_ways() {
    with_guest("a_duplex_carries_bytes_both_ways", |guest| async move {
        let exec = guest.exec(&sh("echo ready >&2; exec cat")).await.unwrap();
        let duplex = exec.into_duplex();
        let operation = duplex.operation().clone();
        let (mut read, mut write) = tokio::io::split(duplex);
        let sent: Vec<u8> = (0..8_000_000_u32).map(|n| (n % 251) as u8).collect();
        let expected = sent.clone();
        let writer = async move {
            write.write_all(&sent).await.unwrap();
            write.shutdown().await.unwrap();
            write
        };
        let mut received = Vec::new();
        let (write, read_result) = tokio::join!(writer, read.read_to_end(&mut received));
        read_result.unwrap();
        assert!(received == expected, "{} of {} bytes", received.len(), expected.len());
        assert_eq!(operation.wait().await.unwrap()["return"], 0);
        assert_eq!(read.unsplit(write).stderr(), b"ready\n");
    });
}

async fn recorded_logs(guest: &Instance) -> Vec<String> {
    guest.exec_logs().await.unwrap()
}

#[test]
fn recorded_output_is_fetched_and_deleted() {
    with_guest("recorded_output_is_fetched_and_deleted", |guest| async move {
        let script = sh("printf 'a\\377b'; echo problem >&2; exit 3");
        let recorded = guest.exec_recorded(&script, 1 << 20).await.unwrap();
        assert_eq!(recorded.code, 3);
        assert_eq!(&recorded.stdout[..], b"a\xffb");
        assert_eq!(&recorded.stderr[..], b"problem\n");
        assert!(!recorded.truncated);

        let much = sh("yes | head -c 3000000");
        let recorded = guest.exec_recorded(&much, 1_000_000).await.unwrap();
        assert_eq!((recorded.stdout.len(), recorded.truncated), (1_000_000, true));

        let missing = ExecRequest::new(["/no/such/program"]);
        match guest.exec_recorded(&missing, 100).await {
            Ok(recorded) => assert_eq!(recorded.code, 127),
            Err(error) => assert!(matches!(error, Error::OperationFailed { .. }), "{error:?}"),
        }
        assert_eq!(recorded_logs(&guest).await, [""; 0]);
    });
}

#[test]
fn what_was_recorded_is_deleted_although_nobody_waits() {
    with_guest("what_was_recorded_is_deleted_although_nobody_waits", |guest| async move {
        let script = sh("echo early; while [ ! -e /tmp/go ]; do sleep 0.05; done");
        let runner = guest.clone();
        let waiting = tokio::spawn(async move { runner.exec_recorded(&script, 100).await });
        while recorded_logs(&guest).await.len() < 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        waiting.abort();
        let meta = FileMeta { uid: 0, gid: 0, mode: 0o600 };
        guest.write_file("/tmp/go", NewFile::with(meta), "").await.unwrap();
        while !recorded_logs(&guest).await.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
}

#[test]
fn a_signal_ends_a_command_and_so_does_dropping_it() {
    with_guest("a_signal_ends_a_command_and_so_does_dropping_it", |guest| async move {
        let exec = guest.exec(&ExecRequest::new(["sleep", "1000"])).await.unwrap();
        exec.signals.send(15).await.unwrap();
        assert_eq!(exec.wait().await.unwrap(), 128 + 15);

        let exec = guest.exec(&ExecRequest::new(["sleep", "1001"])).await.unwrap();
        let ended = exec.wait();
        drop(exec);
        assert_eq!(ended.await.unwrap(), 128 + 9);
    });
}

#[test]
fn a_terminal_has_a_size_and_takes_keys() {
    with_guest("a_terminal_has_a_size_and_takes_keys", |guest| async move {
        let request = ExecRequest::new(["/bin/sh"]);
        let mut terminal = guest.exec_terminal(&request, 91, 17).await.unwrap();
        terminal.write_all(b"stty size; sleep 1; exit 4\n").await.unwrap();
        let mut seen = Vec::new();
        terminal.read_to_end(&mut seen).await.unwrap();
        let seen = String::from_utf8_lossy(&seen);
        assert!(seen.contains("17 91"), "{seen}");
        assert_eq!(terminal.wait().await.unwrap(), 4);

        let mut terminal = guest.exec_terminal(&request, 80, 24).await.unwrap();
        terminal.resize(132, 50).await.unwrap();
        terminal
            .write_all(b"until stty size | grep 132; do sleep 0.1; done; sleep 1; exit\n")
            .await
            .unwrap();
        let mut seen = String::new();
        terminal.read_to_string(&mut seen).await.unwrap();
        assert!(seen.contains("50 132"), "{seen}");
    });
}

#[test]
fn user_folder_and_variables_are_those_that_were_asked_for() {
    with_guest("user_folder_and_variables_are_those_that_were_asked_for", |guest| async move {
        let environment = BTreeMap::from([("GREETING".to_owned(), "hello you".to_owned())]);
        let request = ExecRequest {
            environment,
            user: 65534,
            group: 65534,
            cwd: "/tmp".into(),
            ..sh("echo $(id -u) $(id -g) $(pwd) \"$GREETING\"")
        };
        let recorded = guest.exec_recorded(&request, 1000).await.unwrap();
        assert_eq!(&recorded.stdout[..], b"65534 65534 /tmp hello you\n");
    });
}

#[test]
fn a_stopped_instance_runs_nothing() {
    with_guest("a_stopped_instance_runs_nothing", |guest| async move {
        guest.kill().await.unwrap();
        let error = guest.exec(&sh("true")).await.unwrap_err();
        assert!(matches!(error, Error::BadRequest { .. }), "{error:?}");
        let error = guest.exec_recorded(&sh("true"), 1).await.unwrap_err();
        assert!(matches!(error, Error::BadRequest { .. }), "{error:?}");
    });
}
