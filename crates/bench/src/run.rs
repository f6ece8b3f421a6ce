//! A run, contest by contest.

use anyhow::Context as _;

use crate::context::{Bench, Context, Options};
use crate::machine::{Machine, load};
use crate::peers::Peers;
use crate::report::{Contest, Report};
use crate::{boxes, files, forks, memory, proxy, server};

/// The run was broken off by whoever asked for it.
#[derive(Debug, thiserror::Error)]
#[error("broken off")]
pub struct BrokenOff;

/// What a run comes to: what was found, or why nothing was.
pub type Result = anyhow::Result<Report>;

/// The names that `only` takes; contests that are measured together share one.
pub const NAMES: [&str; 12] = [
    "create",
    "run",
    "exec",
    "exec-program",
    "suspend",
    "fork",
    "files",
    "burst",
    "churn",
    "serve",
    "proxy",
    "idle",
];

/// Measures until it is done, or until `broken_off` is. Every box that it made is gone when it
/// returns, and every container of a peer; should one of them resist, that is the error. Must run on
/// a runtime with a timer.
///
/// # Errors
///
/// A name in `only` that is none of [`NAMES`], or whatever we could not do ourselves, or
/// [`BrokenOff`]. What a peer cannot do is in [`Report::skipped`].
pub async fn run(
    options: Options,
    context: Context,
    broken_off: impl Future<Output = ()>,
) -> Result {
    if let Some(unknown) = options.only.iter().find(|name| !NAMES.contains(&name.as_str())) {
        anyhow::bail!("`{unknown}` is not measured, use one of {}", NAMES.join(", "));
    }
    std::fs::create_dir_all(&options.scratch).context("cannot make the scratch folder")?;
    let mut machine = Machine::look()?;
    let mut bench = Bench::new(options, context);
    let scratch = tempfile::tempdir_in(&bench.options.scratch)?;
    let peers = match bench.options.peers {
        true => Some(Peers::gather(scratch.path(), &mut bench.skipped).await?),
        false => None,
    };
    let measured = tokio::select! {
        measured = contests(&mut bench, peers.as_ref()) => measured,
        () = broken_off => Err(BrokenOff.into()),
    };
    if let Some(peers) = peers {
        peers.disperse().await;
    }
    let cleaned = bench.clean().await;
    let contests = measured?;
    cleaned?;
    machine.load_after = load()?;
    Ok(Report { machine, contests, skipped: bench.skipped })
}

async fn contests(bench: &mut Bench, peers: Option<&Peers>) -> anyhow::Result<Vec<Contest>> {
    let mut contests = Vec::new();
    if bench.program.is_none() {
        bench.skipped.push("run, exec-program, serve, proxy: no program was given".to_owned());
    }
    for name in NAMES {
        if !bench.options.only.is_empty() && !bench.options.only.iter().any(|only| only == name) {
            continue;
        }
        let [busy, ..] = load()?;
        let mut found: Vec<Contest> = match name {
            "create" => vec![boxes::create(bench, peers).await?],
            "run" => boxes::run_program(bench, peers).await?.into_iter().collect(),
            "exec" => vec![boxes::exec(bench).await?],
            "exec-program" => boxes::exec_program(bench, peers).await?.into_iter().collect(),
            "suspend" => boxes::suspend(bench, peers).await?.into(),
            "fork" => forks::forks(bench).await?.into(),
            "files" => files::files(bench).await?.into(),
            "burst" => vec![boxes::burst(bench).await?],
            "churn" => vec![boxes::churn(bench).await?],
            "serve" => server::server(bench).await?,
            "proxy" => proxy::proxy(bench).await?,
            _ => vec![memory::idle(bench).await?],
        };
        found.iter_mut().for_each(|contest| contest.load = busy);
        contests.extend(found);
    }
    Ok(contests)
}
