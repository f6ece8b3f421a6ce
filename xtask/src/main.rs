//! Chores of this repository: `cargo xtask test` runs every test, and installs what they need.

mod backports;
mod bench;
mod lab;
mod packages;
mod test;

#[cfg(test)]
mod rooms;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask <task>

  test [-- NEXTEST ARGS]   install what the tests need, then run every test
  packages                 install what the tests need, or say what is missing
  lab lxd up|down|status   a real LXD server for tests ([--folder DIR] [--port PORT])
  lab lxd cluster up|down  three of them as a cluster ([--folder DIR])
  lab incus up|down|status a real Incus server for tests ([--folder DIR] [--port PORT])
  bench python             a Python with a peer, for `boxherd bench lxd --python`
  bench pyinfra            a deploy by our connector and by another's";

fn main() -> anyhow::Result<ExitCode> {
    let mut args = std::env::args().skip(1);
    match args.next().as_deref() {
        Some("test") => test::run(args.skip_while(|arg| arg == "--").collect()),
        Some("packages") => {
            packages::provide()?;
            Ok(ExitCode::SUCCESS)
        }
        Some("lab") => {
            lab::run(args)?;
            Ok(ExitCode::SUCCESS)
        }
        Some("bench") => {
            bench::run(args)?;
            Ok(ExitCode::SUCCESS)
        }
        _ => {
            eprintln!("{USAGE}");
            Ok(ExitCode::from(2))
        }
    }
}
