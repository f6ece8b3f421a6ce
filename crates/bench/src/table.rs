//! A report for people.

use std::fmt::Write as _;

use crate::report::{Contest, Figure, Report};

impl Report {
    /// The report as text, for a terminal of 100 columns.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = self.machine.line();
        for contest in &self.contests {
            text.push('\n');
            write_contest(&mut text, contest).expect("writing to a string cannot fail");
        }
        if !self.skipped.is_empty() {
            text.push_str("\nnot measured:\n");
            for reason in &self.skipped {
                text.push_str(&format!("  {reason}\n"));
            }
        }
        text
    }
}

fn write_contest(text: &mut String, contest: &Contest) -> std::fmt::Result {
    let unit = contest.unit.as_str();
    writeln!(text, "{}: {} [{unit}], load {:.2}", contest.name, contest.what, contest.load)?;
    writeln!(
        text,
        "  {:<24} {:>5} {:>9} {:>9} {:>9} {:>9} {:>9} {:>7}",
        "", "n", "min", "p50", "p90", "p99", "max", "ratio"
    )?;
    for figure in &contest.figures {
        writeln!(text, "{}", row(figure))?;
    }
    if !contest.phases.is_empty() {
        let phases: Vec<_> =
            contest.phases.iter().map(|phase| format!("{} {:.2}", phase.name, phase.p50)).collect();
        writeln!(text, "  phases, p50 in ms: {}", phases.join(", "))?;
    }
    for note in &contest.notes {
        writeln!(text, "  {note}")?;
    }
    match (contest.target, contest.target_p99) {
        (None, None) => {}
        (Some(p50), None) => writeln!(text, "  target: p50 {p50} {unit}")?,
        (None, Some(p99)) => writeln!(text, "  target: p99 {p99} {unit}")?,
        (Some(p50), Some(p99)) => writeln!(text, "  target: p50 {p50}, p99 {p99} {unit}")?,
    }
    match (contest.target_ratio, contest.figures.get(1)) {
        (Some(ratio), Some(peer)) => {
            writeln!(text, "  target: ratio {ratio:.2}× for {}", peer.contender)
        }
        _ => Ok(()),
    }
}

fn row(figure: &Figure) -> String {
    let s = &figure.summary;
    let ratio = figure.ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}×"));
    format!(
        "  {:<24} {:>5} {:>9} {:>9} {:>9} {:>9} {:>9} {:>7}",
        figure.contender,
        s.n,
        number(s.min),
        number(s.p50),
        number(s.p90),
        number(s.p99),
        number(s.max),
        ratio
    )
}

/// Three digits that count, more only before the point.
fn number(value: f64) -> String {
    let digits = match value.abs() {
        100.0.. => 0,
        10.0.. => 1,
        1.0.. => 2,
        _ => 3,
    };
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Machine, Unit};

    #[test]
    fn numbers_keep_three_digits() {
        let shown: Vec<_> = [0.0812, 2.134, 36.27, 255.3, 2300.0].map(number).into();
        assert_eq!(shown, ["0.081", "2.13", "36.3", "255", "2300"]);
    }

    #[test]
    fn a_report_says_who_what_and_how_much_better() {
        let samples =
            vec![("boxherd".to_owned(), vec![2.0, 4.0]), ("crun run".to_owned(), vec![12.0])];
        let contest = Contest::new("create", "create to first output", Unit::Millis, samples);
        let machine = Machine {
            cpus: 2,
            cpu: "a processor".to_owned(),
            kernel: "6.1".to_owned(),
            memory: 24 << 30,
            load_before: [0.5; 3],
            load_after: [0.7; 3],
        };
        let skipped = vec!["podman: not installed".to_owned()];
        let report = Report {
            machine,
            contests: vec![contest.target(6.0).target_p99(20.0).target_ratio(1.9)],
            skipped,
        };
        let expected = "\
2 × a processor, 24.0 GiB, Linux 6.1, load 0.50 before and 0.70 after

create: create to first output [ms], load 0.00
                               n       min       p50       p90       p99       max   ratio
  boxherd                      2      2.00      2.00      4.00      4.00      4.00        
  crun run                     1      12.0      12.0      12.0      12.0      12.0   6.00×
  target: p50 6, p99 20 ms
  target: ratio 1.90× for crun run

not measured:
  podman: not installed
";
        assert_eq!(report.table(), expected);
    }
}
