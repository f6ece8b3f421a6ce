//! What a case has in its hands: an engine, and boxes that go when the case does.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use boxherd_link::{
    Collected, Exec, ExecEvent, ExecRequest, ExitStatus, Link, LinkError, MkdirOptions, ReadRange,
    WriteOptions,
};
use boxherd_model::{BoxId, BoxSpec, Capability, DiskId, Isolation, NetworkSpec};
use bytes::Bytes;

use super::{Need, Outcome};
use crate::{Engine, EngineError, Made, Running, TruthState};

pub(super) type Any = Box<dyn std::error::Error + Send + Sync>;

/// Output of a command that a case looks at as a whole.
const COLLECT_LIMIT: usize = 64 << 20;

/// Where a case works, in its boxes.
const FOLDER: &str = "/conformance";

/// How long a stop may ask before it kills.
pub(super) const GRACE: Duration = Duration::from_secs(5);

/// An engine under test, and how the suite may treat it.
#[async_trait]
pub trait Subject: fmt::Debug + Send + Sync {
    /// A handle on the engine, opened as a new process would open it. All handles are on the same
    /// boxes. Called at least once per case, on that case's runtime.
    async fn open(&self) -> Result<Arc<dyn Engine>, EngineError>;

    /// Whether boxes have processes, root filesystem and host name of their own.
    fn isolates(&self) -> bool;

    /// What holds the boxes of the cases.
    fn isolation(&self) -> Isolation {
        Isolation::default()
    }

    /// Whether nothing but the agent runs in a box that was started, and all of `/etc` is ours.
    fn agent_is_init(&self) -> bool {
        true
    }

    /// Whether the limit of a box's disk is one of what the box writes, without its image.
    fn limits_what_is_written(&self) -> bool {
        true
    }

    /// What programs say whose disk is full.
    fn says_full(&self) -> &'static str {
        "No space left on device"
    }

    /// How long a case may take.
    fn patience(&self) -> Duration {
        super::runner::PATIENCE
    }

    /// A case was skipped; must not be silent.
    fn skipped(&self, case: &str, need: Need);
}

/// One case's engine and boxes.
#[derive(Debug)]
pub struct Stage {
    subject: Arc<dyn Subject>,
    engine: Arc<dyn Engine>,
    made: Mutex<Vec<BoxId>>,
    disks: Mutex<Vec<DiskId>>,
}

impl Stage {
    pub(super) async fn new(subject: Arc<dyn Subject>) -> Result<Self, EngineError> {
        let engine = subject.open().await?;
        Ok(Self { subject, engine, made: Mutex::default(), disks: Mutex::default() })
    }

    /// The engine.
    pub fn engine(&self) -> &dyn Engine {
        self.engine.as_ref()
    }

    /// The engine once more, as the next process would open it.
    pub async fn reopen(&self) -> Result<Arc<dyn Engine>, EngineError> {
        self.subject.open().await
    }

    /// Whether the engine has what a case needs.
    pub(super) fn meets(&self, need: Need) -> bool {
        match need {
            Need::Has(capability) => self.engine.capabilities().has(capability),
            Need::Isolation => self.subject.isolates(),
            Need::OwnLimit => self.subject.limits_what_is_written(),
            Need::AgentIsInit => self.subject.agent_is_init(),
            Need::HostKernel => self.subject.isolation() != Isolation::Gvisor,
            Need::SavedMemory => {
                self.subject.isolation() == Isolation::Gvisor
                    && self.engine.capabilities().has(Capability::Hibernate)
            }
        }
    }

