//! Copies of disks: fork and snapshots.

use boxherd_engine::{Child, EngineError, Made, TruthState, fault};
use boxherd_model::{BoxId, SnapshotId, Timings};
use std::time::Instant;

use crate::core::Core;
use crate::error::{at, storage};
use crate::record::{self, Runtime};
use crate::standstill::Standstill;
use crate::storage::LayerCopy;

impl Core {
    pub(crate) fn fork(&self, source: BoxId, children: &[Child]) -> Result<Vec<Made>, EngineError> {
        let record = self.record(source)?;
        let made = self.copy_to_all(source, record.image.as_ref(), children);
        self.or_remove(children, made)
    }

    /// All copies, or none.
    pub(crate) fn or_remove(
        &self,
        children: &[Child],
        made: Result<Vec<Made>, EngineError>,
    ) -> Result<Vec<Made>, EngineError> {
        if made.is_err() {
            for child in children {
                // The reason why the fork failed says more than why its remains could not be
                // removed; those are removed by the next delete or by reconciliation.
                if let Err(error) = self.delete(child.id) {
                    tracing::warn!(%error, id = %child.id, "a half-made copy was left");
                }
            }
        }
        made
    }

    fn copy_to_all(
        &self,
        source: BoxId,
        image: Option<&String>,
        children: &[Child],
    ) -> Result<Vec<Made>, EngineError> {
        for child in children {
            self.begin(child.id, &child.spec, image.cloned())?;
        }
        fault::point("fork.claimed");
        let layers = layers(children);
        let begun = Instant::now();
        self.standing_still(source, || self.pool.clone_layers(source, &layers).map_err(storage))?;
        let took = begun.elapsed();
        fault::point("fork.cloned");
        children.iter().try_for_each(|child| self.finish(child.id))?;
        let mut timings = Timings::default();
        timings.push("disk", took);
        let made = Made { image_digest: image.cloned(), timings, ..Made::default() };
        Ok(vec![made; children.len()])
    }

    /// Runs `work` while no process of the box does. A box that was frozen before stays so.
    fn standing_still<T>(
        &self,
        id: BoxId,
        work: impl FnOnce() -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        if self.state(id)? != Some(TruthState::Running) {
            return work();
        }
        let Some(group) = self.group(id) else {
            let _still = self.stop_processes(id)?;
            return work();
        };
        group.freeze().map_err(at("freeze the box"))?;
        fault::point("fork.frozen");
        let done = work();
        group.thaw().map_err(at("thaw the box"))?;
        done
    }

    /// Where there is no freezer.
    fn stop_processes(&self, id: BoxId) -> Result<Option<Standstill>, EngineError> {
        let runtime = record::read::<Runtime>(&self.folder(id).runtime());
        let Some(runtime) = runtime.map_err(at("read `runtime.json`"))? else { return Ok(None) };
        Standstill::begin(runtime.pid).map(Some).map_err(at("stop the box's processes"))
    }

    pub(crate) fn take_snapshot(&self, id: BoxId, to: SnapshotId) -> Result<(), EngineError> {
        self.record(id)?;
        self.standing_still(id, || self.pool.take_snapshot(id, to).map_err(storage))
    }

    pub(crate) fn restore_snapshot(&self, id: BoxId, from: SnapshotId) -> Result<(), EngineError> {
        self.record(id)?;
        match self.state(id)? {
            Some(TruthState::Stopped(_)) => {}
            _ => return Err(EngineError::WrongState { op: "restore", found: "running" }),
        }
        self.pool.restore_snapshot(id, from).map_err(storage)?;
        fault::point("restore.swapped");
        // What was restored may have been copied from this box when it was another machine's.
        record::remove(&self.folder(id).identity()).map_err(at("renew the box's identity"))
    }
}

pub(crate) fn layers(children: &[Child]) -> Vec<LayerCopy> {
    let layer = |child: &Child| LayerCopy { id: child.id, limit: child.spec.limits.disk };
    children.iter().map(layer).collect()
}
