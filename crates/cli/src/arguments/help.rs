//! What stands below the help of a command.

use crate::exit;

/// Examples below the help of a command: what to type, and what it does.
pub(super) fn examples(lines: &[(&str, &str)]) -> String {
    let width = lines.iter().map(|(line, _)| line.len()).max().unwrap_or_default();
    // beside each other only where that leaves room for both
    let lines = lines.iter().map(|(line, meaning)| match width {
        ..52 => format!("  {line:width$}  # {meaning}"),
        _ => format!("  # {meaning}\n  {line}"),
    });
    format!("Examples:\n{}", lines.collect::<Vec<_>>().join("\n"))
}

pub(super) fn first_examples() -> String {
    examples(&[
        ("attune dev --run examples.tour", "see it work, once, with what this machine has"),
        ("attune dev", "API and worker on this machine, until Ctrl-C"),
        ("attune run examples.summarise_csv", "run an action and watch it"),
        ("attune executions list --status failed", "what went wrong lately"),
    ])
}

pub(super) fn long_help() -> String {
    format!("{}\n\n{ENVIRONMENT}\n\n{}", first_examples(), exit::HELP)
}

const ENVIRONMENT: &str = "\
Where the API is:
  1. --api-url or ATTUNE_API_URL, with the token in the file named by ATTUNE_API_TOKEN_FILE, or in
     ATTUNE_API_TOKEN
  2. otherwise an 'attune dev' whose state folder is --state-dir, or .attune here or in a parent folder

Environment:
  NO_COLOR  when set, nothing is coloured
  RUST_LOG  what to log to standard error, such as debug";
