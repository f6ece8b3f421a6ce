//! What can be typed about the server.

use std::path::PathBuf;
use std::time::Duration;

use boxherd_gateway_http::listen::Place;
use boxherd_herd::ForwardRange;
use boxherd_model::{ByteSize, EngineName, KeyId, NameError, UserName};
use clap::{Args, Subcommand};

use super::values::Quantity;
use super::{examples, values};
use crate::telemetry::LogFormat;

/// Serve boxes to others: the boxd gRPC API and its exchange of keys, on one port
///
/// The first start makes a user `admin` and prints an API key, which is shown only once; with a
/// variable `BOXHERD_BOOTSTRAP_KEY`, that is the key. Boxes go on when the server ends, and are
/// found again when it starts.
#[derive(Debug, Args)]
#[command(after_help = examples::SERVE)]
pub(crate) struct ServeArgs {
    /// Where to listen: `ADDRESS:PORT` or `unix:PATH`; may be repeated
    #[arg(long, value_name = "PLACE", default_value = "127.0.0.1:9443")]
    pub(crate) listen: Vec<Place>,
    /// Where to let browsers into boxes, by `BOX.DOMAIN` and `PROXY.BOX.DOMAIN`; may be repeated
    #[arg(long, value_name = "PLACE")]
    pub(crate) proxy_listen: Vec<Place>,
    /// Where boxes can be given ports of this host, for what is not HTTP: `ADDRESS:FROM-TO`
    #[arg(long, value_name = "PORTS")]
    pub(crate) forward_listen: Option<ForwardRange>,
    /// A PEM file with a certificate and those that lead to its authority; needs `--tls-key`
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// A PEM file with the key of the certificate
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Speak TLS with a certificate of an own authority; clients trust `tls/ca.pem` in the data folder
    #[arg(long, conflicts_with = "tls_cert")]
    pub(crate) tls_dev: bool,
    /// Have certificates for domains of users from Let's Encrypt, or another authority that speaks ACME;
    /// other names have that of `--tls-cert` or of an own authority
    #[arg(long, requires = "proxy_listen")]
    pub(crate) acme: bool,
    /// Where that authority asks whether a domain leads here; it asks at port 80
    #[arg(long, value_name = "PLACE", default_value = "0.0.0.0:80", requires = "acme")]
    pub(crate) acme_listen: Vec<Place>,
    /// The directory of another authority
    #[arg(long, value_name = "URL", requires = "acme")]
    pub(crate) acme_directory: Option<String>,
    /// Whom the authority may write to
    #[arg(long, value_name = "MAIL", requires = "acme")]
    pub(crate) acme_contact: Option<String>,
    /// A PEM file with the root that the authority is trusted by, instead of those of this host
    #[arg(long, value_name = "FILE", requires = "acme")]
    pub(crate) acme_root: Option<PathBuf>,
    /// Listen without TLS where other machines can reach it
    #[arg(long)]
    pub(crate) plaintext: bool,
    /// How the log on standard error looks
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
    /// Send traces to a collector that speaks OTLP over gRPC, such as `http://127.0.0.1:4317`; takes a
    /// `boxherd` that was built with `--features otel`
    #[arg(long, value_name = "URL", env = "BOXHERD_OTLP")]
    pub(crate) otlp: Option<String>,
    /// End when standard input does, as it does when whoever started this ends
    #[arg(long)]
    pub(crate) until_input_ends: bool,
    /// Below which names of boxes are reached
    #[arg(long, value_name = "DOMAIN", default_value = "localhost")]
    pub(crate) zone: String,
}

/// Make, list and take back API keys
#[derive(Debug, Subcommand)]
#[command(after_help = examples::KEY)]
pub(crate) enum KeyCommand {
    /// Make an API key, and print it this once
    Create(KeyCreateArgs),
    /// List the keys of users
    Ls(KeyLsArgs),
    /// Take a key back; tokens that it was exchanged for hold no more
    Rm(KeyRmArgs),
}

/// `boxherd key create`.
#[derive(Debug, Args)]
pub(crate) struct KeyCreateArgs {
    /// What to call the key
    #[arg(value_name = "NAME", default_value = "")]
    pub(crate) name: String,
    /// Whose it is, `admin`'s when not given; a user of that name is made when there is none. Of a
    /// server one has keys of one's own only
    #[arg(long, value_name = "USER")]
    pub(crate) user: Option<UserName>,
    /// How long it holds, such as `30d`; for ever when not given
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    pub(crate) expires: Option<Duration>,
}

