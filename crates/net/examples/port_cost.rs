//! What a port costs: reserve, plug and release, over boxes that come and go one by one.
//!
//! Run it in a network namespace of its own: `unshare --net target/…/port_cost [BOXES]`.

use std::fs::{self, File};
use std::os::fd::AsFd as _;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use boxherd_model::{BoxId, NetworkSpec};
use boxherd_net::Networks;

const STEPS: [&str; 3] = ["reserve", "plug", "release"];

fn main() {
    let boxes = std::env::args().nth(1).map_or(200, |count| count.parse().expect("a number"));
    let data = tempfile::tempdir().expect("a folder");
    let networks = Networks::open(data.path(), "5eed5eed5eed5eed5eed5eed5eed5eed").expect("open");
    let name = "box".parse().expect("a name");
    let spec = NetworkSpec::default();
    let first = Instant::now();
    networks
        .release(networks.reserve(BoxId::new(), &name, &spec).expect("reserve").id())
        .expect("release");
    println!("first network      {:>8.3} ms", first.elapsed().as_secs_f64() * 1e3);
    let namespaces: Vec<_> = (0..boxes).map(|_| namespace()).collect();
    let mut took: [Vec<Duration>; 3] = Default::default();
    for (_, netns) in &namespaces {
        let mut clock = Instant::now();
        let lease = networks.reserve(BoxId::new(), &name, &spec).expect("reserve");
        took[0].push(lap(&mut clock));
        networks.plug(&lease, netns.as_fd()).expect("plug");
        took[1].push(lap(&mut clock));
        networks.release(lease.id()).expect("release");
        took[2].push(lap(&mut clock));
    }
    for (step, mut took) in STEPS.into_iter().zip(took) {
        took.sort();
        let at = |share: usize| took[(took.len() - 1) * share / 100].as_secs_f64() * 1e3;
        println!("{step:<18} {:>8.3} ms p5 {:>8.3} ms p50 {:>8.3} ms p99", at(5), at(50), at(99));
    }
    for (mut sleeper, _) in namespaces {
        sleeper.kill().and_then(|()| sleeper.wait()).expect("end of a sleeper");
    }
}

fn lap(clock: &mut Instant) -> Duration {
    let elapsed = clock.elapsed();
    *clock = Instant::now();
    elapsed
}

fn namespace() -> (Child, File) {
    let sleeper =
        Command::new("unshare").args(["--net", "sleep", "infinity"]).spawn().expect("unshare");
    let path = format!("/proc/{}/ns/net", sleeper.id());
    let own = fs::read_link("/proc/self/ns/net").expect("a namespace");
    while fs::read_link(&path).expect("a namespace") == own {
        thread::yield_now();
    }
    (sleeper, File::open(path).expect("a namespace"))
}
