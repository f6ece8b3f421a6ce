//! Commands in a real instance.

use boxherd_lxd_client::ExecRequest;
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
