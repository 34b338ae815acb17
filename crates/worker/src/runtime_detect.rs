//! Finds the language interpreters of this machine, without a database, a configuration or a network.
//!
//! [`detect`] walks the directories of `PATH` and the places where distributions and version managers keep
//! interpreters, puts the names that reach one file together, runs every candidate once, all at the same time and
//! under hard limits, and reads its version from what it answers. A candidate that does not answer as it should is
//! reported with the reason and never advertised.
//!
//! The default interpreter of a runtime is the one that a person gets by typing its usual name: the first on `PATH`
//! called `python3` or `python` (`bash` or `sh`, `Rscript` or `R`, …), then versioned names on `PATH`, then what is
//! only found elsewhere, newest first. A Python 2 is listed like any other and is the default only where there is no
//! Python 3.
//!
//! A hints file ([`HINTS_FILE`]) adds or replaces runtimes; a [`Selection`] limits the search to some of them.

mod banner;
mod candidate;
mod elf;
mod error;
mod examine;
mod families;
mod hints;
mod java;
mod outcome;
mod probe;
mod reject;
mod report;
mod search;
mod selection;
mod version;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use error::DetectError;
pub use families::canonical_name;
pub use hints::{HINTS_FILE, HintsError};
pub use outcome::{Detection, Host, Interpreter, Rejected, Runtime, SCHEMA_VERSION, Source, Timing};
pub use reject::Rejection;
pub use report::{Format, render};
pub use selection::{RUNTIMES_VARIABLE, Selection};

use examine::{Examination, Finding};
use families::{FAMILIES, Family, by_name};
use hints::{Hint, Hints};
use search::Place;

/// The built-in families, in the order of their table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Shell,
    Python,
    Node,
    Ruby,
    Go,
    Java,
    R,
    Perl,
}

/// What to search, and how long a candidate may take.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The value of `PATH`; `None` when it is unset.
    pub search_path: Option<OsString>,
    /// The environment variables that lead to installations (`HOME`, `JAVA_HOME`, `PYENV_ROOT`, …), and `TMPDIR`.
    pub variables: BTreeMap<String, OsString>,
    /// Put before every built-in absolute directory, for a search through a fixture tree; `None` means `/`.
    pub root: Option<PathBuf>,
    /// A hints file that must exist, in place of the default ones.
    pub hints: Option<PathBuf>,
    /// Search for these runtimes only; one that is not found is an error, unless [`Options::allow_missing`].
    pub only: Option<Selection>,
    /// Accept that a selected runtime is not found.
    pub allow_missing: bool,
    /// Exactly these runtimes with exactly these interpreters, in place of a search and of every hints file.
    pub configured: BTreeMap<String, PathBuf>,
    /// What a candidate may spend.
    pub limits: Limits,
}

/// What one candidate may spend before it is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Wall time of an ordinary interpreter.
    pub quick: Duration,
    /// Wall time of one that starts a virtual machine (Java, R, `JRuby`).
    pub slow: Duration,
    /// Bytes kept of each of its two outputs; what exceeds them is read and dropped.
    pub output: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { quick: Duration::from_secs(2), slow: Duration::from_secs(5), output: 64 * 1024 }
    }
}

impl Options {
    /// The options that this process's environment asks for: `PATH` and the variables that lead to installations.
    ///
    /// [`RUNTIMES_VARIABLE`] is not read here: whoever calls decides whether the override applies.
    #[must_use]
    pub fn from_env() -> Self {
        let variable = |name: &'static str| Some((name.to_owned(), std::env::var_os(name)?));
        Self {
            search_path: std::env::var_os("PATH"),
            variables: search::variables().filter_map(variable).collect(),
            ..Self::default()
        }
    }

    /// Options that verify what somebody configured by hand, and find nothing else. `origin` says in errors where the
    /// runtimes were configured.
    #[must_use]
    pub fn configured(runtimes: &BTreeMap<String, PathBuf>, origin: &str) -> Self {
        let names: Vec<&str> = runtimes.keys().map(String::as_str).collect();
        Self {
            only: Selection::parse(&names.join(","), origin),
            configured: runtimes.clone(),
            ..Self::from_env()
        }
    }

    /// `path` as seen from [`Options::root`].
    fn below_root(&self, path: &Path) -> PathBuf {
        match &self.root {
            Some(root) => root.join(path.strip_prefix("/").unwrap_or(path)),
            None => path.to_owned(),
        }
    }

    /// Directories in which candidates may get a temporary home.
    fn temporary_places(&self) -> Vec<PathBuf> {
        let own = self.variables.get("TMPDIR").map(PathBuf::from);
        own.into_iter().chain(["/tmp", "/var/tmp", "/dev/shm", "/run"].map(PathBuf::from)).collect()
    }
}

