//! Copies of a box with 100 MB in 1,000 files.

use std::time::Instant;

use boxherd_link::ExecRequest;
use boxherd_model::BoxName;

use crate::contest::millis_since;
use crate::context::{Bench, finish};
use crate::report::{Contest, Unit};

/// Writes what is to be copied. Random, so that nothing can be compressed or shared.
const FILL: &str = "mkdir /var/tmp/fill && cd /var/tmp/fill &&
    head -c 100000000 /dev/urandom | split -b 100000 -a 4 - && test $(ls | wc -l) = 1000";

/// How many copies are made at once.
const MANY: u32 = 100;

/// One copy, and many at once.
pub(crate) async fn forks(bench: &mut Bench) -> anyhow::Result<[Contest; 2]> {
    let (source, _) = bench.make().await?;
    let link = bench.front.link(&source).await?;
    finish(&link, ExecRequest::shell(FILL)).await?;
    let one = repeat(bench, &source, 1, bench.options.few()).await?;
    let many = repeat(bench, &source, MANY, 3).await?;
    bench.front.delete(&source).await?;
    let own = |samples| vec![("boxherd".to_owned(), samples)];
    let what = "a running box with 100 MB in 1,000 files: copied, the copy runs";
    let all = format!("the same box, {MANY} copies, all run");
    Ok([
        Contest::new("fork", what, Unit::Millis, own(one)).target(60.0),
        Contest::new("forks", &all, Unit::Millis, own(many)).target(1000.0),
    ])
}

async fn repeat(
    bench: &Bench,
    source: &BoxName,
    count: u32,
    rounds: u32,
) -> anyhow::Result<Vec<f64>> {
    let mut samples = Vec::new();
    for _ in 0..rounds {
        let copies = bench.names(count);
        let start = Instant::now();
        bench.front.fork(source, &copies).await?;
        samples.push(millis_since(start));
        bench.remove(&copies).await?;
    }
    Ok(samples)
}
