//! Many clients that do little, nothing, or the wrong thing.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use boxherd_client::{Client, Command, NewBox};
use boxherd_testkit::root_or_skip;

use super::{KEY, Server};
use crate::wait::until;

const CROWD: usize = 1000;
const PATIENCE: Duration = Duration::from_secs(30);

impl Server {
    fn address(&self) -> &str {
        self.url.strip_prefix("http://").expect(&self.url)
    }

    fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("it runs").count()
    }

    /// In KiB.
    fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    fn healthy(&self) -> bool {
        let mut stream = TcpStream::connect(self.address()).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .expect("it listens");
        let mut said = String::new();
        stream.read_to_string(&mut said).expect("it answers");
        said.starts_with("HTTP/1.1 200")
    }

    /// Clients that have said each of the beginnings in turn, and say no more.
    fn crowd(&self) -> Vec<TcpStream> {
        const BEGINNINGS: [&[u8]; 5] = [
            b"",
            b"GET /healthz HTT",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"POST /api/v1/auth/token HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\xff\xff",
        ];
        let begin = |beginning: &&[u8]| {
            let mut stream = TcpStream::connect(self.address()).expect("it listens");
            // One that it does not like it may hang up on at once.
            let _ = stream.write_all(beginning);
            stream
        };
        BEGINNINGS.iter().cycle().take(CROWD).map(begin).collect()
    }

    /// Waits until it has no more descriptors than before.
    fn lets_go_of_all_but(&self, before: usize) {
        until("it lets go of descriptors", || (self.descriptors() <= before).then_some(()));
    }
}

#[test]
fn a_crowd_of_idle_clients_costs_nothing_when_it_has_gone() {
    if !root_or_skip("a_crowd_of_idle_clients_costs_nothing_when_it_has_gone") {
        return;
    }
    let server = Server::start();
    assert!(server.healthy());
    let before = server.descriptors();
    let crowd = server.crowd();
    assert!(server.healthy(), "others are served meanwhile");
    drop(crowd);
    server.lets_go_of_all_but(before);
    // The allocator keeps what the first crowd took; another one takes no more.
    let kept = server.memory();
    for _ in 0..3 {
        let crowd = server.crowd();
        assert!(server.healthy());
        drop(crowd);
        server.lets_go_of_all_but(before);
    }
    let now = server.memory();
    assert!(now < kept + 8 * 1024, "{kept} KiB after the first crowd, {now} KiB after the fourth");
}

#[test]
fn whoever_says_nothing_is_hung_up_on() {
    if !root_or_skip("whoever_says_nothing_is_hung_up_on") {
        return;
    }
    let server = Server::start();
    assert!(server.healthy());
    let before = server.descriptors();
    let crowd = server.crowd();
    // Its patience ends; ours is longer.
    server.lets_go_of_all_but(before + CROWD / 5);
    drop(crowd);
    server.lets_go_of_all_but(before);
}

/// A client ends its side of a call after the command has ended, and not before: that is no mistake of
/// its, however often it does so over one connection.
#[tokio::test]
async fn a_client_runs_as_many_commands_as_it_likes() {
    if !root_or_skip("a_client_runs_as_many_commands_as_it_likes") {
        return;
    }
    let server = Server::start();
    let client = Client::builder().endpoint(&server.url).api_key(KEY).connect().await;
    let client = client.expect("the server is there");
    let boxes = client.boxes();
    boxes.create(NewBox::named("busy")).await.expect("a box");
    let some = async |_| {
        for _ in 0..400 {
            let running = boxes.exec("busy", Command::argv(["true"])).await.expect("it runs");
            assert_eq!(running.output().await.expect("it ends").code, 0);
        }
    };
    futures_util::future::join_all((0..32).map(some)).await;
    boxes.destroy("busy").await.expect("it is there");
    // The server ends when its clients have gone, and waits for them in vain in this thread.
    drop((boxes, client));
    tokio::task::spawn_blocking(move || drop(server)).await.expect("a thread");
}
