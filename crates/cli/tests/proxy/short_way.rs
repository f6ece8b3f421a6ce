//! The server's own sockets in the networks of boxes.

use crate::client::Client;
use crate::server::Web;
use crate::wait;

/// A body that comes back as it goes, and has not ended.
fn open_stream(web: &Web) -> Client {
    let mut client = web.client();
    client.send("POST /echo HTTP/1.1\r\nHost: web.localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send("3\r\none\r\n");
    assert_eq!(client.head().0, 200);
    assert_eq!(client.chunk(), b"one");
    client
}

#[test]
fn sockets_in_a_box_end_with_it() {
    const STREAMS: usize = 5;
    let Some(web) = Web::open("sockets_in_a_box_end_with_it") else { return };
    web.host_box("web", &["8000"]);
    // With it, the link is there.
    let first = open_stream(&web);
    let before = web.descriptors();
    let mut streams: Vec<_> = (0..STREAMS).map(|_| open_stream(&web)).collect();
    let during = web.descriptors();
    assert_eq!(during, before + 2 * STREAMS, "each takes one for its client and one in the box");
    web.lab.boxherd(&["rm", "--force", "web"]).ok();
    // The answers end in the middle, at once.
    streams.push(first);
    assert!(streams.iter_mut().all(|stream| stream.rest().is_empty()));
    drop(streams);
    wait::until("the sockets are closed", || (web.descriptors() <= before - 2).then_some(()));
}

#[test]
fn sockets_in_boxes_take_a_quarter_of_the_descriptors() {
    const MOST: usize = 400;
    const STREAMS: usize = MOST / 4 + 20;
    let test = "sockets_in_boxes_take_a_quarter_of_the_descriptors";
    let Some(web) = Web::open_with_descriptors(test, 400) else { return };
    web.host_box("web", &["8000"]);
    let first = open_stream(&web);
    let before = web.descriptors();
    // Who comes late goes through the link, and is served too.
    let streams: Vec<_> = (0..STREAMS).map(|_| open_stream(&web)).collect();
    let during = web.descriptors();
    assert!(during <= before - 1 + STREAMS + MOST / 4, "{during} with {before} before");
    assert!(during >= before + STREAMS + MOST / 4 - 2, "the short way is not taken: {during}");
    drop((first, streams));
}
