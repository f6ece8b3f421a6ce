//! `boxherd create`.

use std::path::{Path, PathBuf};

use boxherd_herd::{Create, Volume};
use boxherd_model::{BoxName, BoxSpec, CloudInit, CloudInitError, EngineName, ImageInfo};

use crate::app::App;
use crate::args::{CreateArgs, EnvVar, NewName};
use crate::env;
use crate::failure::Failure;
use crate::render;

/// Makes a box and prints its name.
pub(super) async fn create(app: &App, mut args: CreateArgs) -> Result<(), Failure> {
    let (on, name) = match args.name {
        Some(NewName { engine, name }) => (engine, Some(name)),
        None => (None, None),
    };
    let mut spec = match &args.file {
        Some(file) => read_spec(file, name.as_ref())?,
        None => BoxSpec::new(name.clone().ok_or_else(|| Failure::usage("a box needs a name"))?),
    };
    if let Some(name) = name {
        spec.name = name;
    }
    if !args.cmd.is_empty() {
        spec.cmd = args.cmd;
    }
    spec.env.extend(variables(args.env)?);
    let engine = one_engine(on, args.flags.engine.clone())?;
    let volumes = std::mem::take(&mut args.flags.volumes).into_iter().map(Volume::from).collect();
    spec.cloud_init = user_data(args.flags.cloud_init.take())?.or(spec.cloud_init);
    args.flags.apply(&mut spec).map_err(|error| Failure::of(&error, "usage", None))?;
    let idle = spec.cmd.is_empty().then(|| spec.image.clone());
    let made = app.create(Create { engine: engine.clone(), volumes, ..spec.into() }).await?;
    app.notes(&made);
    if let Some(image) = idle
        && let Some(info) = app.image(&image, engine.as_ref()).await?
        && info.has_a_program()
        && app.printer.is_table()
    {
        app.printer.note(&not_run(&info));
    }
    render::created(&app.printer, &[made])
}

/// The engine that was said before a name, or with `--engine`.
pub(super) fn one_engine(
    before: Option<EngineName>,
    flag: Option<EngineName>,
) -> Result<Option<EngineName>, Failure> {
    match (before, flag) {
        (Some(before), Some(flag)) if before != flag => {
            Err(Failure::usage(format!("`{before}:` and `--engine {flag}` are two engines"))
                .hint("name one"))
        }
        (before, flag) => Ok(before.or(flag)),
    }
}

/// A box is a machine and not a program, which surprises who knows containers.
fn not_run(info: &ImageInfo) -> String {
    format!(
        "`{}` says to run `{}`, which a box does not do by itself; give it after `--`, or use \
         `boxherd run`",
        info.name,
        info.program.join(" ")
    )
}

/// The variables that were given or are ours.
pub(super) fn variables(given: Vec<EnvVar>) -> Result<Vec<(String, String)>, Failure> {
    let value = |variable: EnvVar| {
        let value = variable.value.or_else(|| env::text(&variable.key));
        let value = value.ok_or_else(|| {
            Failure::usage(format!("`{}` is not set here", variable.key))
                .hint(format!("write `-e {}=VALUE`", variable.key))
        });
        Ok((variable.key, value?))
    };
    given.into_iter().map(value).collect()
}

/// What a machine is told at its first start.
pub(super) fn user_data(file: Option<PathBuf>) -> Result<Option<CloudInit>, Failure> {
    let Some(file) = file else { return Ok(None) };
    read(&file)?
        .parse()
        .map(Some)
        .map_err(|error: CloudInitError| Failure::usage(format!("`{}`: {error}", file.display())))
}

fn read(file: &Path) -> Result<String, Failure> {
    let text = match file == Path::new("-") {
        true => std::io::read_to_string(std::io::stdin()),
        false => std::fs::read_to_string(file),
    };
    text.map_err(|error| Failure::io(format!("cannot read `{}`", file.display()), &error))
}

fn read_spec(file: &Path, name: Option<&BoxName>) -> Result<BoxSpec, Failure> {
    let mut text = read(file)?;
    // A file that is used for several boxes has no name in it.
    if let Some(name) = name
        && !text.lines().any(|line| line.starts_with("name:"))
    {
        text = format!("name: {name}\n{text}");
    }
    serde_saphyr::from_str(&text).map_err(|error| {
        let message = error.to_string();
        let first = message.lines().next().unwrap_or_default();
        let first = first.strip_prefix("error: ").unwrap_or(first);
        Failure::new("spec", format!("`{}`: {first}", file.display()))
            .hint("`boxherd show NAME -o yaml` prints a spec under `spec`")
    })
}
