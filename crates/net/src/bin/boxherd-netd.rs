//! `netd` by itself, for tests of it: `boxherd-netd DATA INSTALLATION`. The program `boxherd`
//! carries the same as a hidden command.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, data, installation] = arguments.as_slice() else {
        eprintln!("usage: boxherd-netd DATA INSTALLATION");
        return ExitCode::from(2);
    };
    match boxherd_net::netd::main(Path::new(data), installation) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
