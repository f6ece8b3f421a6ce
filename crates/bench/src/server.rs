//! `boxherd serve`, as its clients have it: over gRPC on loopback, with the client on the same
//! processors.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, bail};
use boxherd_client::{Client, Event, NewBox};
use futures_util::future::try_join_all;
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;

use crate::contest::millis_since;
use crate::context::Bench;
use crate::machine::status;
use crate::programs::Program;
use crate::report::{Contest, Unit};

/// The limit of a box's disk, where the engine holds one.
const DISK: u64 = 10 << 30;
/// Commands at once, and how many in all, of the contest about throughput.
const AT_ONCE: u32 = 32;
const COMMANDS: u32 = 3000;
const MIB: f64 = (1 << 20) as f64;

/// A server on the data folder of the run, and a client.
pub(crate) struct Server {
    pub(crate) client: Client,
    /// Where it lets browsers into boxes, when it does.
    pub(crate) proxy: Option<SocketAddr>,
    served: Served,
    disk: Option<u64>,
}

/// The process. Dropped, it is killed; [`end`](Self::end) says whether it ended well.
struct Served {
    child: Child,
    program: Program,
    key: Key,
}

#[derive(Debug, Deserialize)]
struct Key {
    id: String,
    api_key: String,
}

impl Served {
    /// The process, where it listens, and where its proxy does.
    fn start(
        program: &Program,
        flags: &[&str],
    ) -> anyhow::Result<(Self, String, Option<SocketAddr>)> {
        let made = output(&program.with(["key", "create", "bench", "-o", "json"]))?;
        let key: Key = serde_json::from_slice(&made).context("a key that cannot be read")?;
        let serve = program.with(["serve", "--listen", "127.0.0.1:0"]).with(flags.iter().copied());
        let child = command(&serve)?.stdout(Stdio::piped()).spawn()?;
        let mut this = Self { child, program: program.clone(), key };
        let stdout = this.child.stdout.take().context("no output")?;
        let mut lines = BufReader::new(stdout).lines();
        let mut said = |what: &str| {
            let line = lines.next().context("the server has ended")??;
            anyhow::Ok(line.strip_prefix(what).with_context(|| line.clone())?.to_owned())
        };
        let url = said("listening on ")?;
        let proxy = match flags.contains(&"--proxy-listen") {
            true => Some(place(&said("boxes are reached on ")?)?),
            false => None,
        };
        // Read on, so that the server never waits for us.
        std::thread::spawn(move || lines.for_each(drop));
        Ok((this, url, proxy))
    }

