//! Pseudo-terminals.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, fcntl_getfl, fcntl_setfl, open as open_file};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// A terminal from the `/dev/ptmx` of this mount namespace.
#[derive(Debug)]
pub struct Pty {
    /// Where the terminal's user sits: does not block.
    pub master: OwnedFd,
    /// What the program gets.
    pub slave: OwnedFd,
}

/// Opens a terminal of `rows` × `cols` characters. Neither end is inherited by programs, nor
/// becomes the controlling terminal of this process.
pub fn open(rows: u16, cols: u16) -> io::Result<Pty> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let slave = match ioctl_tiocgptpeer(&master, flags) {
        // gVisor has only the way by name, which needs `/dev/pts` where it was mounted first.
        Err(rustix::io::Errno::NOTTY) => {
            let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
            open_file(ptsname(&master, Vec::new())?, flags, Mode::empty())?
        }
        slave => slave?,
    };
    resize(&master, rows, cols)?;
    fcntl_setfl(&master, fcntl_getfl(&master)? | OFlags::NONBLOCK)?;
    Ok(Pty { master, slave })
}

/// Tells the terminal its size; its foreground programs get SIGWINCH.
pub fn resize(master: impl AsFd, rows: u16, cols: u16) -> io::Result<()> {
    let size = Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
    Ok(tcsetwinsize(master, size)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_has_the_size_it_was_given() {
        let pty = open(30, 100).unwrap();
        resize(&pty.master, 31, 101).unwrap();
        let size = rustix::termios::tcgetwinsize(&pty.slave).unwrap();
        assert_eq!((size.ws_row, size.ws_col), (31, 101));
    }
}
