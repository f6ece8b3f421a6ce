//! `connect --stdio` as a client sees it: frames in, frames out.

use std::io::{Read as _, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use serde_json::{Value, json};

use crate::lab::Lab;

/// A helper and our ends of its streams.
struct Helper {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
}

impl Helper {
    fn start(lab: &Lab) -> Self {
        let mut command = lab.command(&["connect", "--stdio"]);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("boxherd runs");
        let (input, output) = (child.stdin.take(), child.stdout.take());
        Self { child, input: input.expect("a pipe"), output: output.expect("a pipe") }
    }

    fn send(&mut self, mut header: Value, body: &[u8]) {
        header["body"] = body.len().into();
        let header = header.to_string();
        let length = u32::try_from(header.len()).expect("it is short").to_be_bytes();
        let frame = [&length, header.as_bytes(), body].concat();
        self.input.write_all(&frame).expect("it reads");
    }

    fn next(&mut self) -> (Value, Vec<u8>) {
        let mut length = [0; 4];
        self.output.read_exact(&mut length).expect("a frame");
        let mut header = vec![0; usize::try_from(u32::from_be_bytes(length)).expect("a length")];
        self.output.read_exact(&mut header).expect("a header");
        let header: Value = serde_json::from_slice(&header).expect("JSON");
        let length = header["body"].as_u64().unwrap_or_default();
        let mut body = vec![0; usize::try_from(length).expect("a length")];
        self.output.read_exact(&mut body).expect("a body");
        (header, body)
    }

    /// Frames of the request `id` until the event `last`: their bodies in one, and the last header.
    fn until(&mut self, id: u64, last: &str) -> (Vec<u8>, Value) {
        let mut all = Vec::new();
        loop {
            let (header, body) = self.next();
            assert_eq!(header["id"], id, "{header}");
            assert!(header["error"].is_null(), "{header}");
            all.extend(body);
            if header["event"] == last {
                return (all, header);
            }
        }
    }

    /// Ends its input, and with it the helper.
    fn end(mut self) {
        drop(self.input);
        assert!(self.child.wait().expect("it is ours").success());
    }
}

#[test]
fn many_requests_share_one_process() {
    let Some(lab) = Lab::open("many_requests_share_one_process") else { return };
    lab.create("web", &[]);
    let mut helper = Helper::start(&lab);
    helper.send(json!({ "id": 1, "op": "hello", "protocol": 1 }), b"");
    assert_eq!(helper.until(1, "hello").1["protocol"], 1);
    // A slow one first: what comes after it is answered before it.
    let slow =
        json!({ "id": 2, "op": "exec", "box": "web", "shell": "read a; echo $a", "stdin": true });
    helper.send(slow, b"");
    helper.until(2, "started");
    helper.send(json!({ "id": 3, "op": "put", "box": "web", "path": "/srv/f", "mode": 384 }), b"");
    helper.send(json!({ "id": 3, "op": "data" }), b"content");
    helper.send(json!({ "id": 3, "op": "end" }), b"");
    assert_eq!(helper.until(3, "done").1["size"], 7);
    helper.send(json!({ "id": 4, "op": "get", "box": "local:web", "path": "/srv/f" }), b"");
    let (header, _) = helper.next();
    assert_eq!((&header["event"], &header["mode"]), (&json!("file"), &json!(384)));
    assert_eq!(helper.until(4, "done").0, b"content");
    helper.send(json!({ "id": 2, "op": "data" }), b"said\n");
    let (said, exit) = helper.until(2, "exit");
    assert_eq!((said.as_slice(), &exit["code"]), (&b"said\n"[..], &json!(0)));
    helper.end();
}

#[test]
fn what_it_ran_ends_with_it() {
    let Some(lab) = Lab::open("what_it_ran_ends_with_it") else { return };
    lab.create("web", &[]);
    let mut helper = Helper::start(&lab);
    let line = "echo $$ > /srv/pid; exec sleep 4321";
    helper.send(json!({ "id": 1, "op": "exec", "box": "web", "shell": line }), b"");
    helper.until(1, "started");
    let begun = || lab.sh("web", "test -s /srv/pid").code.filter(|code| *code == 0);
    crate::wait::until("the command has begun", begun);
    helper.end();
    let over = || lab.sh("web", "kill -0 $(cat /srv/pid)").code.filter(|code| *code != 0);
    crate::wait::until("the command has ended", over);
}

#[test]
fn a_server_is_not_asked() {
    let Some(lab) = Lab::open("a_server_is_not_asked") else { return };
    let said = lab.boxherd(&["--server", "http://127.0.0.1:1", "connect", "--stdio"]);
    said.refused();
    assert!(said.err.contains("`connect` cannot be asked of a server"), "{said:?}");
    lab.boxherd(&["connect"]).refused();
}
