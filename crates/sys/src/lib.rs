//! The only crate with `unsafe`: the Linux calls that no safe library offers, each wrapped so that
//! its callers need no `unsafe` of their own.
//!
//! It knows the kernel and nothing of boxes, engines or links. One file per family of calls; every
//! `unsafe` block says why it is sound.

#[cfg(target_env = "musl")]
mod alloc;
pub mod btrfs;
pub mod clone;
pub mod exec;
pub mod floor;
pub mod init;
pub mod loopdev;
pub mod mount;
pub mod pty;
pub mod seccomp;
pub mod spawn;
pub mod unshare;
pub mod watch;
