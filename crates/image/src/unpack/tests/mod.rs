//! What unpacking does with honest and with hostile streams.

mod hostile;
mod kept;
mod overlay;
mod random;
mod tape;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use super::{Limits, UnpackError, Unpacked, unpack};
use tape::{Head, Tape};
use tempfile::TempDir;

/// A folder to unpack into, next to something that must stay as it is.
struct Yard {
    folder: TempDir,
}

impl Yard {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("root")).unwrap();
        fs::write(folder.path().join("outside"), "untouched").unwrap();
        Self { folder }
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        self.root().join(path)
    }

    fn unpack(&self, stream: &[u8]) -> Result<Unpacked, UnpackError> {
        self.unpack_within(stream, Limits::default())
    }

    fn unpack_within(&self, stream: &[u8], limits: Limits) -> Result<Unpacked, UnpackError> {
        unpack(stream, &self.root(), limits, &AtomicBool::new(false))
    }

    /// That nothing but `root` changed.
    fn assert_contained(&self) {
        let mut names: Vec<_> =
            fs::read_dir(self.folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["outside", "root"]);
        assert_eq!(fs::read_to_string(self.folder.path().join("outside")).unwrap(), "untouched");
    }
}
