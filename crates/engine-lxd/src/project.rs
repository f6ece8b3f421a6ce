//! The project of the server that boxes are in: what is said when there is none of that name, or this
//! machine may not use it. The server says then of each thing in it that it is not there, or that it does
//! not trust us.

use boxherd_engine::EngineError;
use boxherd_lxd_client::Error;

use crate::error::failed;
use crate::server::Known;

impl Known {
    /// A step that failed, or what is wrong with the project when that is why.
    pub(crate) async fn failed(&self, step: &str, error: Error) -> EngineError {
        self.no_project_of(&error).await.unwrap_or_else(|| failed(step)(error))
    }

    /// What is wrong with the project when that may be why something failed.
    pub(crate) async fn no_project_of(&self, error: &Error) -> Option<EngineError> {
        match error {
            Error::Untrusted { .. } | Error::NotFound { .. } => self.no_project().await,
            _ => None,
        }
    }

    /// What is wrong with the project; `None` when nothing is, or it cannot be asked.
    async fn no_project(&self) -> Option<EngineError> {
        let (client, name) = (&self.client, self.client.project());
        // Who is not trusted at all sees no project, and is told so.
        client.read_server().await.ok()?.trusted().ok()?;
        let engine = &self.settings.name;
        let (reason, hint) = match client.own_project().await {
            Err(Error::NotFound { .. }) => (
                "the server has no such project",
                format!(
                    "`lxc project list` on the server says which there are; `boxherd engine rm {engine}` \
                     and `engine add --project` name another"
                ),
            ),
            Err(Error::Untrusted { .. } | Error::Forbidden { .. }) => (
                "this machine may not use it",
                "`lxc config trust list` on the server says which certificate is restricted to which \
                 projects, and `lxc config trust edit` changes it"
                    .to_owned(),
            ),
            _ => return None,
        };
        let step = format!("use the project `{name}` of `{engine}`");
        Some(EngineError::Refused { step, source: reason.into(), hint: Some(hint) })
    }

    /// That there is a project, where that it is empty could also mean that there is none: the server
    /// lists nothing in a project that is not there.
    pub(crate) async fn check_project(&self) -> Result<(), EngineError> {
        if self.client.project() == DEFAULT {
            return Ok(());
        }
        self.no_project().await.map_or(Ok(()), Err)
    }
}

/// The project that every server has.
const DEFAULT: &str = "default";
