//! `boxherd engine`.

use std::path::Path;

use boxherd_engine::{Check, Verdict};
use boxherd_engine_lxd::Facts;
use boxherd_lxd_client::{
    Config, Credential, Endpoint, Fingerprint, Locations, Remote, Settings, Token, enroll,
    server_certificate,
};
use boxherd_model::EngineName;
use serde::Serialize;

use crate::app::App;
use crate::args::{EngineAddArgs, EngineArgs, EngineCommand};
use crate::columns::table;
use crate::engines::{self, Engine, Kind, Known, New};
use crate::failure::Failure;

/// An engine, as it is listed.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    kind: &'static str,
    endpoints: Vec<String>,
    project: Option<String>,
    image: Option<String>,
    pool: Option<String>,
}

/// Everything about engines.
pub(super) async fn engine(app: &App, command: EngineCommand) -> Result<(), Failure> {
    match command {
        EngineCommand::Add(args) => add(app, *args).await,
        EngineCommand::Ls => ls(app),
        EngineCommand::Check(args) => check(app, args).await,
        EngineCommand::Rm(args) => engines::remove(app.data(), &args.name),
    }
}

async fn add(app: &App, args: EngineAddArgs) -> Result<(), Failure> {
    if args.name == EngineName::local() {
        return Err(
            Failure::usage("`local` is the engine of this machine").hint("call it something else")
        );
    }
    // Makes the data folder, if there is none yet.
    let installation = app.installation().await?;
    let new = New::begin(app.data(), &args.name)?;
    let (kind, remote) = match &args.remote {
        Some(remote) => known_remote(&new, remote)?,
        None => named_server(&new, &args).await?,
    };
    let known = Known {
        kind,
        endpoints: remote.endpoints.iter().map(ToString::to_string).collect(),
        project: args.project.unwrap_or(remote.project),
        image: args.image,
        pool: args.pool,
        patience: args.patience.map(|patience| patience.as_secs().max(1)),
        pool_driver: None,
        clustered: false,
        virtual_machines: false,
    };
    // What does not answer, or does not trust us, is not kept.
    let engine = new.engine(known.clone()).open(&installation)?;
    let facts = engine.facts().await?;
    new.keep(&known.with(facts))?;
    let name = args.name;
    app.printer.result(&name, |name| format!("{name}\n"), |name| vec![name.to_string()])
}

/// A remote of `lxc`, or else of `incus`.
fn known_remote(new: &New, name: &str) -> Result<(Kind, Remote), Failure> {
    let mut refusal = None;
    for kind in [Kind::Lxd, Kind::Incus] {
        let locations = Locations::of(kind.flavour(), |name| std::env::var_os(name));
        let theirs = Config::load(&locations).map_err(engines::failure)?;
        match theirs.remote(name) {
            Ok(remote) => {
                engines::adopt(new, &theirs, kind, &remote)?;
                return Ok((kind, remote));
            }
            // What the first says counts, unless it only does not know it.
            Err(error) if refusal.is_none() || !error.is_not_found() => refusal = Some(error),
            Err(_) => {}
        }
    }
    let refusal = refusal.map_or_else(|| Failure::usage("no such remote"), engines::failure);
    Err(refusal.hint("`lxc remote list` and `incus remote list` say which there are"))
}

/// A server by its addresses, which comes to trust us by what we were given for it.
async fn named_server(new: &New, args: &EngineAddArgs) -> Result<(Kind, Remote), Failure> {
    let (kind, texts) = match args.incus.is_empty() {
        true => (Kind::Lxd, &args.lxd),
        false => (Kind::Incus, &args.incus),
    };
    let endpoints = texts.iter().map(|text| Endpoint::parse(text)).collect::<Result<Vec<_>, _>>();
    let endpoints = endpoints.map_err(|error| Failure::of(&error, "usage", None))?;
    let mut config = engines::config(new.folder(), kind)?;
    let first = &endpoints[0];
    let mut remote = match first {
        Endpoint::Unix(socket) => Remote::unix(socket),
        Endpoint::Https { .. } => {
            let credential = credential(args)?;
            let certificate = server_certificate(first, &Settings::default()).await;
            let certificate = certificate.map_err(engines::failure)?;
            check_fingerprint(first, &Fingerprint::of(&certificate), args, &credential)?;
            let us = format!("boxherd@{}", host_name());
            let identity = config.identity_or_new(&us).map_err(engines::failure)?;
            let enrolled = enroll(first.clone(), certificate, identity, &us, &credential).await;
            enrolled.map_err(engines::failure)?
        }
    };
    config.add(engines::SERVER, &remote).map_err(engines::failure)?;
    remote.endpoints = endpoints;
    Ok((kind, remote))
}

fn credential(args: &EngineAddArgs) -> Result<Credential, Failure> {
    let (token, password) = (args.token_file.as_deref(), args.password_file.as_deref());
    match (token.map(read).transpose()?, password.map(read).transpose()?) {
        (Some(text), _) => {
            Ok(Credential::Token(Token::parse(&text).map_err(engines::failure)?))
        }
        (None, Some(password)) => Ok(Credential::Password(password)),
        (None, None) => Err(Failure::usage("the server does not know us yet").hint(
            "`lxc config trust add` on it makes a token for `--token-file`; `--remote` takes one that \
             `lxc` knows",
        )),
    }
}

