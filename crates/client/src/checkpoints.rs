//! Checkpoints: saved disks of one box, to go back to.

use boxherd_boxd_api as api;

use crate::Error;
use crate::client::{Client, ask};

/// The checkpoints of a box, which go with it.
///
/// ```no_run
/// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
/// let checkpoints = client.checkpoints("web");
/// checkpoints.create("before").await?;
/// checkpoints.restore("before").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Checkpoints {
    client: Client,
    of: String,
}

/// A checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checkpoint {
    /// For ever.
    pub id: String,
    /// Unique in its box.
    pub name: String,
    /// `ready`, or why it is not.
    pub status: String,
    /// When it was made, in milliseconds since 1970; 0 where the server does not say.
    pub created_ms: i64,
}

impl Checkpoints {
    pub(crate) fn new(client: Client, of: String) -> Self {
        Self { client, of }
    }

    /// Saves the disk of the box.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// client.checkpoints("web").create("before").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn create(&self, name: &str) -> Result<Checkpoint, Error> {
        let asked = api::CreateCheckpointRequest { vm: self.of.clone(), name: name.to_owned() };
        let made = ask!(self.client, Changes, create_checkpoint, asked)?;
        let (id, name, status) = (made.checkpoint_id, made.name, made.status);
        Ok(Checkpoint { id, name, status, created_ms: 0 })
    }

    /// Every checkpoint of the box.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// println!("{} checkpoints", client.checkpoints("web").list().await?.len());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn list(&self) -> Result<Vec<Checkpoint>, Error> {
        let asked = api::ListCheckpointsRequest { vm: self.of.clone() };
        let listed = ask!(self.client, Looks, list_checkpoints, asked)?;
        let told = |checkpoint: api::CheckpointInfo| Checkpoint {
            id: checkpoint.checkpoint_id,
            name: checkpoint.name,
            status: checkpoint.status,
            created_ms: checkpoint.created_at,
        };
        Ok(listed.checkpoints.into_iter().map(told).collect())
    }

    /// Gives the box the disk that was saved. One that runs is started again, without its memory.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// client.checkpoints("web").restore("before").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn restore(&self, name: &str) -> Result<(), Error> {
        let asked = api::RestoreCheckpointRequest { vm: self.of.clone(), name: name.to_owned() };
        ask!(self.client, Changes, restore_checkpoint, asked).map(drop)
    }

    /// Removes a checkpoint.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// client.checkpoints("web").remove("before").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn remove(&self, name: &str) -> Result<(), Error> {
        let asked = api::DeleteCheckpointRequest { vm: self.of.clone(), name: name.to_owned() };
        ask!(self.client, Changes, delete_checkpoint, asked).map(drop)
    }
}
