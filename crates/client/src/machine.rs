//! Machine specs: documents of which boxes are made, and which are changed by patches.

use std::collections::BTreeMap;

use boxherd_boxd_api as api;

use crate::client::ask;
use crate::{Boxes, Error};

/// A document of which a box is made; it says all of what it has fields for.
///
/// ```no_run
/// use boxherd_client::{MachineSpec, NewBox};
///
/// let spec = MachineSpec {
///     size: "1x1".to_owned(),
///     packages: vec!["apt-get install -y nginx".to_owned()],
///     ..MachineSpec::default()
/// };
/// let web = NewBox { spec: Some(spec), ..NewBox::named("web") };
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MachineSpec {
    /// Processors and GiB of memory, such as `2x4`.
    pub size: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// The networks that it is in.
    pub networks: Vec<String>,
    /// It sees no other box.
    pub isolated: bool,
    /// All that it may reach; everything where nothing is named.
    pub egress: Vec<String>,
    /// Variables.
    pub env: BTreeMap<String, String>,
    /// Secrets that it is given, by name.
    pub secrets: Vec<String>,
    /// Commands that are run once, as root, after the first start.
    pub packages: Vec<String>,
}

/// A command of a spec, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Package {
    /// The command.
    pub command: String,
    /// `pending`, `running`, `done`, `failed` or `skipped`.
    pub state: String,
    /// How it ended.
    pub code: Option<i32>,
    /// The end of what it said; of one box only, and not in lists.
    pub output: String,
    /// Why it is in its state, where that is not plain.
    pub reason: String,
}

/// How a spec is changed.
///
/// ```no_run
/// let how = boxherd_client::SpecUpdate { reboot: true, ..Default::default() };
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpecUpdate {
    /// Only says what would change.
    pub dry_run: bool,
    /// Restarts a box that runs, where that is needed.
    pub reboot: bool,
    /// Runs the commands that failed again, and those after them.
    pub retry_packages: bool,
    /// Changes nothing unless the spec is this one, as JSON.
    pub expected: Option<String>,
}

/// What was changed, or would be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpecUpdated {
    /// The fields, and when each of them holds: `live`, `reboot` or `reboot_recommended`.
    pub changes: Vec<(String, String)>,
    /// The spec as it is then.
    pub spec: MachineSpec,
    /// Whether it was changed.
    pub applied: bool,
    /// Whether the box was restarted for it.
    pub rebooted: bool,
    /// Whether it would have to be.
    pub reboot_required: bool,
}

impl From<api::MachineSpec> for MachineSpec {
    fn from(spec: api::MachineSpec) -> Self {
        Self {
            size: spec.size,
            labels: spec.labels.into_iter().collect(),
            networks: spec.networks,
            isolated: spec.isolated,
            egress: spec.egress,
            env: spec.env.into_iter().collect(),
            secrets: spec.secrets,
            packages: spec.packages,
        }
    }
}

impl From<MachineSpec> for api::MachineSpec {
    fn from(spec: MachineSpec) -> Self {
        Self {
            version: 1,
            size: spec.size,
            labels: spec.labels.into_iter().collect(),
            networks: spec.networks,
            isolated: spec.isolated,
            egress: spec.egress,
            env: spec.env.into_iter().collect(),
            secrets: spec.secrets,
            packages: spec.packages,
            ..Self::default()
        }
    }
}

impl From<api::MachinePackage> for Package {
    fn from(package: api::MachinePackage) -> Self {
        Self {
            command: package.command,
            state: package.state,
            code: package.exit_code,
            output: package.output_tail,
            reason: package.reason,
        }
    }
}

impl Boxes {
    /// Changes the spec of a box that was made from one, by a merge patch (RFC 7396).
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// let patch = r#"{ "env": { "COLOUR": "blue" }, "labels": { "old": null } }"#;
    /// let done = client.boxes().update_spec("web", patch, Default::default()).await?;
    /// assert!(done.applied);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn update_spec(
        &self,
        of: &str,
        patch: &str,
        how: SpecUpdate,
    ) -> Result<SpecUpdated, Error> {
        let asked = api::UpdateMachineSpecRequest {
            vm: of.to_owned(),
            patch: patch.to_owned(),
            dry_run: how.dry_run,
            reboot: how.reboot,
            retry_packages: how.retry_packages,
            expected_spec: how.expected.unwrap_or_default(),
        };
        let done = ask!(self.client, Changes, update_machine_spec, asked)?;
        Ok(SpecUpdated {
            changes: done.changes.into_iter().map(|change| (change.field, change.apply)).collect(),
            spec: done.spec.map(MachineSpec::from).unwrap_or_default(),
            applied: done.applied,
            rebooted: done.rebooted,
            reboot_required: done.reboot_required,
        })
    }
}