    /// Ends it and takes its key back. Blocks until its clients have gone.
    fn end(mut self) -> anyhow::Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let ended = self.child.wait()?;
        anyhow::ensure!(ended.success(), "the server ended with {ended}");
        output(&self.program.with(["key", "rm", &self.key.id])).map(drop)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It has ended as a rule, and then there is nothing to kill.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Server {
    pub(crate) async fn start(program: &Program, flags: &[&str]) -> anyhow::Result<Self> {
        let (served, url, proxy) = Served::start(program, flags)?;
        let key = &served.key.api_key;
        let client = Client::builder().endpoint(url).api_key(key).connect().await?;
        let mut this = Self { client, proxy, served, disk: Some(DISK) };
        match this.make("first").await {
            // No pool was prepared.
            Err(boxherd_client::Error::Unsupported(_)) => this.disk = None,
            made => {
                made?;
                this.remove("first").await?;
            }
        }
        Ok(this)
    }

    /// Makes a box; its name is in the run's own way, so that it is found if it stays.
    pub(crate) async fn make(&self, name: &str) -> Result<(), boxherd_client::Error> {
        let new = NewBox { disk: self.disk, ..NewBox::named(name_of(name)) };
        self.client.boxes().create(new).await.map(drop)
    }

    pub(crate) async fn remove(&self, name: &str) -> anyhow::Result<()> {
        Ok(self.client.boxes().destroy(&name_of(name)).await?)
    }

    pub(crate) async fn run(&self, name: &str, argv: &[&str]) -> anyhow::Result<()> {
        let run = boxherd_client::Command::argv(argv.iter().copied());
        let done = self.client.boxes().run(&name_of(name), run).await?;
        anyhow::ensure!(done.code == 0, "{argv:?} ended with {}", done.code);
        Ok(())
    }

    /// Until a box is made and a command in it has said something, in milliseconds.
    async fn answer(&self, name: &str) -> anyhow::Result<f64> {
        let start = Instant::now();
        self.make(name).await?;
        let echo = boxherd_client::Command::argv(["echo", "hello"]);
        let mut running = self.client.boxes().exec(&name_of(name), echo).await?;
        let took = match running.next().await? {
            Event::Stdout(_) => millis_since(start),
            other => bail!("output was expected, and there was {other:?}"),
        };
        running.output().await?;
        Ok(took)
    }

    /// Ends it, which it must do well.
    pub(crate) async fn end(self) -> anyhow::Result<()> {
        let Self { client, served, .. } = self;
        drop(client);
        // In a thread, so that our side of the connection ends meanwhile: the server waits for it.
        tokio::task::spawn_blocking(move || served.end()).await?
    }

    /// What the server has of memory, in MiB.
    fn memory(&self) -> anyhow::Result<f64> {
        Ok(status(self.served.child.id(), "VmRSS")? as f64 / MIB)
    }
}

/// The address in `http://ZONE:PORT`, of a listener on loopback.
fn place(url: &str) -> anyhow::Result<SocketAddr> {
    let port = url.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    let port = port.with_context(|| format!("`{url}` has no port"))?;
    Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

pub(crate) fn name_of(name: &str) -> String {
    format!("bench-{}-serve-{name}", std::process::id())
}

fn command(program: &Program) -> anyhow::Result<Command> {
    let [name, arguments @ ..] = &program.0[..] else { bail!("no program was given") };
    let mut command = Command::new(name);
    command.args(arguments).stdin(Stdio::null());
    Ok(command)
}

fn output(program: &Program) -> anyhow::Result<Vec<u8>> {
    let done = command(program)?.output()?;
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    anyhow::ensure!(done.status.success(), "{:?} failed: {said}", program.0);
    Ok(done.stdout)
}

/// Everything about the server, in one go. Nothing without a program to start.
pub(crate) async fn server(bench: &mut Bench) -> anyhow::Result<Vec<Contest>> {
    let Some(program) = &bench.program else { return Ok(Vec::new()) };
    let server = Server::start(program, &[]).await?;
    let measured = measure(bench, &server).await;
    let ended = server.end().await;
    let measured = measured?;
    ended?;
    Ok(measured)
}

async fn measure(bench: &Bench, server: &Server) -> anyhow::Result<Vec<Contest>> {
    let idle = vec![server.memory()?];
    let mut creates = Vec::new();
    for round in 0..=bench.options.rounds {
        let took = server.answer("create").await?;
        // The first warms up.
        creates.extend((round > 0).then_some(took));
        server.remove("create").await?;
    }
    server.make("exec").await?;
    let mut execs = Vec::new();
    for round in 0..=bench.options.rounds * 5 {
        let start = Instant::now();
        server.run("exec", &["true"]).await?;
        execs.extend((round > 0).then(|| millis_since(start)));
    }
    let mut rates = Vec::new();
    for _ in 0..3 {
        let start = Instant::now();
        let each = async |_| {
            for _ in 0..COMMANDS / AT_ONCE {
                server.run("exec", &["true"]).await?;
            }
            anyhow::Ok(())
        };
        try_join_all((0..AT_ONCE).map(each)).await?;
        let commands = f64::from(COMMANDS / AT_ONCE * AT_ONCE);
        rates.push(commands / start.elapsed().as_secs_f64());
    }
    server.remove("exec").await?;
    let mut bursts = Vec::new();
    for _ in 0..3 {
        let names: Vec<_> = (0..bench.options.boxes).map(|number| format!("b{number}")).collect();
        let start = Instant::now();
        try_join_all(names.iter().map(|name| server.make(name))).await?;
        bursts.push(millis_since(start));
        try_join_all(names.iter().map(|name| server.remove(name))).await?;
    }
    let ours = |samples| vec![("boxherd serve".to_owned(), samples)];
    let burst = format!("{} boxes asked for at once, all are made", bench.options.boxes);
    let rate = format!("`true` in a running box, {AT_ONCE} at once");
    Ok(vec![
        Contest::new(
            "serve-create",
            "box made, first output of a command, over gRPC",
            Unit::Millis,
            ours(creates),
        )
        .target(6.0)
        .target_p99(20.0),
        Contest::new("serve-exec", "`true` in a running box, over gRPC", Unit::Millis, ours(execs))
            .target(1.2),
        Contest::new("serve-execs", &rate, Unit::PerSecond, ours(rates)).target(1500.0),
        Contest::new("serve-burst", &burst, Unit::Millis, ours(bursts)).target(350.0),
        Contest::new("serve-idle", "a server that has just begun", Unit::Mebibytes, ours(idle))
            .target(30.0),
    ])
}
