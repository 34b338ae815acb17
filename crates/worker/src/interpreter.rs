//! Which of the installed interpreters runs an execution.

use attune_common::requirement::Requirement;

use crate::runtime_detect::{Detection, Interpreter, Runtime};

/// The interpreter for a requirement: with a version range the highest version in it, otherwise the default one.
///
/// An interpreter known not to run source files (a Java runtime without compiler) comes last.
#[must_use]
pub fn choose<'a>(
    detection: &'a Detection,
    requirement: &Requirement,
) -> Option<(&'a Runtime, &'a Interpreter)> {
    let runtime = detection.runtime(requirement.runtime())?;
    let fitting = runtime.interpreters.iter().filter(|one| requirement.accepts_version(one.version.as_ref()));
    let runs_source = |one: &Interpreter| one.runs_source != Some(false);
    let chosen = if requirement.version().is_some() {
        // max_by_key takes the last of equals; of two equal versions the first on PATH is meant
        fitting.rev().max_by_key(|one| (runs_source(one), one.version.clone()))
    } else {
        fitting.rev().max_by_key(|one| runs_source(one))
    };
    chosen.map(|interpreter| (runtime, interpreter))
}
