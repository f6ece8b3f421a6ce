//! `boxherd top`.

use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::time::Instant;

use boxherd_engine::Usage;
use boxherd_model::{Address, BoxState, BoxStatus, Target};
use futures_util::future::join_all;
use serde::Serialize;

use crate::app::App;
use crate::args::TopArgs;
use crate::boxes::Boxes;
use crate::columns::table;
use crate::failure::Failure;
use crate::signals::Signals;

/// Clears a terminal and begins at its top (ECMA-48: ED, CUP).
const CLEAR: &str = "\x1b[2J\x1b[H";
const MIB: f64 = (1 << 20) as f64;

/// What a box uses now.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    engine: String,
    state: BoxState,
    /// Processors that were busy since the last look, in hundredths of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_percent: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pids: Option<u64>,
}

/// What was seen of every box at one time.
#[derive(Debug)]
struct Look {
    at: Instant,
    seen: Vec<(BoxStatus, Usage)>,
}

/// Shows what boxes use, again and again on a terminal.
pub(super) async fn top(app: &App, args: TopArgs) -> Result<(), Failure> {
    let again = app.printer.is_table() && std::io::stdout().is_terminal() && !args.once;
    let mut signals =
        Signals::take().map_err(|error| Failure::io("cannot take signals", &error))?;
    let mut earlier = look(app).await?;
    loop {
        tokio::select! {
            _ = signals.ending() => return Ok(()),
            () = tokio::time::sleep(args.interval) => {}
        }
        let now = look(app).await?;
        let mut rows = rows(&earlier, &now);
        // Who uses most comes first.
        rows.sort_by(|a, b| b.cpu_percent.unwrap_or(0.0).total_cmp(&a.cpu_percent.unwrap_or(0.0)));
        if again {
            app.printer.text(CLEAR)?;
        }
        show(app, &rows)?;
        if !again {
            return Ok(());
        }
        earlier = now;
    }
}

async fn look(app: &App) -> Result<Look, Failure> {
    let boxes = app.boxes().await?;
    let (listed, silent) = boxes.list().await?;
    silent.iter().for_each(|told| app.printer.note(told));
    let at = Instant::now();
    let measured = listed.into_iter().map(|status| async {
        let usage = usage(app, boxes, &status).await;
        (status, usage)
    });
    Ok(Look { at, seen: join_all(measured).await })
}

/// Nothing of a box of which nothing is known.
async fn usage(app: &App, boxes: Boxes<'_>, status: &BoxStatus) -> Usage {
    if !status.state.is_measured() {
        return Usage::default();
    }
    let address = Address { engine: None, target: Target::Id(status.id) };
    match boxes.usage(&address).await {
        Ok(usage) => usage,
        Err(failure) => {
            app.printer.note(&format!("{}: {}", status.spec.name, failure.message()));
            Usage::default()
        }
    }
}

fn rows(earlier: &Look, now: &Look) -> Vec<Row> {
    let since = now.at.duration_since(earlier.at).as_micros().max(1) as f64;
    let before =
        earlier.seen.iter().filter_map(|(status, usage)| Some((status.id, usage.cpu_micros?)));
    let before: HashMap<_, _> = before.collect();
    let row = |(status, usage): &(BoxStatus, Usage)| {
        let cpu = usage.cpu_micros.and_then(|cpu| {
            // One that was started again begins anew.
            let before = before.get(&status.id).filter(|before| **before <= cpu)?;
            Some((cpu - before) as f64 * 100.0 / since)
        });
        Row {
            name: status.spec.name.to_string(),
            engine: status.engine.to_string(),
            state: status.state,
            cpu_percent: cpu,
            memory_bytes: usage.memory,
            disk_bytes: usage.disk,
            pids: usage.pids,
        }
    };
    now.seen.iter().map(row).collect()
}

fn show(app: &App, rows: &[Row]) -> Result<(), Failure> {
    let dash = || "-".to_owned();
    let mib = |bytes: Option<u64>| bytes.map_or_else(dash, |b| format!("{:.1}MiB", b as f64 / MIB));
    let cells = |row: &Row| {
        [
            row.name.clone(),
            row.engine.clone(),
            row.state.to_string(),
            row.cpu_percent.map_or_else(dash, |percent| format!("{percent:.1}%")),
            mib(row.memory_bytes),
            mib(row.disk_bytes),
            row.pids.map_or_else(dash, |pids| pids.to_string()),
        ]
    };
    let head = ["NAME", "ENGINE", "STATE", "CPU", "MEMORY", "DISK", "PIDS"];
    app.printer.result(
        &rows,
        |rows| table(head, &rows.iter().map(cells).collect::<Vec<_>>()),
        |rows| rows.iter().map(|row| row.name.clone()).collect(),
    )
}
