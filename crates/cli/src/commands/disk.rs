//! `boxherd disk`.

use boxherd_client::Disks;
use boxherd_herd::{Disk, Volume};
use boxherd_model::ByteSize;
use serde::Serialize;

use crate::app::App;
use crate::args::{DiskAttachArgs, DiskCommand, NewName};
use crate::columns::table;
use crate::failure::Failure;

/// A disk, as it is shown.
#[derive(Debug, Serialize)]
struct Row {
    id: String,
    name: String,
    size: String,
    engine: String,
    ready: bool,
    /// The box that has it.
    attached_to: Option<String>,
    path: Option<String>,
    read_only: bool,
}

impl From<Disk> for Row {
    fn from(disk: Disk) -> Self {
        Self {
            id: disk.id.to_string(),
            name: disk.name,
            size: disk.size.to_string(),
            engine: disk.engine.to_string(),
            ready: disk.ready,
            read_only: disk.attached.as_ref().is_some_and(|attached| attached.read_only),
            path: disk.attached.as_ref().map(|attached| attached.path.to_string()),
            attached_to: disk.attached.map(|attached| attached.name),
        }
    }
}

impl From<boxherd_client::Disk> for Row {
    fn from(mut disk: boxherd_client::Disk) -> Self {
        let attached = disk.attached.pop();
        Self {
            ready: disk.status == "ready",
            id: disk.id,
            name: disk.name,
            size: ByteSize::from_bytes(disk.size).to_string(),
            engine: disk.engine,
            read_only: attached.as_ref().is_some_and(|attached| attached.read_only),
            path: attached.as_ref().map(|attached| attached.path.clone()),
            attached_to: attached.map(|attached| attached.box_name),
        }
    }
}

/// Everything about disks.
pub(super) async fn disk(app: &App, command: DiskCommand) -> Result<(), Failure> {
    if let Some(remote) = app.remote() {
        return elsewhere(app, &remote.client().await?.disks(), command).await;
    }
    let herd = app.herd().await?;
    match command {
        DiskCommand::Create(args) => {
            let NewName { engine, name } = args.name;
            let made = herd.make_disk(engine.as_ref(), &name, args.size).await?;
            print(app, &vec![made.into()])
        }
        DiskCommand::Ls => print(app, &herd.disks().await?.into_iter().map(Row::from).collect()),
        DiskCommand::Attach(args) => {
            let DiskAttachArgs { disk, to, path, read_only } = args;
            Ok(herd.attach_disk(&to, &Volume { disk, path, read_only }).await?)
        }
        DiskCommand::Detach(args) => Ok(herd.detach_disk(&args.from, &args.disk).await?),
        DiskCommand::Rm(args) => Ok(herd.remove_disk(&args.disk).await?),
    }
}

/// The same of the disks of a server.
async fn elsewhere(app: &App, disks: &Disks, command: DiskCommand) -> Result<(), Failure> {
    match command {
        DiskCommand::Create(args) => {
            let NewName { engine, name } = args.name;
            let disks = engine.map_or_else(|| disks.clone(), |engine| disks.on(engine.as_str()));
            let made = disks.create(name.as_str(), args.size.bytes()).await?;
            print(app, &vec![made.into()])
        }
        DiskCommand::Ls => print(app, &disks.list().await?.into_iter().map(Row::from).collect()),
        DiskCommand::Attach(args) => {
            let (to, path) = (args.to.to_string(), args.path.to_string());
            Ok(disks.attach(&args.disk, &to, &path, args.read_only).await?)
        }
        DiskCommand::Detach(args) => Ok(disks.detach(&args.disk, &args.from.to_string()).await?),
        DiskCommand::Rm(args) => Ok(disks.remove(&args.disk).await?),
    }
}

fn print(app: &App, rows: &Vec<Row>) -> Result<(), Failure> {
    let line = |row: &Row| {
        let mode = match (&row.path, row.read_only) {
            (None, _) => "",
            (Some(_), true) => "read-only",
            (Some(_), false) => "writable",
        };
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let (to, path) = (text(&row.attached_to), text(&row.path));
        [row.name.clone(), row.engine.clone(), row.size.clone(), to, path, mode.to_owned()]
    };
    let heads = ["NAME", "ENGINE", "SIZE", "BOX", "PATH", "MODE"];
    app.printer.names_only(true).result(
        rows,
        |rows| table(heads, &rows.iter().map(line).collect::<Vec<_>>()),
        |rows| rows.iter().map(|row| row.name.clone()).collect(),
    )
}
