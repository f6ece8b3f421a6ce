//! What these tests share: a store in a folder, images made on the spot, a registry, and a bad line.

pub(crate) mod images;
pub(crate) mod proxy;
pub(crate) mod registry;
#[path = "../../../src/unpack/tests/tape.rs"]
#[expect(dead_code, reason = "the tests of unpacking use more of it")]
pub(crate) mod tape;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use boxherd_image::{ImageError, ImageStore};
use boxherd_model::{ImageRef, Silent};
use tempfile::TempDir;

pub(crate) use images::{Image, noise};
pub(crate) use proxy::{Line, Proxy};
pub(crate) use registry::Registry;
pub(crate) use tape::Tape;

/// A store in a folder of its own.
pub(crate) struct Bench {
    pub(crate) folder: TempDir,
    pub(crate) store: ImageStore,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = ImageStore::open(&folder.path().join("images")).unwrap();
        Self { folder, store }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) async fn pull(&self, image: &str) -> Result<ImageRef, ImageError> {
        let image: ImageRef = image.parse().unwrap();
        self.store.pull(&image, &Silent).await.map(|info| info.name)
    }

    pub(crate) async fn import(&self, name: &str, path: &Path) -> Result<ImageRef, ImageError> {
        let name: ImageRef = name.parse().unwrap();
        self.store.import(&name, path, &Silent).await.map(|info| info.name)
    }

    /// The file that the topmost layer with `path` has there.
    pub(crate) fn read(&self, image: &ImageRef, path: &str) -> Option<Vec<u8>> {
        let rootfs = self.store.resolve(image).unwrap().expect("the image is here");
        rootfs.layers.iter().find_map(|layer| fs::read(layer.join(path)).ok())
    }

    pub(crate) fn entries(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path("images").join(folder)).unwrap();
        let mut names: Vec<String> =
            entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// That no work in progress and no half blob is left.
    pub(crate) fn assert_tidy(&self) {
        assert_eq!(self.entries("tmp"), Vec::<String>::new());
        assert_eq!(self.entries("partial"), Vec::<String>::new());
    }
}

/// The whole chain of an error, as a user reads it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// Runs a program that must succeed.
pub(crate) fn run(program: &str, arguments: &[&str], folder: &Path) {
    let ran = Command::new(program).args(arguments).current_dir(folder).output().unwrap();
    assert!(ran.status.success(), "{program}: {}", String::from_utf8_lossy(&ran.stderr));
}

/// A filesystem of 2 MiB that goes with the value. Takes root.
pub(crate) struct SmallDisk(TempDir);

impl SmallDisk {
    pub(crate) fn new() -> Self {
        let disk = Self(tempfile::tempdir().unwrap());
        let target = disk.path().to_str().unwrap().to_owned();
        run("mount", &["-t", "tmpfs", "-o", "size=2m", "small", &target], Path::new("/"));
        disk
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        run("umount", &[self.path().to_str().unwrap()], Path::new("/"));
    }
}
