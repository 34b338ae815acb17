//! The hints file: runtimes that a container's author adds or replaces.
//!
//! ```yaml
//! runtimes:
//!   - name: lua                       # a new runtime, or a built-in one (or its alias) to replace
//!     interpreter: lua5.4             # an absolute path, or a name that is looked up like any other program
//!     version_command: lua5.4 -v      # a line or a list of words; or `version: "5.4.6"`, which runs nothing
//!     file_extension: lua
//!     args: []                        # words between interpreter and script
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_saphyr::{Location, Spanned};

use super::families::exact_name;
use super::selection::nearest;
use super::{Options, version};

/// Name of the file in its default places.
pub const HINTS_FILE: &str = ".attune-runtime.yaml";

/// Directories that may hold a hints file; the first that does wins.
const DEFAULT_PLACES: [&str; 2] = ["/", "/opt/attune"];
/// No hand-written list of runtimes is longer; a wrong path may lead to a disk image.
const LARGEST: u64 = 1024 * 1024;

/// What is wrong with a hints file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HintsError {
    /// The file cannot be read.
    #[error("cannot read hints file {}: {error}; correct the path given by --hints or its permissions", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// Its content is not what it should be.
    #[error("hints file {}:{line}:{column}: {}{problem}", path.display(), field_prefix(field))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Line, counted from 1.
        line: u64,
        /// Column, counted from 1.
        column: u64,
        /// The field, as a path from the document's root (`runtimes[0].interpreter`); empty for the whole document.
        field: String,
        /// What is wrong, and what to do.
        problem: String,
    },
}

fn field_prefix(field: &str) -> String {
    if field.is_empty() { String::new() } else { format!("field `{field}`: ") }
}

/// A hints file that was read and makes sense.
#[derive(Debug)]
pub(super) struct Hints {
    /// The file; none when the worker's configuration took its place.
    pub(super) path: Option<PathBuf>,
    pub(super) runtimes: Vec<Hint>,
}

impl Hints {
    /// Runtimes that are configured by hand, as if a hints file named them.
    pub(super) fn configured(runtimes: &BTreeMap<String, PathBuf>) -> Self {
        let hint = |(name, interpreter): (&String, &PathBuf)| Hint {
            name: exact_name(name).map_or_else(|| name.clone(), str::to_owned),
            interpreter: interpreter.display().to_string(),
            version: Told::Not,
            file_extension: None,
            args: None,
        };
        Self { path: None, runtimes: runtimes.iter().map(hint).collect() }
    }
}

/// One runtime of a hints file.
#[derive(Debug)]
pub(super) struct Hint {
    pub(super) name: String,
    pub(super) interpreter: String,
    pub(super) version: Told,
    pub(super) file_extension: Option<String>,
    pub(super) args: Option<Vec<String>>,
}

/// How a hinted interpreter's version is known.
#[derive(Debug)]
pub(super) enum Told {
    /// The file says it.
    Declared(String, semver::Version),
    /// This command tells it.
    By(Vec<String>),
    /// Neither: a built-in runtime is asked the usual way, another one's version is unknown.
    Not,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    runtimes: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: Spanned<String>,
    interpreter: Spanned<String>,
    version_command: Option<Spanned<Words>>,
    // a text although it may look like a number: `3.10` must not become 3.1
    version: Option<Spanned<String>>,
    file_extension: Option<Spanned<String>>,
    args: Option<Vec<String>>,
}

