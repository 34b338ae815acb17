//! A detection as text for people, as a JSON document, or as a line for a shell.

use std::fmt::Write as _;
use std::path::Path;

use super::selection::RUNTIMES_VARIABLE;
use super::{Detection, Interpreter};

/// The form of a report.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A table for people, with the override line at its end
    #[default]
    Text,
    /// The whole detection as one JSON document
    Json,
    /// One line for eval and env files, which sets the override
    Env,
}

/// Writes `detection` down; the result ends with a line feed.
#[must_use]
pub fn render(detection: &Detection, format: Format) -> String {
    match format {
        Format::Text => text(detection),
        // every path is written lossily, so nothing in the document can fail
        Format::Json => serde_json::to_string_pretty(detection).unwrap_or_default() + "\n",
        Format::Env => override_line(detection),
    }
}

/// The line that limits a worker to what was found. Names have no character that a shell would interpret.
fn override_line(detection: &Detection) -> String {
    let names: Vec<_> = detection.names().collect();
    format!("{RUNTIMES_VARIABLE}={}\n", names.join(","))
}

fn text(detection: &Detection) -> String {
    let mut out = heading(detection);
    if !detection.runtimes.is_empty() {
        out.push('\n');
        out.push_str(&found(detection));
    }
    if !detection.rejected.is_empty() {
        out.push_str("\nrejected\n");
        let rows = detection.rejected.iter().map(|rejected| {
            [rejected.runtime.clone(), rejected.path.display().to_string(), rejected.reason.to_string()]
        });
        out.push_str(&table(&rows.collect::<Vec<_>>(), "  "));
    }
    if !detection.missing.is_empty() {
        let _ = writeln!(out, "\nnot found: {}", detection.missing.join(", "));
    }
    if let Some(path) = &detection.hints {
        let _ = writeln!(out, "\nhints: {}", path.display());
    }
    out.push('\n');
    out.push_str(&override_line(detection));
    out
}

fn heading(detection: &Detection) -> String {
    let count = |number: usize, noun: &str| format!("{number} {noun}{}", if number == 1 { "" } else { "s" });
    let interpreters: usize = detection.runtimes.iter().map(|runtime| runtime.interpreters.len()).sum();
    let found = match detection.runtimes.len() {
        0 => "no usable runtime".to_owned(),
        number => format!("{}, {}", count(number, "runtime"), count(interpreters, "interpreter")),
    };
    let (host, timing) = (&detection.host, &detection.timing);
    format!(
        "{found} on {} {} ({} run in {} ms)\n",
        host.os,
        host.arch,
        count(timing.probes, "candidate"),
        timing.total_ms
    )
}

fn found(detection: &Detection) -> String {
    let mut rows = vec![["RUNTIME", "", "VERSION", "INTERPRETER", "NOTES"].map(str::to_owned)];
    for runtime in &detection.runtimes {
        for (index, interpreter) in runtime.interpreters.iter().enumerate() {
            rows.push([
                if index == 0 { runtime.name.clone() } else { String::new() },
                if index == 0 { "*".to_owned() } else { String::new() },
                interpreter.version.as_ref().map_or_else(|| "unknown".to_owned(), ToString::to_string),
                command(interpreter),
                notes(interpreter),
            ]);
        }
    }
    table(&rows, "") + "* default\n"
}

/// The interpreter as it would be typed.
fn command(interpreter: &Interpreter) -> String {
    let args = interpreter.args.iter().map(|arg| format!(" {arg}"));
    std::iter::once(interpreter.path.display().to_string()).chain(args).collect()
}

fn notes(interpreter: &Interpreter) -> String {
    let mut notes: Vec<String> = Vec::new();
    let says_it_already = |name: &str| interpreter.path.file_name().is_some_and(|file| file == name);
    notes
        .extend(interpreter.implementation.clone().filter(|implementation| !says_it_already(implementation)));
    if !interpreter.on_path {
        notes.push("not on PATH".to_owned());
    }
    if interpreter.runs_source == Some(false) {
        notes.push("cannot run .java files".to_owned());
    }
    if !interpreter.aliases.is_empty() {
        let directory = interpreter.path.parent();
        let names: Vec<_> = interpreter.aliases.iter().map(|alias| beside(alias, directory)).collect();
        notes.push(format!("also {}", names.join(", ")));
    }
    notes.join("; ")
}

/// `alias` without its directory, when that is the same as the interpreter's.
fn beside(alias: &Path, directory: Option<&Path>) -> String {
    let shown = if alias.parent() == directory { alias.file_name().map_or(alias, Path::new) } else { alias };
    shown.display().to_string()
}

/// Columns as wide as their widest cell, two blanks apart, no blanks at the ends of lines.
fn table<const N: usize>(rows: &[[String; N]], indent: &str) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let mut out = String::new();
    for row in rows {
        let mut line = indent.to_owned();
        for (cell, width) in row.iter().zip(widths) {
            // an empty column takes no room at all
            if width > 0 {
                let _ = write!(line, "{cell:width$}  ");
            }
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}
