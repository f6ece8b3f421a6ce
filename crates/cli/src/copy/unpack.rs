//! A tar archive from a box, unpacked on this machine. The box may be hostile.

use std::fs;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use boxherd_link::FileReader;
use tar::{Archive, Entry, EntryType};
use tokio::sync::mpsc;

use super::PERMISSIONS;
use super::here::cannot_write;
use super::pipe::Reader;
use crate::failure::Failure;
use crate::progress::Bar;

/// Unpacks what `from` gives below the folder `into`.
pub(super) async fn receive_tree(
    mut from: FileReader,
    into: &Path,
    bar: &Bar,
) -> Result<(), Failure> {
    let (sender, pieces) = mpsc::channel(4);
    let folder = into.to_owned();
    let unpacked = tokio::task::spawn_blocking(move || unpack(Reader::new(pieces), &folder));
    let mut failed = None;
    loop {
        let piece = match from.next().await {
            Ok(Some(piece)) => Ok(piece),
            Ok(None) => break,
            Err(error) => {
                failed = Some(error);
                Err(())
            }
        };
        bar.advance(piece.as_ref().map_or(0, |piece| piece.len()));
        if sender.send(piece).await.is_err() || failed.is_some() {
            break;
        }
    }
    drop(sender);
    let unpacked = unpacked.await.unwrap_or_else(|error| Err(io::Error::other(error)));
    if let Some(error) = failed {
        return Err(error.into());
    }
    unpacked.map_err(|error| cannot_write(into, &error))
}

/// Every name is checked before it is used: a name with `..` or from the root is refused, and so is
/// one that leads out of `into` by way of a link that came before. Devices are refused. Files are
/// ours, and neither setuid nor setgid.
fn unpack(from: impl Read, into: &Path) -> io::Result<()> {
    let into = fs::canonicalize(into)?;
    let mut archive = Archive::new(from);
    archive.set_preserve_permissions(true);
    archive.set_mask(!PERMISSIONS);
    archive.set_preserve_mtime(true);
    archive.set_unpack_xattrs(false);
    // A folder may be read-only: permissions are given when everything is in it.
    let mut folders = Vec::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let kind = entry.header().entry_type();
        let name = checked_name(&entry)?;
        match kind {
            EntryType::Directory => folders.push((name.clone(), entry.header().mode()?)),
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                return Err(refused(&name, "is neither a file, a directory nor a link"));
            }
            _ => {}
        }
        if kind == EntryType::Directory {
            make_folder(&into, &name)?;
        } else if !entry.unpack_in(&into)? {
            return Err(refused(&name, "leads out of the directory"));
        }
    }
    // The deepest first, for the same reason.
    folders.into_iter().rev().try_for_each(|(name, mode)| set_mode(&into, &name, mode))
}

fn checked_name(entry: &Entry<'_, impl Read>) -> io::Result<PathBuf> {
    let name = entry.path()?.into_owned();
    let inside =
        name.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if inside { Ok(name) } else { Err(refused(&name, "leads out of the directory")) }
}

fn make_folder(into: &Path, name: &Path) -> io::Result<()> {
    let path = inside(into, name)?;
    match fs::create_dir(&path) {
        // A link there would take what follows out of the folder.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let folder = fs::symlink_metadata(&path)?.is_dir();
            if folder { Ok(()) } else { Err(refused(name, "is there already and no directory")) }
        }
        made => made,
    }
}

fn set_mode(into: &Path, name: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let path = inside(into, name)?;
    if !fs::symlink_metadata(&path)?.is_dir() {
        return Err(refused(name, "is no directory any more"));
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode & PERMISSIONS))
}

/// The path of `name`, whose parent is below `into` wherever links lead.
fn inside(into: &Path, name: &Path) -> io::Result<PathBuf> {
    let path = into.join(name);
    let parent = fs::canonicalize(path.parent().unwrap_or(into))?;
    if parent.starts_with(into) {
        Ok(path)
    } else {
        Err(refused(name, "leads out of the directory"))
    }
}

fn refused(name: &Path, why: &str) -> io::Error {
    io::Error::other(format!("`{}` {why}", name.display()))
}

#[cfg(test)]
mod tests;
