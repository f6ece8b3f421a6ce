//! What is said to mistakes in what was typed: like any other failure, in one line with a hint, or
//! as an object for programs.

use std::borrow::Cow;
use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{ArgMatches, CommandFactory as _, ValueEnum as _};

use crate::args::{Cli, Format};
use crate::env;
use crate::failure::{Failure, OURS};
use crate::printer::Printer;

/// Prints what clap has to say: help, the version, or a mistake. A mistake exits with 2, and with
/// 125 where any other number may be that of a command in a box.
pub(crate) fn tell(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        return match error.print() {
            Ok(()) => ExitCode::SUCCESS,
            // Whoever asked for help does not read it any more.
            Err(_) => ExitCode::from(Failure::BrokenPipe.exit_code(1)),
        };
    }
    let typed = Typed::of(&env::arguments());
    let printer = Printer::of_mistakes(typed.format, typed.no_color);
    if error.kind() == ErrorKind::MissingSubcommand && printer.is_table() {
        printer.help(&typed.help());
    } else {
        printer.failure(&failure(&error.to_string(), &typed.path));
    }
    match typed.path.get(1).map(String::as_str) {
        Some("run" | "exec" | "shell") => ExitCode::from(OURS),
        _ => ExitCode::from(2),
    }
}

/// What can be made out of a line with a mistake in it.
struct Typed {
    /// The program and its subcommands.
    path: Vec<String>,
    format: Format,
    no_color: bool,
}

impl Typed {
    fn of(arguments: &[OsString]) -> Self {
        let words: Vec<_> = arguments.iter().map(|word| word.to_string_lossy()).collect();
        // What comes after it is a command's.
        let ours = words.iter().position(|word| word == "--").unwrap_or(words.len());
        let ours = &words[..ours];
        Self {
            path: path(arguments),
            format: format(ours).unwrap_or(Format::Table),
            no_color: ours.iter().any(|word| word == "--no-color"),
        }
    }

    fn help(&self) -> String {
        let mut command = Cli::command();
        command.build();
        let mut found = &mut command;
        for name in &self.path[1..] {
            found = match found.find_subcommand_mut(name) {
                Some(below) => below,
                None => return String::new(),
            };
        }
        found.render_help().to_string()
    }
}

/// As far as clap understands the line.
fn path(arguments: &[OsString]) -> Vec<String> {
    let mut path = vec!["boxherd".to_owned()];
    let lenient = Cli::command().ignore_errors(true).try_get_matches_from(arguments);
    let mut matches = lenient.as_ref().ok();
    while let Some((name, below)) = matches.and_then(ArgMatches::subcommand) {
        path.push(name.to_owned());
        matches = Some(below);
    }
    path
}

/// Clap understands no flags that come after one that it does not know.
fn format(words: &[Cow<'_, str>]) -> Option<Format> {
    let mut said = None;
    for (number, word) in words.iter().enumerate() {
        let joined = ["--output=", "-o=", "-o"].iter().find_map(|flag| word.strip_prefix(flag));
        let value = match word.as_ref() {
            "-o" | "--output" => words.get(number + 1).map(AsRef::as_ref),
            _ => joined,
        };
        said = value.and_then(|value| Format::from_str(value, false).ok()).or(said);
    }
    said
}

/// The first paragraph of what clap says is the mistake, those that begin with `tip:` are ways out.
fn failure(said: &str, path: &[String]) -> Failure {
    let mut paragraphs = said.split("\n\n");
    let message = one_line(paragraphs.next().unwrap_or_default());
    let message = message.strip_prefix("error: ").unwrap_or(&message).to_owned();
    let mut tips: Vec<String> = paragraphs
        .flat_map(str::lines)
        .filter_map(|line| line.trim().strip_prefix("tip: ").map(str::to_owned))
        .collect();
    tips.push(format!("`{} --help` shows how it is written", path.join(" ")));
    Failure::usage(message).hint(tips.join("; "))
}

fn one_line(paragraph: &str) -> String {
    paragraph.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn typed(line: &str) -> Typed {
        Typed::of(&line.split(' ').map(OsString::from).collect::<Vec<_>>())
    }

    fn said(line: &str) -> String {
        let error = Cli::try_parse_from(line.split(' ')).unwrap_err();
        failure(&error.to_string(), &typed(line).path).render(false, false)
    }

    #[test]
    fn a_mistake_is_one_line_and_the_way_out_another() {
        assert_eq!(
            said("boxherd exec web"),
            "error: the following required arguments were not provided: <CMD>...\n\
             hint: `boxherd exec --help` shows how it is written\n"
        );
        assert_eq!(
            said("boxherd snapshot ls"),
            "error: the following required arguments were not provided: <NAME>\n\
             hint: `boxherd snapshot ls --help` shows how it is written\n"
        );
        let misspelt = said("boxherd image pul x");
        assert!(
            misspelt.contains("hint: a similar subcommand exists: 'pull'; `boxherd image --help`")
        );
        assert_eq!(misspelt.lines().count(), 2, "{misspelt}");
    }

    #[test]
    fn what_was_asked_for_is_known_despite_the_mistake() {
        for line in
            ["boxherd -o json ls --x", "boxherd ls --x -o json", "boxherd create a/b --output=json"]
        {
            assert_eq!(typed(line).format, Format::Json, "{line}");
        }
        assert_eq!(typed("boxherd exec web --x -- ls -o json").format, Format::Table);
        assert_eq!(typed("boxherd snapshot crate -o json").path, ["boxherd", "snapshot"]);
    }
}
