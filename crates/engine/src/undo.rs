//! Undoing the first half of something that failed in the second.

use std::fmt;

use tracing::warn;

type Step = Box<dyn FnOnce() -> std::io::Result<()> + Send>;

/// A stack of undo steps. Dropped before [`commit`](Self::commit), it runs them, last first; a step
/// that fails is logged and the others still run.
#[derive(Default)]
pub struct Undo {
    steps: Vec<(String, Step)>,
}

impl Undo {
    /// An empty stack.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Pushes the step that undoes what was just done; `what` names it in the log.
    pub fn push(
        &mut self,
        what: impl Into<String>,
        step: impl FnOnce() -> std::io::Result<()> + Send + 'static,
    ) {
        self.steps.push((what.into(), Box::new(step)));
    }

    /// All went well: nothing will be undone.
    pub fn commit(mut self) {
        self.steps.clear();
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        while let Some((what, step)) = self.steps.pop() {
            if let Err(error) = step() {
                warn!(%error, step = %what, "an undo step failed");
            }
        }
    }
}

impl fmt::Debug for Undo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.steps.iter().map(|(what, _)| what)).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    fn recording(
        log: &Arc<Mutex<Vec<u8>>>,
        entry: u8,
    ) -> impl FnOnce() -> std::io::Result<()> + use<> {
        let log = Arc::clone(log);
        move || {
            log.lock().unwrap().push(entry);
            if entry == 2 { Err(std::io::Error::other("no")) } else { Ok(()) }
        }
    }

    #[test]
    fn a_dropped_stack_unwinds_last_first_past_failures() {
        let log = Arc::default();
        let mut undo = Undo::new();
        for entry in 1..=3 {
            undo.push(format!("step {entry}"), recording(&log, entry));
        }
        drop(undo);
        assert_eq!(*log.lock().unwrap(), [3, 2, 1]);
    }

    #[test]
    fn a_committed_stack_does_nothing() {
        let log = Arc::default();
        let mut undo = Undo::new();
        undo.push("step", recording(&log, 1));
        undo.commit();
        assert!(log.lock().unwrap().is_empty());
    }
}
