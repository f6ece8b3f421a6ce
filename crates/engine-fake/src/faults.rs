//! What goes wrong on purpose, and when.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use boxherd_engine::EngineError;
use boxherd_model::BoxId;
use parking_lot::Mutex;

/// Every step at which something can go wrong, in the order of a box's life. The step named after
/// a method is its first, before anything was done; `METHOD.end` is its last, after everything
/// was done, so that a failure there is an answer that got lost.
pub const STEPS: &[&str] = &[
    "create",
    "create.disk",
    "create.end",
    "start",
    "start.agent",
    "start.end",
    "stop",
    "stop.end",
    "suspend",
    "suspend.end",
    "resume",
    "resume.end",
    "fork",
    "fork.copy",
    "fork.end",
    "connect",
    "rename",
    "claim",
    "reshape",
    "console",
    "usage",
    "inspect",
    "list",
    "snapshot.take",
    "snapshot.take.copy",
    "snapshot.take.end",
    "snapshot.restore",
    "snapshot.restore.swap",
    "snapshot.restore.end",
    "snapshot.remove",
    "snapshot.list",
    "disk.make",
    "disk.attach",
    "disk.list",
    "disk.detach",
    "disk.remove",
    "delete",
    "delete.disk",
    "delete.end",
];

/// What happens at a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// It fails as if the kernel had refused it.
    Refuse,
    /// It fails as if the disk were full.
    DiskFull,
    /// The engine is not reached; whatever came before this step is done.
    Unreachable,
    /// It takes this much longer, and succeeds.
    Slow(Duration),
    /// It never returns: for tests of cancellation.
    Hang,
}

/// Which of the times that a step is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// The Nth time from now on, counted from 1, and only then.
    Nth(u32),
    /// Every time, until [`FaultPlan::clear`].
    Always,
}

/// The faults of one fake engine, shared by every handle on it. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct FaultPlan {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    troubles: BTreeMap<&'static str, Vec<(When, Trouble)>>,
    unreachable: bool,
    lost: Vec<BoxId>,
    log: Vec<&'static str>,
}

impl FaultPlan {
    /// The next time that `step` is reached, `trouble` happens.
    ///
    /// # Panics
    ///
    /// When `step` is none of [`STEPS`]: a test with a typing mistake must not pass.
    pub fn next(&self, step: &str, trouble: Trouble) {
        self.at(step, When::Nth(1), trouble);
    }

    /// When `step` is reached for the `when`th time, `trouble` happens.
    ///
    /// # Panics
    ///
    /// When `step` is none of [`STEPS`].
    pub fn at(&self, step: &str, when: When, trouble: Trouble) {
        let known = STEPS.iter().find(|known| **known == step);
        let step = known.unwrap_or_else(|| panic!("`{step}` is no step of the fake engine"));
        self.inner.lock().troubles.entry(step).or_default().push((when, trouble));
    }

    /// Whether the engine can be reached at all. While it cannot, every call fails with
    /// [`EngineError::Unreachable`]; boxes go on as they are.
    pub fn unreachable(&self, unreachable: bool) {
        self.inner.lock().unreachable = unreachable;
    }

    /// Which boxes are where nobody can look, as on a member of a cluster that is offline. They go on as
    /// they are.
    pub fn lose(&self, boxes: &[BoxId]) {
        self.inner.lock().lost = boxes.to_vec();
    }

    /// Whether a box can be looked at.
    pub(crate) fn see(&self, id: BoxId) -> Result<(), EngineError> {
        match self.inner.lock().lost.contains(&id) {
            false => Ok(()),
            true => Err(EngineError::Unreachable { source: "its member is offline".into() }),
        }
    }

    /// Forgets every fault and the log.
    pub fn clear(&self) {
        *self.inner.lock() = Inner::default();
    }

    /// The steps that were reached so far, in order.
    #[must_use]
    pub fn log(&self) -> Vec<&'static str> {
        self.inner.lock().log.clone()
    }

    /// A step is reached.
    pub(crate) async fn reach(&self, step: &'static str) -> Result<(), EngineError> {
        match self.trouble(step) {
            None => Ok(()),
            Some(Trouble::Slow(extra)) => {
                tokio::time::sleep(extra).await;
                Ok(())
            }
            Some(Trouble::Hang) => std::future::pending().await,
            Some(Trouble::Refuse) => Err(EngineError::refused(step, "injected fault")),
            Some(Trouble::DiskFull) => Err(EngineError::Exhausted {
                resource: "disk space",
                source: std::io::ErrorKind::StorageFull.into(),
            }),
            Some(Trouble::Unreachable) => {
                Err(EngineError::Unreachable { source: "injected fault".into() })
            }
        }
    }

    fn trouble(&self, step: &'static str) -> Option<Trouble> {
        debug_assert!(STEPS.contains(&step), "`{step}` is missing in STEPS");
        let mut inner = self.inner.lock();
        inner.log.push(step);
        if inner.unreachable {
            return Some(Trouble::Unreachable);
        }
        let planned = inner.troubles.get_mut(step)?;
        let mut due = None;
        planned.retain_mut(|(when, trouble)| match when {
            When::Always => {
                due = due.or(Some(*trouble));
                true
            }
            When::Nth(1) => {
                due = due.or(Some(*trouble));
                false
            }
            When::Nth(left) => {
                *left -= 1;
                true
            }
        });
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_second_time_only() {
        let plan = FaultPlan::default();
        plan.at("start", When::Nth(2), Trouble::Refuse);
        assert!(plan.reach("start").await.is_ok());
        assert_eq!(plan.reach("start").await.unwrap_err().code(), "refused");
        assert!(plan.reach("start").await.is_ok());
        assert_eq!(plan.log(), ["start", "start", "start"]);
    }

    #[tokio::test]
    async fn always_until_cleared() {
        let plan = FaultPlan::default();
        plan.at("list", When::Always, Trouble::DiskFull);
        for _ in 0..3 {
            assert_eq!(plan.reach("list").await.unwrap_err().code(), "exhausted");
        }
        plan.clear();
        assert!(plan.reach("list").await.is_ok());
    }

    #[tokio::test]
    async fn nobody_reaches_an_engine_that_is_down() {
        let plan = FaultPlan::default();
        plan.unreachable(true);
        for step in STEPS {
            assert_eq!(plan.reach(step).await.unwrap_err().code(), "unreachable");
        }
    }

    #[test]
    #[should_panic(expected = "no step")]
    fn a_step_that_does_not_exist_is_a_mistake_of_the_test() {
        FaultPlan::default().next("strat", Trouble::Refuse);
    }
}
