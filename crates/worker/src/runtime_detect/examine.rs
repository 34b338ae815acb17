//! Runs the candidates, all at the same time, and judges their answers.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::banner::{self, Banner};
use super::candidate::{Candidate, file_name};
use super::families::{Family, by_name};
use super::hints::{Hint, Told};
use super::probe::{self, Answer, Budget, Surroundings};
use super::search::{self, Place};
use super::{Interpreter, Kind, Limits, Options, Rejection, java};

/// How long a candidate runs beside few others. On a small share of a processor, starting dozens at once would make
/// healthy ones miss their limits; waiting longer for each other would add up the limits of those that hang.
const HEAD_START: Duration = Duration::from_millis(100);

/// One candidate, and how to ask it.
pub(super) struct Examination {
    runtime: String,
    candidate: Candidate,
    /// The family whose answers are understood; `None` for a runtime that only a hints file knows.
    kind: Option<Kind>,
    question: Question,
    /// Arguments that make the file the interpreter.
    args: Vec<String>,
}

enum Question {
    /// Run this and read the answer.
    Run { program: PathBuf, args: Vec<String>, budget: Budget },
    /// The answer is known.
    Known(Banner),
}

/// What came out of one examination.
pub(super) struct Finding {
    pub(super) runtime: String,
    pub(super) candidate: Candidate,
    pub(super) verdict: Result<Banner, Rejection>,
    pub(super) took: Duration,
    kind: Option<Kind>,
    args: Vec<String>,
}

impl Examination {
    /// Asks a candidate of a built-in family the way its family is asked.
    pub(super) fn of_family(family: &'static Family, candidate: Candidate, limits: &Limits) -> Self {
        let mut args = Vec::new();
        let mut question: Vec<String> = family.version_args.iter().map(ToString::to_string).collect();
        match family.kind {
            // `busybox sh --version` starts a shell; `--help` tells the version and proves that the shell is built in
            Kind::Shell if candidate.is_called(is_busybox) => {
                question = vec!["--help".to_owned()];
                if is_busybox(&file_name(&candidate.path)) {
                    args.push("sh".to_owned());
                    question.insert(0, "sh".to_owned());
                }
            }
            // R's own front end takes the script as an option's value, and prints the code unless told not to
            Kind::R if !candidate.is_called(is_rscript) => {
                args = ["-s", "--no-restore", "-f"].map(str::to_owned).to_vec();
            }
            _ => {}
        }
        let slow = candidate.is_called(|name| family.is_slow(name));
        let program = candidate.path.clone();
        let question = Question::Run { program, args: question, budget: budget(slow, limits) };
        Self { runtime: family.name.to_owned(), candidate, kind: Some(family.kind), question, args }
    }

    /// Asks a hinted interpreter the way its hints file says.
    pub(super) fn of_hint(hint: &Hint, candidate: Candidate, places: &[Place], limits: &Limits) -> Self {
        let family = by_name(&hint.name);
        let kind = family.map(|family| family.kind);
        let question = match (&hint.version, family) {
            (Told::Declared(raw, version), _) => Question::Known(Banner {
                version: Some(version.clone()),
                raw: Some(raw.clone()),
                ..Banner::default()
            }),
            (Told::By(command), _) => {
                let word = &command[0];
                let program = if *word == hint.interpreter {
                    candidate.path.clone()
                } else {
                    search::program(places, word).unwrap_or_else(|| PathBuf::from(word))
                };
                // whatever a container's author wrote here may start a virtual machine
                Question::Run { program, args: command[1..].to_vec(), budget: budget(true, limits) }
            }
            (Told::Not, Some(family)) => return Self::of_family(family, candidate, limits),
            (Told::Not, None) => Question::Known(Banner::default()),
        };
        Self { runtime: hint.name.clone(), candidate, kind, question, args: Vec::new() }
    }

    /// Whether a process is started for it.
    pub(super) fn runs(&self) -> bool {
        matches!(self.question, Question::Run { .. })
    }

    async fn conclude(self, surroundings: &Surroundings) -> Finding {
        let Self { runtime, candidate, kind, question, args } = self;
        let (verdict, took) = match question {
            Question::Known(banner) => (Ok(banner), Duration::ZERO),
            Question::Run { program, args, budget } => {
                let (answer, took) = probe::run(&program, &args, budget, surroundings).await;
                (answer.and_then(|answer| judge(kind, &answer)), took)
            }
        };
        tracing::debug!(runtime, path = %candidate.path.display(), ?took, ?verdict, "examined");
        Finding { runtime, candidate, verdict, took, kind, args }
    }
}

fn budget(slow: bool, limits: &Limits) -> Budget {
    Budget { time: if slow { limits.slow } else { limits.quick }, output: limits.output }
}

fn is_busybox(name: &str) -> bool {
    name.starts_with("busybox")
}

fn is_rscript(name: &str) -> bool {
    name.starts_with("Rscript")
}

