//! Commands in a running instance.

mod duplex;
mod live;
mod recorded;
mod terminal;

use std::collections::BTreeMap;
use std::fmt;

use hyper::Method;
use serde::Serialize;

pub use duplex::Duplex;
pub use live::{LiveExec, Output, Signals, Stdin};
pub use recorded::Recorded;
pub use terminal::Terminal;

use crate::error::Result;
use crate::instances::Instance;
use crate::operations::Operation;

/// A command, as `POST /1.0/instances/NAME/exec` takes it.
#[derive(Clone, Default, Serialize)]
pub struct ExecRequest {
    /// The program and its arguments; no shell is in between.
    pub command: Vec<String>,
    /// Variables beyond those that the server sets (`PATH`, `HOME`, `USER`, `LANG`, `TERM`).
    pub environment: BTreeMap<String, String>,
    /// The user id.
    pub user: u32,
    /// The group id.
    pub group: u32,
    /// The working folder; empty for the user's home.
    pub cwd: String,
}

/// With the names of variables and without their values, which may be secrets; so may arguments.
impl fmt::Debug for ExecRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecRequest")
            .field("program", &self.command.first())
            .field("variables", &self.environment.keys())
            .field("user", &self.user)
            .field("group", &self.group)
            .field("cwd", &self.cwd)
            .finish_non_exhaustive()
    }
}

impl ExecRequest {
    /// A command of root's.
    pub fn new<S: Into<String>>(command: impl IntoIterator<Item = S>) -> Self {
        let command = command.into_iter().map(Into::into).collect();
        Self { command, ..Self::default() }
    }
}

/// How the server is to run it.
#[derive(Serialize)]
struct Wire<'request> {
    #[serde(flatten)]
    request: &'request ExecRequest,
    #[serde(rename = "wait-for-websocket")]
    wait_for_websocket: bool,
    #[serde(rename = "record-output")]
    record_output: bool,
    interactive: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    width: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    height: Option<u16>,
}

impl<'request> Wire<'request> {
    fn live(request: &'request ExecRequest) -> Self {
        Self {
            request,
            wait_for_websocket: true,
            record_output: false,
            interactive: false,
            width: None,
            height: None,
        }
    }

    fn recorded(request: &'request ExecRequest) -> Self {
        Self { wait_for_websocket: false, record_output: true, ..Self::live(request) }
    }

    fn terminal(request: &'request ExecRequest, columns: u16, rows: u16) -> Self {
        let (width, height) = (Some(columns), Some(rows));
        Self { interactive: true, width, height, ..Self::live(request) }
    }
}

impl Instance {
    async fn start_exec(&self, wire: &Wire<'_>) -> Result<Operation> {
        let operation = self.client().start_json(Method::POST, self.url(["exec"]), wire).await?;
        Ok(operation.of_command())
    }
}
