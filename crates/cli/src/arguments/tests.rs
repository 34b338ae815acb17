//! The command line, its help and its faults.

use clap::CommandFactory;

use super::*;

fn words(line: &str) -> Vec<OsString> {
    line.split_whitespace().map(OsString::from).collect()
}

#[test]
fn the_command_line_is_consistent() {
    Arguments::command().debug_assert();
}

#[test]
fn help_of_every_command() {
    fn walk(command: &mut clap::Command, path: &str, texts: &mut String) {
        let heading = format!("$ {path} --help");
        let help = command.render_long_help().to_string();
        texts.extend([heading.as_str(), "\n", &help, "\n"]);
        for subcommand in command.get_subcommands_mut().filter(|command| command.get_name() != "help") {
            let path = format!("{path} {}", subcommand.get_name());
            walk(subcommand, &path, texts);
        }
    }
    let mut command = Arguments::command().term_width(100);
    command.build();
    let mut texts = String::new();
    walk(&mut command, "attune", &mut texts);
    insta::assert_snapshot!(texts);
}

#[test]
fn what_is_wrong_is_told_in_one_line() {
    let mut texts = String::new();
    for line in [
        "attune runn",
        "attune run",
        "attune run a.b --folow",
        "attune run a.b --follow --detach",
        "attune run a.b --param nothing",
        "attune executions list --status running,done",
        "attune executions list --limit 0",
        "attune executions show 12",
        "attune artifacts download",
        "attune workers -o yaml",
        "attune workers cordon",
        "attune dev --slots many",
    ] {
        let Err(Unparsed::Fault(text)) = parse(words(line)) else { panic!("{line} must be a fault") };
        assert!(!text.contains('\n'));
        texts.extend([line, "\n    ", &text, "\n"]);
    }
    insta::assert_snapshot!(texts);
}

#[test]
fn statuses_may_be_given_in_two_ways() {
    for line in [
        "attune executions list --status queued,running",
        "attune executions list --status queued --status running",
    ] {
        let arguments = parse(words(line)).unwrap();
        let Command::Executions(ExecutionsCommand::List { statuses, .. }) = arguments.command else {
            panic!()
        };
        assert_eq!(statuses, [ExecutionStatus::Queued, ExecutionStatus::Running]);
    }
}
