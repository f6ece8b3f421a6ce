//! What a frame asks for. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use boxherd_link::{ExecRequest, PtySize};
use boxherd_model::{Address, EngineName};
use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::answer::Refusal;
use super::frame::{Frame, Header};

/// What a frame says.
#[derive(Debug)]
pub(super) enum Message {
    /// A new request.
    Begin(u64, Request),
    /// Something about a request that runs.
    About(u64, About),
    /// A frame that makes no sense; that request is refused.
    Unfit(u64, Refusal),
}

/// A new request.
#[derive(Debug)]
pub(super) enum Request {
    Hello(Hello),
    Engines,
    List(List),
    Open(Open),
    Exec(Box<Exec>),
    Put(Put),
    Get(Get),
}

/// What is said of a request that runs.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum About {
    /// The next bytes of its input or content.
    Data(Bytes),
    /// There is no more of it.
    End,
    /// That many bytes of its output have been used.
    Credit(u32),
    /// To the command.
    Control(Control),
    /// Nobody wants it any more.
    Cancel,
}

/// What is done to a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Control {
    Signal(i32),
    Resize(PtySize),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Hello {
    pub(super) protocol: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct List {
    pub(super) engine: Option<EngineName>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Open {
    #[serde(rename = "box")]
    pub(super) address: Address,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Put {
    #[serde(rename = "box")]
    pub(super) address: Address,
    pub(super) path: String,
    pub(super) mode: Option<u32>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    #[serde(default)]
    pub(super) parents: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Get {
    #[serde(rename = "box")]
    pub(super) address: Address,
    pub(super) path: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Exec {
    #[serde(rename = "box")]
    pub(super) address: Address,
    argv: Option<Vec<String>>,
    shell: Option<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    cwd: Option<String>,
    user: Option<String>,
    timeout_ms: Option<u64>,
    pty: Option<Size>,
    /// Whether input will come.
    #[serde(default)]
    pub(super) stdin: bool,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Size {
    rows: u16,
    cols: u16,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Credit {
    bytes: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signal {
    signal: i32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

impl Exec {
    /// What the agent is asked for. It ends when nobody is there any more.
    pub(super) fn request(&self) -> Result<ExecRequest, Refusal> {
        let mut request = match (&self.argv, &self.shell) {
            (Some(argv), None) if !argv.is_empty() => ExecRequest::argv(argv.iter().cloned()),
            (None, Some(line)) => ExecRequest::shell(line.clone()),
            _ => return Err(invalid("`exec` needs `argv` with a program, or `shell`")),
        };
        request.env = self.env.clone().into_iter().collect();
        request.workdir = self.cwd.clone();
        request.user = self.user.clone();
        request.timeout = self.timeout_ms.map(Duration::from_millis);
        request.pty = self.pty.map(Size::of_terminal);
        // A terminal whose input nobody has stays open.
        request.stdin = self.stdin || self.pty.is_some();
        Ok(request)
    }
}

impl Size {
    fn of_terminal(self) -> PtySize {
        PtySize { rows: self.rows, cols: self.cols }
    }
}

/// Reads a frame. `None`: it names no request, so that nobody can be told what is wrong with it.
pub(super) fn read(frame: Frame) -> Option<Message> {
    let Frame { mut header, body } = frame;
    let id = header.remove("id")?.as_u64().filter(|id| *id > 0)?;
    let op = header.remove("op");
    let op = op.as_ref().and_then(Value::as_str).unwrap_or_default();
    Some(message(id, op, header, body).unwrap_or_else(|refusal| Message::Unfit(id, refusal)))
}

fn message(id: u64, op: &str, header: Header, body: Bytes) -> Result<Message, Refusal> {
    if op != "data" && !body.is_empty() {
        return Err(invalid(format!("`{op}` has no body")));
    }
    let begin = |request| Ok(Message::Begin(id, request));
    let about = |about| Ok(Message::About(id, about));
    match op {
        "hello" => begin(Request::Hello(fields(op, header)?)),
        "engines" => fields(op, header).and_then(|Nothing {}| begin(Request::Engines)),
        "list" => begin(Request::List(fields(op, header)?)),
        "open" => begin(Request::Open(fields(op, header)?)),
        "exec" => begin(Request::Exec(Box::new(fields(op, header)?))),
        "put" => begin(Request::Put(fields(op, header)?)),
        "get" => begin(Request::Get(fields(op, header)?)),
        "data" => fields(op, header).and_then(|Nothing {}| about(About::Data(body))),
        "end" => fields(op, header).and_then(|Nothing {}| about(About::End)),
        "cancel" => fields(op, header).and_then(|Nothing {}| about(About::Cancel)),
        "credit" => about(About::Credit(fields::<Credit>(op, header)?.bytes)),
        "signal" => about(About::Control(Control::Signal(fields::<Signal>(op, header)?.signal))),
        "resize" => {
            let size: Size = fields(op, header)?;
            about(About::Control(Control::Resize(size.of_terminal())))
        }
        _ => Err(Refusal::new("unknown-op", format!("there is no op `{op}`"))),
    }
}

fn fields<T: DeserializeOwned>(op: &str, header: Header) -> Result<T, Refusal> {
    serde_json::from_value(Value::Object(header))
        .map_err(|error| invalid(format!("`{op}`: {error}")))
}

pub(super) fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new("invalid", message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn told(header: Value) -> Option<Message> {
        let Value::Object(header) = header else { panic!("{header}") };
        read(Frame { header, body: Bytes::new() })
    }

    #[test]
    fn a_command_is_read_whole() {
        let said = json!({
            "id": 7, "op": "exec", "box": "lab:web", "argv": ["ls", "-l"], "env": {"A": "b"},
            "cwd": "/tmp", "user": "root", "timeout_ms": 1500, "stdin": true,
        });
        let Some(Message::Begin(7, Request::Exec(exec))) = told(said) else { panic!() };
        assert_eq!(exec.address.to_string(), "lab:web");
        let request = exec.request().unwrap();
        let mut expected = ExecRequest::argv(["ls", "-l"]);
        expected.env = vec![("A".to_owned(), "b".to_owned())];
        expected.workdir = Some("/tmp".to_owned());
        expected.user = Some("root".to_owned());
        expected.timeout = Some(Duration::from_millis(1500));
        expected.stdin = true;
        assert_eq!(request, expected);
    }

    #[test]
    fn what_is_not_understood_is_refused_by_its_id() {
        for said in [
            json!({"id": 1, "op": "exec", "box": "web", "argv": ["ls"], "colour": "red"}),
            json!({"id": 1, "op": "exec", "box": "we b", "argv": ["ls"]}),
            json!({"id": 1, "op": "fly"}),
            json!({"id": 1}),
            json!({"id": 1, "op": "credit", "bytes": -1}),
            json!({"id": 1, "op": "end", "now": true}),
        ] {
            assert!(matches!(told(said.clone()), Some(Message::Unfit(1, _))), "{said}");
        }
        for said in [json!({"op": "hello"}), json!({"id": 0, "op": "end"}), json!({"id": "1"})] {
            assert!(told(said.clone()).is_none(), "{said}");
        }
    }

    #[test]
    fn a_command_is_one_of_two() {
        for said in [
            json!({"id": 1, "op": "exec", "box": "web"}),
            json!({"id": 1, "op": "exec", "box": "web", "argv": []}),
            json!({"id": 1, "op": "exec", "box": "web", "argv": ["a"], "shell": "a"}),
        ] {
            let Some(Message::Begin(1, Request::Exec(exec))) = told(said) else { panic!() };
            assert!(exec.request().is_err());
        }
    }

    proptest! {
        #[test]
        fn no_header_is_too_strange(
            id in any::<i64>(), op in "[a-z]{0,7}", key in "[a-z_]{0,9}", value in any::<i32>(),
        ) {
            let _read = told(json!({"id": id, "op": op, key: value}));
        }
    }
}
