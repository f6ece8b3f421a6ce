//! What idle boxes weigh.

use futures_util::StreamExt as _;
use futures_util::stream::iter;

use crate::context::Bench;
use crate::machine::meminfo;
use crate::report::{Contest, Unit};

const MIB: f64 = (1 << 20) as f64;
/// Boxes that are made at once.
const AT_ONCE: usize = 8;

/// Memory that the machine has less of for each idle box: kernel, agent and this process together.
pub(crate) async fn idle(bench: &mut Bench) -> anyhow::Result<Contest> {
    // What the first box brings along is not the others' weight.
    let (warm, _) = bench.make().await?;
    let names = bench.names(bench.options.idle);
    let before = meminfo("MemAvailable")?;
    let making = iter(&names).map(|name| bench.front.create(name)).buffer_unordered(AT_ONCE);
    let made: Vec<_> = making.collect().await;
    let after = meminfo("MemAvailable")?;
    let failed = made.into_iter().find_map(Result::err);
    bench.remove(&names).await?;
    bench.front.delete(&warm).await?;
    if let Some(error) = failed {
        return Err(error);
    }
    let each = before.saturating_sub(after) as f64 / MIB / f64::from(bench.options.idle);
    let what = format!("MemAvailable less for each of {} idle boxes", bench.options.idle);
    let samples = vec![("boxherd".to_owned(), vec![each])];
    Ok(Contest::new("idle", &what, Unit::Mebibytes, samples).target(1.5))
}
