//! Where names led a moment ago.

use std::collections::HashMap;
use std::time::Duration;

use boxherd_herd::{Herd, HerdError, Host, Route};
use parking_lot::Mutex;
use tokio::time::Instant;

/// How long an answer holds: other processes (`boxherd rename`) change ways, too. What this process
/// changes is seen at once.
const HOLDS: Duration = Duration::from_secs(1);
/// Names that are kept; more, and all are forgotten.
const MOST: usize = 10_000;

/// Names that were looked up. Only those that lead somewhere are kept: nobody can fill this with
/// names of their invention.
#[derive(Debug, Default)]
pub(crate) struct Routes(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    version: u64,
    by_host: HashMap<Host, (Route, Instant)>,
}

impl Routes {
    pub(crate) async fn find(&self, herd: &Herd, host: &Host) -> Result<Route, HerdError> {
        let version = herd.routes_version();
        if let Some(route) = self.kept(host, version) {
            return Ok(route);
        }
        let route = herd.route(host).await?;
        let mut kept = self.0.lock();
        if kept.version != version || kept.by_host.len() >= MOST {
            kept.by_host.clear();
            kept.version = version;
        }
        kept.by_host.insert(host.clone(), (route.clone(), Instant::now()));
        Ok(route)
    }

    fn kept(&self, host: &Host, version: u64) -> Option<Route> {
        let kept = self.0.lock();
        let (route, since) = kept.by_host.get(host).filter(|_| kept.version == version)?;
        (since.elapsed() < HOLDS).then(|| route.clone())
    }
}
