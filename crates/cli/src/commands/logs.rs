//! `boxherd logs`.

use std::time::Duration;

use boxherd_model::BoxState;

use crate::app::App;
use crate::args::LogsArgs;
use crate::failure::Failure;
use crate::remote::Remote;

/// How often a console that is followed is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Prints the console.
pub(super) async fn logs(app: &App, args: LogsArgs) -> Result<(), Failure> {
    if let Some(remote) = app.remote() {
        return elsewhere(app, remote, &args).await;
    }
    let from = so_far(app, &args).await?;
    if args.follow { follow(app, &args, from).await } else { Ok(()) }
}

/// Prints the console of a box on a server, which says itself when there is no more.
async fn elsewhere(app: &App, remote: &Remote, args: &LogsArgs) -> Result<(), Failure> {
    let Some(tail) = args.tail else {
        let mut logs = remote.logs(&args.name, args.follow).await?;
        while let Some(piece) = logs.next().await? {
            app.printer.bytes(&piece)?;
        }
        return Ok(());
    };
    if args.follow {
        return Err(Failure::usage("a server cannot be asked for `--tail` with `--follow`")
            .hint("leave out one of them"));
    }
    let mut logs = remote.logs(&args.name, false).await?;
    let mut kept = Vec::new();
    while let Some(piece) = logs.next().await? {
        kept.extend_from_slice(&piece);
    }
    app.printer.bytes(last_lines(&kept, tail))
}

/// Prints what is there now, and says where that ends. A box that writes faster than we read is not
/// run after.
async fn so_far(app: &App, args: &LogsArgs) -> Result<u64, Failure> {
    let herd = app.herd().await?;
    let (mut from, mut end) = (0, None);
    let mut kept = Vec::new();
    loop {
        let chunk = herd.console(&args.name, from).await?;
        let end = *end.get_or_insert(chunk.end);
        let data = up_to(end, chunk.start, &chunk.data);
        match args.tail {
            Some(_) => kept.extend_from_slice(data),
            None => app.printer.bytes(data)?,
        }
        let next = chunk.next().min(end);
        if next <= from || next == end {
            app.printer.bytes(last_lines(&kept, args.tail.unwrap_or(0)))?;
            return Ok(next);
        }
        from = next;
    }
}

/// What of `data`, which begins at `start`, is before `end`.
fn up_to(end: u64, start: u64, data: &[u8]) -> &[u8] {
    let length = usize::try_from(end.saturating_sub(start)).unwrap_or(usize::MAX);
    &data[..length.min(data.len())]
}

/// Prints what comes, until the box has stopped and everything was printed.
async fn follow(app: &App, args: &LogsArgs, mut from: u64) -> Result<(), Failure> {
    let herd = app.herd().await?;
    loop {
        // Looked at first: what it wrote before it stopped is still to be read.
        let state = herd.show(&args.name).await?.state;
        let chunk = herd.console(&args.name, from).await?;
        app.printer.bytes(&chunk.data)?;
        from = chunk.next();
        if chunk.data.is_empty() {
            if matches!(state, BoxState::Stopped | BoxState::Failed | BoxState::Gone) {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// The last `count` lines of `text`; the last need not have ended.
fn last_lines(text: &[u8], count: usize) -> &[u8] {
    let whole = text.strip_suffix(b"\n").unwrap_or(text);
    if count == 0 {
        return &[];
    }
    let mut ends = whole.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n');
    ends.nth(count - 1).map_or(text, |(end, _)| &text[end + 1..])
}

#[cfg(test)]
mod tests {
    use super::{last_lines, up_to};

    #[test]
    fn what_comes_after_the_end_is_left() {
        assert_eq!(up_to(7, 5, b"abc"), b"ab");
        assert_eq!(up_to(8, 5, b"abc"), b"abc");
        assert_eq!(up_to(u64::MAX, 5, b"abc"), b"abc");
        assert_eq!(up_to(4, 5, b"abc"), b"", "the ring has moved past it");
    }

    #[test]
    fn the_last_lines_are_the_last() {
        assert_eq!(last_lines(b"a\nb\nc\n", 2), b"b\nc\n");
        assert_eq!(last_lines(b"a\nb\nc", 1), b"c");
        assert_eq!(last_lines(b"a\nb\n", 9), b"a\nb\n");
        assert_eq!(last_lines(b"a\n\n", 1), b"\n");
        assert_eq!(last_lines(b"a\n", 0), b"");
        assert_eq!(last_lines(b"", 3), b"");
    }
}
