//! What is measured on one way, but for files.

use std::cell::RefCell;
use std::time::Instant;

use anyhow::Context as _;
use boxherd_link::{ExecRequest, Link};
use boxherd_lxd_client::ExecRequest as Raw;
use futures_util::future::try_join_all;

use super::Run;
use super::floor::Echo;
use super::peers::Peers;
use super::way::Way;
use crate::contest::{Contender, millis_since, rounds};
use crate::context::finish;
use crate::delay::Traffic;
use crate::machine::load;
use crate::report::{Contest, Unit};
use crate::stats::Summary;

/// Commands that are run together over one link.
pub(super) struct Rush {
    name: &'static str,
    what: &'static str,
    /// How many are on the way at once.
    tasks: u32,
    /// How many follow each other.
    each: u32,
}

/// Tasks that wait for each command before the next: no more than the distance lets them.
pub(super) const TURNS: Rush = Rush {
    name: "rate",
    what: "`true` from 10 tasks over one link, 10 times each, one after the other",
    tasks: 10,
    each: 10,
};
/// Commands of which none waits for another.
pub(super) const ALL_AT_ONCE: Rush =
    Rush { name: "rush", what: "`true` 100 times at once over one link", tasks: 100, each: 1 };
/// `lxc exec` takes part in one of so many rounds.
const SLOW: u32 = 10;
/// What is not there when the agent comes first: no process, no file.
const FORGET: &str = "
for each in /proc/[0-9]*; do
    case $(readlink $each/exe) in
    */boxherd/agent-*) kill -9 ${each#/proc/} ;;
    esac
done
rm -rf /run/boxherd /dev/shm/boxherd /var/lib/boxherd";
/// What a command may say of it, in bytes.
const LONGEST_SAYING: usize = 4096;

/// The goals, in round trips, and in milliseconds where there is no distance.
pub(super) struct Goal {
    pub(super) trips: f64,
    pub(super) near: Option<f64>,
}

/// A contest with what it is called on that way.
pub(super) struct Named<'run> {
    way: &'run Way,
    name: String,
    what: String,
}

impl<'run> Named<'run> {
    pub(super) fn new(way: &'run Way, name: &str, what: &str) -> Self {
        let (name, what) = (format!("{name}-{}", way.label()), format!("{what}; {}", way.words()));
        Self { way, name, what }
    }

    /// Lets the contenders take turns, and says how many round trips ours are.
    pub(super) async fn hold(
        &self,
        run: &mut Run,
        unit: Unit,
        contenders: Vec<Contender<'_>>,
        count: u32,
    ) -> anyhow::Result<Contest> {
        let [busy, ..] = load()?;
        let samples = rounds(&self.name, contenders, count, &mut run.skipped).await?;
        Ok(self.contest(unit, samples, busy))
    }

    fn contest(&self, unit: Unit, samples: Vec<(String, Vec<f64>)>, busy: f64) -> Contest {
        let mut contest = Contest::new(&self.name, &self.what, unit, samples);
        contest.load = busy;
        let ours = contest.figures.first().map(|ours| ours.summary.p50);
        if let (Unit::Millis, Some(ours), Some(trip)) = (unit, ours, self.way.round_trip()) {
            contest.notes.push(format!("p50: {:.2} round trips of {trip} ms", ours / trip));
        }
        contest
    }

    pub(super) fn goal(&self, contest: Contest, goal: &Goal) -> Contest {
        let far = self.way.round_trip().map(|trip| goal.trips * trip);
        match far.or(goal.near.filter(|_| self.way.distance.is_some())) {
            Some(p50) => contest.target((p50 * 100.0).round() / 100.0),
            None => contest,
        }
    }
}

async fn run_true(link: &Link) -> anyhow::Result<f64> {
    let start = Instant::now();
    finish(link, ExecRequest::argv(["true"])).await?;
    Ok(millis_since(start))
}

/// The others who run `true`.
fn runners<'a>(peers: &'a Peers, question: &'a str) -> Vec<Contender<'a>> {
    let connector = peers.connector.as_ref().map(|connector| {
        Contender::new("pyinfra connector", move || connector.ask(question)).every(2)
    });
    let client = peers.client.as_ref().map(|client| {
        let name = format!("{} exec, whole program", client.program);
        Contender::new(&name, move || client.exec()).every(SLOW)
    });
    connector.into_iter().chain(client).collect()
}

