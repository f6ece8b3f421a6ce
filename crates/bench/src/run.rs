//! A run, contest by contest.

use anyhow::Context as _;

use crate::context::{Bench, Context, Options};
use crate::machine::{Machine, load};
use crate::peers::Peers;
use crate::report::{Contest, Report};
use crate::{boxes, files, forks, memory};

/// The names that `only` takes; contests that are measured together share one.
pub const NAMES: [&str; 10] =
    ["create", "run", "exec", "exec-program", "suspend", "fork", "files", "burst", "churn", "idle"];

/// Measures. Every box that it made is gone when it returns well; after a failure what is left has
/// names that begin with `bench-`. Must run on a runtime with a timer.
///
/// # Errors
///
/// A name in `only` that is none of [`NAMES`], or whatever we could not do ourselves. What a peer
/// cannot do is in [`Report::skipped`].
pub async fn run(options: Options, context: Context) -> anyhow::Result<Report> {
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
    let measured = contests(&mut bench, peers.as_ref()).await;
    if let Some(peers) = peers {
        peers.disperse().await;
    }
    let contests = measured?;
    machine.load_after = load()?;
    Ok(Report { machine, contests, skipped: bench.skipped })
}

async fn contests(bench: &mut Bench, peers: Option<&Peers>) -> anyhow::Result<Vec<Contest>> {
    let mut contests = Vec::new();
    if bench.program.is_none() {
        bench.skipped.push("run, exec-program: no program was given".to_owned());
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
            _ => vec![memory::idle(bench).await?],
        };
        found.iter_mut().for_each(|contest| contest.load = busy);
        contests.extend(found);
    }
    Ok(contests)
}
