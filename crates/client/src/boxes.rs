//! Boxes: made, found, changed, copied, removed.

use std::collections::BTreeMap;

use boxherd_boxd_api as api;
use bytes::Bytes;
use tonic::Streaming;

use crate::client::{Client, Repeat, Wire};
use crate::{Command, Error, Running};

/// The caller's boxes. A box is named by its name or its id.
///
/// ```no_run
/// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
/// let boxes = client.boxes();
/// boxes.stop("web").await?;
/// boxes.rename("web", "old").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Boxes {
    client: Client,
}

/// A box that is to be made; what is not said is as the server does it.
///
/// ```no_run
/// use boxherd_client::NewBox;
///
/// let small = NewBox { memory: Some(256 << 20), ..NewBox::named("small") };
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewBox {
    /// Its name; empty, and the server makes one up.
    pub name: String,
    /// What to boot from; empty, and it is the server's default.
    pub image: String,
    /// What it runs besides its agent.
    pub cmd: Vec<String>,
    /// Variables of what it runs.
    pub env: BTreeMap<String, String>,
    /// When what it runs ends: `never`, `on-failure` or `always`; empty is `never`.
    pub restart: String,
    /// At most this many processors.
    pub cpus: Option<u32>,
    /// At most this much memory, in bytes.
    pub memory: Option<u64>,
    /// At most this much disk, in bytes.
    pub disk: Option<u64>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// The network it is in; `None` for the user's own.
    pub network: Option<String>,
    /// It sees no other box.
    pub isolated: bool,
}

impl NewBox {
    /// With this name, and everything else as the server does it.
    ///
    /// ```no_run
    /// let web = boxherd_client::NewBox::named("web");
    /// ```
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    fn asked(self) -> api::CreateVmRequest {
        let config = api::VmConfig {
            vcpu: self.cpus.unwrap_or(0),
            memory_bytes: self.memory.unwrap_or(0),
            disk_bytes: self.disk.unwrap_or(0),
            ..api::VmConfig::default()
        };
        let variable = |(key, value)| api::EnvVar { key, value };
        api::CreateVmRequest {
            name: self.name,
            image_ref: self.image,
            env: self.env.into_iter().map(variable).collect(),
            cmd: self.cmd,
            restart_policy: self.restart,
            config: Some(config),
            networks: self.network.into_iter().collect(),
            isolated: self.isolated,
            labels: self.labels.into_iter().collect(),
            ..api::CreateVmRequest::default()
        }
    }
}

/// What a server says of a box.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BoxInfo {
    /// For ever.
    pub id: String,
    /// As it is called now.
    pub name: String,
    /// What it was booted from.
    pub image: String,
    /// `running`, `stopped`, `suspended`, `hibernated`, …
    pub status: String,
    /// Where it is reached.
    pub address: String,
    /// When it was made, in seconds since 1970.
    pub created: i64,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// All that a Boxherd server knows of it, as `boxherd show -o json` prints it; `None` from
    /// others.
    pub document: Option<String>,
}

impl From<api::GetVmResponse> for BoxInfo {
    fn from(vm: api::GetVmResponse) -> Self {
        Self {
            id: vm.vm_id,
            name: vm.name,
            image: vm.image_ref,
            status: vm.status,
            address: vm.public_ip,
            created: vm.created_at,
            labels: vm.labels.into_iter().collect(),
            document: Some(vm.boxherd_status).filter(|document| !document.is_empty()),
        }
    }
}

/// What a box writes to its console.
#[derive(Debug)]
pub struct Logs(Streaming<api::LogChunk>);

impl Logs {
    /// The next piece; `None` when there is no more.
    ///
    /// ```no_run
    /// # async fn example(mut logs: boxherd_client::Logs) -> Result<(), boxherd_client::Error> {
    /// while let Some(piece) = logs.next().await? {
    ///     print!("{}", String::from_utf8_lossy(&piece));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        Ok(self.0.message().await?.map(|chunk| chunk.data))
    }
}

