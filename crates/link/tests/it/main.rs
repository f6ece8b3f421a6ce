//! The client against agents that are hostile, silent, or of another release.

mod hostile;
mod transcript;
