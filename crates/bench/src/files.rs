//! A large file in and out.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::Context as _;
use boxherd_link::{Link, ReadRange, WriteOptions};
use bytes::Bytes;

use crate::context::Bench;
use crate::machine::own_status;
use crate::programs::Program;
use crate::report::{Contest, Unit};

/// Where the file is in the box.
pub(super) const PLACE: &str = "/var/tmp/large";
/// What is handed to the link at once, in bytes.
pub(super) const PIECE: usize = 1 << 20;
pub(super) const MEGA: f64 = 1e6;
const MIB: f64 = (1 << 20) as f64;

/// In, out, and how much memory this process took meanwhile.
pub(crate) async fn files(bench: &mut Bench) -> anyhow::Result<[Contest; 3]> {
    let (name, _) = bench.make().await?;
    let link = bench.front.link(&name).await?;
    let size = bench.options.file_size;
    let (mut puts, mut gets, mut copies, mut extra) = (vec![], vec![], vec![], vec![]);
    for _ in 0..bench.options.few().min(5) {
        let before = forget_peak()?;
        settle();
        let start = Instant::now();
        put(&link, size).await?;
        puts.push(speed(size, start));
        let start = Instant::now();
        get(&link, size).await?;
        gets.push(speed(size, start));
        extra.push(own_status("VmHWM")?.saturating_sub(before) as f64 / MIB);
        settle();
        copies.push(write_on_the_host(&bench.options.scratch, size)?);
    }
    bench.front.delete(&name).await?;
    let own = |samples| ("boxherd".to_owned(), samples);
    let peer = || ("dd on the host".to_owned(), copies.clone());
    let unit = Unit::MegabytesPerSecond;
    let what = |way| format!("a file of {:.0} MB {way}, without sync", size as f64 / MEGA);
    Ok([
        Contest::new("put", &what("into a box"), unit, vec![own(puts), peer()]).target(1000.0),
        Contest::new("get", &what("out of a box"), unit, vec![own(gets), peer()]).target(1000.0),
        Contest::new(
            "file-memory",
            "what this process took more at its peak, for a file in and out",
            Unit::Mebibytes,
            vec![own(extra)],
        )
        .target(16.0),
    ])
}

/// Has the disk take what was written before. Else it is written while the next is measured, and
/// whoever writes is slowed down to the speed of the disk.
pub(super) fn settle() {
    rustix::fs::sync();
}

pub(super) async fn put(link: &Link, size: u64) -> anyhow::Result<()> {
    let piece = Bytes::from(vec![0x5a; PIECE]);
    let mut writer = link.files().write(PLACE, WriteOptions::default())?;
    let mut left = size;
    while left > 0 {
        let part = piece.slice(..PIECE.min(usize::try_from(left).unwrap_or(PIECE)));
        left -= part.len() as u64;
        writer.send(part).await?;
    }
    Ok(writer.finish().await?)
}

pub(super) async fn get(link: &Link, size: u64) -> anyhow::Result<()> {
    let mut reader = link.files().read(PLACE, ReadRange::default())?;
    let mut count = 0;
    while let Some(piece) = reader.next().await? {
        count += piece.len() as u64;
    }
    anyhow::ensure!(count == size, "{count} of {size} bytes came back");
    Ok(())
}

/// What the same bytes cost without a box. `cp` would have btrfs share them.
fn write_on_the_host(scratch: &Path, size: u64) -> anyhow::Result<f64> {
    let folder = tempfile::tempdir_in(scratch)?;
    let to = folder.path().join("to");
    let dd = Program::new(["dd", "if=/dev/zero", "bs=1M", "iflag=count_bytes,fullblock"]);
    let dd = dd.with([format!("of={}", to.display()), format!("count={size}")]);
    let took = dd.time()? / 1000.0;
    anyhow::ensure!(fs::metadata(&to)?.len() == size, "`dd` wrote something else");
    Ok(size as f64 / MEGA / took)
}

pub(super) fn speed(size: u64, start: Instant) -> f64 {
    size as f64 / MEGA / start.elapsed().as_secs_f64()
}

/// Makes the kernel forget the peak of our memory; returns what we take now, in bytes.
fn forget_peak() -> anyhow::Result<u64> {
    fs::write("/proc/self/clear_refs", "5").context("cannot reset the peak of our memory")?;
    own_status("VmRSS")
}