/// Searches this machine.
///
/// Nothing found is not an error, unless [`Options::only`] asked for it. The whole takes about as long as its slowest
/// candidate. Must run on a Tokio runtime with time and I/O enabled; dropping the future kills what it started.
pub async fn detect(options: &Options) -> Result<Detection, DetectError> {
    let started = Instant::now();
    let (hints, origin) = if options.configured.is_empty() {
        (hints::load(options)?, Source::Hints)
    } else {
        (Some(Hints::configured(&options.configured)), Source::Configured)
    };
    let hinted: &[Hint] = hints.as_ref().map_or(&[], |hints| &hints.runtimes);
    let wanted = wanted(options, hinted)?;
    let places = search::places(options);

    let mut plan = Plan::default();
    for name in &wanted {
        match hinted.iter().find(|hint| hint.name == *name) {
            Some(hint) => plan.hint(hint, &places, options),
            None => {
                if let Some(family) = by_name(name) {
                    plan.family(family, &places, options);
                }
            }
        }
    }
    let probes = plan.examinations.iter().filter(|examination| examination.runs()).count();
    let findings = examine::all(plan.examinations, options).await;
    let slowest = findings.iter().max_by_key(|finding| finding.took);
    let mut timing = Timing {
        total_ms: 0,
        slowest_probe_ms: slowest.map_or(0, |finding| milliseconds(finding.took)),
        slowest_probe: slowest.map(|finding| finding.candidate.path.clone()),
        probes,
    };

    let (runtimes, rejected) = assemble(&wanted, hinted, origin, findings, plan.rejected);
    let missing =
        wanted.into_iter().filter(|name| !runtimes.iter().any(|runtime| runtime.name == *name)).collect();
    timing.total_ms = milliseconds(started.elapsed());
    let detection = Detection {
        schema_version: SCHEMA_VERSION,
        host: Host { os: std::env::consts::OS.to_owned(), arch: std::env::consts::ARCH.to_owned() },
        runtimes,
        rejected,
        missing,
        hints: hints.and_then(|Hints { path, .. }| path),
        searched: places.into_iter().map(|place| place.directory).collect(),
        timing,
    };
    match &options.only {
        Some(selection) if !options.allow_missing && !detection.missing.is_empty() => {
            Err(DetectError::absent(selection, &detection))
        }
        _ => Ok(detection),
    }
}

/// The dynamic loader that a program asks for, which tells its C library; `None` for static programs and scripts.
pub(crate) fn loader_of(program: &Path) -> Option<PathBuf> {
    use std::io::Read as _;
    let mut file = std::fs::File::open(program).ok()?;
    // an ELF header of either class (elf(5))
    let mut head = [0; 64];
    file.read_exact(&mut head).ok()?;
    elf::loader(&head, &file)
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The canonical names to look for, in the order of the report.
fn wanted(options: &Options, hinted: &[Hint]) -> Result<Vec<String>, DetectError> {
    let names: Vec<&str> = hinted.iter().map(|hint| hint.name.as_str()).collect();
    let all = FAMILIES.iter().map(|family| family.name);
    let mut wanted: Vec<String> =
        all.chain(names.iter().copied().filter(|name| by_name(name).is_none())).map(str::to_owned).collect();
    if let Some(selection) = &options.only {
        let selected = selection.canonical(&names)?;
        wanted.retain(|name| selected.contains(name));
    }
    Ok(wanted)
}

/// What is going to be run, and what was turned down without running it.
#[derive(Default)]
struct Plan {
    examinations: Vec<Examination>,
    rejected: Vec<Rejected>,
}

impl Plan {
    fn family(&mut self, family: &'static Family, places: &[Place], options: &Options) {
        let (candidates, rejected) = candidate::collect(family, places);
        self.rejected.extend(rejected);
        self.examinations.extend(
            candidates.into_iter().map(|found| Examination::of_family(family, found, &options.limits)),
        );
    }

    fn hint(&mut self, hint: &Hint, places: &[Place], options: &Options) {
        match candidate::named(&hint.interpreter, places) {
            Ok(found) => self.examinations.push(Examination::of_hint(hint, found, places, &options.limits)),
            Err(reason) => {
                let path = PathBuf::from(&hint.interpreter);
                self.rejected.push(Rejected { runtime: hint.name.clone(), path, reason });
            }
        }
    }
}

/// Sorts what came back into runtimes with their default first, and rejections.
fn assemble(
    wanted: &[String],
    hinted: &[Hint],
    hint_origin: Source,
    findings: Vec<Finding>,
    mut rejected: Vec<Rejected>,
) -> (Vec<Runtime>, Vec<Rejected>) {
    let mut usable: BTreeMap<String, Vec<Finding>> = BTreeMap::new();
    for finding in findings {
        match finding.verdict {
            Ok(_) => usable.entry(finding.runtime.clone()).or_default().push(finding),
            Err(reason) => {
                rejected.push(Rejected { runtime: finding.runtime, path: finding.candidate.path, reason });
            }
        }
    }
    let rank = |name: &str| wanted.iter().position(|wanted| wanted == name);
    rejected.sort_by_cached_key(|rejected| {
        let numbers = candidate::numbers(&candidate::file_name(&rejected.path));
        (rank(&rejected.runtime), rejected.path.parent().map(Path::to_owned), numbers, rejected.path.clone())
    });
    let runtimes = wanted
        .iter()
        .filter_map(|name| {
            let interpreters = examine::interpreters(usable.remove(name)?);
            let family = by_name(name);
            let hint = hinted.iter().find(|hint| hint.name == *name);
            let usual_args = || family.map_or(&[][..], |f| f.args).iter().map(ToString::to_string).collect();
            let usual_extension = || family.map(|family| family.extension.to_owned());
            Some(Runtime {
                name: name.clone(),
                source: if hint.is_some() { hint_origin } else { Source::BuiltIn },
                file_extension: hint.and_then(|hint| hint.file_extension.clone()).or_else(usual_extension),
                args: hint.and_then(|hint| hint.args.clone()).unwrap_or_else(usual_args),
                interpreters,
            })
        })
        .collect();
    (runtimes, rejected)
}
