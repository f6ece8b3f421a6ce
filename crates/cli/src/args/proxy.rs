//! What can be typed about proxies.

use boxherd_herd::Port;
use boxherd_model::Address;
use clap::{Args, Subcommand};

use super::examples;

/// List and change the ways by which browsers reach boxes
///
/// Every box has a default proxy, `BOX.DOMAIN`, that leads to port 8000 until it is changed; more are
/// `NAME.BOX.DOMAIN`. They are served by `boxherd serve --proxy-listen`, which sees a change after a
/// second at most.
#[derive(Debug, Subcommand)]
#[command(after_help = examples::PROXY)]
pub(crate) enum ProxyCommand {
    /// List the proxies of a box
    Ls(ProxyLsArgs),
    /// Add a proxy to a box
    Create(ProxyCreateArgs),
    /// Change where a proxy leads, and for whom
    Set(ProxySetArgs),
    /// Remove a proxy of a box
    Rm(ProxyRmArgs),
}

/// `boxherd proxy ls`.
#[derive(Debug, Args)]
pub(crate) struct ProxyLsArgs {
    /// The box: `NAME` or `ENGINE:NAME`
    #[arg(value_name = "BOX")]
    pub(crate) of: Address,
}

/// `boxherd proxy create`.
#[derive(Debug, Args)]
pub(crate) struct ProxyCreateArgs {
    /// The box: `NAME` or `ENGINE:NAME`
    #[arg(value_name = "BOX")]
    pub(crate) of: Address,
    /// What to call it: what goes before the name of the box
    pub(crate) name: String,
    /// Where it leads; `auto` is a port on which something listens
    #[arg(value_parser = port)]
    pub(crate) port: Port,
}

/// `boxherd proxy set`.
#[derive(Debug, Args)]
pub(crate) struct ProxySetArgs {
    /// The box: `NAME` or `ENGINE:NAME`
    #[arg(value_name = "BOX")]
    pub(crate) of: Address,
    /// Which one; the default one when not given
    #[arg(default_value = "", hide_default_value = true)]
    pub(crate) name: String,
    /// Where it leads; `auto` is a port on which something listens
    #[arg(long, value_parser = port)]
    pub(crate) port: Option<Port>,
    /// Want a token of the box's owner
    #[arg(long, conflicts_with = "public")]
    pub(crate) private: bool,
    /// Let everybody in
    #[arg(long)]
    pub(crate) public: bool,
}

/// `boxherd proxy rm`.
#[derive(Debug, Args)]
pub(crate) struct ProxyRmArgs {
    /// The box: `NAME` or `ENGINE:NAME`
    #[arg(value_name = "BOX")]
    pub(crate) of: Address,
    /// Which one
    pub(crate) name: String,
}

fn port(text: &str) -> Result<Port, String> {
    match text.parse() {
        _ if text == "auto" => Ok(Port::Auto),
        Ok(port) if port != 0 => Ok(Port::from_number(port)),
        _ => Err("use 1 to 65535, or `auto`".to_owned()),
    }
}