/// Whoever answers is the server only if it has the certificate that we were told of.
fn check_fingerprint(
    endpoint: &Endpoint,
    found: &Fingerprint,
    args: &EngineAddArgs,
    credential: &Credential,
) -> Result<(), Failure> {
    let told = match (&args.fingerprint, credential) {
        (Some(text), _) => Fingerprint::parse(text).ok_or_else(|| {
            Failure::usage(format!("`{text}` is no fingerprint")).hint("use 64 hex digits")
        })?,
        (None, Credential::Token(token)) => token.fingerprint().clone(),
        (None, Credential::Password(_)) => {
            return Err(Failure::usage("the server's certificate is not known")
                .hint("say its `--fingerprint`"));
        }
    };
    if *found == told {
        return Ok(());
    }
    Err(Failure::new("engine", format!("`{endpoint}` has the certificate {found}, not {told}"))
        .hint("somebody else may answer there: ask the server's administrator"))
}

/// A secret that is in a file, or comes on standard input.
fn read(file: &Path) -> Result<String, Failure> {
    let text = match file == Path::new("-") {
        true => std::io::read_to_string(std::io::stdin()),
        false => std::fs::read_to_string(file),
    };
    let text = text.map_err(|error| Failure::io(format!("`{}`", file.display()), &error))?;
    Ok(text.trim().to_owned())
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn ls(app: &App) -> Result<(), Failure> {
    let local = Row {
        name: EngineName::local().to_string(),
        kind: "local",
        endpoints: Vec::new(),
        project: None,
        image: None,
        pool: None,
    };
    let known = engines::all(app.data())?.into_iter().map(|Engine { name, known, .. }| Row {
        name: name.to_string(),
        kind: known.kind.as_str(),
        endpoints: known.endpoints,
        project: Some(known.project),
        image: known.image.map(|image| image.to_string()),
        pool: known.pool,
    });
    let rows: Vec<_> = [local].into_iter().chain(known).collect();
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    let line = |row: &Row| {
        let at = if row.endpoints.is_empty() { "-".to_owned() } else { row.endpoints.join(" ") };
        [row.name.clone(), row.kind.to_owned(), at, text(&row.project), text(&row.image)]
    };
    app.printer.names_only(true).result(
        &rows,
        |rows| {
            let lines: Vec<_> = rows.iter().map(line).collect();
            table(["NAME", "KIND", "AT", "PROJECT", "IMAGE"], &lines)
        },
        |rows| rows.iter().map(|row| row.name.clone()).collect(),
    )
}

/// What works, and what the engine can do from now on when its server has changed.
async fn checks(app: &App, name: &EngineName) -> Result<Vec<Check>, Failure> {
    if *name == EngineName::local() {
        return Ok(app.engine(None).await?.checks().await);
    }
    let known = engines::one(app.data(), name)?;
    let engine = known.open(&app.installation().await?)?;
    let mut checks = boxherd_engine::Engine::checks(&engine).await;
    if checks.iter().all(|check| check.verdict == Verdict::Works) {
        let facts = engine.facts().await?;
        checks.extend(capabilities(name, &facts));
        known.learn(facts)?;
    }
    Ok(checks)
}

/// What not every server can do.
fn capabilities(name: &EngineName, facts: &Facts) -> Vec<Check> {
    let check = |what: &str, works: bool, found: String| Check {
        name: format!("{what} on {name}"),
        verdict: if works { Verdict::Works } else { Verdict::Missing },
        found,
        fix: None,
    };
    let has = |yes: bool, here: &str, not: &str| if yes { here } else { not }.to_owned();
    vec![
        check(
            "pool",
            facts.pool_driver.is_some(),
            facts.pool_driver.clone().unwrap_or_else(|| "the profile names none".to_owned()),
        ),
        check(
            "cluster",
            facts.clustered,
            has(facts.clustered, "it is one", "it is a server alone"),
        ),
        check(
            "virtual machines",
            facts.virtual_machines,
            has(facts.virtual_machines, "it has `qemu`", "it has no `qemu`"),
        ),
    ]
}

async fn check(app: &App, args: EngineArgs) -> Result<(), Failure> {
    let checks = checks(app, &args.name).await?;
    let line = |check: &Check| {
        let verdict = match check.verdict {
            Verdict::Works => "works",
            Verdict::Missing => "missing",
            Verdict::Broken => "broken",
        };
        [check.name.clone(), verdict.to_owned(), check.found.clone()]
    };
    let lines: Vec<_> = checks.iter().map(line).collect();
    app.printer.result(
        &checks,
        |_| table(["WHAT", "HOW", "FOUND"], &lines),
        |checks| checks.iter().map(|check| check.name.clone()).collect(),
    )?;
    match checks.iter().find(|check| check.verdict == Verdict::Broken) {
        None => Ok(()),
        Some(broken) => {
            let failure = Failure::new("broken", format!("`{}` does not work", args.name));
            Err(match &broken.fix {
                Some(fix) => failure.hint(fix),
                None => failure,
            })
        }
    }
}
