//! `boxherd proxy`.

use boxherd_client::Client;
use boxherd_herd::{Port, Proxy, ProxyChange};
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
    if let Some(remote) = app.remote() {
        return elsewhere(app, remote.client().await?, command).await;
    }
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

/// The same of the boxes of a server.
async fn elsewhere(app: &App, client: &Client, command: ProxyCommand) -> Result<(), Failure> {
    let zone = client.config().await?.zone;
    let row = |proxy| row(proxy, &zone);
    match command {
        ProxyCommand::Ls(args) => {
            let proxies = client.proxies(args.of.to_string()).list().await?;
            print(app, &proxies.into_iter().map(row).collect())
        }
        ProxyCommand::Create(args) => {
            let proxies = client.proxies(args.of.to_string());
            print(app, &vec![row(proxies.create(&args.name, number(args.port)).await?)])
        }
        ProxyCommand::Set(args) => {
            let change = change(&args)?;
            let proxies = client.proxies(args.of.to_string());
            // First: what is to be private is not on another port for everybody.
            if let Some(private) = change.private {
                proxies.set_private(&args.name, private).await?;
            }
            match change.port {
                Some(port) => Ok(proxies.set_port(&args.name, number(port)).await?),
                None => Ok(()),
            }
        }
        ProxyCommand::Rm(args) => {
            Ok(client.proxies(args.of.to_string()).remove(&args.name).await?)
        }
    }
}

/// A port; `None` is found.
fn number(port: Port) -> Option<u16> {
    (port != Port::Auto).then(|| port.number())
}

fn row(proxy: boxherd_client::Proxy, zone: &str) -> Row {
    let host = proxy.domain.strip_suffix(&format!(".{zone}")).unwrap_or(&proxy.domain).to_owned();
    Row {
        name: proxy.name,
        host,
        port: proxy.port.map_or_else(|| Port::Auto.to_string(), |port| port.to_string()),
        effective: Some(proxy.effective_port).filter(|port| *port != 0),
        private: proxy.private,
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
        let whom = match row.private {
            true => "owner",
            false => "everybody",
        };
        [row.host.clone(), row.port.clone(), now, whom.to_owned()]
    };
    app.printer.names_only(true).result(
        rows,
        |rows| table(["HOST", "PORT", "NOW", "FOR"], &rows.iter().map(line).collect::<Vec<_>>()),
        |rows| rows.iter().map(|row| row.host.clone()).collect(),
    )
}
