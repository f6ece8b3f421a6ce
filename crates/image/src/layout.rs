//! What lies where in the folder of a store.
//!
//! ```text
//! use.lock                  shared while a box is being made, exclusive while layers are freed
//! images/NAME.json          a name and the digest it stands for; `/` in it is written `+`
//! manifests/sha256-HEX.json layers and configuration of one image
//! layers/sha256-HEX/        one unpacked layer, by the digest of its tar stream; complete,
//!   fs/                       because it is renamed here from tmp/ when it is on disk
//!   layer.json                its size and what was left out of it
//! locks/sha256-HEX          held while that layer is fetched (exclusive) or about to be recorded
//! partial/sha256-HEX        a blob half fetched, gone on with by the next pull
//! tmp/ID  tmp/ID.lock       work in progress; litter when nobody holds the lock
//! ```

use std::path::{Path, PathBuf};

use boxherd_model::ImageRef;

use crate::digest::{Digest, sha256};

/// Longer names are filed under their own digest: a file name ends at 255 bytes.
const LONGEST_FILE_STEM: usize = 200;

/// The paths of one store.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(crate) const FOLDERS: [&str; 6] =
        ["images", "manifests", "layers", "locks", "partial", "tmp"];

    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub(crate) fn use_lock(&self) -> PathBuf {
        self.root.join("use.lock")
    }

    pub(crate) fn image(&self, image: &ImageRef) -> PathBuf {
        let name = image.as_str();
        // No image name has a `+`, so neither form can be mistaken for another name.
        let stem = if name.len() > LONGEST_FILE_STEM {
            format!("+{}", sha256(name.as_bytes()).file_name())
        } else {
            name.replace('/', "+")
        };
        self.root.join("images").join(stem + ".json")
    }

    pub(crate) fn manifest(&self, digest: &Digest) -> PathBuf {
        self.root.join("manifests").join(digest.file_name() + ".json")
    }

    pub(crate) fn layer(&self, diff_id: &Digest) -> PathBuf {
        self.root.join("layers").join(diff_id.file_name())
    }

    pub(crate) fn layer_files(&self, diff_id: &Digest) -> PathBuf {
        self.layer(diff_id).join("fs")
    }

    pub(crate) fn layer_lock(&self, diff_id: &Digest) -> PathBuf {
        self.root.join("locks").join(diff_id.file_name())
    }

    pub(crate) fn partial(&self, blob: &Digest) -> PathBuf {
        self.root.join("partial").join(blob.file_name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_a_file_of_its_own() {
        let layout = Layout::new(Path::new("/images"));
        let long = format!("localhost/{}", "a".repeat(300));
        let names = ["a/b", "a.b", "a-b", "debian:bookworm", "localhost:5000/a@sha256:00", &long];
        let mut files: Vec<PathBuf> =
            names.iter().map(|name| layout.image(&name.parse().unwrap())).collect();
        files.dedup();
        assert_eq!(files.len(), names.len());
        for file in files {
            assert_eq!(file.parent(), Some(Path::new("/images/images")));
            assert!(file.file_name().unwrap().len() < 255);
        }
    }
}