    /// What programs say whose disk is full.
    pub(super) fn says_full(&self) -> &'static str {
        self.subject.says_full()
    }

    /// An id that is deleted when the case ends.
    pub fn id(&self) -> BoxId {
        let id = BoxId::new();
        self.made.lock().unwrap_or_else(PoisonError::into_inner).push(id);
        id
    }

    /// An id of a disk that is removed when the case ends.
    pub fn disk(&self) -> DiskId {
        let disk = DiskId::new();
        self.disks.lock().unwrap_or_else(PoisonError::into_inner).push(disk);
        disk
    }

    /// A spec with a name of its own and loopback only.
    pub fn spec(&self) -> BoxSpec {
        let unique = BoxId::new().to_string().replace('-', "");
        let name = format!("case-{}", &unique[12..]);
        let mut spec = BoxSpec::new(name.parse().expect("hex digits are a name"));
        spec.network = NetworkSpec::None;
        spec.isolation = self.subject.isolation();
        spec
    }

    /// A box that was made and not started.
    pub async fn stopped(&self) -> Result<Guest, EngineError> {
        self.stopped_with(|_| ()).await
    }

    /// The same, with something else in its spec.
    pub async fn stopped_with(
        &self,
        adjust: impl FnOnce(&mut BoxSpec) + Send,
    ) -> Result<Guest, EngineError> {
        let mut spec = self.spec();
        adjust(&mut spec);
        let id = self.id();
        let made = self.engine.create(id, &spec).await?;
        Ok(self.guest(id, spec, made))
    }

    /// A box that runs, with an empty working folder.
    pub async fn running(&self) -> Result<Guest, Any> {
        self.running_with(|_| ()).await
    }

    /// The same, with something else in its spec.
    pub async fn running_with(
        &self,
        adjust: impl FnOnce(&mut BoxSpec) + Send,
    ) -> Result<Guest, Any> {
        let guest = self.stopped_with(adjust).await?;
        guest.start().await?;
        guest.make_folder().await?;
        Ok(guest)
    }

    /// A handle on a box that the engine has made.
    pub fn guest(&self, id: BoxId, spec: BoxSpec, made: Made) -> Guest {
        Guest { engine: Arc::clone(&self.engine), id, spec, made }
    }

    /// Deletes what the case made and looks whether it is gone.
    pub(super) async fn clean_up(&self) -> Outcome {
        let made = std::mem::take(&mut *self.made.lock().unwrap_or_else(PoisonError::into_inner));
        for id in &made {
            self.engine.delete(*id).await?;
        }
        let disks = std::mem::take(&mut *self.disks.lock().unwrap_or_else(PoisonError::into_inner));
        if let Some(engine) = self.engine.disks() {
            for disk in disks {
                engine.remove(disk).await?;
            }
        }
        let left = self.engine.list().await?.into_iter().find(|truth| made.contains(&truth.id));
        match left {
            Some(truth) => Err(format!("still there after its delete: {truth:?}").into()),
            None => Ok(()),
        }
    }
}

/// One box of a case.
#[derive(Debug)]
pub struct Guest {
    engine: Arc<dyn Engine>,
    /// Its id.
    pub id: BoxId,
    /// What it was made from.
    pub spec: BoxSpec,
    /// What the engine said when it had made it.
    pub made: Made,
}

impl Guest {
    /// Starts it.
    pub async fn start(&self) -> Result<Running, EngineError> {
        self.engine.start(self.id).await
    }

    /// Stops it, gently at first.
    pub async fn stop(&self) -> Result<(), EngineError> {
        self.engine.stop(self.id, GRACE).await
    }

    /// Freezes it.
    pub async fn suspend(&self) -> Result<(), EngineError> {
        self.engine.suspend(self.id).await
    }

    /// Thaws it.
    pub async fn resume(&self) -> Result<(), EngineError> {
        self.engine.resume(self.id).await
    }

    /// Where it stands; `None` when the engine has nothing of it.
    pub async fn state(&self) -> Result<Option<TruthState>, EngineError> {
        Ok(self.engine.inspect(self.id).await?.map(|truth| truth.state))
    }

