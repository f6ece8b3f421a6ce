//! A herd that is elsewhere: the same questions, asked of a server with `boxherd-client`. What boxd's wire
//! cannot say, ours says in fields of its own.

mod snapshots;
mod spec;

use std::path::PathBuf;
use std::time::Duration;

use boxherd_client::{BoxInfo, Client, Command, Error, PtySize, Running};
use boxherd_herd::Create;
use boxherd_link::ExecRequest;
use boxherd_model::{Address, BoxName, BoxStatus, Labels};
use tokio::sync::OnceCell;

use crate::args::Global;
use crate::commands::Shown;
use crate::env;
use crate::failure::Failure;

/// Where the key is, unless it is in a file.
const KEY: &str = "BOXHERD_API_KEY";
/// A token, which is used as it is. It wins over the variable with the key.
const TOKEN: &str = "BOXHERD_TOKEN";
/// How long a server gives processes to end when nobody says.
const GRACE: Duration = Duration::from_secs(10);

/// A server, connected to when something is asked of it.
#[derive(Debug)]
pub(crate) struct Remote {
    url: String,
    key_file: Option<PathBuf>,
    ca: Option<PathBuf>,
    client: OnceCell<Client>,
}

impl Remote {
    /// The server that was named, if one was.
    pub(crate) fn new(global: &Global) -> Option<Self> {
        let url = global.server.clone().filter(|url| !url.is_empty())?;
        let (key_file, ca) = (global.api_key_file.clone(), global.ca.clone());
        Some(Self { url, key_file, ca, client: OnceCell::new() })
    }

    /// What asks it.
    pub(crate) async fn client(&self) -> Result<&Client, Failure> {
        let connect = async || {
            let builder = Client::builder().endpoint(&self.url);
            let token = env::text(TOKEN).filter(|_| self.key_file.is_none());
            let mut builder = match token {
                Some(token) => builder.token(token),
                None => builder.api_key(self.key()?),
            };
            if let Some(file) = &self.ca {
                builder = builder.ca(std::fs::read(file).map_err(|error| unread(file, &error))?);
            }
            Ok(builder.connect().await?)
        };
        self.client.get_or_try_init(connect).await
    }

    fn key(&self) -> Result<String, Failure> {
        let Some(file) = &self.key_file else {
            return env::text(KEY).ok_or_else(|| {
                Failure::usage("the server wants to know who asks, and there is no API key")
                    .hint(format!("set `{KEY}`, or use `--api-key-file FILE`"))
            });
        };
        let text = std::fs::read_to_string(file).map_err(|error| unread(file, &error))?;
        Ok(text.trim().to_owned())
    }

    pub(crate) async fn list(&self) -> Result<Vec<BoxStatus>, Failure> {
        let boxes = self.client().await?.boxes().list().await?;
        boxes.iter().map(|found| Ok(shown(found)?.status)).collect()
    }

    pub(crate) async fn shown(&self, address: &Address) -> Result<Shown, Failure> {
        shown(&self.client().await?.boxes().get(&address.to_string()).await?)
    }

    pub(crate) async fn create(&self, create: Create) -> Result<BoxStatus, Failure> {
        let new = spec::new_box(create)?;
        Ok(shown(&self.client().await?.boxes().create(new).await?)?.status)
    }

    pub(crate) async fn change(
        &self,
        address: &Address,
        change: Change,
    ) -> Result<BoxStatus, Failure> {
        let boxes = self.client().await?.boxes();
        // By its id from now on: it may be called otherwise afterwards.
        let id = boxes.get(&address.to_string()).await?.id;
        match change {
            Change::Start => boxes.start(&id).await?,
            Change::Stop(GRACE) => boxes.stop(&id).await?,
            Change::Stop(grace) => boxes.stop_within(&id, grace).await?,
            Change::Restart(GRACE) => boxes.restart(&id).await?,
            Change::Restart(grace) => boxes.restart_within(&id, grace).await?,
            Change::Suspend => boxes.suspend(&id).await?,
            Change::Resume => boxes.resume(&id).await?,
            Change::Hibernate => boxes.hibernate(&id).await?,
            Change::Rename(name) => boxes.rename(&id, name.as_str()).await?,
        }
        Ok(shown(&boxes.get(&id).await?)?.status)
    }

