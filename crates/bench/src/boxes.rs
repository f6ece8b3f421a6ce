//! Create, exec, suspend: what is measured in milliseconds and less.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Instant;

use boxherd_link::ExecRequest;
use boxherd_model::{BoxName, Timings};
use boxherd_sys::floor::{Extent, Floor};
use futures_util::future::try_join_all;

use crate::contest::{Contender, millis, millis_since, rounds};
use crate::context::{Bench, finish, first_output};
use crate::groups;
use crate::peers::Peers;
use crate::programs::Program;
use crate::report::{Contest, PhaseFigure, Unit};

/// Samples of ourselves, with what the phases took.
#[derive(Debug, Default)]
struct Phases(Vec<(String, Vec<f64>)>);

impl Phases {
    fn add(&mut self, timings: &Timings) {
        let mut sums: BTreeMap<&str, f64> = BTreeMap::new();
        for phase in &timings.0 {
            *sums.entry(&phase.name).or_default() += phase.micros as f64 / 1000.0;
        }
        // In the order they happened, which a map does not keep.
        for phase in &timings.0 {
            let Some(sum) = sums.remove(phase.name.as_str()) else { continue };
            match self.0.iter_mut().find(|(name, _)| *name == phase.name) {
                Some((_, samples)) => samples.push(sum),
                None => self.0.push((phase.name.clone(), vec![sum])),
            }
        }
    }

    fn figures(self) -> Vec<PhaseFigure> {
        let summary = |samples: Vec<f64>| crate::Summary::of(&samples);
        let figures = self.0.into_iter();
        figures.filter_map(|(name, s)| Some(PhaseFigure { name, p50: summary(s)?.p50 })).collect()
    }
}

/// A box is made, and a command in it says its first word; embedded, against the kernel's floor
/// and whole programs.
pub(crate) async fn create(bench: &mut Bench, peers: Option<&Peers>) -> anyhow::Result<Contest> {
    let folder = tempfile::tempdir_in(&bench.options.scratch)?;
    let groups = groups::for_the_floor()?;
    let whole = Extent { network: true, port: true, groups, disk: false };
    let mut floors = vec![
        ("floor", Extent::default()),
        ("floor with network", Extent { network: true, ..Extent::default() }),
        ("floor with port and groups", whole.clone()),
    ];
    if Floor::limits_disks(folder.path())? {
        floors.push(("floor with all and a disk", Extent { disk: true, ..whole }));
    }
    let floors: Vec<_> = floors
        .into_iter()
        .map(|(name, extent)| Ok((name, Floor::new(folder.path(), extent)?)))
        .collect::<std::io::Result<_>>()?;
    let phases = RefCell::new(Phases::default());
    let (mut skipped, own, phases_of) = (Vec::new(), &*bench, &phases);
    let mut contenders = vec![Contender::new("boxherd", move || create_once(own, phases_of))];
    for (name, floor) in &floors {
        contenders.push(Contender::new(name, move || async move {
            let start = Instant::now();
            let ran = floor.run();
            let took = millis_since(start);
            floor.clear()?;
            ran?;
            Ok(took)
        }));
    }
    contenders.extend(run_peers(peers));
    let samples = rounds("create", contenders, bench.options.rounds, &mut skipped).await?;
    bench.skipped.extend(skipped);
    let what = "box made, first output of a command; floor and peers: `true` run to its end";
    let mut contest =
        Contest::new("create", what, Unit::Millis, samples).target(6.0).target_p99(20.0);
    contest.phases = phases.into_inner().figures();
    Ok(contest)
}

async fn create_once(bench: &Bench, phases: &RefCell<Phases>) -> anyhow::Result<f64> {
    let start = Instant::now();
    let (name, timings) = bench.make().await?;
    let made = Instant::now();
    let link = bench.front.link(&name).await?;
    let linked = Instant::now();
    first_output(&link, ExecRequest::argv(["echo", "hello"])).await?;
    let took = millis_since(start);
    let mut timings = timings;
    timings.push("link", linked - made);
    timings.push("exec", linked.elapsed());
    phases.borrow_mut().add(&timings);
    bench.front.delete(&name).await?;
    Ok(took)
}

