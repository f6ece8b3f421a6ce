//! How an instance is: addresses, memory, processor time, logs, console.

use std::collections::BTreeMap;

use bytes::Bytes;
use hyper::Method;
use serde::Deserialize;

use crate::error::{Error, Result};
use crate::files::FileBody;
use crate::instances::Instance;
use crate::transport::Call;

/// How an instance is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct InstanceState {
    /// `Running`, `Stopped`, `Frozen`, …
    pub status: String,
    /// The same as a number: 102 stopped, 103 running, 110 frozen.
    pub status_code: u16,
    /// Its first process, as the server's machine sees it; 0 when it does not run.
    pub pid: i64,
    /// How many processes it has; -1 when that is not known.
    pub processes: i64,
    /// Processor time.
    pub cpu: CpuState,
    /// Memory.
    pub memory: MemoryState,
    /// Disks, by device; `None` when the storage cannot tell.
    pub disk: Option<BTreeMap<String, DiskState>>,
    /// Interfaces, by name; `None` when it does not run.
    pub network: Option<BTreeMap<String, NetworkState>>,
}

/// Processor time of an instance.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct CpuState {
    /// Nanoseconds; -1 when that is not known.
    pub usage: i64,
}

/// Memory of an instance, in bytes.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct MemoryState {
    /// What is used.
    pub usage: i64,
    /// The most that was used.
    pub usage_peak: i64,
    /// What there is; 0 when that is not known.
    pub total: i64,
    /// What of swap is used.
    pub swap_usage: i64,
}

/// A disk of an instance, in bytes.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct DiskState {
    /// What is used.
    pub usage: i64,
    /// Its size; 0 when that is not known.
    pub total: i64,
}

/// An interface of an instance.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NetworkState {
    /// Its addresses.
    #[serde(deserialize_with = "crate::null::is_empty")]
    pub addresses: Vec<Address>,
    /// Its MAC address.
    pub hwaddr: String,
    /// Its other end, on the server's machine.
    pub host_name: String,
    /// `up` or `down`.
    pub state: String,
    /// `broadcast`, `loopback`, …
    #[serde(rename = "type")]
    pub kind: String,
}

/// An address of an interface.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Address {
    /// `inet` or `inet6`.
    pub family: String,
    /// The address itself.
    pub address: String,
    /// Bits of its network.
    pub netmask: String,
    /// `local`, `link` or `global`.
    pub scope: String,
}

impl Instance {
    /// How it is now.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], and whatever a call may fail with.
    pub async fn state(&self) -> Result<InstanceState> {
        self.client().get(self.url(["state"])).await
    }

    /// The names of its log files.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], and whatever a call may fail with.
    pub async fn logs(&self) -> Result<Vec<String>> {
        let paths: Vec<String> = self.client().get(self.url(["logs"])).await?;
        let name = |path: &String| path.rsplit('/').next().unwrap_or_default().to_owned();
        Ok(paths.iter().map(name).collect())
    }

    /// The names of what was recorded of its commands ([`Instance::exec_recorded`]) and not deleted.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], and whatever a call may fail with.
    pub async fn exec_logs(&self) -> Result<Vec<String>> {
        let folder = self.client().get::<Vec<String>>(self.url(["logs", "exec-output"])).await;
        let paths = match folder {
            // LXD keeps them among the others, and finds the folder's name unfit for a log.
            Err(Error::NotFound { .. } | Error::BadRequest { .. }) => self.logs().await?,
            paths => paths?,
        };
        let name = |path: &String| path.rsplit('/').next().unwrap_or_default().to_owned();
        Ok(paths.iter().map(name).filter(|name| name.starts_with("exec_")).collect())
    }

    /// One of its log files, as it comes.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], and whatever a call may fail with.
    pub async fn log(&self, name: &str) -> Result<FileBody> {
        let call = Call::new(Method::GET, self.url(["logs", name]));
        Ok(FileBody::new(self.client().stream(call).await?.into_body()))
    }

    /// What its console showed since it was started, or since it was cleared.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], and whatever a call may fail with.
    pub async fn console_log(&self) -> Result<Bytes> {
        let call = Call::new(Method::GET, self.url(["console"]).query("type", "log"));
        let name = call.name();
        match self.client().stream(call).await {
            Ok(response) => self.client().collect(&name, response.into_body()).await,
            // What LXD 5.0 says when nothing was shown.
            Err(Error::NotFound { message }) if message.starts_with("open : no such file") => {
                Ok(Bytes::new())
            }
            Err(error) => Err(error),
        }
    }
}
