//! `boxherd user`.

use boxherd_client::{Grant as GrantThere, Quota as QuotaThere, User, UserChange, Users};
use boxherd_herd::Herd;
use boxherd_model::{ByteSize, Grant, Quota, UserId};
use boxherd_store::UserRecord;
use serde::Serialize;

use crate::app::App;
use crate::args::{
    GrantArgs, GrantPlace, GrantsArgs, QuotaArgs, UserCommand, UserCreateArgs, UserSetArgs,
};
use crate::columns::table;
use crate::failure::Failure;

/// A user, and how much it may have; `null` is as much as the host has.
#[derive(Debug, Serialize)]
struct Row {
    id: String,
    name: String,
    admin: bool,
    boxes: Option<u32>,
    memory: Option<ByteSize>,
    disk: Option<ByteSize>,
    execs: Option<u32>,
}

impl From<UserRecord> for Row {
    fn from(user: UserRecord) -> Self {
        let Quota { boxes, memory, disk, execs } = user.quota;
        Self {
            id: user.id.to_string(),
            name: user.name.to_string(),
            admin: user.admin,
            boxes,
            memory,
            disk,
            execs,
        }
    }
}

impl From<User> for Row {
    fn from(user: User) -> Self {
        let QuotaThere { boxes, memory, disk, execs } = user.quota;
        Self {
            id: user.id,
            name: user.name,
            admin: user.admin,
            boxes,
            memory: memory.map(ByteSize::from_bytes),
            disk: disk.map(ByteSize::from_bytes),
            execs,
        }
    }
}

/// Everything about users.
pub(super) async fn user(app: &App, command: UserCommand) -> Result<(), Failure> {
    if let Some(remote) = app.remote() {
        return elsewhere(app, &remote.client().await?.users(), command).await;
    }
    match command {
        UserCommand::Create(args) => create(app, args).await,
        UserCommand::Ls => ls(app).await,
        UserCommand::Set(args) => set(app, args).await,
        UserCommand::Grant(args) => {
            let (herd, user, grant) = meant(app, args).await?;
            Ok(herd.grant(user, &grant).await?)
        }
        UserCommand::Revoke(args) => {
            let (herd, user, grant) = meant(app, args).await?;
            Ok(herd.revoke_grant(user, &grant).await?)
        }
        UserCommand::Grants(args) => grants(app, args).await,
    }
}

async fn meant(app: &App, args: GrantArgs) -> Result<(&Herd, UserId, Grant), Failure> {
    let herd = app.herd().await?;
    let user = herd.user_named(&args.name).await?.id;
    let owner = match &args.place.owner {
        Some(owner) => Some(herd.user_named(owner).await?.id),
        None => None,
    };
    Ok((herd, user, Grant { engine: args.place.engine, owner }))
}

async fn grants(app: &App, args: GrantsArgs) -> Result<(), Failure> {
    let herd = app.herd().await?;
    let grants = herd.grants(herd.user_named(&args.name).await?.id).await?;
    let users = herd.users().await?;
    // An owner who is there no more is told by its id.
    let named = |id: UserId| users.iter().find(|user| user.id == id).map(|user| &user.name);
    let place = |grant: &Grant| match grant.owner.and_then(named) {
        Some(owner) => format!("{}/{owner}", grant.engine),
        None => grant.to_string(),
    };
    list_places(app, grants.iter().map(place).collect())
}

fn list_places(app: &App, places: Vec<String>) -> Result<(), Failure> {
    app.printer.names_only(true).result(
        &places,
        |places| {
            let lines: Vec<_> = places.iter().map(|place| [place.clone()]).collect();
            table(["GRANT"], &lines)
        },
        Clone::clone,
    )
}

