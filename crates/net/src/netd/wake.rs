//! Starting `netd` when it is needed and not there.
//!
//! Whoever starts it binds the name server's sockets of one network first and hands them over as
//! standard input (UDP) and standard output (TCP), the way inetd does: questions that a box asks
//! while `netd` is still being executed wait in the socket.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::NetError;
use crate::folder::Folder;

/// The port of name servers.
pub(super) const DNS: u16 = 53;

/// How to start `netd`: a program that calls [`main`](super::main) with the same data folder and
/// installation.
#[derive(Debug, Clone)]
pub struct NetdCommand {
    /// The program, as a rule `/proc/self/exe`.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

/// Takes the lock that says that this process is `netd`; `None` when another one is.
pub(super) fn take_lock(folder: &Folder) -> Result<Option<File>, NetError> {
    let path = folder.path("netd.lock");
    let opened = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
    let file = opened.map_err(NetError::file("open", &path))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(errno) => Err(NetError::file("lock", path)(errno.into())),
    }
}

/// Starts `netd` unless it runs; `None` when it does.
pub(crate) fn wake(
    folder: &Folder,
    gateway: IpAddr,
    command: &NetdCommand,
) -> Result<Option<Child>, NetError> {
    if take_lock(folder)?.is_none() {
        return Ok(None);
    }
    // Between here and the lock of the new process another one can be started; one of them goes.
    let (questions, connections) = sockets(gateway)?;
    let path = folder.path("netd.log");
    let log = File::create(&path).map_err(NetError::file("write", path))?;
    let child = Command::new(&command.program)
        .args(&command.arguments)
        .stdin(questions)
        .stdout(connections)
        .stderr(log)
        // What the terminal sends to the command line is not for `netd`.
        .process_group(0)
        .current_dir("/")
        .spawn();
    child.map(Some).map_err(NetError::kernel("start `netd`"))
}

/// The sockets of a gateway; nothing where another process has them already, which is a `netd`
/// about to start, or about to end.
fn sockets(gateway: IpAddr) -> Result<(Stdio, Stdio), NetError> {
    let address = SocketAddr::new(gateway, DNS);
    let udp = bound(UdpSocket::bind(address).map(OwnedFd::from))?;
    let tcp = bound(TcpListener::bind(address).map(OwnedFd::from))?;
    Ok((udp, tcp))
}

fn bound(socket: std::io::Result<OwnedFd>) -> Result<Stdio, NetError> {
    match socket {
        Ok(socket) => Ok(Stdio::from(socket)),
        Err(error) if error.kind() == ErrorKind::AddrInUse => Ok(Stdio::null()),
        Err(error) => Err(NetError::kernel("bind the name server")(error)),
    }
}
