//! A tree of this machine as a tar archive, on its way into a box.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use boxherd_link::FileWriter;
use tar::{Builder, HeaderMode};

use super::pipe::{Writer, pipe};
use crate::failure::Failure;
use crate::progress::Bar;

/// Sends the content of the directory `from`.
pub(super) async fn send_tree(from: &Path, mut to: FileWriter, bar: &Bar) -> Result<(), Failure> {
    let (sender, mut pieces) = pipe();
    let tree = from.to_owned();
    let packed = tokio::task::spawn_blocking(move || pack(&tree, Writer::new(sender)));
    while let Some(piece) = pieces.recv().await {
        bar.advance(piece.len());
        to.send(piece).await?;
    }
    let packed = packed.await.unwrap_or_else(|error| Err(io::Error::other(error)));
    packed.map_err(|error| Failure::io(format!("cannot read `{}`", from.display()), &error))?;
    Ok(to.finish().await?)
}

/// Sockets and devices are left out: they mean nothing in a box.
fn pack(from: &Path, to: Writer) -> io::Result<()> {
    let mut builder = Builder::new(to);
    builder.follow_symlinks(false);
    builder.mode(HeaderMode::Complete);
    pack_folder(&mut builder, from, Path::new(""))?;
    builder.into_inner()?.flush()
}

fn pack_folder(builder: &mut Builder<Writer>, folder: &Path, name: &Path) -> io::Result<()> {
    let mut entries: Vec<_> = fs::read_dir(folder)?.collect::<Result<_, _>>()?;
    entries.sort_unstable_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (path, name) = (entry.path(), name.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_socket() || kind.is_char_device() || kind.is_block_device() || kind.is_fifo() {
            continue;
        }
        builder.append_path_with_name(&path, &name)?;
        if kind.is_dir() {
            pack_folder(builder, &path, &name)?;
        }
    }
    Ok(())
}
