//! How the commands of a machine spec went. Pure.

use boxherd_model::Timestamp;
use serde::{Deserialize, Serialize};

/// How often a command is begun again when whoever ran it was killed.
const INTERRUPTIONS: u32 = 3;

/// A command, and how it went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// As the spec lists it.
    pub command: String,
    /// How far it is.
    pub state: PackageState,
    /// Once it exited by itself.
    pub exit_code: Option<i32>,
    /// The last 4 KiB of its output.
    pub output: String,
    /// Why it failed without an exit code, or why it waits.
    pub reason: String,
    /// When it was last begun.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub finished: Option<Timestamp>,
    /// How often whoever ran it was killed.
    pub interruptions: u32,
}

/// How far a command is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PackageState {
    /// It was not run yet, or waits for a retry.
    Pending,
    /// It runs.
    Running,
    /// It succeeded.
    Done,
    /// It did not.
    Failed,
    /// It was taken out of the spec before it finished.
    Skipped,
}

impl PackageState {
    /// The wire's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

impl Package {
    pub(crate) fn new(command: String) -> Self {
        Self {
            command,
            state: PackageState::Pending,
            exit_code: None,
            output: String::new(),
            reason: String::new(),
            started: None,
            finished: None,
            interruptions: 0,
        }
    }

    /// Back to where it was never run.
    fn reset(&mut self) {
        *self = Self::new(std::mem::take(&mut self.command));
    }

    pub(crate) fn begin(&mut self, now: Timestamp) {
        let interruptions = self.interruptions;
        self.reset();
        self.interruptions = interruptions;
        self.state = PackageState::Running;
        self.started = Some(now);
    }

    /// It ended, or was not let.
    pub(crate) fn end(&mut self, exit: Result<i32, String>, output: String, now: Timestamp) {
        self.state = match exit {
            Ok(0) => PackageState::Done,
            _ => PackageState::Failed,
        };
        self.exit_code = exit.as_ref().ok().copied();
        self.reason = exit.err().unwrap_or_default();
        self.output = output;
        self.finished = Some(now);
    }

    /// Whoever ran it is gone, and so is it.
    pub(crate) fn interrupt(&mut self, now: Timestamp) {
        self.interruptions += 1;
        if self.interruptions > INTERRUPTIONS {
            return self.end(Err("it was interrupted too often".to_owned()), String::new(), now);
        }
        self.state = PackageState::Pending;
        self.reason = "it was interrupted, and runs again once the box runs".to_owned();
    }
}

/// The command that is to run next: none while one failed.
pub(crate) fn next(packages: &[Package]) -> Option<usize> {
    let open =
        |package: &Package| !matches!(package.state, PackageState::Done | PackageState::Skipped);
    let first = packages.iter().position(open)?;
    (packages[first].state != PackageState::Failed).then_some(first)
}

/// Makes the first failed command and those after it run again. Says which they are.
pub(crate) fn retry(packages: &mut [Package]) -> Vec<String> {
    let failed = packages.iter().position(|package| package.state == PackageState::Failed);
    let again = failed.map(|first| &mut packages[first..]).unwrap_or_default();
    let again =
        again.iter_mut().filter(|p| !matches!(p.state, PackageState::Done | PackageState::Skipped));
    again
        .map(|package| {
            package.reset();
            package.command.clone()
        })
        .collect()
}

/// What a new list of commands changes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Relisted {
    pub(crate) skipped: Vec<String>,
    pub(crate) unskipped: Vec<String>,
}

/// Takes over a new list: what is new is added at the end, what is no longer listed is skipped unless
/// it finished. A command that runs cannot be taken out; it is the error.
pub(crate) fn relist(packages: &mut Vec<Package>, listed: &[String]) -> Result<Relisted, String> {
    let mut changes = Relisted::default();
    for package in packages.iter_mut() {
        let wanted = listed.contains(&package.command);
        match package.state {
            PackageState::Running if !wanted => return Err(package.command.clone()),
            PackageState::Pending | PackageState::Failed if !wanted => {
                package.state = PackageState::Skipped;
                package.reason = "it was taken out of the spec before it finished".to_owned();
                changes.skipped.push(package.command.clone());
            }
            PackageState::Skipped if wanted => {
                package.reset();
                changes.unskipped.push(package.command.clone());
            }
            _ => {}
        }
    }
    let known: Vec<_> = packages.iter().map(|package| package.command.clone()).collect();
    let new = listed.iter().filter(|command| !known.contains(command));
    packages.extend(new.cloned().map(Package::new));
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(5);

    fn list(commands: &[&str]) -> Vec<Package> {
        commands.iter().map(|command| Package::new((*command).to_owned())).collect()
    }

    fn states(packages: &[Package]) -> Vec<&'static str> {
        packages.iter().map(|package| package.state.as_str()).collect()
    }

    #[test]
    fn the_first_failure_stops_the_rest_until_a_retry() {
        let mut packages = list(&["a", "b", "c"]);
        assert_eq!(next(&packages), Some(0));
        packages[0].begin(NOW);
        packages[0].end(Ok(0), String::new(), NOW);
        assert_eq!(next(&packages), Some(1));
        packages[1].begin(NOW);
        packages[1].end(Ok(100), "E: no".to_owned(), NOW);
        assert_eq!(next(&packages), None);
        assert_eq!(states(&packages), ["done", "failed", "pending"]);
        assert_eq!(retry(&mut packages), ["b", "c"]);
        assert_eq!((next(&packages), packages[1].output.as_str()), (Some(1), ""));
        assert_eq!(retry(&mut packages), [""; 0]);
    }

    #[test]
    fn a_command_that_is_interrupted_again_and_again_fails() {
        let mut packages = list(&["a"]);
        for _ in 0..INTERRUPTIONS {
            packages[0].begin(NOW);
            packages[0].interrupt(NOW);
            assert_eq!(next(&packages), Some(0));
        }
        packages[0].begin(NOW);
        packages[0].interrupt(NOW);
        assert_eq!((next(&packages), packages[0].exit_code), (None, None));
        assert_eq!(packages[0].reason, "it was interrupted too often");
    }

    #[test]
    fn a_new_list_adds_skips_and_unskips() {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let mut packages = list(&["a", "b"]);
        packages[0].end(Err("its time was up".to_owned()), String::new(), NOW);
        let changes = relist(&mut packages, &texts(&["b", "c"])).unwrap();
        assert_eq!(changes, Relisted { skipped: texts(&["a"]), unskipped: vec![] });
        assert_eq!(states(&packages), ["skipped", "pending", "pending"]);
        assert_eq!(next(&packages), Some(1), "what is skipped stops nothing");
        let changes = relist(&mut packages, &texts(&["a", "b", "c"])).unwrap();
        assert_eq!(changes, Relisted { skipped: vec![], unskipped: texts(&["a"]) });
        packages[0].begin(NOW);
        assert_eq!(relist(&mut packages, &[]).unwrap_err(), "a");
    }
}