/// `true` over an open link.
pub(super) async fn exec(run: &mut Run, way: &Way, peers: &Peers) -> anyhow::Result<Contest> {
    let link = &way.link().await?;
    let echo = match way.distance {
        Some(distance) if !distance.is_zero() => Some(Echo::start(distance).await?),
        _ => None,
    };
    let mut contenders = vec![Contender::new("boxherd", move || run_true(link))];
    contenders
        .extend(echo.as_ref().map(|echo| Contender::new("a byte there and back", || echo.turn())));
    contenders.extend(runners(peers, "exec"));
    let named = Named::new(way, "exec", "`true` over an open link");
    let count = run.options.rounds * 2;
    let contest = named.hold(run, Unit::Millis, contenders, count).await?;
    link.close().await;
    Ok(named.goal(contest, &Goal { trips: 1.2, near: Some(1.5) }))
}

/// Commands from several at once over one link.
pub(super) async fn rate(
    run: &mut Run,
    way: &Way,
    peers: &Peers,
    rush: &Rush,
) -> anyhow::Result<Contest> {
    let Rush { name, what, tasks, each } = *rush;
    let question = format!("rate {tasks} {each}");
    let (link, question) = (&way.link().await?, question.as_str());
    let own = Contender::new("boxherd", move || async move {
        let start = Instant::now();
        let task = async |_| {
            for _ in 0..each {
                run_true(link).await?;
            }
            anyhow::Ok(())
        };
        try_join_all((0..tasks).map(task)).await?;
        Ok(f64::from(tasks * each) / start.elapsed().as_secs_f64())
    });
    let peer = peers.connector.as_ref();
    let peer = peer.map(|peer| Contender::new("pyinfra connector", move || peer.ask(question)));
    let contenders = [own].into_iter().chain(peer).collect();
    let named = Named::new(way, name, what);
    let count = run.options.few();
    let contest = named.hold(run, Unit::PerSecond, contenders, count).await?;
    link.close().await;
    Ok(contest.target_ratio(5.0))
}

/// A program that has just begun connects, and runs `true`.
pub(super) async fn connect(run: &mut Run, way: &Way, peers: &Peers) -> anyhow::Result<Contest> {
    let (traffic, engine) = (RefCell::new(Vec::new()), way.engine()?);
    let (traffic, engine) = (&traffic, &engine);
    let own = Contender::new("boxherd", move || begin(way, Some(traffic)));
    // The names of boxes are known, and the connections that are free are kept.
    let again = Contender::new("boxherd, once more", move || async move {
        let start = Instant::now();
        let link = way.link_over(&**engine).await?;
        run_true(&link).await?;
        let took = millis_since(start);
        link.close().await;
        Ok(took)
    });
    let contenders = [own, again].into_iter().chain(runners(peers, "connect")).collect();
    let what = "a program begins, connects where the agent is, and runs `true`";
    let named = Named::new(way, "connect", what);
    let count = run.options.few() * 2;
    let mut contest = named.hold(run, Unit::Millis, contenders, count).await?;
    contest.notes.extend(traffic_note(&traffic.borrow()));
    Ok(named.goal(contest, &Goal { trips: 6.0, near: None }))
}

async fn begin(way: &Way, traffic: Option<&RefCell<Vec<Traffic>>>) -> anyhow::Result<f64> {
    let before = way.traffic();
    let start = Instant::now();
    let link = way.link().await?;
    run_true(&link).await?;
    let took = millis_since(start);
    if let (Some(traffic), Some(before), Some(after)) = (traffic, before, way.traffic()) {
        let connections = after.connections - before.connections;
        traffic.borrow_mut().push(Traffic { connections, asked: after.asked - before.asked });
    }
    link.close().await;
    Ok(took)
}

fn traffic_note(traffic: &[Traffic]) -> Option<String> {
    let p50 = |count: fn(&Traffic) -> u64| {
        let counts: Vec<_> = traffic.iter().map(|traffic| count(traffic) as f64).collect();
        Summary::of(&counts).map(|summary| summary.p50)
    };
    let (connections, asked) = (p50(|t| t.connections)?, p50(|t| t.asked)?);
    Some(format!("p50: {connections} connections, {asked} round trips on all of them together"))
}

/// The same where no agent has ever been.
pub(super) async fn first(run: &mut Run, way: &Way) -> anyhow::Result<Contest> {
    let api = &way.instance()?;
    let own = Contender::new("boxherd", move || async move {
        let forget = Raw::new(["sh", "-c", FORGET]);
        let done = api.exec_recorded(&forget, LONGEST_SAYING).await?;
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        anyhow::ensure!(done.code == 0, "the agent cannot be removed: {said}");
        begin(way, None).await.context("without an agent")
    });
    let what = "the same in an instance that has no agent yet, which is put there";
    let named = Named::new(way, "first", what);
    let count = run.options.few().min(5);
    named.hold(run, Unit::Millis, vec![own], count).await
}
