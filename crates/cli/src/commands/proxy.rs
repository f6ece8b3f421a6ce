//! `boxherd proxy`.

use boxherd_herd::{Proxy, ProxyChange};
use serde::Serialize;

use crate::app::App;
use crate::args::{ProxyCommand, ProxySetArgs};
use crate::columns::table;
use crate::failure::Failure;

/// A proxy, as it is shown.
#[derive(Debug, Serialize)]
struct Row {
    /// Empty for the default one.
    name: String,
    /// What goes before the server's domain.
    host: String,
    /// A number, or `auto`.
    port: String,
    /// Where it leads now, when that is known.
    effective: Option<u16>,
    private: bool,
}

impl From<Proxy> for Row {
    fn from(proxy: Proxy) -> Self {
        let Proxy { name, host, port, effective, private, .. } = proxy;
        Self { name, host, port: port.to_string(), effective, private }
    }
}

/// Everything about proxies.
pub(super) async fn proxy(app: &App, command: ProxyCommand) -> Result<(), Failure> {
    let herd = app.herd().await?;
    match command {
        ProxyCommand::Ls(args) => {
            let proxies = herd.proxies(&args.of).await?;
            print(app, &proxies.into_iter().map(Row::from).collect())
        }
        ProxyCommand::Create(args) => {
            let made = herd.add_proxy(&args.of, &args.name, args.port).await?;
            print(app, &vec![made.into()])
        }
        ProxyCommand::Set(args) => {
            herd.change_proxy(&args.of, &args.name, change(&args)?).await?;
            Ok(())
        }
        ProxyCommand::Rm(args) => Ok(herd.remove_proxy(&args.of, &args.name).await?),
    }
}

fn change(args: &ProxySetArgs) -> Result<ProxyChange, Failure> {
    let private = (args.private || args.public).then_some(args.private);
    let change = ProxyChange { port: args.port, private };
    match change == ProxyChange::default() {
        true => Err(Failure::usage("nothing is to be changed")
            .hint("use `--port`, `--private` or `--public`")),
        false => Ok(change),
    }
}

fn print(app: &App, rows: &Vec<Row>) -> Result<(), Failure> {
    let line = |row: &Row| {
        let now = row.effective.map_or_else(String::new, |port| port.to_string());
        let whom = if row.private { "owner" } else { "everybody" };
        [row.host.clone(), row.port.clone(), now, whom.to_owned()]
    };
    app.printer.names_only(true).result(
        rows,
        |rows| table(["HOST", "PORT", "NOW", "FOR"], &rows.iter().map(line).collect::<Vec<_>>()),
        |rows| rows.iter().map(|row| row.host.clone()).collect(),
    )
}