    /// Waits until it has stopped by itself, and says why.
    pub async fn stops(&self) -> Result<boxherd_model::StopReason, EngineError> {
        loop {
            if let Some(TruthState::Stopped(reason)) = self.state().await? {
                return Ok(reason);
            }
            // There is nothing to wait on: the trait has no events.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// A new link to its agent.
    pub async fn link(&self) -> Result<Link, Any> {
        Ok(Link::open(self.engine.connect(self.id).await?).await?)
    }

    /// The path of `name` in its working folder, in the box.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        Path::new(FOLDER).join(name)
    }

    /// A line for the shell, to be run in the working folder.
    pub fn shell(&self, line: impl Into<String>) -> ExecRequest {
        let mut request = ExecRequest::shell(line);
        request.workdir = Some(FOLDER.to_owned());
        request
    }

    /// Runs a request over a new link to its end.
    pub async fn collect(&self, request: ExecRequest, stdin: &[u8]) -> Result<Collected, Any> {
        let link = self.link().await?;
        let exec = link.exec(request).await?;
        Ok(exec.collect(Bytes::copy_from_slice(stdin), COLLECT_LIMIT).await?)
    }

    /// Runs a line, which must succeed, and returns its output without the last newline.
    pub async fn sh(&self, line: &str) -> Result<String, Any> {
        let done = self.collect(self.shell(line), b"").await?;
        if !done.status.success() {
            let errors = String::from_utf8_lossy(&done.stderr);
            return Err(format!("`{line}` ended with {:?}: {errors}", done.status).into());
        }
        let output = String::from_utf8_lossy(&done.stdout);
        Ok(output.strip_suffix('\n').unwrap_or(&output).to_owned())
    }

    /// Writes a file of the working folder, with every default.
    pub async fn put(&self, name: &str, content: impl Into<Bytes>) -> Outcome {
        let link = self.link().await?;
        let mut writer = link.files().write(self.path(name), WriteOptions::default())?;
        writer.send(content.into()).await?;
        Ok(writer.finish().await?)
    }

    /// Reads a file of the working folder.
    pub async fn get(&self, name: &str) -> Result<Bytes, Any> {
        let link = self.link().await?;
        let reader = link.files().read(self.path(name), ReadRange::default())?;
        Ok(reader.read_all(COLLECT_LIMIT).await?)
    }

    /// Makes the working folder where it is not there yet.
    pub(super) async fn make_folder(&self) -> Outcome {
        let parents = MkdirOptions { mode: None, parents: true };
        Ok(self.link().await?.files().mkdir(FOLDER, parents).await?)
    }

    /// Starts a line that goes on when its link is gone, in a session of its own, and returns its
    /// process id in the box.
    pub async fn spawn(&self, line: &str) -> Result<String, Any> {
        let quoted = line.replace('\'', r"'\''");
        let pid = self
            .sh(&format!(
                "setsid sh -c 'echo $$ > .pid; {quoted}' </dev/null >/dev/null 2>&1 &
                 until test -s .pid; do sleep 0.01; done; cat .pid; rm .pid"
            ))
            .await?;
        Ok(pid)
    }

    /// Whether the process with that id in the box lives.
    pub async fn lives(&self, pid: &str) -> Result<bool, Any> {
        Ok(self.sh(&format!("if {}; then echo lives; fi", alive(pid))).await? == "lives")
    }

    /// Waits until the process with that id in the box is gone.
    pub async fn ends(&self, pid: &str) -> Outcome {
        self.sh(&format!("while {}; do sleep 0.01; done", alive(pid))).await?;
        Ok(())
    }

    /// Waits until both processes of `FAMILY` are gone.
    pub(super) async fn family_ends(&self) -> Outcome {
        for member in ["parent", "child"] {
            let pid = self.sh(&format!("cat {member}")).await?;
            self.ends(&pid).await?;
        }
        Ok(())
    }

    /// Everything on the console, with the line ends of a terminal made those of a file.
    pub async fn console(&self) -> Result<String, EngineError> {
        let (mut text, mut from) = (Vec::new(), 0);
        loop {
            let chunk = self.engine.console(self.id, from).await?;
            if chunk.data.is_empty() {
                return Ok(String::from_utf8_lossy(&text).replace("\r\n", "\n"));
            }
            from = chunk.next();
            text.extend_from_slice(&chunk.data);
        }
    }

    /// Waits until the console shows `text`.
    pub async fn console_shows(&self, text: &str) -> Outcome {
        while !self.console().await?.contains(text) {
            // There is nothing to wait on: the trait has no events.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }
}

/// A shell condition. A process that has ended and was not waited for yet does not live.
fn alive(pid: &str) -> String {
    format!("kill -0 {pid} 2>/dev/null && ! grep -q '^State:.Z' /proc/{pid}/status")
}

/// The code of a refusal, `ok` when there is none.
pub(super) fn code<T>(result: Result<T, EngineError>) -> &'static str {
    match result {
        Ok(_) => "ok",
        Err(error) => error.code(),
    }
}

/// The next piece of output that a command writes at once, such as a line.
pub(super) async fn line(exec: &mut Exec) -> Result<String, Any> {
    match exec.next().await? {
        ExecEvent::Stdout(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        other => Err(format!("output was expected: {other:?}").into()),
    }
}

/// What a command still writes to its output, and how it ends.
pub(super) async fn to_end(exec: &mut Exec) -> Result<(String, ExitStatus), Any> {
    let mut output = Vec::new();
    loop {
        match exec.next().await? {
            ExecEvent::Stdout(bytes) => output.extend_from_slice(&bytes),
            ExecEvent::Stderr(bytes) => {
                return Err(format!("on the error output: {}", bytes.escape_ascii()).into());
            }
            ExecEvent::Exit(status) => {
                return Ok((String::from_utf8_lossy(&output).into_owned(), status));
            }
        }
    }
}

/// Reads output until it contains `text`; returns all of it.
pub(super) async fn until(exec: &mut Exec, text: &str) -> Result<String, Any> {
    let mut seen = String::new();
    while !seen.contains(text) {
        let next = line(exec).await.map_err(|error| format!("after `{seen}`: {error}"))?;
        seen.push_str(&next);
    }
    Ok(seen)
}

/// The error number of a refused file operation, 0 when it was not refused.
pub(super) fn errno<T>(result: Result<T, LinkError>) -> i32 {
    match result {
        Ok(_) => 0,
        Err(LinkError::File { errno, .. }) => errno,
        Err(other) => panic!("not an error of a file: {other}"),
    }
}
