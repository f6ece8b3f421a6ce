//! Dying on purpose, for the tests that prove that a crash at any step leaves nothing behind.
//!
//! Compiled into builds with debug assertions; in a release [`point`] is nothing.

/// The variable that names the step at which this process kills itself with SIGKILL.
pub const VARIABLE: &str = "BOXHERD_KILL_AT";

/// The variable that names the step at which this process stands still until it gets SIGCONT.
pub const STANDSTILL: &str = "BOXHERD_STOP_AT";

/// A step of an operation. With debug assertions, a process whose [`VARIABLE`] is `step` dies
/// here as if by `kill -9`, and one whose [`STANDSTILL`] is stands still.
#[cfg(debug_assertions)]
pub fn point(step: &str) {
    let is_at = |variable| std::env::var_os(variable).is_some_and(|named| named == step);
    if is_at(VARIABLE) {
        // `abort` would run no destructors either, but SIGKILL is what the tests speak of.
        let killed = signal("-KILL");
        unreachable!("survived {killed:?} at {step}");
    }
    if is_at(STANDSTILL) {
        let stopped = signal("-STOP");
        assert!(stopped.is_ok_and(|status| status.success()), "went on at {step}");
    }
}

#[cfg(debug_assertions)]
fn signal(signal: &str) -> std::io::Result<std::process::ExitStatus> {
    let pid = std::process::id().to_string();
    std::process::Command::new("kill").args([signal, &pid]).status()
}

/// A step of an operation; nothing in this build.
#[cfg(not(debug_assertions))]
#[inline]
pub fn point(_step: &str) {}
