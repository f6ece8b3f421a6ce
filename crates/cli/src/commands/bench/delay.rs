//! `boxherd bench delay`.

use super::end;
use crate::app::App;
use crate::args::BenchDelayArgs;
use crate::failure::Failure;
use crate::signals::Signals;
use crate::streams;

/// Makes a server far away until standard input ends, or a signal comes.
pub(super) async fn delay(app: &App, args: BenchDelayArgs) -> Result<(), Failure> {
    let mut signals = Signals::take().map_err(|error| Failure::io("signals", &error))?;
    let mut said = Ok(());
    let listening = |port| said = app.printer.text(&format!("listening on 127.0.0.1:{port}\n"));
    let ended = async {
        tokio::select! {
            () = streams::input_ended() => {}
            () = end(&mut signals) => {}
        }
    };
    let run = boxherd_bench::delay(args.target, args.round_trip, listening, ended).await;
    run.map_err(|error| Failure::io("cannot listen", &error))?;
    said
}