/// A command: one line to be split the way a shell splits it, or its words. Empty when the line cannot be split.
struct Words(Vec<String>);

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Words;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a command line or a list of words")
            }

            fn visit_str<E>(self, line: &str) -> Result<Words, E> {
                Ok(Words(shlex::split(line).unwrap_or_default()))
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<Words, A::Error> {
                let mut words = Vec::new();
                while let Some(word) = list.next_element()? {
                    words.push(word);
                }
                Ok(Words(words))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// Reads the hints file that `options` name, or the first one in a default place. A default place without one is fine.
pub(super) fn load(options: &Options) -> Result<Option<Hints>, HintsError> {
    if let Some(path) = &options.hints {
        return read(path).and_then(|text| parse(path, &text)).map(Some);
    }
    for place in DEFAULT_PLACES {
        let path = options.below_root(Path::new(place)).join(HINTS_FILE);
        match read(&path) {
            Ok(text) => return parse(&path, &text).map(Some),
            Err(HintsError::Unreadable { error, .. })
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

fn read(path: &Path) -> Result<String, HintsError> {
    let read = || {
        if fs::metadata(path)?.len() > LARGEST {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 1 MiB"));
        }
        fs::read_to_string(path)
    };
    read().map_err(|error| HintsError::Unreadable { path: path.to_owned(), error })
}

fn parse(path: &Path, text: &str) -> Result<Hints, HintsError> {
    let mut field = String::new();
    let document: Document = serde_saphyr::with_deserializer_from_str(text, |deserializer| {
        serde_path_to_error::deserialize(deserializer).map_err(|error| {
            field = error.path().to_string();
            error.into_inner()
        })
    })
    .map_err(|error| describe(path, &field, &error))?;

    let mut runtimes: Vec<(Hint, Location)> = Vec::new();
    for (index, entry) in document.runtimes.into_iter().enumerate() {
        let location = entry.name.referenced;
        let hint = check(path, index, entry)?;
        if let Some((_, earlier)) = runtimes.iter().find(|(have, _)| have.name == hint.name) {
            let problem = format!(
                "runtime `{}` is defined twice, first on line {}; merge the two entries",
                hint.name,
                earlier.line()
            );
            return Err(invalid(path, location, format!("runtimes[{index}].name"), problem));
        }
        runtimes.push((hint, location));
    }
    Ok(Hints { path: Some(path.to_owned()), runtimes: runtimes.into_iter().map(|(hint, _)| hint).collect() })
}

fn invalid(path: &Path, location: Location, field: String, problem: String) -> HintsError {
    HintsError::Invalid {
        path: path.to_owned(),
        line: location.line(),
        column: location.column(),
        field,
        problem,
    }
}

/// Puts the YAML library's error into our words.
fn describe(path: &Path, field: &str, error: &serde_saphyr::Error) -> HintsError {
    use serde_saphyr::Error;

    let error = error.without_snippet();
    let location = error.location().unwrap_or(Location::UNKNOWN);
    // the wrappers that remember positions, and a mapping whose key is not read yet, are no fields of the user's
    let field: Vec<_> = field.split('.').filter(|part| !matches!(*part, "" | "value" | "?")).collect();
    let field = field.join(".");
    let field = field.as_str();
    let (field, problem) = match error {
        Error::SerdeUnknownField { field: unknown, expected, .. } => {
            let known = expected.join("`, `");
            let suggestion = nearest(unknown, expected.iter().copied())
                .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            (join(field, unknown), format!("unknown field{suggestion} (known: `{known}`)"))
        }
        Error::SerdeMissingField { field: missing, .. } => {
            (join(field, missing), "is required and missing".to_owned())
        }
        Error::DuplicateMappingKey { key: Some(key), .. } => (join(field, key), "is given twice".to_owned()),
        Error::SerdeInvalidType { unexpected, expected, .. } => {
            (field.to_owned(), format!("expected {expected}, found {}", in_words(unexpected)))
        }
        Error::Unexpected { expected, .. } => (field.to_owned(), format!("expected {}", in_words(expected))),
        Error::MultipleDocuments { .. } => {
            (field.to_owned(), "a second document begins; one is enough".to_owned())
        }
        Error::Eof { .. } => (field.to_owned(), "is empty; it needs a list called `runtimes`".to_owned()),
        other => (field.to_owned(), plain(other)),
    };
    invalid(path, location, field, problem)
}

/// The library's name of a YAML construct in everyday words.
fn in_words(expected: &str) -> &str {
    match expected {
        "sequence start" => "a list",
        "mapping start" => "a mapping of fields to values",
        "string scalar" => "a text",
        "map" => "a mapping",
        other => other,
    }
}

/// The library's message on one line, without the position that it adds.
fn plain(error: &serde_saphyr::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    let line = line.strip_prefix("error: ").unwrap_or(line);
    line.split(" at line ").next().unwrap_or(line).to_owned()
}

/// `field` below `parent`, where a path that already ends in it stays as it is.
fn join(parent: &str, field: &str) -> String {
    if parent.is_empty() || parent == field {
        field.to_owned()
    } else if parent.ends_with(&format!(".{field}")) {
        parent.to_owned()
    } else {
        format!("{parent}.{field}")
    }
}

fn check(path: &Path, index: usize, entry: Entry) -> Result<Hint, HintsError> {
    let fail = |location: Location, field: &str, problem: String| {
        Err(invalid(path, location, format!("runtimes[{index}].{field}"), problem))
    };
    let name = entry.name.value.trim().to_lowercase();
    let valid = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.' | '+'));
    if !valid {
        let problem =
            format!("`{}` is no runtime name; use letters, digits, `-`, `_`, `.`, `+`", entry.name.value);
        return fail(entry.name.referenced, "name", problem);
    }
    let interpreter = entry.interpreter.value;
    if interpreter.is_empty()
        || interpreter.contains('\0')
        || (interpreter.contains('/') && !interpreter.starts_with('/'))
    {
        let problem = format!(
            "`{}` is neither an absolute path nor the name of a program",
            interpreter.escape_default()
        );
        return fail(entry.interpreter.referenced, "interpreter", problem);
    }
    let version = match (entry.version, entry.version_command) {
        (Some(_), Some(command)) => {
            let problem = "`version` is given as well; keep one of the two".to_owned();
            return fail(command.referenced, "version_command", problem);
        }
        (Some(told), None) => {
            let location = told.referenced;
            let raw = told.value;
            match version::normalise(&raw) {
                Some(version) => Told::Declared(raw, version),
                None => {
                    return fail(
                        location,
                        "version",
                        format!("`{raw}` is no version; write it like \"5.4.6\""),
                    );
                }
            }
        }
        (None, Some(command)) => {
            let Words(words) = command.value;
            if words.first().is_none_or(String::is_empty) || words.iter().any(|word| word.contains('\0')) {
                let problem = "is empty or has an unclosed quote; write it like `lua5.4 -v`".to_owned();
                return fail(command.referenced, "version_command", problem);
            }
            Told::By(words)
        }
        (None, None) => Told::Not,
    };
    let file_extension = match entry.file_extension {
        Some(extension) => {
            let bare = extension.value.trim_start_matches('.').to_owned();
            if bare.is_empty() || bare.contains(['/', '\0']) || bare.contains(char::is_whitespace) {
                let problem = format!(
                    "`{}` is no file extension; write it like `lua`",
                    extension.value.escape_default()
                );
                return fail(extension.referenced, "file_extension", problem);
            }
            Some(bare)
        }
        None => None,
    };
    // a built-in runtime may be replaced under any of its names; one with a version behind it is a new name
    let name = exact_name(&name).map_or(name, str::to_owned);
    Ok(Hint { name, interpreter, version, file_extension, args: entry.args })
}
