use clap::{CommandFactory as _, Parser as _};

use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split(' '))
}

#[test]
fn the_definitions_are_sound() {
    Cli::command().debug_assert();
}

#[test]
fn a_command_keeps_its_own_flags() {
    let cli = parse("boxherd run -it --memory 1G -- ls -l --image x").unwrap();
    let Command::Run(run) = cli.command else { panic!("{cli:?}") };
    assert_eq!(run.cmd, ["ls", "-l", "--image", "x"]);
    assert!(run.tty.interactive && run.tty.tty);
    let cli = parse("boxherd exec web ls -o json").unwrap();
    assert_eq!(cli.global.output, Format::Table);
    let Command::Exec(exec) = cli.command else { panic!("{cli:?}") };
    assert_eq!(exec.cmd, ["ls", "-o", "json"]);
}

#[test]
fn flags_come_before_or_after_the_name() {
    for line in
        ["boxherd exec -t --timeout 5s web -- true", "boxherd exec web -t --timeout 5s -- true"]
    {
        let cli = parse(line).unwrap();
        let Command::Exec(exec) = cli.command else { panic!("{cli:?}") };
        assert!(exec.tty.tty);
        assert_eq!(exec.timeout.map(|t| t.as_secs()), Some(5));
    }
}

#[test]
fn mistakes_are_refused() {
    for line in [
        "boxherd",
        "boxherd create",
        "boxherd create UPPER",
        "boxherd create a --memory 99999999999T",
        "boxherd create a --cpus -1",
        "boxherd run --keep --rm true",
        "boxherd exec web",
        "boxherd exec web --nonsense true",
        "boxherd run --nonsense true",
        "boxherd rm",
        "boxherd ls -o xml",
        "boxherd fork a b --count 0",
    ] {
        assert!(parse(line).is_err(), "{line}");
    }
}

#[test]
fn flags_become_a_spec() {
    let cli =
        parse("boxherd create a --network net1 --isolated --egress x.org:443 -l k=v --pids 5");
    let Command::Create(create) = cli.unwrap().command else { panic!() };
    let mut spec = boxherd_model::BoxSpec::new(create.name.unwrap().name);
    create.flags.apply(&mut spec).unwrap();
    assert_eq!(spec.limits.pids, Some(5));
    assert_eq!(spec.labels["k"], "v");
    let boxherd_model::NetworkSpec::Bridge { name, isolated, egress } = spec.network else {
        panic!("{:?}", spec.network)
    };
    assert_eq!((name.as_str(), isolated, egress.unwrap().len()), ("net1", true, 1));
}

#[test]
fn no_network_has_nothing_to_restrict() {
    let cli = parse("boxherd create a --network none --isolated").unwrap();
    let Command::Create(create) = cli.command else { panic!() };
    let mut spec = boxherd_model::BoxSpec::new(create.name.unwrap().name);
    assert!(create.flags.apply(&mut spec).is_err());
}

#[test]
fn no_two_commands_say_the_same_of_themselves() {
    let command = Cli::command();
    let mut said = std::collections::BTreeSet::new();
    for sub in command.get_subcommands() {
        let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
        assert!(!about.is_empty(), "{}", sub.get_name());
        assert!(said.insert(about), "{} says what another one says", sub.get_name());
    }
}
