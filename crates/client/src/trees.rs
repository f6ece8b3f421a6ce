//! Whole trees, in and out of a box, as archives that `tar` in the box reads and writes.

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;

use bytes::Bytes;
use tar::{Archive, Builder, EntryType};
use tokio::sync::mpsc;
use tonic::Code;

use crate::{Command, Error, Event, Files, Output, quote};

/// Pieces that wait to be sent, or to be unpacked.
const WAITING: usize = 4;
/// Permissions; setuid and the like do not travel.
const PERMISSIONS: u32 = 0o777;
/// What a shell answers when there is no such program.
const NO_PROGRAM: i32 = 127;

impl Files {
    /// Copies what is in the folder `from` of this machine into the folder `to` of the box, which is
    /// made. Links stay links, sockets and devices are left out, and everything belongs to the user
    /// of the box.
    ///
    /// ```no_run
    /// # async fn example(files: boxherd_client::Files) -> Result<(), boxherd_client::Error> {
    /// files.put_tree("site", "/srv/www").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn put_tree(&self, from: impl AsRef<Path>, to: &str) -> Result<(), Error> {
        let folder = quote::word(to);
        let line = format!("mkdir -p -- {folder} && exec tar -x -o -C {folder} -f -");
        let mut running = self.client.boxes().exec(&self.of, Command::shell(line)).await?;
        let stdin = running.stdin();
        let (sender, mut pieces) = mpsc::channel(WAITING);
        let from = from.as_ref().to_owned();
        let packing = tokio::task::spawn_blocking(move || pack(&from, ToChannel(sender)));
        let feeding = async {
            let Some(mut stdin) = stdin else { return };
            while let Some(piece) = pieces.recv().await {
                // A command that reads no more says why when it ends.
                if stdin.send(piece).await.is_err() {
                    return;
                }
            }
        };
        let ((), ended) = tokio::join!(feeding, running.output());
        // Which also tells who packs that nobody reads on.
        drop(pieces);
        match packing.await.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(Error::Source(error.to_string()))
            }
            _ => succeeded(ended?),
        }
    }

    /// Copies what is in the folder `from` of the box into the folder `to` of this machine, which is
    /// made. Nothing is written outside of it, whatever the box says.
    ///
    /// ```no_run
    /// # async fn example(files: boxherd_client::Files) -> Result<(), boxherd_client::Error> {
    /// files.get_tree("/srv/www", "site").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get_tree(&self, from: &str, to: impl AsRef<Path>) -> Result<(), Error> {
        let line = format!("exec tar -c -C {} -f - .", quote::word(from));
        let mut running = self.client.boxes().exec(&self.of, Command::shell(line)).await?;
        drop(running.stdin());
        let (sender, pieces) = mpsc::channel(WAITING);
        let to = to.as_ref().to_owned();
        let unpacking = tokio::task::spawn_blocking(move || unpack(FromChannel::new(pieces), &to));
        let mut ended = Output::default();
        loop {
            match running.next().await? {
                Event::Stdout(piece) => {
                    if sender.send(piece).await.is_err() {
                        break;
                    }
                }
                Event::Stderr(text) => ended.stderr.extend_from_slice(&text),
                Event::Exit(code) => {
                    ended.code = code;
                    break;
                }
            }
        }
        drop(sender);
        let unpacked = unpacking.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        // Why too little came, the box knows.
        succeeded(ended)?;
        unpacked.map_err(|error| Error::Source(error.to_string()))
    }
}

fn succeeded(ended: Output) -> Result<(), Error> {
    match ended.code {
        0 => Ok(()),
        NO_PROGRAM => Err(Error::of(Code::FailedPrecondition, "there is no `tar` in the box")),
        code => {
            let text = String::from_utf8_lossy(&ended.stderr);
            let why = text.lines().next().unwrap_or("it does not say why");
            Err(Error::of(Code::FailedPrecondition, format!("`tar` ended with {code}: {why}")))
        }
    }
}

fn pack(from: &Path, to: ToChannel) -> io::Result<()> {
    let mut builder = Builder::new(to);
    builder.follow_symlinks(false);
    pack_folder(&mut builder, from, Path::new(""))?;
    builder.into_inner()?.flush()
}

fn pack_folder(builder: &mut Builder<ToChannel>, folder: &Path, name: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (path, name, kind) = (entry.path(), name.join(entry.file_name()), entry.file_type()?);
        if !(kind.is_file() || kind.is_dir() || kind.is_symlink()) {
            continue;
        }
        builder.append_path_with_name(&path, &name)?;
        if kind.is_dir() {
            pack_folder(builder, &path, &name)?;
        }
    }
    Ok(())
}

fn unpack(from: impl Read, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    let mut archive = Archive::new(from);
    archive.set_preserve_permissions(true);
    archive.set_mask(!PERMISSIONS);
    // Last, the deepest first: one that nothing can be written to gets what is in it before.
    let mut folders = Vec::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let (kind, name) = (entry.header().entry_type(), entry.path()?.display().to_string());
        let known = [EntryType::Regular, EntryType::Symlink, EntryType::Link];
        if kind == EntryType::Directory {
            folders.push(entry);
        } else if !known.contains(&kind) || !entry.unpack_in(to)? {
            return Err(refused(&name));
        }
    }
    folders.sort_by_key(|folder| std::cmp::Reverse(folder.path_bytes().into_owned()));
    for mut folder in folders {
        if !folder.unpack_in(to)? {
            return Err(refused(&folder.path()?.display().to_string()));
        }
    }
    Ok(())
}

fn refused(name: &str) -> io::Error {
    io::Error::other(format!(
        "`{name}` leads out of the folder, or is neither file, folder nor link"
    ))
}

/// What is packed, on its way.
struct ToChannel(mpsc::Sender<Bytes>);

impl Write for ToChannel {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Bytes::copy_from_slice(bytes));
        sent.map(|()| bytes.len()).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is to be unpacked, as it comes.
struct FromChannel {
    pieces: mpsc::Receiver<Bytes>,
    rest: Bytes,
}

impl FromChannel {
    fn new(pieces: mpsc::Receiver<Bytes>) -> Self {
        Self { pieces, rest: Bytes::new() }
    }
}

impl Read for FromChannel {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.rest = piece,
                None => return Ok(0),
            }
        }
        let taken = self.rest.split_to(self.rest.len().min(into.len()));
        into[..taken.len()].copy_from_slice(&taken);
        Ok(taken.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(name: &str, kind: EntryType) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(0);
        header.set_mode(0o4755);
        // As a hostile box would: the builder refuses such names.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        builder.append(&header, io::empty()).unwrap();
        builder.into_inner().unwrap()
    }

    #[test]
    fn nothing_is_written_outside_of_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("to");
        let out = unpack(&archive("../evil", EntryType::Regular)[..], &to);
        assert!(out.is_err(), "{out:?}");
        assert!(!folder.path().join("evil").exists());
        assert!(unpack(&archive("device", EntryType::Char)[..], &to).is_err());
        unpack(&archive("fine", EntryType::Regular)[..], &to).unwrap();
        assert!(to.join("fine").exists());
    }

    #[test]
    fn setuid_does_not_travel() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        unpack(&archive("fine", EntryType::Regular)[..], folder.path()).unwrap();
        let mode = fs::metadata(folder.path().join("fine")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o755);
    }
}
