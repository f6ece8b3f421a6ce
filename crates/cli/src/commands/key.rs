//! `boxherd key`.

use boxherd_client::Client;
use boxherd_model::UserName;
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
    let user = herd.user_or_new(&name).await?;
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

/// Keys of a server: of whoever asks, unless another user is named.
async fn elsewhere(app: &App, client: &Client, command: KeyCommand) -> Result<(), Failure> {
    let me = client.whoami().await?.name;
    let another =
        |named: Option<UserName>| named.map(|name| name.to_string()).filter(|name| *name != me);
    let keys = client.keys();
    match command {
        KeyCommand::Create(args) => {
            let (user, made) = match another(args.user) {
                None => (me, keys.create(&args.name, args.expires).await?),
                Some(user) => {
                    let made = keys.create_for(&user, &args.name, args.expires).await?;
                    (user, made)
                }
            };
            told(app, &Made { id: made.id, user, api_key: made.api_key })
        }
        KeyCommand::Ls(args) => {
            let (user, listed) = match another(args.user) {
                None => (me, keys.list().await?),
                Some(user) => {
                    let listed = keys.list_of(&user).await?;
                    (user, listed)
                }
            };
            let row = |key: boxherd_client::Key| Row {
                id: key.id,
                user: user.clone(),
                name: key.name,
                prefix: key.prefix,
                created: key.created * 1000,
                expires: millis(key.expires),
                last_used: millis(key.last_used),
            };
            tell(app, &listed.into_iter().map(row).collect::<Vec<_>>())
        }
        KeyCommand::Rm(args) => Ok(keys.remove(&args.id.to_string()).await?),
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
