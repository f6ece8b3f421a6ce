//! Files: content by the server's own calls, everything else by programs of the box (those of coreutils
//! or of busybox), since the server can do little more than read and write.

use std::io;
use std::time::Duration;

use boxherd_link::channel;
use boxherd_link::conn::{Inbound, Stream};
use boxherd_link::proto::{self, Answer, Ask, Cause, Failure};
use boxherd_lxd_client::{Error, ExecRequest, FileBody, FileMeta, Found, NewFile, Recorded};
use bytes::{Buf as _, Bytes};
use futures_util::stream::unfold;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Native, end, failed, failure, refused, text};

/// Of what a program says, in bytes: the numbers of [`AT_ONCE`] entries are less.
const MOST_SAID: usize = 1 << 20;
/// Entries of a folder that one program looks at.
const AT_ONCE: usize = 256;
/// How long a server that was lost is looked for, to remove what it has of a file.
const LONGEST_LOSS: Duration = Duration::from_secs(30);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);
/// Pieces of a file on their way to the server.
const PIECES: usize = 8;
/// What `stat` is to tell: mode in hex, and then numbers.
const TOLD: &str = "%f %s %b %u %g %h %d %i %X %Y %Z";
/// What a shell, and the server, exit with when a program is not there.
const NO_PROGRAM: i32 = 127;
/// What programs say, and the error number that it is.
const SAID: [(&str, i32); 8] = [
    ("No such file or directory", 2),
    ("Permission denied", 13),
    ("File exists", 17),
    ("Not a directory", 20),
    ("Is a directory", EISDIR),
    ("No space left on device", 28),
    ("Read-only file system", 30),
    ("Directory not empty", 39),
];
const EISDIR: i32 = 21;
const ENOENT: i32 = 2;

impl Native {
    /// Sends a file, or a part of it, as data, then how it went.
    pub(super) async fn read(&self, stream: Stream, asked: &proto::Read) {
        let sent = async {
            let body = self.file(&asked.path).await?;
            send(&stream, body, asked.offset, asked.length).await
        };
        finish(&stream, sent.await);
    }

    async fn file(&self, path: &[u8]) -> Result<FileBody, Failure> {
        match self.found(text(path, "the path")?).await? {
            Found::File(_, body) => return Ok(body),
            Found::Directory(..) => return Err(failure(Cause::Errno, EISDIR, "it is a folder")),
            Found::Symlink(..) => {}
        }
        // The server does not follow links.
        let real = self.program(&["readlink", "-f", "-n", "--"], &[path]).await?;
        match self.found(text(&real, "the target of the link")?).await? {
            Found::File(_, body) => Ok(body),
            _ => Err(failure(Cause::Errno, EISDIR, "it is a folder")),
        }
    }

    async fn found(&self, path: &str) -> Result<Found, Failure> {
        self.instance.read_file(path).await.map_err(|error| failed(&error))
    }

    /// Takes the content of a file as data, then says how it went. Written beside its place and
    /// renamed, so that nobody sees a half-written one.
    pub(super) async fn write(&self, stream: Stream, asked: &proto::Write) {
        finish(&stream, self.write_whole(&stream, asked).await);
    }

