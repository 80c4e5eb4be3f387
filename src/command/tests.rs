//! The command line as it is parsed.

use clap::CommandFactory as _;

use super::*;

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn every_verb_shows_an_example() {
    fn check(command: &clap::Command, path: &str) {
        let verbs: Vec<_> = command.get_subcommands().collect();
        if verbs.is_empty() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains(&format!("Example: {path}")), "{path} shows no example of itself: {help:?}");
        }
        // What is hidden is started by weft itself, not by people.
        for verb in verbs.into_iter().filter(|verb| !verb.is_hide_set()) {
            check(verb, &format!("{path} {}", verb.get_name()));
        }
    }
    check(&Cli::command(), "weft");
}

#[test]
fn every_example_parses() {
    fn collect(command: &clap::Command, examples: &mut Vec<String>) {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        examples.extend(help.lines().filter_map(|line| line.strip_prefix("Example: ").map(str::to_owned)));
        command.get_subcommands().for_each(|verb| collect(verb, examples));
    }
    let mut examples = Vec::new();
    collect(&Cli::command(), &mut examples);
    assert!(examples.len() > 15);
    for example in examples {
        let line = example.split(" > ").next().unwrap_or_default();
        let parsed = Cli::try_parse_from(line.split_whitespace());
        assert!(parsed.is_ok(), "{example}: {}", parsed.unwrap_err());
    }
}
