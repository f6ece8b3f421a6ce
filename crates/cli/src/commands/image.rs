//! `boxherd image`.

use std::collections::HashSet;

use boxherd_client::{Image, ImageStep, Images as There};
use boxherd_engine::Images;
use boxherd_model::{
    ByteSize, Capability, EngineName, ImageInfo, ImageRef, ImageSource, Progress as _,
    ProgressEvent, Timestamp,
};

use crate::app::App;
use crate::args::{ImageArgs, ImageCommand, ImagesArgs, ImagesOf, ImportArgs};
use crate::clock;
use crate::columns::table;
use crate::failure::Failure;
use crate::progress::Bars;
use crate::signals::uninterrupted;

/// What is said when a build or an import is interrupted.
const NOTHING_KEPT: &str = "nothing of the image was kept";

/// Everything about images.
pub(super) async fn image(app: &App, asked: ImagesOf) -> Result<(), Failure> {
    let ImagesOf { engine, command } = asked;
    let on = engine;
    if matches!(command, ImageCommand::Build(_)) && on.as_ref().is_some_and(|on| !is_local(on)) {
        return Err(Failure::usage("images are built for boxes of the machine itself only")
            .hint("leave `--engine` out"));
    }
    if let Some(remote) = app.remote() {
        let images = remote.client().await?.images();
        let images = on.map_or_else(|| images.clone(), |on| images.on(on.as_str()));
        return elsewhere(app, &images, command).await;
    }
    let engine = app.engine(on.as_ref()).await?;
    let images = engine
        .images()
        .ok_or_else(|| Failure::from(engine.unsupported("image", Capability::Images)))?;
    match command {
        ImageCommand::Pull(args) => pull(app, images, args).await,
        ImageCommand::Build(args) => build(app, images, args).await,
        ImageCommand::Import(args) => import(app, images, args).await,
        ImageCommand::Ls => ls(app, images).await,
        ImageCommand::Rm(args) => rm(images, args).await,
    }
}

fn is_local(engine: &EngineName) -> bool {
    *engine == EngineName::local()
}

async fn pull(app: &App, images: &dyn Images, args: ImageArgs) -> Result<(), Failure> {
    let bars = Bars::new(&app.printer);
    let pulling = images.pull(&args.image, &bars);
    let info = uninterrupted(pulling, "another pull goes on from where this one was").await?;
    print(app, &info)
}

fn check_built(image: &ImageRef) -> Result<(), Failure> {
    match image.source() {
        ImageSource::Debian { .. } => Ok(()),
        _ => Err(Failure::usage(format!("`{image}` cannot be built"))
            .hint("use `debian:CODENAME`, such as `debian:bookworm`")),
    }
}

async fn build(app: &App, images: &dyn Images, args: ImageArgs) -> Result<(), Failure> {
    check_built(&args.image)?;
    let bars = Bars::new(&app.printer);
    let building = images.pull(&args.image, &bars);
    let info = uninterrupted(building, NOTHING_KEPT).await?;
    print(app, &info)
}

async fn import(app: &App, images: &dyn Images, args: ImportArgs) -> Result<(), Failure> {
    let bars = Bars::new(&app.printer);
    let (name, file) = (&args.name, args.file.as_path());
    let importing = match &args.rootfs {
        Some(rootfs) => images.import_split(name, file, rootfs, &bars),
        None => images.import(name, file, &bars),
    };
    let info = uninterrupted(importing, NOTHING_KEPT).await?;
    print(app, &info)
}

fn print(app: &App, info: &ImageInfo) -> Result<(), Failure> {
    let line = |info: &ImageInfo| format!("{}  {}\n", info.name, info.digest);
    app.printer.result(info, line, |info| vec![info.name.to_string()])
}

/// The images of a server.
async fn elsewhere(app: &App, images: &There, command: ImageCommand) -> Result<(), Failure> {
    let bars = Bars::new(&app.printer);
    let mut begun = HashSet::new();
    let told = |step| tell(&bars, &mut begun, &step);
    match command {
        ImageCommand::Pull(args) => {
            let pulling = images.pull(args.image.as_str(), told);
            let hint = "another pull goes on from where this one was";
            print(app, &info(uninterrupted(pulling, hint).await?)?)
        }
        ImageCommand::Build(args) => {
            check_built(&args.image)?;
            let building = images.pull(args.image.as_str(), told);
            print(app, &info(uninterrupted(building, NOTHING_KEPT).await?)?)
        }
        ImageCommand::Import(ImportArgs { name, file, rootfs }) => {
            let name = name.as_str();
            let importing = async {
                match rootfs {
                    Some(rootfs) => images.import_split(name, file, rootfs, told).await,
                    None => images.import(name, file, told).await,
                }
            };
            print(app, &info(uninterrupted(importing, NOTHING_KEPT).await?)?)
        }
        ImageCommand::Ls => {
            let infos = images.list().await?.into_iter().map(info).collect::<Result<_, _>>()?;
            list(app, infos)
        }
        ImageCommand::Rm(args) => {
            for image in &args.images {
                images.remove(image.as_str()).await?;
            }
            Ok(())
        }
    }
}

/// Moves the bars on, of which one begins with the first that is heard of it.
fn tell(bars: &Bars, begun: &mut HashSet<String>, step: &ImageStep) {
    let item = step.item.as_str();
    if begun.insert(item.to_owned()) {
        bars.event(ProgressEvent::Begin { item, total: step.total });
    }
    if step.ended {
        begun.remove(item);
        return bars.event(ProgressEvent::End { item });
    }
    bars.event(ProgressEvent::At { item, done: step.done });
}

fn info(image: Image) -> Result<ImageInfo, Failure> {
    let name = image.name.parse().map_err(|error| Failure::of(&error, "protocol", None))?;
    let created = Timestamp::from_millis(image.created_ms);
    let Image { digest, size, program, .. } = image;
    Ok(ImageInfo { name, digest, size, created, program })
}

async fn ls(app: &App, images: &dyn Images) -> Result<(), Failure> {
    list(app, images.list().await?)
}

fn list(app: &App, infos: Vec<ImageInfo>) -> Result<(), Failure> {
    let row = |info: &ImageInfo| {
        let digest = info.digest.chars().take("sha256:".len() + 12).collect();
        let age = clock::age(info.created, clock::now());
        [info.name.to_string(), digest, size(info.size), age]
    };
    let rows = |infos: &Vec<ImageInfo>| infos.iter().map(row).collect::<Vec<_>>();
    app.printer.names_only(true).result(
        &infos,
        |infos| table(["NAME", "DIGEST", "SIZE", "AGE"], &rows(infos)),
        |infos| infos.iter().map(|info| info.name.to_string()).collect(),
    )
}

fn size(bytes: u64) -> String {
    // Whole mebibytes read better than a size that happens to have no unit.
    ByteSize::from_mib(bytes.div_ceil(1 << 20)).to_string()
}

async fn rm(images: &dyn Images, args: ImagesArgs) -> Result<(), Failure> {
    for image in &args.images {
        images.remove(image).await?;
    }
    Ok(())
}