    async fn write_whole(&self, stream: &Stream, asked: &proto::Write) -> Result<bool, Failure> {
        if asked.at.is_some() {
            return Err(self.not_here("writing a part of a file"));
        }
        if asked.sync {
            return Err(self.not_here("waiting until a file is on the disk"));
        }
        let path = text(&asked.path, "the path")?;
        if let (true, Some((folder, _))) = (asked.parents, path.rsplit_once('/')) {
            self.program(&["mkdir", "-p", "--"], &[folder.as_bytes()]).await?;
        }
        let before = match self.stat_of("-L", &[&asked.path]).await {
            Ok(stats) => stats.into_iter().next(),
            Err(failure) if failure.errno == ENOENT => None,
            Err(failure) => return Err(failure),
        };
        if before.is_some_and(|stat| stat.mode & 0o170_000 == 0o040_000) {
            return Err(failure(Cause::Errno, EISDIR, "it is a folder"));
        }
        let owner = asked.owner.map(|owner| (owner.uid, owner.gid));
        let owner = owner.or(before.map(|stat| (stat.uid, stat.gid)));
        let (uid, gid) = owner.unwrap_or_default();
        let mode = asked.mode.or(before.map(|stat| stat.mode & 0o7777)).unwrap_or(0o644);
        let beside = format!("{path}.boxherd-{}", uuid::Uuid::now_v7().simple());
        let new = NewFile::with(FileMeta { uid, gid, mode });
        let written = match self.upload(stream, &beside, new).await {
            Ok(true) => {
                let place = self.program(&["readlink", "-f", "-n", "--"], &[path.as_bytes()]).await;
                // What is not there yet is no link; without `readlink` a link is replaced by the file.
                let place = place.unwrap_or_else(|_| path.as_bytes().to_vec().into());
                let pair = [beside.as_bytes(), &place];
                self.program(&["mv", "-f", "-T", "--"], &pair).await.map(|_| true)
            }
            unfinished => unfinished,
        };
        if !matches!(written, Ok(true)) {
            self.remove_part(&beside).await;
        }
        written
    }

