//! What a box sees as `/`.

pub(crate) mod devices;
pub(crate) mod skeleton;
