//! Where the parts are put together: engines, store and herd, opened when a command needs them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use boxherd_engine::{Check, Engine, Verdict};
use boxherd_engine_local::{Helper, LocalEngine, NetdCommand};
use boxherd_herd::{Create, Herd, HerdConfig, HerdError};
use boxherd_model::{BoxStatus, ByteSize, Capability, EngineName, ImageInfo, ImageRef};
use tokio::sync::OnceCell;

use crate::args::Global;
use crate::boxes::Boxes;
use crate::engines;
use crate::env;
use crate::failure::Failure;
use crate::printer::Printer;
use crate::remote::Remote;
use crate::store;

/// What a command works with.
#[derive(Debug)]
pub(crate) struct App {
    /// The door to the terminal.
    pub(crate) printer: Printer,
    data: PathBuf,
    /// Where boxes are written down, if not in the data folder.
    store: Option<String>,
    remote: Option<Remote>,
    helper: Option<Helper>,
    /// Whether the engine will have work for a thread of its own.
    works: bool,
    local: OnceCell<Arc<LocalEngine>>,
    herd: OnceCell<Arc<Herd>>,
}

impl App {
    /// Opens nothing yet. `works`: the command has the engine do more than connect to a box.
    pub(crate) fn new(
        global: &Global,
        printer: Printer,
        helper: Option<Helper>,
        works: bool,
    ) -> Result<Self, Failure> {
        let data = global.data.clone().or_else(env::default_data).ok_or_else(|| {
            Failure::usage("there is no home folder to keep boxes in").hint("use `--data DIR`")
        })?;
        let data = std::path::absolute(&data)
            .map_err(|error| Failure::io(format!("`{}`", data.display()), &error))?;
        let (store, remote) = (global.store.clone(), Remote::new(global));
        let (local, herd) = (OnceCell::new(), OnceCell::new());
        Ok(Self { printer, data, store, remote, helper, works, local, herd })
    }

    /// Where boxes are kept.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// The engine of this machine.
    async fn local(&self) -> Result<&Arc<LocalEngine>, Failure> {
        let open = async || {
            let (data, helper) = (self.data.clone(), self.helper()?);
            if !self.works {
                return open_local(&data, helper).map(Arc::new);
            }
            // In the thread in which the engine works afterwards, so that the store opens meanwhile.
            let opened = tokio::task::spawn_blocking(move || open_local(&data, helper)).await;
            let opened = opened.map_err(|error| Failure::of(&error, "internal", None))?;
            opened.map(Arc::new)
        };
        self.local.get_or_try_init(open).await
    }

    fn helper(&self) -> Result<Helper, Failure> {
        self.helper.clone().ok_or_else(|| {
            Failure::new("internal", "this command was started without the helper process")
        })
    }

    /// The engine called so, or the one that is used when none is named.
    pub(crate) async fn engine(
        &self,
        name: Option<&EngineName>,
    ) -> Result<Arc<dyn Engine>, Failure> {
        match name {
            Some(name) if *name != EngineName::local() => {
                let known = engines::one(&self.data, name)?;
                Ok(Arc::new(known.open(&self.installation().await?)?))
            }
            _ => Ok(Arc::clone(self.local().await?) as Arc<dyn Engine>),
        }
    }

    /// What tells what is ours on servers that others use too.
    pub(crate) async fn installation(&self) -> Result<String, Failure> {
        Ok(self.local().await?.installation().to_owned())
    }

    /// What works here and what does not, also where the engine does not open.
    pub(crate) async fn checks(&self) -> Result<Vec<Check>, Failure> {
        let refusal = match self.local().await {
            Ok(engine) => return Ok(engine.checks().await),
            Err(Failure::Told { message, hint, .. }) => (message, hint),
            Err(other) => return Err(other),
        };
        let (data, helper) = (self.data.clone(), self.helper()?);
        let look = move || boxherd_engine_local::host_checks(&data, &helper);
        let looked = tokio::task::spawn_blocking(look).await;
        let mut checks = looked.map_err(|error| Failure::of(&error, "internal", None))?;
        let (found, hint) = refusal;
        let fix = hint.or_else(|| Some("mend what is broken above".to_owned()));
        checks.push(Check { name: "engine".to_owned(), verdict: Verdict::Broken, found, fix });
        Ok(checks)
    }

