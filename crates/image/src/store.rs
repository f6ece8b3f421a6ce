//! The store: names, manifests and layers in one folder, shared by any number of processes.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use boxherd_model::{ImageInfo, ImageRef};

use crate::digest::Digest;
use crate::layout::Layout;
use crate::lock::{Hold, Lock};
use crate::record::{self, ManifestRecord, NameRecord};
use crate::unpack::Limits;
use crate::work::{Work, absent_is_fine};
use crate::{ImageError, Lease, Rootfs};

/// The images of one data folder.
///
/// Cheap to open and to clone: it holds paths and limits, no file and no list. Every method may be
/// called by several threads and processes at once; a process that dies in any of them leaves only
/// work in progress, which the next pull, import or removal clears away.
#[derive(Debug, Clone)]
pub struct ImageStore {
    pub(crate) layout: Layout,
    pub(crate) limits: Limits,
    pub(crate) credentials: Option<PathBuf>,
}

/// What a removal gave back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Freed {
    /// How many layers went.
    pub layers: usize,
    /// Their bytes on disk.
    pub bytes: u64,
}

impl ImageStore {
    /// The store in `dir`, made with mode 0700 when missing. Looks at nothing else.
    pub fn open(dir: &Path) -> Result<Self, ImageError> {
        let layout = Layout::new(dir);
        let complete = layout.folder(Layout::FOLDERS[Layout::FOLDERS.len() - 1]);
        if !complete.exists() {
            let make = |path: &Path| {
                let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
                made.map_err(|error| ImageError::io("make", path, error))
            };
            make(dir)?;
            Layout::FOLDERS.iter().try_for_each(|name| make(&layout.folder(name)))?;
        }
        Ok(Self { layout, limits: Limits::default(), credentials: None })
    }

    /// With other limits on what one layer may have.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// With the user's `~/.docker/config.json`, or a file of that form, to take credentials for
    /// registries from. It is read at each pull and need not exist.
    #[must_use]
    pub fn with_credentials(self, file: &Path) -> Self {
        Self { credentials: Some(file.to_owned()), ..self }
    }

    /// What `image` stands for now; `None` when it is not here. Reads two small files.
    pub fn resolve(&self, image: &ImageRef) -> Result<Option<Rootfs>, ImageError> {
        let lease = self.lease()?;
        match self.name_record(image)? {
            Some(name) => self.leased(&name.digest, lease),
            None => Ok(None),
        }
    }

    /// The image with `digest`, whatever it is called now: what a box that was made from
    /// [`Rootfs::digest`] starts from. `None` when it is not here.
    pub fn rootfs(&self, digest: &str) -> Result<Option<Rootfs>, ImageError> {
        match digest.parse() {
            Ok(digest) => self.leased(&digest, self.lease()?),
            // No image has a digest that is none.
            Err(_) => Ok(None),
        }
    }

    /// Every image, sorted by name.
    pub fn list(&self) -> Result<Vec<ImageInfo>, ImageError> {
        let names = self.names()?;
        let infos = names.into_iter().filter_map(|name| {
            let manifest = self.manifest(&name.digest).transpose()?;
            Some(manifest.map(|manifest| info(name, &manifest)))
        });
        let mut infos = infos.collect::<Result<Vec<_>, _>>()?;
        infos.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(infos)
    }

    /// Forgets `image` and frees what nothing uses any more, see [`sweep`](Self::sweep).
    pub fn remove(
        &self,
        image: &ImageRef,
        used: &dyn Fn(&str) -> bool,
    ) -> Result<Freed, ImageError> {
        let path = self.layout.image(image);
        match fs::remove_file(&path).and_then(|()| record::sync_parent(&path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(ImageError::NoSuchImage { image: image.clone() })
            }
            Err(error) => Err(ImageError::io("remove", path, error)),
            Ok(()) => self.sweep(used),
        }
    }

    fn lease(&self) -> Result<Lease, ImageError> {
        let path = self.layout.use_lock();
        let lock = Lock::wait(&path, Hold::Shared);
        lock.map(Lease::new).map_err(|error| ImageError::io("lock", path, error))
    }

    fn leased(&self, digest: &Digest, lease: Lease) -> Result<Option<Rootfs>, ImageError> {
        let Some(manifest) = self.manifest(digest)? else { return Ok(None) };
        let layers = manifest.layers.iter().map(|layer| self.layout.layer_files(layer)).collect();
        let digest = manifest.digest.as_str().to_owned();
        Ok(Some(Rootfs { digest, layers, config: manifest.config, lease }))
    }

    pub(crate) fn name_record(&self, image: &ImageRef) -> Result<Option<NameRecord>, ImageError> {
        record::read(&self.layout.image(image))
    }

    pub(crate) fn manifest(&self, digest: &Digest) -> Result<Option<ManifestRecord>, ImageError> {
        record::read(&self.layout.manifest(digest))
    }

    pub(crate) fn names(&self) -> Result<Vec<NameRecord>, ImageError> {
        let folder = self.layout.folder("images");
        let failed = |error| ImageError::io("list", &folder, error);
        let entries = fs::read_dir(&folder).map_err(failed)?;
        let paths = entries.map(|entry| entry.map(|entry| entry.path()));
        let paths = paths.collect::<io::Result<Vec<_>>>().map_err(failed)?;
        // A name that goes while the list is read is not an error.
        paths.iter().filter_map(|path| record::read(path).transpose()).collect()
    }

    /// Writes the manifest, then the name: a reader finds both or none.
    pub(crate) fn record(
        &self,
        work: &Work,
        name: NameRecord,
        manifest: &ManifestRecord,
    ) -> Result<ImageInfo, ImageError> {
        let scratch = work.path("record");
        // A sweep between the two writes would drop the manifest.
        let _lease = self.lease()?;
        record::write(&self.layout.manifest(&manifest.digest), &scratch, manifest)?;
        record::write(&self.layout.image(&name.name), &scratch, &name)?;
        Ok(info(name, manifest))
    }

    /// Removes a blob that was half fetched, when it is there.
    pub(crate) fn forget_partial(&self, path: &Path) -> Result<(), ImageError> {
        absent_is_fine(fs::remove_file(path)).map_err(|error| ImageError::io("remove", path, error))
    }
}

fn info(name: NameRecord, manifest: &ManifestRecord) -> ImageInfo {
    ImageInfo {
        name: name.name,
        digest: manifest.digest.as_str().to_owned(),
        size: manifest.size,
        created: name.created,
        program: manifest.config.program(),
    }
}
