//! Images: fetched, sent to us, listed and forgotten. What takes long tells how far it is.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use boxherd_boxd_api as api;
use boxherd_engine::{DISK_SPACE, EngineError};
use boxherd_herd::{HerdError, ImageFiles};
use boxherd_model::{EngineName, ImageInfo, ImageRef, Progress, ProgressEvent};
use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::unfold;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tonic::{Status, Streaming};

use crate::desk::Desk;
use crate::status::status;
use crate::translate::invalid;

type Answer<T> = Result<T, HerdError>;

pub(crate) async fn list(
    desk: &Desk<'_>,
    asked: api::BoxherdListImagesRequest,
) -> Answer<api::BoxherdListImagesResponse> {
    let on = engine(&asked.engine)?;
    let images = desk.herd.images(on.as_ref()).await?.into_iter().map(shown).collect();
    Ok(api::BoxherdListImagesResponse { images })
}

pub(crate) async fn remove(
    desk: &Desk<'_>,
    asked: api::BoxherdRemoveImageRequest,
) -> Answer<api::BoxherdRemoveImageResponse> {
    let on = engine(&asked.engine)?;
    desk.herd.remove_image(on.as_ref(), &image(&asked.image)?).await?;
    Ok(api::BoxherdRemoveImageResponse {})
}

pub(crate) async fn pull(
    desk: &Desk<'_>,
    asked: api::BoxherdPullImageRequest,
) -> Answer<impl Stream<Item = Result<api::BoxherdImageStep, Status>> + Send + use<>> {
    let (image, on) = (image(&asked.image)?, engine(&asked.engine)?);
    desk.herd.is_admin().await?;
    let (herd, steps) = (desk.herd.clone(), Arc::new(Steps::default()));
    let told = Arc::clone(&steps);
    Ok(told_of(steps, async move { herd.pull_image(on.as_ref(), &image, &*told).await }))
}

/// The first message says what to call it; the file, or both, is what they bring together. Nothing is kept
/// of one that is cut short, as of a file without a name.
pub(crate) async fn import(
    desk: &Desk<'_>,
    first: api::BoxherdImportImageChunk,
    mut pieces: Streaming<api::BoxherdImportImageChunk>,
) -> Answer<impl Stream<Item = Result<api::BoxherdImageStep, Status>> + Send + use<>> {
    let (name, on) = (image(&first.image)?, engine(&first.engine)?);
    desk.herd.is_admin().await?;
    let scratch = Scratch::new(&desk.config.scratch)?;
    let rootfs = match first.rootfs_size {
        Some(_) => Some(Scratch::new(&desk.config.scratch)?),
        None => None,
    };
    let (total, mut come) = (first.total_size, 0);
    let of_first = total.checked_sub(first.rootfs_size.unwrap_or_default());
    let of_first = of_first.ok_or_else(|| invalid("rootfs_size", "more than `total_size`"))?;
    let mut piece = Some(first.data);
    while let Some(mut data) = piece {
        let left = of_first.saturating_sub(come);
        come += data.len() as u64;
        if come > total {
            return Err(invalid("total_size", format!("more than {total} bytes came")));
        }
        if let Some(rootfs) = &rootfs {
            let cut = usize::try_from(left).map_or(data.len(), |left| left.min(data.len()));
            rootfs.write(data.split_off(cut)).await?;
        }
        scratch.write(data).await?;
        piece = match pieces.message().await {
            Ok(next) => next.map(|piece| piece.data),
            Err(gone) => return Err(invalid("data", gone.message())),
        };
    }
    if come < total {
        return Err(invalid("total_size", format!("only {come} of {total} bytes came")));
    }
    let alias = Some(name.to_string());
    let (herd, steps) = (desk.herd.clone(), Arc::new(Steps { alias, ..Steps::default() }));
    let told = Arc::clone(&steps);
    Ok(told_of(steps, async move {
        let (whole, rootfs) = (scratch.path(), rootfs.as_ref().map(Scratch::path));
        let files = match &rootfs {
            Some(rootfs) => ImageFiles::Split { metadata: &whole, rootfs },
            None => ImageFiles::One(&whole),
        };
        herd.import_image(on.as_ref(), &name, files, &*told).await
    }))
}

