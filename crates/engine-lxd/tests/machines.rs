//! Virtual machines, of a scripted server and, where KVM works, of a real one.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use boxherd_engine::{Engine as _, EngineError, TruthState};
use boxherd_engine_lxd::{Facts, LxdEngine, Settings};
use boxherd_lxd_client::Remote;
use boxherd_model::{BoxId, BoxSpec, Capability};
use boxherd_testkit::{Act, Script};
use serde_json::{Value, json};

fn engine(socket: PathBuf, facts: Facts) -> LxdEngine {
    let settings = Settings {
        name: "lxd".parse().unwrap(),
        installation: "machines".to_owned(),
        image: Some("debian/12".parse().unwrap()),
        pool: None,
        remotes: None,
        patience: None,
        facts,
    };
    LxdEngine::new(settings, &Remote::unix(socket)).unwrap()
}

fn machine(name: &str) -> BoxSpec {
    BoxSpec { vm: true, ..BoxSpec::new(name.parse().unwrap()) }
}

fn sync(metadata: Value) -> Act {
    Act::Json(200, json!({ "type": "sync", "status_code": 200, "metadata": metadata }))
}

fn refused(status: u16, message: &str) -> Act {
    Act::Json(status, json!({ "type": "error", "error_code": status, "error": message }))
}

fn operation(code: u16) -> Value {
    json!({ "id": "u", "description": "Doing", "status_code": code, "metadata": {} })
}

/// A server with `qemu` and one machine, of which a test says how it goes on.
struct Server {
    id: BoxId,
    architecture: &'static str,
    /// The status of the machine.
    status: u16,
    /// How many looks it takes until `lxd-agent` answers.
    boot: u32,
    /// What is answered when something is to be run.
    exec: Act,
}

const RUNNING: u16 = 103;
const STOPPED: u16 = 102;
const FROZEN: u16 = 110;

/// The answer to a program that is to be run in a machine that runs.
const NOT_YET: &str = "LXD VM agent isn't currently running";

impl Server {
    fn new(id: BoxId) -> Self {
        let exec = refused(500, NOT_YET);
        Self { id, architecture: std::env::consts::ARCH, status: STOPPED, boot: 0, exec }
    }

    fn script(self) -> Script {
        let mut server = self;
        Script::answering(move |request| server.answer(request))
    }

    fn answer(&mut self, request: &str) -> Act {
        match request {
            "GET /1.0" => sync(json!({ "auth": "trusted", "api_extensions": ["cloud_init"],
                "environment": { "server": "lxd", "server_version": "5.0.2",
                    "driver": "lxc | qemu", "server_clustered": false } })),
            "GET /1.0/profiles/default" => sync(json!({ "name": "default", "devices": {
                "root": { "type": "disk", "path": "/", "pool": "p" } } })),
            "GET /1.0/storage-pools?recursion=1" => sync(json!([{ "name": "p", "driver": "zfs" }])),
            "POST /1.0/instances" => self.done(STOPPED),
            "GET /1.0/instances/vm" => sync(self.info()),
            "GET /1.0/instances?recursion=1" => sync(json!([self.info()])),
            "GET /1.0/instances/vm/state" => {
                let answers = self.boot == 0;
                self.boot = self.boot.saturating_sub(1);
                sync(
                    json!({ "status_code": self.status, "processes": if answers { 7 } else { -1 } }),
                )
            }
            "PUT /1.0/instances/vm/state" => self.done(match self.status {
                STOPPED | FROZEN => RUNNING,
                _ => FROZEN,
            }),
            "POST /1.0/instances/vm/exec" => self.exec.clone(),
            // Operations end at once, and nobody is told.
            _ if request.starts_with("GET /1.0/operations/u/wait") => sync(operation(200)),
            _ if request.contains("/files?path=") => refused(500, NOT_YET),
            _ => refused(404, "not found"),
        }
    }

    fn done(&mut self, status: u16) -> Act {
        self.status = status;
        let operation = operation(103);
        Act::Json(
            202,
            json!({ "type": "async", "operation": "/1.0/operations/u", "metadata": operation }),
        )
    }

    fn info(&self) -> Value {
        json!({ "name": "vm", "type": "virtual-machine", "status_code": self.status,
            "architecture": self.architecture, "profiles": ["default"], "config": {
                "user.boxherd.installation": "machines", "user.boxherd.id": self.id.to_string(),
                "user.boxherd.name": "vm", "user.boxherd.instance": "vm" } })
    }
}

fn count(script: &Script, request: &str) -> usize {
    script.seen().iter().filter(|seen| *seen == request).count()
}

const EXEC: &str = "POST /1.0/instances/vm/exec";
const STATE: &str = "GET /1.0/instances/vm/state";

#[tokio::test]
async fn what_a_server_can_do_is_asked_of_it() {
    let script = Server::new(BoxId::new()).script();
    let facts = engine(script.socket(), Facts::default()).facts().await.unwrap();
    assert_eq!(
        facts,
        Facts { pool_driver: Some("zfs".to_owned()), clustered: false, virtual_machines: true }
    );
    let has = |facts| {
        let engine = engine(script.socket(), facts);
        engine.capabilities().has(Capability::VirtualMachines)
    };
    assert!(has(facts) && !has(Facts::default()), "not before it is known");
}

