//! `boxherd netd`: the process that answers DNS for boxes.

use crate::app::App;
use crate::args::NetdArgs;
use crate::failure::Failure;

/// Answers until no box needs it.
pub(crate) fn netd(app: &App, args: &NetdArgs) -> Result<(), Failure> {
    boxherd_net::netd::main(app.data(), &args.installation)
        .map_err(|error| Failure::of(&error, "network", None))
}
