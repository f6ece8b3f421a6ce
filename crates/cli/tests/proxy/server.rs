//! A server with a proxy, and boxes with web programs.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use boxherd_testkit::programs_or_skip;
use prost::Message;
use rustix::process::{Pid, Signal, kill_process};

use crate::client::{Answer, Client};
use crate::lab::Lab;

const SERVE: [&str; 5] = ["serve", "--listen", "127.0.0.1:0", "--proxy-listen", "127.0.0.1:0"];
const APP: &str = include_str!("app.py");
/// The key of `admin`; it protects nothing.
const KEY: &str = "bxd_only-for-tests-0123456789";

/// Both. Dropped, the server ends first and the boxes go after it.
#[derive(Debug)]
pub(crate) struct Web {
    server: Server,
    pub(crate) lab: Lab,
    pub(crate) api: u16,
    pub(crate) port: u16,
}

#[derive(Debug)]
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let pid = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw).expect("a pid");
        kill_process(pid, Signal::TERM).expect("it runs");
        let ended = self.0.wait().expect("it is ours");
        assert!(std::thread::panicking() || ended.success(), "the server ended with {ended}");
    }
}

impl Web {
    /// `None` when the test cannot run here, which was said aloud.
    pub(crate) fn open(test: &str) -> Option<Self> {
        Self::open_with(test, &[])
    }

    /// The same, with more flags of `serve`.
    pub(crate) fn open_with(test: &str, flags: &[&str]) -> Option<Self> {
        if !programs_or_skip(test, &["python3", "curl"]) {
            return None;
        }
        let lab = Lab::open(test)?;
        let command = lab.command(&SERVE);
        Some(Self::start(lab, command, flags))
    }

    /// The same with so many descriptors for the server at most.
    pub(crate) fn open_with_descriptors(test: &str, most: u32) -> Option<Self> {
        if !programs_or_skip(test, &["python3", "curl", "prlimit"]) {
            return None;
        }
        let lab = Lab::open(test)?;
        let plain = lab.command(&SERVE);
        let mut command = Command::new("prlimit");
        command.arg(format!("--nofile={most}:{most}")).arg(plain.get_program());
        command.args(plain.get_args());
        let set = plain.get_envs().filter_map(|(name, value)| Some((name, value?)));
        command.envs(set);
        Some(Self::start(lab, command, &[]))
    }

    fn start(lab: Lab, mut command: Command, flags: &[&str]) -> Self {
        let mut child = command
            .args(flags)
            .stdin(Stdio::null())
            .env("BOXHERD_BOOTSTRAP_KEY", KEY)
            .stdout(Stdio::piped())
            .spawn()
            .expect("boxherd runs");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let server = Server(child);
        let mut port = |what: &str| {
            let line = lines.next().expect("a line").expect("text");
            let place = line.strip_prefix(what).expect(&line);
            place.rsplit_once(':').expect("a port").1.parse().expect("a number")
        };
        let api = port("listening on ");
        let web = port("boxes are reached on ");
        // Read on, so that the server never waits for us.
        std::thread::spawn(move || lines.for_each(drop));
        Self { server, lab, api, port: web }
    }

    /// How many descriptors the server has.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("it runs").count()
    }

    /// A box of the host's with the program on these ports.
    pub(crate) fn host_box(&self, name: &str, ports: &[&str]) {
        self.lab.create(name, &[&["--", "/usr/bin/python3", "-c", APP], ports].concat());
        self.wait_for(name, ports);
    }

    /// Waits until the program in a box listens on every port.
    pub(crate) fn wait_for(&self, name: &str, ports: &[&str]) {
        let line = "import socket, sys\nfor p in sys.argv[1:]: \
                    socket.create_connection(('127.0.0.1', int(p))).close()";
        let ask = [&["exec", name, "--", "/usr/bin/python3", "-c", line], ports].concat();
        crate::wait::until("the program listens", || {
            (self.lab.boxherd(&ask).code == Some(0)).then_some(())
        });
    }

    pub(crate) fn client(&self) -> Client {
        Client::to(self.port)
    }

    /// Asks once, over a connection of its own.
    pub(crate) fn get(&self, path: &str, host: &str) -> Answer {
        self.client().ask(&format!("GET {path}"), host, "")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.server.0.id()
    }
}