/// `boxherd key ls`.
#[derive(Debug, Args)]
pub(crate) struct KeyLsArgs {
    /// Only this user's
    #[arg(long, value_name = "USER")]
    pub(crate) user: Option<UserName>,
}

/// `boxherd key rm`.
#[derive(Debug, Args)]
pub(crate) struct KeyRmArgs {
    /// The key's id, as `key ls` shows it
    #[arg(value_name = "ID")]
    pub(crate) id: KeyId,
}

/// Make and list users, and set how much each may have
#[derive(Debug, Subcommand)]
#[command(after_help = examples::USER)]
pub(crate) enum UserCommand {
    /// Make a user; `boxherd key create --user USER` makes a key for it
    Create(UserCreateArgs),
    /// List the users and their quotas
    Ls,
    /// Change what a user may have; what is not named stays as it is
    Set(UserSetArgs),
    /// Let a user act on boxes that it did not make, which it then names `ENGINE:BOX`
    Grant(GrantArgs),
    /// Take that back, from the next call on
    Revoke(GrantArgs),
    /// List what a user may do beyond its own boxes
    Grants(GrantsArgs),
}

/// `boxherd user grant` and `revoke`.
#[derive(Debug, Args)]
pub(crate) struct GrantArgs {
    /// The user
    #[arg(value_name = "USER")]
    pub(crate) name: UserName,
    /// Every box of an engine, or those that one user has there
    #[arg(value_name = "ENGINE[/OWNER]")]
    pub(crate) place: GrantPlace,
}

/// `boxherd user grants`.
#[derive(Debug, Args)]
pub(crate) struct GrantsArgs {
    /// The user
    #[arg(value_name = "USER")]
    pub(crate) name: UserName,
}

/// `ENGINE` or `ENGINE/OWNER`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GrantPlace {
    pub(crate) engine: EngineName,
    pub(crate) owner: Option<UserName>,
}

impl std::str::FromStr for GrantPlace {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (engine, owner) = match text.split_once('/') {
            None => (text, None),
            Some((engine, owner)) => (engine, Some(owner.parse()?)),
        };
        Ok(Self { engine: engine.parse()?, owner })
    }
}

/// `boxherd user create`.
#[derive(Debug, Args)]
pub(crate) struct UserCreateArgs {
    /// The user
    #[arg(value_name = "USER")]
    pub(crate) name: UserName,
    /// May do what the host may
    #[arg(long)]
    pub(crate) admin: bool,
    #[command(flatten)]
    pub(crate) quota: QuotaArgs,
}

/// `boxherd user set`.
#[derive(Debug, Args)]
pub(crate) struct UserSetArgs {
    /// The user
    #[arg(value_name = "USER")]
    pub(crate) name: UserName,
    /// Whether it may do what the host may
    #[arg(long, value_name = "BOOL")]
    pub(crate) admin: Option<bool>,
    #[command(flatten)]
    pub(crate) quota: QuotaArgs,
}

/// How much a user may have at once; `none` for as much as the host has.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct QuotaArgs {
    /// Boxes in any state, or `none`
    #[arg(long, value_name = "N", value_parser = values::limit::<u32>)]
    pub(crate) boxes: Option<Quantity<u32>>,
    /// Memory limits of all boxes that have processes, together, or `none`
    ///
    /// A box that names no limit gets one of 1 GiB.
    #[arg(long, value_name = "SIZE", value_parser = values::limit::<ByteSize>)]
    pub(crate) memory: Option<Quantity<ByteSize>>,
    /// Disk limits of all boxes, together, or `none`
    ///
    /// A box that names no limit gets one of 10 GiB.
    #[arg(long, value_name = "SIZE", value_parser = values::limit::<ByteSize>)]
    pub(crate) disk: Option<Quantity<ByteSize>>,
    /// Commands at once, or `none`
    #[arg(long, value_name = "N", value_parser = values::limit::<u32>)]
    pub(crate) execs: Option<Quantity<u32>>,
}