/// The engine that a call names, if any.
fn engine(text: &str) -> Answer<Option<EngineName>> {
    let named = Some(text).filter(|text| !text.is_empty());
    named.map(str::parse).transpose().map_err(|error| invalid("engine", error))
}

fn image(text: &str) -> Answer<ImageRef> {
    text.parse().map_err(|error| invalid("image", error))
}

fn shown(info: ImageInfo) -> api::BoxherdImage {
    api::BoxherdImage {
        name: info.name.to_string(),
        digest: info.digest,
        size_bytes: info.size,
        created_ms: info.created.millis(),
        program: info.program,
    }
}

/// A file without a name, which is gone with us.
struct Scratch(Arc<File>);

impl Scratch {
    fn new(folder: &Path) -> Answer<Self> {
        let file = tempfile::tempfile_in(folder).map_err(unwritten)?;
        Ok(Self(Arc::new(file)))
    }

    async fn write(&self, data: Bytes) -> Answer<()> {
        let file = Arc::clone(&self.0);
        let written = tokio::task::spawn_blocking(move || (&*file).write_all(&data)).await;
        written.map_err(io::Error::other).flatten().map_err(unwritten)
    }

    /// For whoever in this process or below it opens the file once more.
    fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd()).into()
    }
}

fn unwritten(error: io::Error) -> HerdError {
    let source = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            EngineError::Exhausted { resource: DISK_SPACE, source: error }
        }
        _ => EngineError::refused("write what was sent", error),
    };
    HerdError::Engine { op: "keep", name: "the file of the image".to_owned(), source }
}

/// How far something is. What nobody has been told yet is kept once for each item, however often it
/// changes.
#[derive(Debug, Default)]
struct Steps {
    untold: Mutex<BTreeMap<String, api::BoxherdImageStep>>,
    changed: Notify,
    /// What the one item is called where its own name is ours and says nothing to a client.
    alias: Option<String>,
}

impl Progress for Steps {
    fn event(&self, event: ProgressEvent<'_>) {
        let (ProgressEvent::Begin { item, .. }
        | ProgressEvent::At { item, .. }
        | ProgressEvent::End { item }) = event;
        {
            let mut untold = self.untold.lock();
            let item = self.alias.as_deref().unwrap_or(item);
            let step = untold.entry(item.to_owned()).or_default();
            match event {
                ProgressEvent::Begin { total, .. } => step.total = total,
                ProgressEvent::At { done, .. } => step.done = done,
                ProgressEvent::End { .. } => step.ended = true,
            }
        }
        self.changed.notify_one();
    }
}

impl Steps {
    fn next(&self) -> Option<api::BoxherdImageStep> {
        let (item, step) = self.untold.lock().pop_first()?;
        Some(api::BoxherdImageStep { item, ..step })
    }
}

/// What is done, and then what came of it.
enum Work {
    Going(Pin<Box<dyn Future<Output = Answer<ImageInfo>> + Send>>),
    Done(Answer<ImageInfo>),
}

/// What is told of `work` while it is done, and what came of it. Without a listener it is dropped.
fn told_of(
    steps: Arc<Steps>,
    work: impl Future<Output = Answer<ImageInfo>> + Send + 'static,
) -> impl Stream<Item = Result<api::BoxherdImageStep, Status>> + Send {
    let work = Work::Going(Box::pin(work));
    unfold(Some((steps, work)), async |state| {
        let (steps, mut work) = state?;
        loop {
            if let Some(step) = steps.next() {
                return Some((Ok(step), Some((steps, work))));
            }
            work = match work {
                Work::Done(Err(error)) => return Some((Err(status(&error)), None)),
                Work::Done(Ok(info)) => {
                    let image = Some(shown(info));
                    let last = api::BoxherdImageStep { image, ..api::BoxherdImageStep::default() };
                    return Some((Ok(last), None));
                }
                Work::Going(mut going) => tokio::select! {
                    () = steps.changed.notified() => Work::Going(going),
                    done = &mut going => Work::Done(done),
                },
            };
        }
    })
}
