//! Our standard streams, connected to those of a command in a box without ever blocking the one
//! thread on which everything else happens.

use std::io;
use std::os::fd::BorrowedFd;

use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, fstat, makedev};
use rustix::io::Errno;
use rustix::stdio::{stderr, stdin, stdout};
use tokio::sync::mpsc;

/// How much input is read at once, in bytes.
const READ: usize = 128 * 1024;
/// A pipe that has room has room for this much; `PIPE_BUF` of pipe(7).
const SURE: usize = 4096;

/// Waits for the end of standard input; one that cannot be read has ended too.
pub(crate) async fn input_ended() {
    if let Ok(mut pieces) = input() {
        while let Some(Ok(_)) = pieces.recv().await {}
    }
}

/// Reads standard input from now on, on a thread of its own: it may be a file, a pipe or a terminal,
/// and its flags are shared with whoever started us, so it stays blocking. The end is the end of
/// the channel. The thread may be blocked for ever when the program ends.
pub(crate) fn input() -> io::Result<mpsc::Receiver<io::Result<Bytes>>> {
    let (sender, receiver) = mpsc::channel(2);
    if has_ended() {
        return Ok(receiver);
    }
    let read = move || {
        let mut buffer = vec![0; READ];
        loop {
            let piece = match rustix::io::read(stdin(), &mut buffer) {
                Ok(0) => return,
                Ok(count) => Ok(Bytes::copy_from_slice(&buffer[..count])),
                Err(Errno::INTR) => continue,
                Err(errno) => Err(errno.into()),
            };
            let failed = piece.is_err();
            if sender.blocking_send(piece).is_err() || failed {
                return;
            }
        }
    };
    std::thread::Builder::new().name("stdin".to_owned()).spawn(read)?;
    Ok(receiver)
}

/// Whether standard input is over already, as `/dev/null` is, without waiting and without taking
/// anything of it.
fn has_ended() -> bool {
    fstat(stdin()).is_ok_and(|stat| {
        FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
            && stat.st_rdev == makedev(1, 3)
    })
}

/// Standard output or standard error.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    descriptor: fn() -> BorrowedFd<'static>,
    /// Writing to a file does not wait for anybody.
    file: bool,
}

impl Output {
    /// Standard output.
    pub(crate) fn stdout() -> Self {
        Self::new(stdout)
    }

    /// Standard error.
    pub(crate) fn stderr() -> Self {
        Self::new(stderr)
    }

    fn new(descriptor: fn() -> BorrowedFd<'static>) -> Self {
        let kind = fstat(descriptor()).map(|stat| FileType::from_raw_mode(stat.st_mode));
        Self { descriptor, file: kind == Ok(FileType::RegularFile) }
    }

    /// Writes all of `bytes`; on another thread when it might wait for the reader.
    pub(crate) async fn write(self, bytes: Bytes) -> io::Result<()> {
        if self.file || (bytes.len() <= SURE && self.has_room()) {
            return self.write_now(&bytes);
        }
        let write = tokio::task::spawn_blocking(move || self.write_now(&bytes));
        write.await.unwrap_or_else(|error| Err(io::Error::other(error)))
    }

    fn has_room(self) -> bool {
        let descriptor = (self.descriptor)();
        let mut polled = [PollFd::new(&descriptor, PollFlags::OUT)];
        poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) == Ok(1)
    }

    fn write_now(self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match rustix::io::write((self.descriptor)(), bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(Errno::INTR) => {}
                // Someone who shares it made it non-blocking.
                Err(Errno::AGAIN) => self.wait_for_room()?,
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    fn wait_for_room(self) -> io::Result<()> {
        let descriptor = (self.descriptor)();
        match poll(&mut [PollFd::new(&descriptor, PollFlags::OUT)], None) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}
