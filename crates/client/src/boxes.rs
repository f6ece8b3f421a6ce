//! Boxes: made, found, changed, copied, removed.

use std::time::Duration;

use boxherd_boxd_api as api;
use bytes::Bytes;
use tonic::{Code, Streaming};

use crate::client::{Client, ask};
use crate::{BoxInfo, Command, Error, NewBox, Output, Running};

/// How long until a box that is not ready is looked at again.
const LOOKS: Duration = Duration::from_millis(500);

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
    pub(crate) client: Client,
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
        if new.document.is_some() || new.engine.is_some() {
            self.client.needs("spec").await?;
        }
        let asked = api::CreateVmRequest { boxherd_status: true, ..new.asked()? };
        let made = ask!(self.client, Changes, create_vm, asked)?;
        self.told(made.boxherd_vm, &made.vm_id).await
    }

    /// A box that was just made: as its server told of it, or else as it tells when it is asked.
    async fn told(&self, vm: Option<api::GetVmResponse>, id: &str) -> Result<BoxInfo, Error> {
        match vm {
            Some(vm) => Ok(vm.into()),
            None => self.get(id).await,
        }
    }

    async fn forked(&self, asked: api::ForkVmRequest) -> Result<BoxInfo, Error> {
        let asked = api::ForkVmRequest { boxherd_status: true, ..asked };
        let made = ask!(self.client, Changes, fork_vm, asked)?;
        self.told(made.boxherd_vm, &made.vm_id).await
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
        Ok(ask!(self.client, Looks, get_vm, asked)?.into())
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
        self.list_where(&[]).await
    }

    /// The boxes that every selector selects: `KEY`, `!KEY`, `KEY=VALUE` or `KEY!=VALUE`.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// let front = client.boxes().list_where(&["tier=front", "!old"]).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn list_where(&self, selectors: &[&str]) -> Result<Vec<BoxInfo>, Error> {
        let asked = api::ListVmsRequest {
            label_selector: selectors.iter().map(|&selector| selector.to_owned()).collect(),
            boxherd_status: true,
            ..api::ListVmsRequest::default()
        };
        let listed = ask!(self.client, Looks, list_vms, asked)?;
        Ok(listed.vms.into_iter().map(BoxInfo::from).collect())
    }

    /// Starts a box that is stopped.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// client.boxes().start("web").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn start(&self, of: &str) -> Result<(), Error> {
        let asked = api::StartVmRequest { vm_id: of.to_owned() };
        ask!(self.client, Changes, start_vm, asked).map(drop)
    }

    /// Ends the processes of a box; its disk stays.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// client.boxes().stop("web").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn stop(&self, of: &str) -> Result<(), Error> {
        let asked = api::StopVmRequest { vm_id: of.to_owned(), boxherd_grace_ms: None };
        ask!(self.client, Changes, stop_vm, asked).map(drop)
    }

    /// The same, with another time for the processes to end by themselves than the server's. Only servers of
    /// Boxherd can be told.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// client.boxes().stop_within("web", std::time::Duration::from_secs(60)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn stop_within(&self, of: &str, grace: Duration) -> Result<(), Error> {
        let asked =
            api::StopVmRequest { vm_id: of.to_owned(), boxherd_grace_ms: Some(millis(grace)?) };
        self.client.needs("grace").await?;
        ask!(self.client, Changes, stop_vm, asked).map(drop)
    }

    /// Stops a box and starts it.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// client.boxes().restart("web").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn restart(&self, of: &str) -> Result<(), Error> {
        let asked = api::RebootVmRequest { vm_id: of.to_owned(), boxherd_grace_ms: None };
        ask!(self.client, Changes, reboot_vm, asked).map(drop)
    }

    /// The same, with a time as of [`stop_within`](Self::stop_within).
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// client.boxes().restart_within("web", std::time::Duration::from_secs(60)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn restart_within(&self, of: &str, grace: Duration) -> Result<(), Error> {
        let asked =
            api::RebootVmRequest { vm_id: of.to_owned(), boxherd_grace_ms: Some(millis(grace)?) };
        self.client.needs("grace").await?;
        ask!(self.client, Changes, reboot_vm, asked).map(drop)
    }

    /// Stops the clock of a box; what it has in memory stays there.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// client.boxes().suspend("web").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn suspend(&self, of: &str) -> Result<(), Error> {
        let asked = api::SuspendVmRequest { vm_id: of.to_owned() };
        ask!(self.client, Changes, suspend_vm, asked).map(drop)
    }

    /// Lets a box that was suspended go on.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// client.boxes().resume("web").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn resume(&self, of: &str) -> Result<(), Error> {
        let asked = api::ResumeVmRequest { vm_id: of.to_owned() };
        ask!(self.client, Changes, resume_vm, asked).map(drop)
    }

    /// Keeps the memory of a box on disk, until it is resumed.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// client.boxes().hibernate("web").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn hibernate(&self, of: &str) -> Result<(), Error> {
        let asked = api::HibernateVmRequest { vm_id: of.to_owned() };
        ask!(self.client, Changes, hibernate_vm, asked).map(drop)
    }

    /// Lets a box that was hibernated go on.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// client.boxes().wake("web").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn wake(&self, of: &str) -> Result<(), Error> {
        let asked = api::WakeVmRequest { vm_id: of.to_owned() };
        ask!(self.client, Changes, wake_vm, asked).map(drop)
    }

    /// Deletes a box with its disk, whatever it does.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// client.boxes().destroy("web").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn destroy(&self, of: &str) -> Result<(), Error> {
        let asked = api::DestroyVmRequest { vm_id: of.to_owned() };
        ask!(self.client, Changes, destroy_vm, asked).map(drop)
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
        ask!(self.client, Changes, rename_vm, asked).map(drop)
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
        self.forked(asked).await
    }

    /// The same, with the memory of the box: the copy goes on where its source is. Only servers of Boxherd can
    /// be told.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// let copy = client.boxes().fork_live("web", Some("web-2")).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn fork_live(&self, of: &str, new: Option<&str>) -> Result<BoxInfo, Error> {
        let asked = api::ForkVmRequest {
            source_vm_id: of.to_owned(),
            name: new.unwrap_or_default().to_owned(),
            boxherd_live: true,
            ..api::ForkVmRequest::default()
        };
        self.client.needs("live").await?;
        self.forked(asked).await
    }

    /// The same, for a copy that differs from its source in what `copy` says. Its image, its variables
    /// and what it runs are its source's.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// use boxherd_client::NewBox;
    ///
    /// let apart = NewBox { isolated: true, ..NewBox::named("web-2") };
    /// let copy = client.boxes().fork_as("web", apart).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn fork_as(&self, of: &str, copy: NewBox) -> Result<BoxInfo, Error> {
        self.forked(copy.asked_of(of)?).await
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
        Ok(ask!(self.client, Looks, suggest_vm_name, api::SuggestVmNameRequest {})?.name)
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
        Running::start(&self.client, of, &command, false).await
    }

    /// Runs a command in a box, without input, until it ends.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// use boxherd_client::Command;
    ///
    /// let output = client.boxes().run("web", Command::shell("exit 3")).await?;
    /// assert_eq!(output.code, 3);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn run(&self, of: &str, command: Command) -> Result<Output, Error> {
        Running::start(&self.client, of, &command, true).await?.output().await
    }

    /// Waits until a box runs and takes commands: a server may answer before that. Looks twice in a
    /// second, and for as long as `patience`.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// client.boxes().wait_until_ready("web", std::time::Duration::from_secs(90)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn wait_until_ready(&self, of: &str, patience: Duration) -> Result<(), Error> {
        let ready = async {
            while !self.is_ready(of).await? {
                tokio::time::sleep(LOOKS).await;
            }
            Ok(())
        };
        let late = |_| {
            let message = format!("`{of}` was not ready in {} s", patience.as_secs());
            Error::of(Code::DeadlineExceeded, message)
        };
        tokio::time::timeout(patience, ready).await.map_err(late)?
    }

    async fn is_ready(&self, of: &str) -> Result<bool, Error> {
        let status = self.get(of).await?.status;
        match status.as_str() {
            "running" => {}
            "destroyed" | "failed" | "stopped" => {
                let message = format!("`{of}` is {status} and will not be ready");
                return Err(Error::of(Code::FailedPrecondition, message));
            }
            _ => return Ok(false),
        }
        let answers = async { self.run(of, Command::argv(["true"])).await };
        match answers.await {
            Ok(output) => Ok(output.code == 0),
            // One that is just starting.
            Err(Error::WrongState(_) | Error::Busy(_) | Error::TimedOut(_) | Error::Server(_)) => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
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
        Ok(Logs(ask!(self.client, Looks, stream_logs, asked)?))
    }
}

fn millis(time: Duration) -> Result<u64, Error> {
    u64::try_from(time.as_millis()).map_err(|_| Error::Config(format!("{time:?} is too long")))
}
