//! `boxherd logs`.

use std::time::Duration;

use boxherd_model::BoxState;

use crate::app::App;
use crate::args::LogsArgs;
use crate::failure::Failure;

/// How often a console that is followed is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Prints the console.
pub(super) async fn logs(app: &App, args: LogsArgs) -> Result<(), Failure> {
    let herd = app.herd().await?;
    let mut from = 0;
    let mut kept = Vec::new();
    loop {
        let chunk = herd.console(&args.name, from).await?;
        from = chunk.next();
        if chunk.data.is_empty() {
            break;
        }
        match args.tail {
            Some(_) => kept.extend_from_slice(&chunk.data),
            None => app.printer.bytes(&chunk.data)?,
        }
    }
    app.printer.bytes(last_lines(&kept, args.tail.unwrap_or(0)))?;
    if !args.follow {
        return Ok(());
    }
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
    use super::last_lines;

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
