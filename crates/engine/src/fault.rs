//! Dying on purpose, for the tests that prove that a crash at any step leaves nothing behind.
//!
//! Compiled into builds with debug assertions; in a release [`point`] is nothing.

/// The variable that names the step at which this process kills itself with SIGKILL.
pub const VARIABLE: &str = "BOXHERD_KILL_AT";

/// A step of an operation. With debug assertions, a process whose [`VARIABLE`] is `step` dies
/// here as if by `kill -9`.
#[cfg(debug_assertions)]
pub fn point(step: &str) {
    if std::env::var_os(VARIABLE).is_some_and(|named| named == step) {
        // `abort` would run no destructors either, but SIGKILL is what the tests speak of.
        let pid = std::process::id().to_string();
        let killed = std::process::Command::new("kill").args(["-KILL", &pid]).status();
        unreachable!("survived {killed:?} at {step}");
    }
}

/// A step of an operation; nothing in this build.
#[cfg(not(debug_assertions))]
#[inline]
pub fn point(_step: &str) {}