fn run_peers(peers: Option<&Peers>) -> Vec<Contender<'_>> {
    let working = peers.into_iter().flat_map(|peers| peers.list.iter().map(move |p| (peers, p)));
    working
        .filter_map(|(peers, peer)| {
            let run = peer.run.as_ref()?;
            let turn = move || peers.workshop.time(run.clone());
            Some(Contender::new(&format!("{} run", peer.name), turn).every(peer.every))
        })
        .collect()
}

/// `boxherd run -- true` as a program.
pub(crate) async fn run_program(
    bench: &mut Bench,
    peers: Option<&Peers>,
) -> anyhow::Result<Option<Contest>> {
    let Some(program) = &bench.program else { return Ok(None) };
    let run = program.with(["run", "--", "true"]);
    let run = &run;
    let mut contenders = vec![Contender::new("boxherd run", move || async move { run.time() })];
    contenders.extend(run_peers(peers));
    let samples = rounds("run", contenders, bench.options.rounds, &mut bench.skipped).await?;
    let what = "the whole program: a box made, `true` run in it, the box removed";
    Ok(Some(Contest::new("run", what, Unit::Millis, samples).target(9.0)))
}

/// `true` over an open link.
pub(crate) async fn exec(bench: &mut Bench) -> anyhow::Result<Contest> {
    let spawn = &Program::new(["true"]);
    let (name, _) = bench.make().await?;
    let link = &bench.front.link(&name).await?;
    let own = Contender::new("boxherd", move || async move {
        let start = Instant::now();
        finish(link, ExecRequest::argv(["true"])).await?;
        Ok(millis_since(start))
    });
    let plain = Contender::new("true on the host", move || async move { spawn.time() });
    let samples =
        rounds("exec", vec![own, plain], bench.options.rounds * 5, &mut bench.skipped).await?;
    bench.front.delete(&name).await?;
    let what = "`true` in a running box, over an open link";
    Ok(Contest::new("exec", what, Unit::Millis, samples).target(0.7))
}

/// `boxherd exec NAME -- true` as a program.
pub(crate) async fn exec_program(
    bench: &mut Bench,
    peers: Option<&Peers>,
) -> anyhow::Result<Option<Contest>> {
    let Some(program) = bench.program.clone() else { return Ok(None) };
    let (name, _) = bench.make().await?;
    let exec = &program.with(["exec", name.as_str(), "--", "true"]);
    let mut contenders = vec![Contender::new("boxherd exec", move || async move { exec.time() })];
    for peer in peers.iter().flat_map(|peers| &peers.list) {
        let (Some(exec), Some(peers)) = (&peer.exec, peers) else { continue };
        let turn = move || peers.workshop.time(exec.clone());
        contenders.push(Contender::new(&format!("{} exec", peer.name), turn).every(peer.every));
    }
    let samples =
        rounds("exec-program", contenders, bench.options.rounds, &mut bench.skipped).await?;
    bench.front.delete(&name).await?;
    let what = "the whole program: `true` in a box that runs";
    Ok(Some(Contest::new("exec-program", what, Unit::Millis, samples).target(4.0)))
}

