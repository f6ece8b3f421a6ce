//! The agent of a box. See `boxherd_agent::init` for what it does and
//! `boxherd_link::agent_config` for how it is started.

use std::process::ExitCode;

fn main() -> ExitCode {
    match boxherd_agent::init::run() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("boxherd-agent: {error}");
            ExitCode::from(125)
        }
    }
}