/// Examines everything; the findings come in no particular order.
pub(super) async fn all(examinations: Vec<Examination>, options: &Options) -> Vec<Finding> {
    let surroundings = Surroundings::new(&options.temporary_places(), search::candidates_path(options));
    let surroundings = Arc::new(surroundings);
    let starters = Arc::new(Semaphore::new(starters()));
    let mut running = JoinSet::new();
    for examination in examinations {
        let (surroundings, starters) = (Arc::clone(&surroundings), Arc::clone(&starters));
        running.spawn(async move {
            // the semaphore is never closed, so this cannot fail
            let starter = starters.acquire().await;
            let conclusion = examination.conclude(&surroundings);
            tokio::pin!(conclusion);
            if let Ok(finding) = timeout(HEAD_START, &mut conclusion).await {
                return finding;
            }
            drop(starter);
            conclusion.await
        });
    }
    running.join_all().await
}

/// How many candidates may be within their head start: enough that none waits on an ordinary machine.
fn starters() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get).saturating_mul(4).max(8)
}

/// Decides what an answer is worth.
fn judge(kind: Option<Kind>, answer: &Answer) -> Result<Banner, Rejection> {
    let text = format!("{}\n{}", answer.stdout, answer.stderr);
    if answer.code != Some(0) {
        let refusal =
            (kind == Some(Kind::Shell)).then(|| banner::shell_refusal(answer.code, &text)).flatten();
        return refusal.ok_or_else(|| Rejection::Failed {
            status: answer.code,
            signal: answer.signal,
            first_line: banner::first_line(&answer.stderr).or_else(|| banner::first_line(&answer.stdout)),
        });
    }
    match kind {
        None => Ok(banner::read_any(&text)),
        Some(kind) => match banner::read(kind, &text) {
            Some(banner) => Ok(banner),
            // a shell that takes `--version` for anything, and succeeds, is a shell
            None if kind == Kind::Shell => {
                Ok(Banner { line: banner::first_line(&text), ..Banner::default() })
            }
            None => Err(Rejection::Unrecognised { first_line: banner::first_line(&text) }),
        },
    }
}

/// The usable interpreters of one runtime, default first.
pub(super) fn interpreters(mut findings: Vec<Finding>) -> Vec<Interpreter> {
    findings.sort_by(|a, b| {
        let (one, other) = (banner_of(a), banner_of(b));
        let newest_first = || {
            let is_preview = |banner: &Banner| banner.version.as_ref().is_some_and(|v| !v.pre.is_empty());
            is_preview(one).cmp(&is_preview(other)).then_with(|| other.version.cmp(&one.version))
        };
        let peers = a.candidate.standing.is_peer_of(&b.candidate.standing);
        is_old_python(a)
            .cmp(&is_old_python(b))
            .then_with(|| if peers { newest_first() } else { std::cmp::Ordering::Equal })
            .then_with(|| a.candidate.standing.cmp(&b.candidate.standing))
    });
    let mut kept: Vec<Finding> = Vec::new();
    for finding in findings {
        // names that go through one launcher and answer the same are one interpreter
        let same = |have: &Finding| {
            finding.candidate.launcher.is_some()
                && have.candidate.launcher == finding.candidate.launcher
                && banner_of(have) == banner_of(&finding)
        };
        match kept.iter_mut().find(|have| same(have)) {
            Some(have) => {
                let Candidate { path, aliases, .. } = finding.candidate;
                have.candidate.aliases.extend(std::iter::once(path).chain(aliases));
            }
            None => kept.push(finding),
        }
    }
    kept.into_iter().map(interpreter).collect()
}

fn banner_of(finding: &Finding) -> &Banner {
    static NONE: Banner = Banner { version: None, raw: None, implementation: None, line: None };
    finding.verdict.as_ref().unwrap_or(&NONE)
}

fn is_old_python(finding: &Finding) -> bool {
    finding.kind == Some(Kind::Python) && banner_of(finding).version.as_ref().is_some_and(|v| v.major < 3)
}

fn interpreter(finding: Finding) -> Interpreter {
    let Finding { candidate, verdict, kind, args, .. } = finding;
    let banner = verdict.unwrap_or_default();
    let Candidate { path, aliases, resolved, standing, .. } = candidate;
    let implementation = match banner.implementation {
        Some(name) => Some(name.to_owned()),
        None if kind == Some(Kind::Shell) => shell_name(&path, &resolved, &aliases),
        None => None,
    };
    let runs_source =
        (kind == Some(Kind::Java)).then(|| java::runs_source(&resolved, banner.version.as_ref())).flatten();
    Interpreter {
        on_path: standing.on_path(),
        version: banner.version,
        raw_version: banner.raw,
        implementation,
        banner: banner.line,
        runs_source,
        path,
        resolved,
        aliases,
        args,
    }
}

/// A silent shell's name, from the names it has: any but `sh`, which says nothing.
fn shell_name(path: &Path, resolved: &Path, aliases: &[PathBuf]) -> Option<String> {
    let names =
        std::iter::once(resolved).chain([path]).chain(aliases.iter().map(PathBuf::as_path)).map(file_name);
    let bare = names.map(|name| name.split(['-', '.']).next().unwrap_or_default().to_owned());
    bare.into_iter().find(|name| !name.is_empty() && name != "sh")
}
