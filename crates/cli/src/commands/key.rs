//! `boxherd key`.

use boxherd_client::Client;
use boxherd_herd::Herd;
use boxherd_model::{Quota, UserId, UserName};
use serde::Serialize;

use crate::app::App;
use crate::args::{KeyCommand, KeyCreateArgs, KeyLsArgs};
use crate::clock;
use crate::columns::table;
use crate::failure::Failure;

/// Whose a key is when nobody says whose.
const ADMIN: &str = "admin";

/// A key that was just made.
#[derive(Debug, Serialize)]
struct Made {
    id: String,
    user: String,
    /// Shown this once.
    api_key: String,
}

/// A key, as far as it is kept.
#[derive(Debug, Serialize)]
struct Row {
    id: String,
    user: String,
    name: String,
    prefix: String,
    /// Milliseconds since the Unix epoch.
    created: i64,
    expires: Option<i64>,
    last_used: Option<i64>,
}

/// Everything about keys.
pub(super) async fn key(app: &App, command: KeyCommand) -> Result<(), Failure> {
    if let Some(remote) = app.remote() {
        return elsewhere(app, remote.client().await?, command).await;
    }
    match command {
        KeyCommand::Create(args) => create(app, args).await,
        KeyCommand::Ls(args) => ls(app, args).await,
        KeyCommand::Rm(args) => Ok(app.herd().await?.remove_key(args.id).await?),
    }
}

async fn create(app: &App, args: KeyCreateArgs) -> Result<(), Failure> {
    let herd = app.herd().await?;
    let name = match args.user {
        Some(name) => name,
        None => ADMIN.parse().map_err(|error| Failure::of(&error, "internal", None))?,
    };
    let user = user(herd, &name).await?;
    let made = herd.make_key(user, &args.name, args.expires).await?;
    let made = Made {
        id: made.record.id.to_string(),
        user: name.to_string(),
        api_key: made.key.reveal().to_owned(),
    };
    told(app, &made)
}

fn told(app: &App, made: &Made) -> Result<(), Failure> {
    app.printer.result(made, |made| format!("{}\n", made.api_key), |made| vec![made.id.clone()])
}

/// The user of that name, who is made when there is none; the first one is an administrator.
async fn user(herd: &Herd, name: &UserName) -> Result<UserId, Failure> {
    let users = herd.users().await?;
    if let Some(user) = users.iter().find(|user| user.name == *name) {
        return Ok(user.id);
    }
    let first = users.is_empty();
    Ok(herd.add_user(name.clone(), first, Quota::default()).await?.id)
}

async fn ls(app: &App, args: KeyLsArgs) -> Result<(), Failure> {
    let herd = app.herd().await?;
    let mut rows = Vec::new();
    for user in herd.users().await? {
        if args.user.as_ref().is_some_and(|wanted| *wanted != user.name) {
            continue;
        }
        rows.extend(herd.keys(user.id).await?.into_iter().map(|key| Row {
            id: key.id.to_string(),
            user: user.name.to_string(),
            name: key.name,
            prefix: key.prefix,
            created: key.created.millis(),
            expires: key.expires.map(|time| time.millis()),
            last_used: key.last_used.map(|time| time.millis()),
        }));
    }
    tell(app, &rows)
}

/// The keys of whoever asks a server.
async fn elsewhere(app: &App, client: &Client, command: KeyCommand) -> Result<(), Failure> {
    let user = client.whoami().await?.name;
    let keys = client.keys();
    match command {
        KeyCommand::Create(args) => {
            refuse_another(&user, args.user.as_ref())?;
            let made = keys.create(&args.name, args.expires).await?;
            told(app, &Made { id: made.id, user, api_key: made.api_key })
        }
        KeyCommand::Ls(args) => {
            refuse_another(&user, args.user.as_ref())?;
            let row = |key: boxherd_client::Key| Row {
                id: key.id,
                user: user.clone(),
                name: key.name,
                prefix: key.prefix,
                created: key.created * 1000,
                expires: millis(key.expires),
                last_used: millis(key.last_used),
            };
            tell(app, &keys.list().await?.into_iter().map(row).collect::<Vec<_>>())
        }
        KeyCommand::Rm(args) => Ok(keys.remove(&args.id.to_string()).await?),
    }
}

fn refuse_another(me: &str, wanted: Option<&UserName>) -> Result<(), Failure> {
    match wanted {
        Some(name) if name.as_str() != me => {
            Err(Failure::usage(format!("a server gives keys of `{me}` to `{me}` only"))
                .hint("run it on the server's machine, without `--server`"))
        }
        _ => Ok(()),
    }
}

/// Seconds, of which 0 are none.
fn millis(seconds: i64) -> Option<i64> {
    (seconds != 0).then_some(seconds * 1000)
}

fn tell(app: &App, rows: &[Row]) -> Result<(), Failure> {
    let line = |row: &Row| {
        let age = clock::age(boxherd_model::Timestamp::from_millis(row.created), clock::now());
        [row.id.clone(), row.user.clone(), row.name.clone(), format!("{}…", row.prefix), age]
    };
    app.printer.names_only(true).result(
        &rows,
        |rows| {
            table(["ID", "USER", "NAME", "KEY", "AGE"], &rows.iter().map(line).collect::<Vec<_>>())
        },
        |rows| rows.iter().map(|row| row.id.clone()).collect(),
    )
}
