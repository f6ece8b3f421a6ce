//! Files of the box.
//!
//! Everything that touches a file runs on a thread that may block; reading a file whose pages are
//! in memory is the one exception, because that is where the speed is.

mod ops;
mod read;
mod tree;
mod write;

pub(crate) use self::ops::answer;
pub(crate) use self::read::{list, read};
pub(crate) use self::tree::{tar_in, tar_out};
pub(crate) use self::write::{replace, write};
