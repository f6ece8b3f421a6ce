//! gRPC through the proxy, to a program in a box.

use std::process::Command;

use crate::server::Web;

/// What `curl` says of one call: its headers with its trailers, and its body.
fn call(web: &Web, host: &str) -> (String, Vec<u8>) {
    let folder = tempfile::tempdir().expect("a folder");
    let (head, body) = (folder.path().join("head"), folder.path().join("body"));
    let done = Command::new("curl")
        .args(["-sS", "--max-time", "30", "--http2-prior-knowledge", "-H", "te: trailers"])
        .args(["-H", "content-type: application/grpc", "-H", &format!("host: {host}")])
        .args(["--data-binary", "\u{1}\u{1}hello"])
        .arg("-D")
        .arg(&head)
        .arg("-o")
        .arg(&body)
        .arg(format!("http://127.0.0.1:{}/echo.Echo/Say", web.port))
        .output()
        .expect("curl runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let head = std::fs::read_to_string(head).expect("headers");
    // There is no file where there is no body.
    (head, std::fs::read(body).unwrap_or_default())
}

#[test]
fn calls_of_grpc_keep_their_trailers() {
    let Some(web) = Web::open("calls_of_grpc_keep_their_trailers") else { return };
    let program = include_str!("echo_h2.py");
    web.lab.create("echo", &["--", "/usr/bin/python3", "-c", program, "8000"]);
    web.wait_for("echo", &["8000"]);
    for _ in 0..3 {
        let (head, body) = call(&web, "echo.localhost");
        assert!(head.starts_with("HTTP/2 200"), "{head}");
        assert!(head.contains("grpc-status: 0") && head.contains("grpc-message: well"), "{head}");
        assert_eq!(body, b"\x01\x01hello");
    }
    // The connection goes with the program, and the next call has another.
    web.lab.boxherd(&["restart", "echo"]).ok();
    web.wait_for("echo", &["8000"]);
    let (head, _) = call(&web, "echo.localhost");
    assert!(head.contains("grpc-status: 0"), "{head}");
    // What speaks HTTP/1.1 only is told as a program that does not answer.
    web.host_box("old", &["8000"]);
    let (head, _) = call(&web, "old.localhost");
    assert!(head.starts_with("HTTP/2 502"), "{head}");
}
