//! Connections to ports of the box, and facts about it.

use std::net::Ipv4Addr;
use std::time::Duration;

use boxherd_link::{LinkError, Refresh};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::{agent, link, link_to, shell, within};

#[tokio::test]
async fn either_direction_of_a_connection_can_end_first() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut heard = Vec::new();
        // Only after the client has ended its direction does this side speak.
        stream.read_to_end(&mut heard).await.unwrap();
        heard.reverse();
        stream.write_all(&heard).await.unwrap();
    });
    let mut stream = link().await.dial(port).await.unwrap();
    let said: Vec<u8> = (0..2_000_000u32).map(|i| (i >> 4) as u8).collect();
    stream.write_all(&said).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut heard = Vec::new();
    within(stream.read_to_end(&mut heard)).await.unwrap();
    heard.reverse();
    assert!(heard == said);
}

#[tokio::test]
async fn a_port_nobody_listens_on_is_named() {
    let refused = link().await.dial(1).await.unwrap_err();
    assert!(matches!(refused, LinkError::Dial { port: 1, errno: 111 }), "{refused}");
}

#[tokio::test]
async fn ipv6_is_tried_too() {
    let Ok(listener) = TcpListener::bind("[::1]:0").await else {
        eprintln!("skipped: no IPv6 loopback here");
        return;
    };
    let port = listener.local_addr().unwrap().port();
    let mut stream = link().await.dial(port).await.unwrap();
    let (mut other, _) = listener.accept().await.unwrap();
    other.write_all(b"six").await.unwrap();
    drop(other);
    let mut heard = String::new();
    within(stream.read_to_string(&mut heard)).await.unwrap();
    assert_eq!(heard, "six");
}

#[tokio::test]
async fn listening_ports_are_listed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let listed = link().await.listening().await.unwrap();
    let found = listed.iter().find(|l| l.port == port).unwrap();
    assert_eq!(found.address, Ipv4Addr::LOCALHOST);
}

#[tokio::test]
async fn statistics_count_commands_and_processes() {
    let link = link().await;
    let exec = link.exec(boxherd_link::ExecRequest::argv(["sleep", "4360"])).await.unwrap();
    let stats = link.stats().await.unwrap();
    assert_eq!((stats.execs, stats.cmd), (1, None));
    assert!(stats.processes >= 2 && stats.memory_total >= stats.memory_available);
    drop(exec);
    within(async { while link.stats().await.unwrap().execs > 0 {} }).await;
}

#[tokio::test]
async fn a_refresh_renews_what_it_is_told_to() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("etc")).unwrap();
    let config = boxherd_agent::AgentConfig { root: root.path().to_owned(), ..Default::default() };
    let link = link_to(&boxherd_agent::Agent::new(config).unwrap()).await;
    let refresh = Refresh {
        entropy: Some("not so random".into()),
        machine_id: Some("0123456789ABCDEF0123456789abcdef".to_owned()),
        ..Refresh::default()
    };
    assert!(!link.refresh(refresh).await.unwrap().clock);
    let id = std::fs::read_to_string(root.path().join("etc/machine-id")).unwrap();
    assert_eq!(id, "0123456789abcdef0123456789abcdef\n");
    let odd = Refresh { machine_id: Some("../x".to_owned()), ..Refresh::default() };
    let refused = link.refresh(odd).await.unwrap_err();
    assert!(matches!(refused, LinkError::Refused { .. }), "{refused}");
}

#[tokio::test]
async fn stopping_ends_commands_and_links() {
    let agent = agent();
    let link = link_to(&agent).await;
    let mut stubborn = link
        .exec(boxherd_link::ExecRequest::shell("trap '' TERM; echo on; while :; do sleep 1; done"))
        .await
        .unwrap();
    within(stubborn.next()).await.unwrap();
    within(link.stop(Duration::from_millis(50))).await.unwrap();
    within(agent.stopped()).await;
    assert!(stubborn.next().await.is_ok_and(|e| matches!(e, boxherd_link::ExecEvent::Exit(_))));
    let other = link_to(&crate::agent()).await;
    assert!(shell(&other, "true").await.status.success());
}
