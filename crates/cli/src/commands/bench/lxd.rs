//! `boxherd bench lxd`.

use std::sync::Arc;

use boxherd_bench::{LxdOptions, Server};
use boxherd_engine::Engine;
use boxherd_engine_lxd::LxdEngine;

use super::{measure, print, scratch};
use crate::app::App;
use crate::args::BenchLxdArgs;
use crate::engines;
use crate::failure::Failure;

/// Measures boxes on servers, and prints what it found.
pub(super) async fn lxd(app: &App, args: BenchLxdArgs) -> Result<(), Failure> {
    let engines = match args.engine.is_empty() {
        true => engines::all(app.data())?,
        false => {
            let one = |name| engines::one(app.data(), name);
            args.engine.iter().map(one).collect::<Result<_, _>>()?
        }
    };
    if engines.is_empty() {
        return Err(Failure::new("no-such-engine", "there is no engine of LXD or Incus")
            .hint("`boxherd engine add` makes one"));
    }
    let mut servers = Vec::new();
    for engine in &engines {
        servers.push(Arc::new(server(app, engine).await?));
    }
    let scratch = scratch(app);
    let options = LxdOptions {
        rounds: args.rounds,
        round_trip: args.round_trip,
        file_size: args.file_size.bytes(),
        peers: !args.no_peers,
        python: args.python,
        scratch: scratch.clone(),
    };
    let run = |stopped| boxherd_bench::run_lxd(options, servers, stopped);
    print(app, measure(run).await, &scratch)
}

/// An engine as it is measured.
async fn server(app: &App, engine: &engines::Engine) -> Result<Server, Failure> {
    let settings = engine.settings(&app.installation().await?);
    let open = move |remote: &_| {
        let engine = LxdEngine::new(settings.clone(), remote)?;
        Ok(Arc::new(engine) as Arc<dyn Engine>)
    };
    Ok(Server {
        herd: app.shared_herd().await?,
        name: engine.name.clone(),
        flavour: engine.known.kind.flavour(),
        remote: engine.remote()?,
        folder: engine.folder().to_owned(),
        open: Arc::new(open),
    })
}