    pub(crate) async fn label(
        &self,
        address: &Address,
        set: &Labels,
        remove: &[String],
    ) -> Result<BoxStatus, Failure> {
        let boxes = self.client().await?.boxes();
        let set: Vec<_> = set.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let remove: Vec<_> = remove.iter().map(String::as_str).collect();
        let of = address.to_string();
        boxes.label(&of, &set, &remove).await?;
        Ok(shown(&boxes.get(&of).await?)?.status)
    }

    pub(crate) async fn delete(&self, address: &Address) -> Result<(), Failure> {
        Ok(self.client().await?.boxes().destroy(&address.to_string()).await?)
    }

    pub(crate) async fn fork(
        &self,
        address: &Address,
        names: &[BoxName],
        live: bool,
    ) -> Result<Vec<BoxStatus>, Failure> {
        let boxes = self.client().await?.boxes();
        let mut made = Vec::new();
        for name in names {
            let (of, name) = (address.to_string(), Some(name.as_str()));
            let copy = match live {
                true => boxes.fork_live(&of, name).await?,
                false => boxes.fork(&of, name).await?,
            };
            made.push(shown(&copy)?.status);
        }
        Ok(made)
    }

    pub(crate) async fn suggest_name(&self) -> Result<BoxName, Failure> {
        let name = self.client().await?.boxes().suggest_name().await?;
        name.parse().map_err(|error| Failure::of(&error, "protocol", None))
    }

    pub(crate) async fn exec(
        &self,
        address: &Address,
        request: ExecRequest,
    ) -> Result<Running, Failure> {
        let mut command = match request.command {
            boxherd_link::Command::Argv(argv) => Command::argv(argv),
            boxherd_link::Command::Shell(line) => Command::shell(line),
        };
        for (key, value) in request.env {
            command = command.env(key, value);
        }
        if let Some(folder) = request.workdir {
            command = command.workdir(folder);
        }
        if let Some(user) = request.user {
            command = command.user(user);
        }
        if let Some(size) = request.pty {
            command = command.pty(PtySize { rows: size.rows, cols: size.cols });
        }
        if request.detach_ttl > Duration::ZERO {
            command = command.keep(request.detach_ttl);
        }
        Ok(self.client().await?.boxes().exec(&address.to_string(), command).await?)
    }

    pub(crate) async fn logs(
        &self,
        address: &Address,
        follow: bool,
    ) -> Result<boxherd_client::Logs, Failure> {
        Ok(self.client().await?.boxes().logs(&address.to_string(), follow).await?)
    }
}

/// What is to become of a box.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    Start,
    Stop(Duration),
    Restart(Duration),
    Suspend,
    Resume,
    Hibernate,
    Rename(BoxName),
}

fn unread(file: &std::path::Path, error: &std::io::Error) -> Failure {
    Failure::io(format!("cannot read `{}`", file.display()), error)
}

fn shown(found: &BoxInfo) -> Result<Shown, Failure> {
    let document = found.document.as_deref().ok_or_else(|| {
        Failure::new("protocol", "the server does not say all that is to be shown of a box")
            .hint("`--server` needs a `boxherd serve` of this version")
    })?;
    serde_json::from_str(document).map_err(|error| Failure::of(&error, "protocol", None))
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let (code, hint) = match error.refusal() {
            Some(refusal) => (refusal.code.clone(), refusal.hint.clone()),
            None => (None, None),
        };
        let kind = match &error {
            Error::Unavailable { .. } => "unavailable",
            Error::Config(_) => "usage",
            Error::RateLimited { .. } => "rate-limited",
            _ => "server",
        };
        let hint = hint.or_else(|| match &error {
            Error::Unavailable { maybe_done: true, .. } => {
                Some("it may have been done all the same: look before you repeat it".to_owned())
            }
            Error::Unavailable { .. } => Some("is `boxherd serve` running there?".to_owned()),
            _ => None,
        });
        Self::Told { message: error.to_string(), code: code.map_or(kind.into(), Into::into), hint }
    }
}