/// The users of a server.
async fn elsewhere(app: &App, users: &Users, command: UserCommand) -> Result<(), Failure> {
    match command {
        UserCommand::Create(args) => {
            let Quota { boxes, memory, disk, execs } = changed(Quota::default(), args.quota);
            let (memory, disk) = (memory.map(ByteSize::bytes), disk.map(ByteSize::bytes));
            let quota = QuotaThere { boxes, memory, disk, execs };
            tell(app, &[users.create(args.name.as_str(), args.admin, quota).await?.into()])
        }
        UserCommand::Ls => {
            tell(app, &users.list().await?.into_iter().map(Row::from).collect::<Vec<_>>())
        }
        UserCommand::Set(args) => {
            let bytes = |size: Option<ByteSize>| size.map(ByteSize::bytes);
            let change = UserChange {
                admin: args.admin,
                boxes: args.quota.boxes.map(|given| given.0),
                memory: args.quota.memory.map(|given| bytes(given.0)),
                disk: args.quota.disk.map(|given| bytes(given.0)),
                execs: args.quota.execs.map(|given| given.0),
            };
            tell(app, &[users.change(args.name.as_str(), change).await?.into()])
        }
        UserCommand::Grant(args) => {
            Ok(users.grant(args.name.as_str(), &there(&args.place)).await?)
        }
        UserCommand::Revoke(args) => {
            Ok(users.revoke(args.name.as_str(), &there(&args.place)).await?)
        }
        UserCommand::Grants(args) => {
            let place = |grant: GrantThere| match grant.owner {
                Some(owner) => format!("{}/{owner}", grant.engine),
                None => grant.engine,
            };
            let grants = users.grants(args.name.as_str()).await?;
            list_places(app, grants.into_iter().map(place).collect())
        }
    }
}

fn there(place: &GrantPlace) -> GrantThere {
    let owner = place.owner.as_ref().map(ToString::to_string);
    GrantThere { engine: place.engine.to_string(), owner }
}

async fn create(app: &App, args: UserCreateArgs) -> Result<(), Failure> {
    let quota = changed(Quota::default(), args.quota);
    let user = app.herd().await?.add_user(args.name, args.admin, quota).await?;
    tell(app, &[user.into()])
}

async fn ls(app: &App) -> Result<(), Failure> {
    let users = app.herd().await?.users().await?;
    tell(app, &users.into_iter().map(Row::from).collect::<Vec<_>>())
}

async fn set(app: &App, args: UserSetArgs) -> Result<(), Failure> {
    let changed = app.herd().await?.change_user(&args.name, |user: &mut UserRecord| {
        user.quota = changed(user.quota, args.quota);
        user.admin = args.admin.unwrap_or(user.admin);
    });
    tell(app, &[changed.await?.into()])
}

/// What is not named stays as it is.
fn changed(quota: Quota, args: QuotaArgs) -> Quota {
    Quota {
        boxes: args.boxes.map_or(quota.boxes, |given| given.0),
        memory: args.memory.map_or(quota.memory, |given| given.0),
        disk: args.disk.map_or(quota.disk, |given| given.0),
        execs: args.execs.map_or(quota.execs, |given| given.0),
    }
}

fn tell(app: &App, rows: &[Row]) -> Result<(), Failure> {
    let text = |limit: Option<String>| limit.unwrap_or_else(|| "-".to_owned());
    let line = |row: &Row| {
        let role = if row.admin { "admin" } else { "user" };
        [
            row.name.clone(),
            role.to_owned(),
            text(row.boxes.map(|limit| limit.to_string())),
            text(row.memory.map(|limit| limit.to_string())),
            text(row.disk.map(|limit| limit.to_string())),
            text(row.execs.map(|limit| limit.to_string())),
        ]
    };
    app.printer.names_only(true).result(
        &rows,
        |rows| {
            let lines: Vec<_> = rows.iter().map(line).collect();
            table(["USER", "ROLE", "BOXES", "MEMORY", "DISK", "EXECS"], &lines)
        },
        |rows| rows.iter().map(|row| row.name.clone()).collect(),
    )
}
