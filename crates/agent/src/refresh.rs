//! What a resumed, forked or restored box must not keep: clock, randomness, names.

use std::fs;
use std::io::{self, Write};
use std::os::fd::AsFd;

use boxherd_link::proto::{self, Answer, Cause, Refreshed};
use rustix::time::{ClockId, Timespec, clock_settime};

use crate::{Inner, failure, files, io_failure};

/// Renews what is asked for, and reports what the kernel does not let a box do.
pub(crate) fn refresh(inner: &Inner, refresh: &proto::Refresh) -> Answer {
    let mut done = Refreshed::default();
    if let Some(time) = refresh.clock {
        done.clock = step_clock(time);
    }
    if let Some(entropy) = &refresh.entropy {
        match reseed(entropy) {
            Ok(credited) => done.entropy_credited = credited,
            Err(error) => return io_failure(&error),
        }
    }
    if let Some(id) = &refresh.machine_id {
        if id.len() != 32 || !id.bytes().all(|b| b.is_ascii_hexdigit()) {
            return failure(Cause::Refused, 0, "a machine id is 32 hex digits");
        }
        let text = format!("{}\n", id.to_lowercase());
        let path = inner.place(b"/etc/machine-id");
        if let Err(error) = files::replace(&path, text.as_bytes(), 0o444) {
            return io_failure(&error);
        }
    }
    if let Some(name) = &refresh.hostname
        && let Err(error) = rename(inner, name)
    {
        return io_failure(&error);
    }
    Answer::Refreshed(done)
}

/// Whether the clock was set. A box in a user namespace has the host's clock and may not.
fn step_clock(time: proto::Time) -> bool {
    let nanos = i64::from(time.nanos.min(999_999_999));
    clock_settime(ClockId::Realtime, Timespec { tv_sec: time.seconds, tv_nsec: nanos }).is_ok()
}

/// Whether the randomness was credited. Anyone may mix some in.
fn reseed(entropy: &[u8]) -> io::Result<bool> {
    let mut device = fs::File::options().write(true).open("/dev/urandom")?;
    if boxherd_sys::init::credit_entropy(device.as_fd(), entropy).is_ok() {
        return Ok(true);
    }
    device.write_all(entropy)?;
    Ok(false)
}

/// Sets the name of the kernel, and of `/etc/hostname` where there is one.
fn rename(inner: &Inner, name: &str) -> io::Result<()> {
    rustix::system::sethostname(name.as_bytes())?;
    // It may be a link to a file in memory, which stays one.
    match fs::canonicalize(inner.place(b"/etc/hostname")) {
        Ok(path) => files::replace(&path, format!("{name}\n").as_bytes(), 0o644),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}
