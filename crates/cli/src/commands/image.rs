//! `boxherd image`.

use boxherd_engine::Images;
use boxherd_model::{ByteSize, Capability, ImageInfo, ImageSource};

use crate::app::App;
use crate::args::{ImageArgs, ImageCommand, ImagesArgs, ImportArgs};
use crate::clock;
use crate::columns::table;
use crate::failure::Failure;
use crate::progress::Bars;
use crate::signals::uninterrupted;

/// Everything about images.
pub(super) async fn image(app: &App, command: ImageCommand) -> Result<(), Failure> {
    let engine = app.engine(None).await?;
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

async fn pull(app: &App, images: &dyn Images, args: ImageArgs) -> Result<(), Failure> {
    let bars = Bars::new(&app.printer);
    let pulling = images.pull(&args.image, &bars);
    let info = uninterrupted(pulling, "another pull goes on from where this one was").await?;
    print(app, &info)
}

async fn build(app: &App, images: &dyn Images, args: ImageArgs) -> Result<(), Failure> {
    if !matches!(args.image.source(), ImageSource::Debian { .. }) {
        return Err(Failure::usage(format!("`{}` cannot be built", args.image))
            .hint("use `debian:CODENAME`, such as `debian:bookworm`"));
    }
    let bars = Bars::new(&app.printer);
    let building = images.pull(&args.image, &bars);
    let info = uninterrupted(building, "nothing of the image was kept").await?;
    print(app, &info)
}

async fn import(app: &App, images: &dyn Images, args: ImportArgs) -> Result<(), Failure> {
    let bars = Bars::new(&app.printer);
    let importing = images.import(&args.name, &args.file, &bars);
    let info = uninterrupted(importing, "nothing of the image was kept").await?;
    print(app, &info)
}

fn print(app: &App, info: &ImageInfo) -> Result<(), Failure> {
    let line = |info: &ImageInfo| format!("{}  {}\n", info.name, info.digest);
    app.printer.result(info, line, |info| vec![info.name.to_string()])
}

async fn ls(app: &App, images: &dyn Images) -> Result<(), Failure> {
    let infos = images.list().await?;
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