/// A user, by a token.
#[derive(Debug)]
pub(crate) struct User<'a> {
    web: &'a Web,
    pub(crate) token: String,
}

impl Web {
    pub(crate) fn admin(&self) -> User<'_> {
        self.user_of_key(KEY)
    }

    pub(crate) fn user(&self, name: &str) -> User<'_> {
        let made = self.lab.boxherd(&["key", "create", "--user", name, "-o", "json"]).ok();
        let made: serde_json::Value = serde_json::from_str(&made).expect("JSON");
        self.user_of_key(made["api_key"].as_str().expect("a key"))
    }

    fn user_of_key(&self, key: &str) -> User<'_> {
        let body = format!("{{\"api_key\":\"{key}\"}}");
        let head = format!(
            "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut client = Client::to(self.api);
        client.send(format!("POST /api/v1/auth/token HTTP/1.1\r\nHost: localhost\r\n{head}"));
        let (status, headers) = client.head();
        assert_eq!(status, 200);
        let length = headers.iter().find(|(name, _)| name == "content-length").expect("a length");
        let said = client.bytes(length.1.parse().expect("a number"));
        let said: serde_json::Value = serde_json::from_slice(&said).expect("JSON");
        User { web: self, token: said["token"].as_str().expect("a token").to_owned() }
    }
}

impl User<'_> {
    /// Calls a method of the API, and gives the number of its gRPC status where it refuses.
    pub(crate) fn call<A: Message + Default>(
        &self,
        method: &str,
        asked: &impl Message,
    ) -> Result<A, u32> {
        let message = asked.encode_to_vec();
        let folder = tempfile::tempdir().expect("a folder");
        let (body, head, answer) =
            (folder.path().join("body"), folder.path().join("head"), folder.path().join("answer"));
        let length = u32::try_from(message.len()).expect("it is short").to_be_bytes();
        std::fs::write(&body, [&[0][..], &length, &message].concat()).expect("a file");
        let done = Command::new("curl")
            .args(["-sS", "--max-time", "60", "--http2-prior-knowledge", "-H", "te: trailers"])
            .args(["-H", "content-type: application/grpc", "-H"])
            .arg(format!("authorization: Bearer {}", self.token))
            .arg("--data-binary")
            .arg(format!("@{}", body.display()))
            .arg("-o")
            .arg(&answer)
            .arg("-D")
            .arg(&head)
            .arg(format!("http://127.0.0.1:{}/boxd.api.v1.BoxdApi/{method}", self.web.api))
            .output()
            .expect("curl runs");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let head = std::fs::read_to_string(head).expect("headers");
        let status = head.lines().find_map(|line| line.strip_prefix("grpc-status: "));
        match status.expect("a status").trim().parse().expect("a number") {
            0 => {
                let answer = std::fs::read(answer).expect("an answer");
                Ok(A::decode(&answer[5..]).expect("a message"))
            }
            code => Err(code),
        }
    }

    /// A box of the user's with the program on port 8000; its id, and its name below the zone.
    pub(crate) fn web_box(&self, name: &str) -> (String, String) {
        let cmd = ["/usr/bin/python3", "-c", APP, "8000"].map(str::to_owned);
        let asked = boxherd_boxd_api::CreateVmRequest {
            name: name.to_owned(),
            cmd: cmd.to_vec(),
            ..Default::default()
        };
        let made: boxherd_boxd_api::CreateVmResponse =
            self.call("CreateVm", &asked).expect("a box");
        self.web.wait_for(&made.vm_id, &["8000"]);
        let host = made.url.strip_prefix("http://").expect(&made.url);
        let host = host.rsplit_once(':').expect("a port").0;
        (made.vm_id, host.to_owned())
    }
}
