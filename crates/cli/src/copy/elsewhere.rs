//! The same for a box of a server. The wire has neither permissions nor archives: those are of
//! commands in the box (`sh`, `stat`, `chmod`, `tar`), which follow its links as an agent would.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use boxherd_client::{Client, Command, Event, Files};

use super::PERMISSIONS;
use super::here::{self, NewFile};
use super::place::{Found, Source, place};
use crate::failure::Failure;
use crate::progress::Bar;
use crate::streams::{self, Output};
use crate::terminal;

/// Says what is at a path, and its permissions.
const LOOK: &str = r#"
if [ -d "$1" ]; then echo directory; elif [ -f "$1" ]; then echo file
elif [ -e "$1" ]; then echo other; else echo nothing; exit; fi; stat -L -c %a -- "$1""#;

/// A box of a server.
#[derive(Debug)]
pub(crate) struct There {
    client: Client,
    of: String,
}

/// What is at a path in the box.
#[derive(Debug)]
struct Seen {
    found: Found,
    is_file: bool,
    mode: u32,
}

impl There {
    pub(crate) fn new(client: Client, of: String) -> Self {
        Self { client, of }
    }

    fn files(&self) -> Files {
        self.client.files(&self.of)
    }

    /// Copies a file or a tree into the box.
    pub(crate) async fn copy_in(&self, from: &Path, to: &Path, bar: &Bar) -> Result<(), Failure> {
        let failed = |error| Failure::io(format!("cannot read `{}`", from.display()), &error);
        let metadata = std::fs::metadata(from).map_err(failed)?;
        let source = Source::new(from, metadata.is_dir())?;
        let target = place(&source, to, self.look(to).await?.found)?;
        let mode = format!("{:o}", metadata.permissions().mode() & PERMISSIONS);
        let path = text(&target)?;
        if metadata.is_dir() {
            self.run(&[
                "sh",
                "-c",
                "[ -d \"$2\" ] || mkdir -m \"$1\" -- \"$2\"",
                "sh",
                &mode,
                path,
            ])
            .await?;
            return Ok(self.files().put_tree(from, path).await?);
        }
        // The wire would make it.
        let parent = target.parent().unwrap_or(Path::new("/"));
        if self.look(parent).await?.found != Found::Directory {
            let message = format!("there is no directory `{}`", parent.display());
            return Err(Failure::new("no-such-directory", message));
        }
        bar.expect(metadata.len());
        let file = tokio::fs::File::open(from).await.map_err(failed)?;
        self.files().write_from(path, metadata.len(), file).await?;
        self.run(&["chmod", &mode, "--", path]).await.map(drop)
    }

    /// Copies a file or a tree out of the box.
    pub(crate) async fn copy_out(&self, from: &Path, to: &Path, bar: &Bar) -> Result<(), Failure> {
        let seen = self.look(from).await?;
        let is_directory = seen.found == Found::Directory;
        let source = Source::new(from, is_directory)?;
        let target = place(&source, to, here::found(to)?)?;
        if is_directory {
            here::make_folder(&target)?;
            self.files().get_tree(text(from)?, &target).await?;
            return here::set_mode(&target, seen.mode);
        }
        if !seen.is_file {
            let message = format!("`{}` is neither a file nor a directory", from.display());
            return Err(Failure::usage(message));
        }
        let mut reader = self.files().reader(text(from)?).await?;
        let mut new = NewFile::begin(&target, seen.mode)?;
        while let Some(piece) = reader.next().await? {
            new.write(&piece)?;
            bar.advance(piece.len());
        }
        new.finish()
    }

    /// Unpacks an archive from standard input into a directory of the box.
    pub(crate) async fn stream_in(&self, to: &Path, bar: &Bar) -> Result<(), Failure> {
        let failed = |error| Failure::io("cannot read standard input", &error);
        let unpack = Command::argv(["tar", "-x", "-o", "-f", "-", "-C", text(to)?]);
        let mut running = self.client.boxes().exec(&self.of, unpack).await?;
        let stdin = running.stdin();
        let feeding = async {
            let Some(mut stdin) = stdin else { return Ok::<_, Failure>(()) };
            let mut input = streams::input().map_err(failed)?;
            while let Some(piece) = input.recv().await {
                let piece = piece.map_err(failed)?;
                bar.advance(piece.len());
                // One that reads no more says why when it ends.
                if stdin.send(piece).await.is_err() {
                    break;
                }
            }
            Ok(())
        };
        let (fed, ended) = tokio::join!(feeding, running.output());
        fed?;
        succeeded("tar", ended?)
    }

    /// Writes a file or a tree of the box to standard output as an archive.
    pub(crate) async fn stream_out(&self, from: &Path, bar: &Bar) -> Result<(), Failure> {
        if terminal::output_is_terminal() {
            return Err(Failure::usage("an archive is nothing for a terminal")
                .hint("send it to a file or a program, as with `| tar -t`"));
        }
        let is_directory = self.look(from).await?.found == Found::Directory;
        let source = Source::new(from, is_directory)?;
        let (folder, name) = match from.file_name().and_then(|name| name.to_str()) {
            Some(name) if !is_directory || !source.prefix().is_empty() => {
                (from.parent().unwrap_or(Path::new("/")), name)
            }
            _ => (from, "."),
        };
        let pack = Command::argv(["tar", "-c", "-f", "-", "-C", text(folder)?, "--", name]);
        let mut running = self.client.boxes().exec(&self.of, pack).await?;
        drop(running.stdin());
        let mut ended = boxherd_client::Output::default();
        loop {
            match running.next().await? {
                Event::Stdout(piece) => {
                    bar.advance(piece.len());
                    let written = Output::stdout().write(piece).await;
                    written.map_err(|error| Failure::output(&error))?;
                }
                Event::Stderr(piece) => ended.stderr.extend_from_slice(&piece),
                Event::Exit(code) => {
                    ended.code = code;
                    return succeeded("tar", ended);
                }
            }
        }
    }

    async fn look(&self, path: &Path) -> Result<Seen, Failure> {
        let said = self.run(&["sh", "-c", LOOK, "sh", text(path)?]).await?;
        let mut lines = said.lines();
        let (found, is_file) = match lines.next() {
            Some("directory") => (Found::Directory, false),
            Some("file") => (Found::Other, true),
            Some("other") => (Found::Other, false),
            _ => (Found::Nothing, false),
        };
        let mode = lines.next().and_then(|mode| u32::from_str_radix(mode, 8).ok());
        Ok(Seen { found, is_file, mode: mode.unwrap_or(0o700) & PERMISSIONS })
    }

    /// Runs a command in the box, and gives what it says.
    async fn run(&self, argv: &[&str]) -> Result<String, Failure> {
        let command = Command::argv(argv.iter().copied());
        let ended = self.client.boxes().run(&self.of, command).await?;
        let said = String::from_utf8_lossy(&ended.stdout).into_owned();
        succeeded(argv.first().unwrap_or(&"sh"), ended).map(|()| said)
    }
}

fn succeeded(program: &str, ended: boxherd_client::Output) -> Result<(), Failure> {
    if ended.code == 0 {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&ended.stderr).into_owned();
    let why = text.lines().next().unwrap_or("it does not say why");
    Err(Failure::new("file", format!("`{program}` in the box ended with {}: {why}", ended.code)))
}

fn text(path: &Path) -> Result<&str, Failure> {
    path.to_str().ok_or_else(|| Failure::usage(format!("`{}` is not UTF-8", path.display())))
}
