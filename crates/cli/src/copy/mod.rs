//! Files and trees between this machine and a box.
//!
//! `place.rs` decides where something goes and is pure; `here.rs` is the only part that writes to
//! this machine; `pack.rs` and `unpack.rs` turn trees into tar archives and back. No path that a
//! box reports is used here unchecked.

mod elsewhere;
mod here;
mod pack;
mod pieces;
mod pipe;
mod place;
mod unpack;

use std::fs::File;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use boxherd_link::{FileKind, Files, LinkError, MkdirOptions, ReadRange, TarOptions, WriteOptions};

pub(crate) use self::elsewhere::There;
use self::here::NewFile;
use self::pieces::Pieces;
use self::place::{Found, Source, place};
use crate::failure::Failure;
use crate::progress::Bar;
use crate::streams::{self, Output};
use crate::terminal;

/// How much is read and written at once, in bytes.
const PIECE: usize = 256 * 1024;
/// Permissions; setuid and the like do not travel.
const PERMISSIONS: u32 = 0o777;

/// Root of a box, who gets what is copied into it.
const ROOT: (u32, u32) = (0, 0);

/// Copies a file or a tree into a box.
pub(crate) async fn into_box(
    files: &Files,
    from: &Path,
    to: &Path,
    bar: &Bar,
) -> Result<(), Failure> {
    let failed = |error| Failure::io(format!("cannot read `{}`", from.display()), &error);
    let metadata = std::fs::metadata(from).map_err(failed)?;
    let source = Source::new(from, metadata.is_dir())?;
    let target = place(&source, to, found_in_box(files, to).await?)?;
    let mode = metadata.permissions().mode() & PERMISSIONS;
    if !metadata.is_dir() {
        let file = File::open(from).map_err(failed)?;
        bar.expect(metadata.len());
        return send_file(files, file, &target, mode, bar).await.map_err(|error| match error {
            SendError::Link(error) => error.into(),
            SendError::Read(error) => failed(error),
        });
    }
    make_folder(files, &target, mode).await?;
    let options = TarOptions { parents: false, owner: Some(ROOT) };
    let writer = files.tar_in(&target, options)?;
    pack::send_tree(from, writer, bar).await
}

/// Copies a file or a tree out of a box.
pub(crate) async fn out_of_box(
    files: &Files,
    from: &Path,
    to: &Path,
    bar: &Bar,
) -> Result<(), Failure> {
    let stat = files.stat(from).await?;
    let source = Source::new(from, stat.kind == FileKind::Directory)?;
    let target = place(&source, to, here::found(to)?)?;
    let mode = stat.mode & PERMISSIONS;
    match stat.kind {
        FileKind::Directory => {
            here::make_folder(&target)?;
            unpack::receive_tree(files.tar_out(from)?, &target, bar).await?;
            here::set_mode(&target, mode)
        }
        FileKind::File => {
            bar.expect(stat.size);
            let mut new = NewFile::begin(&target, mode)?;
            let mut reader = files.read(from, ReadRange::default())?;
            while let Some(piece) = reader.next().await? {
                new.write(&piece)?;
                bar.advance(piece.len());
            }
            new.finish()
        }
        _ => Err(Failure::usage(format!("`{}` is neither a file nor a directory", from.display()))),
    }
}

/// Unpacks a tar archive from standard input into a directory of a box.
pub(crate) async fn stream_into_box(files: &Files, to: &Path, bar: &Bar) -> Result<(), Failure> {
    let failed = |error| Failure::io("cannot read standard input", &error);
    let mut writer = files.tar_in(to, TarOptions::default())?;
    let mut input = streams::input().map_err(failed)?;
    while let Some(piece) = input.recv().await {
        let piece = piece.map_err(failed)?;
        bar.advance(piece.len());
        writer.send(piece).await?;
    }
    Ok(writer.finish().await?)
}

/// Writes a file or a tree of a box to standard output as a tar archive.
pub(crate) async fn stream_out_of_box(
    files: &Files,
    from: &Path,
    bar: &Bar,
) -> Result<(), Failure> {
    if terminal::output_is_terminal() {
        return Err(Failure::usage("an archive is nothing for a terminal")
            .hint("send it to a file or a program, as with `| tar -t`"));
    }
    let found = files.lstat(from).await?;
    let source = Source::new(from, found.kind == FileKind::Directory)?;
    let mut reader = files.tar_out_as(from, source.prefix())?;
    while let Some(piece) = reader.next().await? {
        bar.advance(piece.len());
        Output::stdout().write(piece).await.map_err(|error| Failure::output(&error))?;
    }
    Ok(())
}

async fn found_in_box(files: &Files, path: &Path) -> Result<Found, Failure> {
    match files.stat(path).await {
        Ok(stat) if stat.kind == FileKind::Directory => Ok(Found::Directory),
        Ok(_) => Ok(Found::Other),
        Err(LinkError::File { errno, .. }) if errno == rustix::io::Errno::NOENT.raw_os_error() => {
            Ok(Found::Nothing)
        }
        Err(error) => Err(error.into()),
    }
}

async fn make_folder(files: &Files, path: &Path, mode: u32) -> Result<(), Failure> {
    let options = MkdirOptions { mode: Some(mode), parents: false };
    match files.mkdir(path, options).await {
        Err(LinkError::File { errno, .. }) if errno == rustix::io::Errno::EXIST.raw_os_error() => {
            Ok(())
        }
        made => Ok(made?),
    }
}

enum SendError {
    Read(std::io::Error),
    Link(LinkError),
}

impl From<LinkError> for SendError {
    fn from(error: LinkError) -> Self {
        Self::Link(error)
    }
}

async fn send_file(
    files: &Files,
    from: File,
    to: &Path,
    mode: u32,
    bar: &Bar,
) -> Result<(), SendError> {
    let options = WriteOptions { mode: Some(mode), ..WriteOptions::default() };
    let mut writer = files.write(to, options)?;
    let mut pieces = Pieces::of(from);
    loop {
        let piece = pieces.next().map_err(SendError::Read)?;
        if piece.is_empty() {
            return Ok(writer.finish().await?);
        }
        bar.advance(piece.len());
        writer.send(piece).await?;
    }
}
