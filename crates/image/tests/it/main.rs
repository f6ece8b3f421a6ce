//! The image store against a real registry, real archives and real crashes.

mod concurrent;
mod debian;
mod import;
mod pull;
mod remove;
mod rootless;
mod support;