#[tokio::test]
async fn a_machine_is_asked_for_and_waited_for_until_its_agent_answers() {
    let id = BoxId::new();
    let exec = refused(400, "Instance is not running");
    let script = Server { boot: 3, exec, ..Server::new(id) }.script();
    let engine = engine(script.socket(), Facts::default());
    engine.create(id, &machine("vm")).await.unwrap();
    let asked = &script.bodies()[0];
    assert_eq!((&asked["type"], &asked["name"]), (&"virtual-machine".into(), &"vm".into()));
    // What is run then is another story; here nothing more is there to run it.
    assert!(engine.start(id).await.is_err());
    assert!(count(&script, STATE) >= 4, "{:?}", script.seen());
    let seen = script.seen();
    let last_exec = seen.iter().rposition(|request| request == EXEC).unwrap();
    let looks = seen[..last_exec].iter().filter(|request| *request == STATE).count();
    assert_eq!(looks, 4, "it is tried again when the agent answers: {seen:?}");
    assert!(!seen.iter().any(|request| request.contains("/files")), "and no file is put: {seen:?}");
}

#[tokio::test]
async fn a_link_to_a_machine_that_boots_is_opened_when_it_answers() {
    let id = BoxId::new();
    let script = Server { boot: 2, status: RUNNING, ..Server::new(id) }.script();
    let engine = engine(script.socket(), Facts::default());
    let failed = engine.connect(id).await.err().unwrap();
    assert!(matches!(failed, EngineError::Refused { .. }), "{failed:?}");
    let seen = script.seen();
    let last_look = seen.iter().rposition(|request| request == STATE).unwrap();
    assert!(seen[..last_look].iter().any(|request| request == EXEC), "at once: {seen:?}");
    assert!(seen[last_look..].iter().any(|request| request == EXEC), "and again: {seen:?}");
    assert_eq!(count(&script, STATE), 3);
}

#[tokio::test]
async fn in_a_machine_of_another_kind_of_processor_the_server_runs_commands() {
    let id = BoxId::new();
    let exec = refused(400, "LXD VM agent isn't currently running");
    let script = Server { architecture: "s390x", exec, ..Server::new(id) }.script();
    let engine = engine(script.socket(), Facts::default());
    engine.start(id).await.unwrap();
    let link = boxherd_link::Link::open(engine.connect(id).await.unwrap()).await.unwrap();
    let agent = link.agent().await.unwrap();
    let why = agent.native().unwrap();
    assert!(why.contains("`s390x`") && why.contains(std::env::consts::ARCH), "{why}");
    assert!(
        !script.seen().iter().any(|request| request.contains("/files")),
        "nothing is put there"
    );
}

#[tokio::test]
async fn a_machine_is_frozen_and_thawed_as_containers_are() {
    let id = BoxId::new();
    let script = Server { status: RUNNING, ..Server::new(id) }.script();
    let engine = engine(script.socket(), Facts::default());
    engine.suspend(id).await.unwrap();
    let state = async || engine.inspect(id).await.unwrap().unwrap().state;
    assert_eq!(state().await, TruthState::Suspended);
    engine.resume(id).await.unwrap();
    assert_eq!(state().await, TruthState::Running);
    let actions: Vec<_> = script.bodies().iter().map(|body| body["action"].clone()).collect();
    assert_eq!(actions, ["freeze", "unfreeze"]);
}

/// A disk of nothing boots nothing: what is seen is that the server makes the machine, freezes and thaws it.
#[tokio::test]
async fn a_real_machine_lives_and_is_frozen() {
    let test = "a_real_machine_lives_and_is_frozen";
    let Some(lab) = boxherd_testkit::lxd_lab_or_skip(test) else { return };
    let engine = engine(lab.socket.clone(), Facts::default());
    if !engine.facts().await.unwrap().virtual_machines {
        return boxherd_testkit::skip(test, "the server has no `qemu` (KVM, qemu-system, OVMF)");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let metadata = format!("architecture: {}\ncreation_date: 1\n", std::env::consts::ARCH);
    std::fs::write(file("metadata.yaml"), metadata).unwrap();
    let run = |command: &mut Command| assert!(command.status().unwrap().success(), "{command:?}");
    let tar = file("metadata.tar");
    run(Command::new("tar").arg("-C").arg(folder.path()).arg("-cf").arg(&tar).arg("metadata.yaml"));
    let disk = file("disk.qcow2");
    run(Command::new("qemu-img").args(["create", "-q", "-f", "qcow2"]).arg(&disk).arg("64M"));
    let (images, name) = (engine.images().unwrap(), format!("vm-{}", std::process::id()));
    let image = name.parse().unwrap();
    images.import_split(&image, &tar, &disk, &boxherd_model::Silent).await.unwrap();
    let (id, spec) = (BoxId::new(), BoxSpec { image: image.clone(), ..machine(&name) });
    engine.create(id, &spec).await.unwrap();
    // It boots nothing, so that nobody ever answers: it is starting for as long as it is waited for.
    let waited = tokio::time::timeout(Duration::from_secs(15), engine.start(id)).await;
    assert!(waited.is_err(), "{waited:?}");
    let state = async || engine.inspect(id).await.unwrap().unwrap().state;
    assert_eq!(state().await, TruthState::Running);
    engine.suspend(id).await.unwrap();
    assert_eq!(state().await, TruthState::Suspended);
    engine.resume(id).await.unwrap();
    assert_eq!(state().await, TruthState::Running);
    engine.delete(id).await.unwrap();
    images.remove(&image).await.unwrap();
}
