//! Files and folders on this machine.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::place::Found;
use crate::failure::Failure;

/// What is at `path`.
pub(super) fn found(path: &Path) -> Result<Found, Failure> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(Found::Directory),
        Ok(_) => Ok(Found::Other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::Nothing),
        Err(error) => Err(Failure::io(format!("cannot look at `{}`", path.display()), &error)),
    }
}

/// Makes a folder; one that is there is taken.
pub(super) fn make_folder(path: &Path) -> Result<(), Failure> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        made => made.map_err(|error| cannot_write(path, &error)),
    }
}

/// Sets the permissions of what was made.
pub(super) fn set_mode(path: &Path, mode: u32) -> Result<(), Failure> {
    fs::set_permissions(path, Permissions::from_mode(mode))
        .map_err(|error| cannot_write(path, &error))
}

/// A failure to write to `path`.
pub(super) fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    Failure::io(format!("cannot write `{}`", path.display()), error)
}

/// A file that is being written: beside its place until it is whole, so that a copy that is cut off
/// leaves what was there.
#[derive(Debug)]
pub(super) struct NewFile {
    file: File,
    path: PathBuf,
    /// Where it is until it is whole; `None` when it is written in place, as devices are.
    unfinished: Option<PathBuf>,
}

impl NewFile {
    /// Begins to write what will be at `path`.
    pub(super) fn begin(path: &Path, mode: u32) -> Result<Self, Failure> {
        let failed = |error| cannot_write(path, &error);
        let in_place = fs::metadata(path).is_ok_and(|found| !found.is_file());
        if in_place {
            let file = OpenOptions::new().write(true).open(path).map_err(failed)?;
            return Ok(Self { file, path: path.to_owned(), unfinished: None });
        }
        // Through a link, the file it leads to is replaced and not the link.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let unfinished = path.with_file_name(format!(".{name}.{}", std::process::id()));
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(&unfinished);
        let file = file.map_err(failed)?;
        let new = Self { file, path, unfinished: Some(unfinished) };
        new.file.set_permissions(Permissions::from_mode(mode)).map_err(failed)?;
        Ok(new)
    }

    /// Writes the next bytes.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.file.write_all(bytes).map_err(|error| cannot_write(&self.path, &error))
    }

    /// Puts it in its place.
    pub(super) fn finish(mut self) -> Result<(), Failure> {
        match self.unfinished.as_ref().map(|unfinished| fs::rename(unfinished, &self.path)) {
            Some(Err(error)) => Err(cannot_write(&self.path, &error)),
            Some(Ok(())) | None => {
                self.unfinished = None;
                Ok(())
            }
        }
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some(unfinished) = &self.unfinished {
            // The failure that brought us here is what the user is told.
            drop(fs::remove_file(unfinished));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_that_is_cut_off_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        fs::write(&path, "old").unwrap();
        let mut new = NewFile::begin(&path, 0o640).unwrap();
        new.write(b"half").unwrap();
        drop(new);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_whole_copy_replaces_it_with_its_mode() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        fs::write(&path, "old").unwrap();
        let mut new = NewFile::begin(&path, 0o750).unwrap();
        new.write(b"new").unwrap();
        new.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o750);
    }
}