/// Freeze, then thaw: two contests, measured in the same rounds.
pub(crate) async fn suspend(
    bench: &mut Bench,
    peers: Option<&Peers>,
) -> anyhow::Result<[Contest; 2]> {
    let (name, _) = bench.make().await?;
    let thaws = RefCell::new(Vec::new());
    let peer_thaws: RefCell<BTreeMap<&str, Vec<f64>>> = RefCell::default();
    let peer_thaws_of = &peer_thaws;
    let (front, box_name, thaws_of) = (&bench.front, &name, &thaws);
    let own = Contender::new("boxherd", move || async move {
        let start = Instant::now();
        front.suspend(box_name).await?;
        let froze = millis_since(start);
        let start = Instant::now();
        front.resume(box_name).await?;
        thaws_of.borrow_mut().push(millis_since(start));
        Ok(froze)
    });
    let mut contenders = vec![own];
    for peer in peers.iter().flat_map(|peers| &peers.list) {
        let (Some([pause, resume]), Some(peers)) = (&peer.pause, peers) else { continue };
        let turn = move || async move {
            let froze = peers.workshop.time(pause.clone()).await?;
            let thawed = peers.workshop.time(resume.clone()).await?;
            peer_thaws_of.borrow_mut().entry(peer.name).or_default().push(thawed);
            Ok(froze)
        };
        contenders.push(Contender::new(peer.name, turn).every(peer.every));
    }
    let frozen = rounds("suspend", contenders, bench.options.rounds, &mut bench.skipped).await?;
    bench.front.delete(&name).await?;
    // The first round does not count here either.
    let rest = |samples: Vec<f64>| samples.into_iter().skip(1).collect();
    let mut thawed = vec![("boxherd".to_owned(), rest(thaws.into_inner()))];
    thawed.extend(peer_thaws.into_inner().into_iter().map(|(n, s)| (n.to_owned(), rest(s))));
    let what = "a running box with its memory in place; peers as whole programs";
    let contest = |name, samples| Contest::new(name, what, Unit::Millis, samples).target(0.5);
    Ok([contest("suspend", frozen), contest("resume", thawed)])
}

/// Boxes made at once, until every one has answered.
pub(crate) async fn burst(bench: &mut Bench) -> anyhow::Result<Contest> {
    let mut samples = Vec::new();
    for _ in 0..3 {
        let names = bench.names(bench.options.boxes);
        let start = Instant::now();
        try_join_all(names.iter().map(|name| answer(bench, name))).await?;
        samples.push(millis_since(start));
        bench.remove(&names).await?;
    }
    let what = format!("{} boxes made at once, all have answered", bench.options.boxes);
    let contest = Contest::new("burst", &what, Unit::Millis, vec![("boxherd".to_owned(), samples)]);
    Ok(if bench.options.boxes == 100 { contest.target(350.0) } else { contest })
}

async fn answer(bench: &Bench, name: &BoxName) -> anyhow::Result<()> {
    bench.front.create(name).await?;
    let link = bench.front.link(name).await?;
    first_output(&link, ExecRequest::argv(["echo", "hello"])).await
}

/// Create to first output while the box before is being removed.
pub(crate) async fn churn(bench: &mut Bench) -> anyhow::Result<Contest> {
    let mut samples = Vec::new();
    let mut before: Option<BoxName> = None;
    for round in 0..=bench.options.rounds * 3 {
        let name = bench.name();
        let remove = async {
            match &before {
                Some(name) => bench.front.delete(name).await,
                None => Ok(()),
            }
        };
        let make = async {
            let start = Instant::now();
            answer(bench, &name).await?;
            anyhow::Ok(millis(start.elapsed()))
        };
        let (removed, made) = tokio::join!(remove, make);
        removed?;
        let made = made?;
        if round > 0 {
            samples.push(made);
        }
        before = Some(name);
    }
    bench.remove(before.as_slice()).await?;
    let what = "box made, first output, while the one before is removed";
    let samples = vec![("boxherd".to_owned(), samples)];
    Ok(Contest::new("churn", what, Unit::Millis, samples).target_p99(20.0))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn phases_keep_their_order_and_are_summed() {
        let mut timings = Timings::default();
        for (name, millis) in [("rootfs", 1), ("clone", 2), ("rootfs", 3)] {
            timings.push(name, Duration::from_millis(millis));
        }
        let mut phases = Phases::default();
        phases.add(&timings);
        phases.add(&timings);
        let figures = phases.figures();
        let found: Vec<_> = figures.iter().map(|f| (f.name.as_str(), f.p50)).collect();
        assert_eq!(found, [("rootfs", 4.0), ("clone", 2.0)]);
    }
}
