//! Text in columns. Pure.

/// `rows` under `head`, each column as wide as its widest cell, two blanks between.
pub(crate) fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = head.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = line(&head, &widths);
    for row in rows {
        text.push_str(&line(&row.each_ref().map(String::as_str), &widths));
    }
    text
}

/// Names beside values, one a line.
pub(crate) fn pairs(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let cell = |value: &str| plain(value).replace('\n', "\\n");
    pairs.iter().map(|(name, value)| format!("{name:width$}  {}\n", cell(value))).collect()
}

fn line(cells: &[&str], widths: &[usize]) -> String {
    let padded: Vec<_> =
        cells.iter().zip(widths).map(|(cell, width)| format!("{:width$}", plain(cell))).collect();
    format!("{}\n", padded.join("  ").trim_end())
}

/// Text that may come from a box, harmless on a terminal: no control characters but line feeds.
pub(crate) fn plain(text: &str) -> String {
    let harmless = |c: char| if c.is_control() && c != '\n' { '\u{fffd}' } else { c };
    text.chars().map(harmless).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_end_with_text() {
        let rows = [["web".to_owned(), "running".to_owned()], ["a-db".to_owned(), String::new()]];
        assert_eq!(table(["NAME", "STATE"], &rows), "NAME  STATE\nweb   running\na-db\n");
    }

    #[test]
    fn control_characters_do_not_reach_a_terminal() {
        assert_eq!(plain("a\x1b[31mb\nc"), "a\u{fffd}[31mb\nc");
    }

    #[test]
    fn pairs_line_up() {
        assert_eq!(pairs(&[("id", "7".into()), ("state", "x".into())]), "id     7\nstate  x\n");
        assert_eq!(pairs(&[("env", "A=1\nstate  y".into())]), "env  A=1\\nstate  y\n");
    }
}