    /// Removes what came of an upload; where the server was lost in the middle of it, when it is back.
    async fn remove_part(&self, path: &str) {
        let until = Instant::now() + LONGEST_LOSS;
        while let Err(error) = self.instance.delete_file(path).await {
            if matches!(error, Error::NotFound { .. }) {
                return;
            }
            if !error.is_away() || Instant::now() >= until {
                tracing::warn!(%error, path, "a part of an upload is left in a box");
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Whether all of it came.
    async fn upload(&self, stream: &Stream, path: &str, new: NewFile) -> Result<bool, Failure> {
        let (pieces, waiting) = mpsc::channel(PIECES);
        let body = unfold(waiting, async |mut waiting: mpsc::Receiver<_>| {
            waiting.recv().await.map(|piece| (piece, waiting))
        });
        let uploaded = self.instance.stream_file(path, new, None, Box::pin(body));
        let (came, uploaded) = tokio::join!(receive(stream, pieces), uploaded);
        match (came, uploaded) {
            (true, Ok(())) => Ok(true),
            (true, Err(error)) => Err(failed(&error)),
            (false, _) => Ok(false),
        }
    }

    /// Sends the entries of a folder, then how it went.
    pub(super) async fn list(&self, stream: Stream, asked: &proto::Path) {
        finish(&stream, self.entries(&stream, asked).await);
    }

    /// Whether somebody took them all.
    async fn entries(&self, stream: &Stream, asked: &proto::Path) -> Result<bool, Failure> {
        let path = text(&asked.path, "the path")?;
        let Found::Directory(_, names) = self.found(path).await? else {
            return Err(failure(Cause::Errno, 20, "it is no folder"));
        };
        let full = |name: &String| format!("{}/{name}", path.trim_end_matches('/')).into_bytes();
        for names in names.chunks(AT_ONCE) {
            let paths: Vec<_> = names.iter().map(full).collect();
            let paths: Vec<_> = paths.iter().map(Vec::as_slice).collect();
            let stats = self.stat_of("", &paths).await?;
            let mut piece = Vec::new();
            for (name, stat) in names.iter().zip(stats) {
                let is_link = stat.mode & 0o170_000 == 0o120_000;
                let target = match is_link {
                    true => Some(self.link(full(name).as_slice()).await?.to_vec()),
                    false => None,
                };
                let entry =
                    proto::Entry { name: name.clone().into_bytes(), stat: Some(stat), target };
                piece.extend(entry.encode_length_delimited_to_vec());
            }
            if stream.send(channel::MAIN, piece.into()).await.is_err() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Answers what is about one or two files.
    pub(super) async fn about_files(&self, ask: &Ask) -> Result<Answer, Failure> {
        match ask {
            Ask::Stat(asked) => self.stat("-L", &asked.path).await,
            Ask::Lstat(asked) => self.stat("", &asked.path).await,
            Ask::ReadLink(asked) => self
                .link(&asked.path)
                .await
                .map(|target| Answer::Path(proto::Path { path: target.to_vec() })),
            Ask::Mkdir(asked) => {
                let mode = format!("{:o}", asked.mode.unwrap_or(0o755));
                let words: &[&str] = match asked.parents {
                    true => &["mkdir", "-p", "-m", &mode, "--"],
                    false => &["mkdir", "-m", &mode, "--"],
                };
                self.done(words, &[&asked.path]).await
            }
            Ask::Remove(asked) => {
                let words: &[&str] = match (asked.recursive, asked.missing_ok) {
                    (true, true) => &["rm", "-r", "-f", "--"],
                    (true, false) => &["rm", "-r", "--"],
                    (false, missing_ok) => return self.remove_one(&asked.path, missing_ok).await,
                };
                self.done(words, &[&asked.path]).await
            }
            Ask::Rename(pair) => {
                self.done(&["mv", "-f", "-T", "--"], &[&pair.from, &pair.to]).await
            }
            Ask::Symlink(pair) => self.done(&["ln", "-s", "--"], &[&pair.from, &pair.to]).await,
            Ask::HardLink(pair) => self.done(&["ln", "--"], &[&pair.from, &pair.to]).await,
            Ask::Chmod(asked) => {
                let mode = format!("{:o}", asked.mode);
                self.done(&["chmod", &mode, "--"], &[&asked.path]).await
            }
            Ask::Chown(asked) => {
                let part = |id: Option<u32>| id.map(|id| id.to_string()).unwrap_or_default();
                let owner = match (asked.uid, asked.gid) {
                    (uid, None) => part(uid),
                    (uid, gid) => format!("{}:{}", part(uid), part(gid)),
                };
                let words: &[&str] = match asked.no_follow {
                    true => &["chown", "-h", &owner, "--"],
                    false => &["chown", &owner, "--"],
                };
                self.done(words, &[&asked.path]).await
            }
            _ => Err(self.not_here("this question about files")),
        }
    }

    async fn done(&self, words: &[&str], paths: &[&[u8]]) -> Result<Answer, Failure> {
        self.program(words, paths).await.map(|_| Answer::Done(proto::Nothing {}))
    }

    async fn remove_one(&self, path: &[u8], missing_ok: bool) -> Result<Answer, Failure> {
        match self.instance.delete_file(text(path, "the path")?).await {
            Err(Error::NotFound { .. }) if missing_ok => Ok(Answer::Done(proto::Nothing {})),
            Ok(()) => Ok(Answer::Done(proto::Nothing {})),
            Err(error) => Err(failed(&error)),
        }
    }

    async fn stat(&self, follow: &str, path: &[u8]) -> Result<Answer, Failure> {
        let stat = self.stat_of(follow, &[path]).await?.into_iter().next();
        stat.map(Answer::Stat).ok_or_else(|| refused("`stat` said nothing"))
    }

    async fn stat_of(&self, follow: &str, paths: &[&[u8]]) -> Result<Vec<proto::Stat>, Failure> {
        let words = ["stat", "-c", TOLD, follow, "--"];
        let words: Vec<_> = words.into_iter().filter(|word| !word.is_empty()).collect();
        let told = self.program(&words, paths).await?;
        let told = text(&told, "what `stat` says")?;
        let unread = || refused("`stat` of this box does not say what is asked for");
        told.lines().map(|line| parse(line).ok_or_else(unread)).collect()
    }

    async fn link(&self, path: &[u8]) -> Result<Bytes, Failure> {
        self.program(&["readlink", "-n", "--"], &[path]).await
    }

    /// What a program of the box writes; its end is no failure.
    async fn program(&self, words: &[&str], paths: &[&[u8]]) -> Result<Bytes, Failure> {
        let mut command: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
        for path in paths {
            command.push(text(path, "the path")?.to_owned());
        }
        let mut request = ExecRequest { cwd: "/".to_owned(), ..ExecRequest::new(command) };
        request.environment.insert("LC_ALL".to_owned(), "C".to_owned());
        let ran = self.instance.exec_recorded(&request, MOST_SAID).await;
        let Recorded { code, stdout, stderr, .. } = ran.map_err(|error| failed(&error))?;
        match code {
            0 => Ok(stdout),
            NO_PROGRAM => Err(self.not_here(&format!("without `{}`, this", words[0]))),
            _ => {
                let said = String::from_utf8_lossy(&stderr).trim().to_owned();
                let errno = SAID.iter().find(|(text, _)| said.contains(text));
                Err(match errno {
                    Some((_, errno)) => failure(Cause::Errno, *errno, said),
                    None => refused(said),
                })
            }
        }
    }
}

/// One line of `stat`.
fn parse(line: &str) -> Option<proto::Stat> {
    let mut words = line.split_ascii_whitespace();
    let mode = u32::from_str_radix(words.next()?, 16).ok()?;
    let mut number = || words.next()?.parse::<u64>().ok();
    let (size, blocks) = (number()?, number()?);
    let (uid, gid) = (u32::try_from(number()?).ok()?, u32::try_from(number()?).ok()?);
    let (nlink, dev, ino) = (number()?, number()?, number()?);
    let mut time = || {
        let seconds = i64::try_from(number()?).ok()?;
        Some(proto::Time { seconds, nanos: 0 })
    };
    let (accessed, modified, changed) = (time(), time(), time());
    let allocated = blocks * 512;
    Some(proto::Stat {
        mode,
        size,
        allocated,
        uid,
        gid,
        nlink,
        dev,
        ino,
        accessed,
        modified,
        changed,
    })
}

/// Ends a stream as what was done on it went; not when its other end has left before.
fn finish(stream: &Stream, went: Result<bool, Failure>) {
    match went {
        Ok(true) => stream.end(Answer::Done(proto::Nothing {})),
        Ok(false) => {}
        Err(failure) => end(stream, failure),
    }
}

/// Sends what of a file was asked for; whether somebody took it.
async fn send(
    stream: &Stream,
    mut body: FileBody,
    mut skip: u64,
    length: Option<u64>,
) -> Result<bool, Failure> {
    let mut left = length.unwrap_or(u64::MAX);
    while left > 0 {
        let mut piece = match body.chunk().await {
            Ok(Some(piece)) => piece,
            Ok(None) => break,
            Err(error) => return Err(refused(format!("the file broke off: {error}"))),
        };
        let skipped = skip.min(piece.len() as u64);
        skip -= skipped;
        // Both are at most the piece's length.
        piece.advance(usize::try_from(skipped).unwrap_or(piece.len()));
        piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        left -= piece.len() as u64;
        if stream.send(channel::MAIN, piece).await.is_err() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Takes the content of a file as it comes; whether it came to its end.
async fn receive(stream: &Stream, pieces: mpsc::Sender<io::Result<Bytes>>) -> bool {
    loop {
        match stream.recv().await {
            Ok(Inbound::Data { bytes, cost, fin, .. }) => {
                if !bytes.is_empty() && pieces.send(Ok(bytes)).await.is_err() {
                    // The server takes no more, and says why.
                    return true;
                }
                stream.release(cost);
                if fin {
                    return true;
                }
            }
            Ok(Inbound::Message(_)) => {}
            Ok(Inbound::End | Inbound::Reset) | Err(_) => {
                // What was sent is no file.
                drop(pieces.send(Err(io::ErrorKind::UnexpectedEof.into())).await);
                return false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stat_says_is_read() {
        let stat = parse("81a4 12 8 1000 100 1 45 99 1700000000 1700000001 1700000002").unwrap();
        assert_eq!((stat.mode, stat.size, stat.allocated), (0o100_644, 12, 4096));
        assert_eq!(
            (stat.uid, stat.gid, stat.modified.unwrap().seconds),
            (1000, 100, 1_700_000_001)
        );
        assert_eq!(parse("81a4 12 8"), None);
        assert_eq!(parse("mode 12 8 1000 100 1 45 99 1 2 3"), None);
    }
}