/// Methods that change one box and answer nothing.
macro_rules! changes {
    ($($(#[$doc:meta])* $name:ident: $method:ident($Request:ident);)*) => {$(
        $(#[$doc])*
        pub async fn $name(&self, of: &str) -> Result<(), Error> {
            let asked = api::$Request { vm_id: of.to_owned() };
            let method = |mut wire: Wire, asked| async move { wire.$method(asked).await };
            self.client.call(Repeat::Changes, asked, method).await.map(drop)
        }
    )*};
}

impl Boxes {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Makes a box and starts it. The wire has no key for idempotence: where the answer is lost,
    /// whether the box was made is to be seen by its name.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// let web = client.boxes().create(boxherd_client::NewBox::named("web")).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn create(&self, new: NewBox) -> Result<BoxInfo, Error> {
        let method = |mut wire: Wire, asked| async move { wire.create_vm(asked).await };
        let made = self.client.call(Repeat::Changes, new.asked(), method).await?;
        self.get(&made.vm_id).await
    }

    /// One box.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// println!("{}", client.boxes().get("web").await?.status);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get(&self, of: &str) -> Result<BoxInfo, Error> {
        let asked = api::GetVmRequest { vm_id: of.to_owned(), boxherd_status: true };
        let method = |mut wire: Wire, asked| async move { wire.get_vm(asked).await };
        Ok(self.client.call(Repeat::Looks, asked, method).await?.into())
    }

    /// Every box.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// println!("{} boxes", client.boxes().list().await?.len());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn list(&self) -> Result<Vec<BoxInfo>, Error> {
        let asked = api::ListVmsRequest { boxherd_status: true, ..api::ListVmsRequest::default() };
        let method = |mut wire: Wire, asked| async move { wire.list_vms(asked).await };
        let listed = self.client.call(Repeat::Looks, asked, method).await?;
        Ok(listed.vms.into_iter().map(BoxInfo::from).collect())
    }

    changes! {
        /// Starts a box that is stopped.
        ///
        /// ```no_run
        /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
        /// client.boxes().start("web").await?;
        /// # Ok(())
        /// # }
        /// ```
        start: start_vm(StartVmRequest);
        /// Ends the processes of a box; its disk stays.
        ///
        /// ```no_run
        /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
        /// client.boxes().stop("web").await?;
        /// # Ok(())
        /// # }
        /// ```
        stop: stop_vm(StopVmRequest);
        /// Stops a box and starts it.
        ///
        /// ```no_run
        /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
        /// client.boxes().restart("web").await?;
        /// # Ok(())
        /// # }
        /// ```
        restart: reboot_vm(RebootVmRequest);
        /// Stops the clock of a box; what it has in memory stays there.
        ///
        /// ```no_run
        /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
        /// client.boxes().suspend("web").await?;
        /// # Ok(())
        /// # }
        /// ```
        suspend: suspend_vm(SuspendVmRequest);
        /// Lets a box that was suspended go on.
        ///
        /// ```no_run
        /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
        /// client.boxes().resume("web").await?;
        /// # Ok(())
        /// # }
        /// ```
        resume: resume_vm(ResumeVmRequest);
        /// Keeps the memory of a box on disk, until it is resumed.
        ///
        /// ```no_run
        /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
        /// client.boxes().hibernate("web").await?;
        /// # Ok(())
        /// # }
        /// ```
        hibernate: hibernate_vm(HibernateVmRequest);
        /// Deletes a box with its disk, whatever it does.
        ///
        /// ```no_run
        /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
        /// client.boxes().destroy("web").await?;
        /// # Ok(())
        /// # }
        /// ```
        destroy: destroy_vm(DestroyVmRequest);
    }

    /// Gives a box another name.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// client.boxes().rename("web", "old").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn rename(&self, of: &str, new: &str) -> Result<(), Error> {
        let asked = api::RenameVmRequest { vm_id: of.to_owned(), new_name: new.to_owned() };
        let method = |mut wire: Wire, asked| async move { wire.rename_vm(asked).await };
        self.client.call(Repeat::Changes, asked, method).await.map(drop)
    }

    /// Copies a box: its disk, and a new identity. Without a name the server makes one up.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// let copy = client.boxes().fork("web", Some("web-2")).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn fork(&self, of: &str, new: Option<&str>) -> Result<BoxInfo, Error> {
        let asked = api::ForkVmRequest {
            source_vm_id: of.to_owned(),
            name: new.unwrap_or_default().to_owned(),
            ..api::ForkVmRequest::default()
        };
        let method = |mut wire: Wire, asked| async move { wire.fork_vm(asked).await };
        let made = self.client.call(Repeat::Changes, asked, method).await?;
        self.get(&made.vm_id).await
    }

    /// A name that no box has yet.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// println!("{}", client.boxes().suggest_name().await?);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn suggest_name(&self) -> Result<String, Error> {
        let method = |mut wire: Wire, asked| async move { wire.suggest_vm_name(asked).await };
        Ok(self.client.call(Repeat::Looks, api::SuggestVmNameRequest {}, method).await?.name)
    }

    /// Runs a command in a box; it runs when this is answered.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// use boxherd_client::Command;
    ///
    /// let running = client.boxes().exec("web", Command::argv(["uname"])).await?;
    /// assert_eq!(running.output().await?.stdout, b"Linux\n");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn exec(&self, of: &str, command: Command) -> Result<Running, Error> {
        Running::start(&self.client, of, &command).await
    }

    /// What a box wrote to its console; with `follow`, also what it writes from now on.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// let mut logs = client.boxes().logs("web", false).await?;
    /// while let Some(piece) = logs.next().await? {
    ///     print!("{}", String::from_utf8_lossy(&piece));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn logs(&self, of: &str, follow: bool) -> Result<Logs, Error> {
        let asked = api::StreamLogsRequest { vm_id: of.to_owned(), follow };
        let method = |mut wire: Wire, asked| async move { wire.stream_logs(asked).await };
        Ok(Logs(self.client.call(Repeat::Looks, asked, method).await?))
    }
}
