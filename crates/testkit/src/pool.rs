//! The loop-backed pool of a data folder.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// How long a helper may take to free what a large box had.
const PATIENCE: Duration = Duration::from_secs(20);

/// Unmounts the pool of the data folder `data`, if it has one that is mounted. To be called when there
/// are no boxes any more; what still ends of them is waited for.
///
/// # Panics
///
/// When something keeps using the pool, unless the test has failed already.
pub fn unmount_pool(data: &Path) {
    unmount(&data.join("pool"));
}

/// Unmounts what is mounted at `point`, if something is, as soon as nobody uses it any more.
///
/// # Panics
///
/// When something keeps using it, unless the test has failed already.
pub fn unmount(point: &Path) {
    let deadline = Instant::now() + PATIENCE;
    while is_mounted(point) {
        let done = Command::new("umount").arg(point).output().expect("umount runs");
        if done.status.success() {
            continue;
        }
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        if Instant::now() >= deadline {
            assert!(std::thread::panicking(), "{} is still in use: {said}", point.display());
            return;
        }
        // The kernel tells nobody that a mount is no longer in use.
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn is_mounted(point: &Path) -> bool {
    let table = std::fs::read_to_string("/proc/self/mountinfo").expect("the mounts");
    let point = point.to_string_lossy();
    table.lines().any(|line| line.split(' ').nth(4) == Some(&*point))
}
