//! Machine specs: what a box was asked for in one document, and the commands it runs at its first start.
//!
//! The document is a thing that goes with its box. Sizes, labels, networks and environment are those of
//! the box, whoever changes them; only what a box does not know by itself is read from the document.
//! Start reading in `spec.rs`, then `packages.rs`, then `runner.rs`.

mod packages;
mod runner;
mod spec;
mod update;

use std::collections::HashSet;

use boxherd_model::{BoxId, BoxStatus};
use boxherd_store::{BoxRecord, ThingKind, ThingRecord};
use serde::{Deserialize, Serialize};

pub use packages::{Package, PackageState};
pub(crate) use runner::Runners;
pub use spec::MachineSpec;
pub use update::{MachineChange, MachineUpdate, UpdateMachine};

use crate::belongings::{read, written};
use crate::{Herd, HerdError};

/// A box has one, under this name.
const NAME: &str = "machine";

/// The spec of a box, and how its commands went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// As it stands.
    pub spec: MachineSpec,
    /// As it was when the box was made.
    pub created: MachineSpec,
    /// In order.
    pub packages: Vec<Package>,
}

impl Herd {
    /// Keeps the spec of a box that is being made.
    pub(crate) async fn keep_machine(
        &self,
        id: BoxId,
        spec: &MachineSpec,
    ) -> Result<(), HerdError> {
        let packages = spec.packages.iter().cloned().map(Package::new).collect();
        let machine = Machine { spec: spec.clone(), created: spec.clone(), packages };
        self.acquire(ThingKind::Machine, Some(id), NAME, &machine).await.map(drop)
    }

    /// The spec of a box, if it was made from one.
    pub async fn machine_of(&self, status: &BoxStatus) -> Result<Option<Machine>, HerdError> {
        let Some((_, machine)) = self.machine(status.id).await? else { return Ok(None) };
        let network = self.network_of(status).await?;
        let spec = machine.spec.as_of(&status.spec, network);
        Ok(Some(Machine { spec, ..machine }))
    }

    /// Which of the caller's boxes were made from a spec: one look-up, however many boxes there are.
    pub async fn made_from_specs(&self) -> Result<HashSet<BoxId>, HerdError> {
        let things = self.store.things_owned(ThingKind::Machine, self.caller.user()).await?;
        Ok(things.into_iter().filter_map(|thing| thing.of).collect())
    }

    /// Refuses a spec whose secrets its owner does not have.
    pub(crate) async fn check_secrets(&self, spec: &MachineSpec) -> Result<(), HerdError> {
        if spec.secrets.is_empty() {
            return Ok(());
        }
        let own = self.variables(true).await?;
        let missing = spec.secrets.iter().find(|name| !own.iter().any(|own| own.name == **name));
        match missing {
            Some(name) => Err(HerdError::NoSuch { what: "secret", name: name.clone() }),
            None => Ok(()),
        }
    }

    async fn machine(&self, id: BoxId) -> Result<Option<(ThingRecord, Machine)>, HerdError> {
        let Some(thing) = self.store.things_of(ThingKind::Machine, id).await?.pop() else {
            return Ok(None);
        };
        let machine = read(&thing)?;
        Ok(Some((thing, machine)))
    }

    /// Changes what is kept of a box's spec, alone. `None` when there is none.
    async fn edit_machine<T>(
        &self,
        record: &BoxRecord,
        change: impl FnOnce(&mut Machine) -> Result<T, HerdError> + Send,
    ) -> Result<Option<T>, HerdError> {
        let _held = self.lock(record).await?;
        let Some((mut thing, mut machine)) = self.machine(record.id).await? else {
            return Ok(None);
        };
        let before = machine.clone();
        let done = change(&mut machine)?;
        if machine != before {
            thing.body = written(&machine);
            self.store.update_thing(&thing).await?;
        }
        Ok(Some(done))
    }
}
