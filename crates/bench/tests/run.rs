//! A whole run, small, on the fake engine: every contest is made, and nothing is left.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use boxherd_bench::{BrokenOff, Context, Front, Options, run};
use boxherd_engine::{Child, Engine};
use boxherd_engine_fake::FakeEngine;
use boxherd_link::Link;
use boxherd_model::{BoxId, BoxName, BoxSpec, Timings};
use tokio::sync::Notify;

/// The least of a herd: names for ids.
#[derive(Debug)]
struct Pen {
    engine: FakeEngine,
    names: Mutex<BTreeMap<BoxName, BoxId>>,
    /// Told of every box that is made.
    made: Notify,
}

impl Pen {
    fn new() -> Arc<Self> {
        let engine = FakeEngine::new("fake".parse().unwrap()).unwrap();
        Arc::new(Self { engine, names: Mutex::default(), made: Notify::new() })
    }

    fn id(&self, name: &BoxName) -> BoxId {
        self.names.lock().unwrap()[name]
    }

    fn enter(&self, name: &BoxName) -> BoxId {
        let id = BoxId::new();
        self.names.lock().unwrap().insert(name.clone(), id);
        id
    }
}

#[async_trait]
impl Front for Pen {
    async fn create(&self, name: &BoxName) -> anyhow::Result<Timings> {
        let id = self.enter(name);
        let mut timings = self.engine.create(id, &BoxSpec::new(name.clone())).await?.timings;
        timings.0.extend(self.engine.start(id).await?.timings.0);
        let link = self.link(name).await?;
        link.files()
            .mkdir("/var/tmp", boxherd_link::MkdirOptions { mode: None, parents: true })
            .await?;
        self.made.notify_one();
        Ok(timings)
    }

    async fn link(&self, name: &BoxName) -> anyhow::Result<Link> {
        Ok(Link::open(self.engine.connect(self.id(name)).await?).await?)
    }

    async fn suspend(&self, name: &BoxName) -> anyhow::Result<()> {
        Ok(self.engine.suspend(self.id(name)).await?)
    }

    async fn resume(&self, name: &BoxName) -> anyhow::Result<()> {
        Ok(self.engine.resume(self.id(name)).await?)
    }

    async fn fork(&self, source: &BoxName, copies: &[BoxName]) -> anyhow::Result<Timings> {
        let child =
            |name: &BoxName| Child { id: self.enter(name), spec: BoxSpec::new(name.clone()) };
        let children: Vec<_> = copies.iter().map(child).collect();
        self.engine.fork(self.id(source), &children).await?;
        Ok(Timings::default())
    }

    async fn names(&self) -> anyhow::Result<Vec<BoxName>> {
        Ok(self.names.lock().unwrap().keys().cloned().collect())
    }

    async fn delete(&self, name: &BoxName) -> anyhow::Result<()> {
        self.engine.delete(self.id(name)).await?;
        self.names.lock().unwrap().remove(name);
        Ok(())
    }
}

#[tokio::test]
async fn a_small_run_measures_and_cleans_up() {
    if !boxherd_testkit::root_or_skip("a_small_run_measures_and_cleans_up") {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let pen = Pen::new();
    let mut options = Options::new(scratch.path());
    (options.rounds, options.boxes, options.idle) = (2, 2, 2);
    (options.file_size, options.peers) = (3_000_000, false);
    // The fill of the forks is a path of the box, which the fake shares with the host.
    options.only =
        ["create", "exec", "suspend", "files", "burst", "churn", "idle"].map(str::to_owned).into();
    let context = Context { front: pen.clone(), program: Vec::new() };
    let report = run(options, context, pending()).await.unwrap();
    let found: Vec<_> = report.contests.iter().map(|contest| contest.name.as_str()).collect();
    let expected = [
        "create",
        "exec",
        "suspend",
        "resume",
        "put",
        "get",
        "file-memory",
        "burst",
        "churn",
        "idle",
    ];
    assert_eq!(found, expected);
    assert!(report.contests.iter().all(|contest| !contest.figures.is_empty()));
    assert!(
        report.contests[0].figures.iter().any(|f| f.contender == "floor"),
        "{}",
        report.table()
    );
    assert!(pen.names.lock().unwrap().is_empty());
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_run_that_is_broken_off_leaves_nothing() {
    if !boxherd_testkit::root_or_skip("a_run_that_is_broken_off_leaves_nothing") {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let pen = Pen::new();
    let mut options = Options::new(scratch.path());
    (options.rounds, options.peers, options.only) = (100_000, false, vec!["churn".to_owned()]);
    let context = Context { front: pen.clone(), program: Vec::new() };
    let broken = run(options, context, pen.made.notified()).await.unwrap_err();
    assert!(broken.is::<BrokenOff>(), "{broken:#}");
    assert!(pen.names.lock().unwrap().is_empty());
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_contest_that_does_not_exist_is_refused() {
    let pen = Pen::new();
    let mut options = Options::new(std::env::temp_dir());
    options.only = vec!["crate".to_owned()];
    let refused =
        run(options, Context { front: pen, program: Vec::new() }, pending()).await.unwrap_err();
    assert!(refused.to_string().contains("`crate`"), "{refused}");
}

#[tokio::test]
async fn every_peer_is_measured_or_named() {
    if !boxherd_testkit::root_or_skip("every_peer_is_measured_or_named") {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let pen = Pen::new();
    let mut options = Options::new(scratch.path());
    (options.rounds, options.only) = (1, vec!["create".to_owned(), "suspend".to_owned()]);
    let report =
        run(options, Context { front: pen, program: Vec::new() }, pending()).await.unwrap();
    let text = report.table();
    println!("{text}");
    for peer in ["crun", "runc", "bwrap", "podman", "lxc", "lxd"] {
        assert!(text.contains(&format!("\n  {peer}")), "{peer} is missing:\n{text}");
    }
}
