//! Commands that run something in a box.

use std::time::Duration;

use boxherd_model::Address;
use clap::Args;

use super::values;
use super::{BoxFlags, EnvVar, NewName};

/// Make a box, run a command in it, and delete the box
///
/// Standard input is given to the command when it is not a terminal, or with `-i`. Exits with the
/// command's own code, 128+N when signal N ended it, 124 after `--timeout`, 126 when it cannot be
/// executed, 127 when it is not found, and 125 when Boxherd itself failed. When the command succeeded
/// and the box cannot be deleted, that is 125 too; a command's own failure is never replaced.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The name of the box; made up when not given
    #[arg(long)]
    pub(crate) name: Option<NewName>,
    #[command(flatten)]
    pub(crate) flags: BoxFlags,
    /// Set a variable; without a value, take ours
    #[arg(short, long = "env", value_name = "KEY[=VALUE]")]
    pub(crate) env: Vec<EnvVar>,
    #[command(flatten)]
    pub(crate) tty: TtyFlags,
    /// End the command when it takes longer
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub(crate) timeout: Option<Duration>,
    /// Keep the box when the command has ended
    #[arg(long, conflicts_with = "rm")]
    pub(crate) keep: bool,
    /// Delete the box when the command has ended (it is so without this flag)
    #[arg(long)]
    pub(crate) rm: bool,
    /// The command; when not given, what the image says is to be run, else a login shell
    #[arg(trailing_var_arg = true, value_name = "CMD")]
    pub(crate) cmd: Vec<String>,
}

/// Run a command in a box
///
/// Standard input is given to the command when it is not a terminal, or with `-i`. Exits with the
/// command's own code, 128+N when signal N ended it, 124 after `--timeout`, 126 when it cannot be
/// executed, 127 when it is not found, and 125 when Boxherd itself failed.
#[derive(Debug, Args)]
pub(crate) struct ExecArgs {
    /// The box
    pub(crate) name: Address,
    #[command(flatten)]
    pub(crate) tty: TtyFlags,
    /// Set a variable; without a value, take ours
    #[arg(short, long = "env", value_name = "KEY[=VALUE]")]
    pub(crate) env: Vec<EnvVar>,
    /// Where to run it, a path in the box
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<String>,
    /// As whom: `NAME`, `UID` or either with `:GROUP`
    #[arg(short, long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// End the command when it takes longer
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub(crate) timeout: Option<Duration>,
    /// The command
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    pub(crate) cmd: Vec<String>,
}

/// Open a login shell in a box
#[derive(Debug, Args)]
pub(crate) struct ShellArgs {
    /// The box
    pub(crate) name: Address,
    /// As whom
    #[arg(short, long, value_name = "USER")]
    pub(crate) user: Option<String>,
}

/// How a command is connected.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct TtyFlags {
    /// Give it our standard input, also from a terminal
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Give it a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
}