    /// The server that was named instead of this machine.
    pub(crate) fn remote(&self) -> Option<&Remote> {
        self.remote.as_ref()
    }

    /// The boxes of the server, or of this machine.
    pub(crate) async fn boxes(&self) -> Result<Boxes<'_>, Failure> {
        match &self.remote {
            Some(remote) => Ok(Boxes::There(remote)),
            None => Ok(Boxes::Here(self.herd().await?)),
        }
    }

    /// The herd.
    pub(crate) async fn herd(&self) -> Result<&Herd, Failure> {
        self.opened().await.map(|herd| &**herd)
    }

    /// The herd, for whom it outlives a borrow.
    pub(crate) async fn shared_herd(&self) -> Result<Arc<Herd>, Failure> {
        self.opened().await.cloned()
    }

    async fn opened(&self) -> Result<&Arc<Herd>, Failure> {
        let open = async || {
            // The engine makes the data folder. Where that is done, both open at the same time.
            if !self.data.join(store::DATABASE).exists() {
                self.local().await?;
            }
            let (local, store) = match &self.store {
                None => tokio::join!(self.local(), async { store::open_own(&self.data) }),
                Some(url) => {
                    let local = self.local().await?;
                    let installation = local.installation();
                    (Ok(local), store::open_on_postgres(url, &self.data, installation).await)
                }
            };
            let (local, store) = (Arc::clone(local?), store?);
            let mut config = HerdConfig::new(self.data.join("locks"), env::boot_id()?);
            config.audit = Some(self.data.join("audit.jsonl"));
            // Other servers may be there, and go on when this one stands still.
            config.lease = self.store.as_ref().map(|_| store::LEASE);
            let mut all: Vec<Arc<dyn Engine>> = vec![local];
            for known in engines::all(&self.data)? {
                all.push(Arc::new(known.open(&self.installation().await?)?));
            }
            Ok(Arc::new(Herd::open(store, all, config).await?))
        };
        self.herd.get_or_try_init(open).await
    }

    /// Takes leave of every agent, so that nothing we began goes on without us.
    pub(crate) async fn close(&self) {
        if let Some(herd) = self.herd.get() {
            herd.close().await;
        }
    }

    /// Makes a box.
    pub(crate) async fn create(&self, create: Create) -> Result<BoxStatus, Failure> {
        self.boxes().await?.create(create).await
    }

    /// What the image store says of `image`; `None` for `host`, for what is not there, and where a
    /// server has the images.
    pub(crate) async fn image(
        &self,
        image: &ImageRef,
        engine: Option<&EngineName>,
    ) -> Result<Option<ImageInfo>, Failure> {
        if *image == ImageRef::host() || self.remote.is_some() {
            return Ok(None);
        }
        let engine = self.engine(engine).await?;
        let Some(images) = engine.images() else { return Ok(None) };
        Ok(images.list().await?.into_iter().find(|info| info.name == *image))
    }

    /// Says what a box could not be given, to people.
    pub(crate) fn notes(&self, status: &BoxStatus) {
        if self.printer.is_table() {
            status.notes.iter().for_each(|note| self.printer.note(note));
        }
    }

    /// Makes the loop-backed pool, unless disks can be limited already.
    pub(crate) async fn prepare_pool(&self, size: ByteSize) -> Result<(), Failure> {
        // Not the engine that is kept: it would not see the pool. It also makes the data folder.
        if open_local(&self.data, self.helper()?)?.capabilities().has(Capability::DiskLimit) {
            return Ok(());
        }
        let data = self.data.clone();
        let prepare = move || boxherd_engine_local::storage::prepare_loop_pool(&data, size);
        let prepared = tokio::task::spawn_blocking(prepare).await;
        let prepared = prepared.map_err(|error| Failure::of(&error, "internal", None))?;
        prepared.map_err(|error| Failure::of(&error, "storage", error.hint()))
    }
}

fn open_local(data: &Path, helper: Helper) -> Result<LocalEngine, Failure> {
    let engine = LocalEngine::open(EngineName::local(), data, helper)?;
    let arguments = vec!["--data".into(), data.into(), "netd".into(), engine.installation().into()];
    Ok(engine.with_netd(NetdCommand { program: "/proc/self/exe".into(), arguments }))
}

impl From<HerdError> for Failure {
    fn from(error: HerdError) -> Self {
        let (code, hint) = (error.code(), error.hint());
        Self::of(&error, code, hint)
    }
}
