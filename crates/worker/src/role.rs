//! What a start of the program is meant to be.

use std::process::ExitCode;

use nix::sys::signal::SigSet;

use crate::{init, startup, supervisor};

/// Does the work of a supervisor, or of the first process of a container, if the program was started as that. Programs
/// that run actions ask this before anything else; `None` means that their own work is asked for.
#[must_use]
pub fn special(program: &str) -> Option<ExitCode> {
    // the standard library hands its own mask on to new processes, and so may whoever started this one
    let _ = SigSet::empty().thread_set_mask();
    supervisor::serve_if_asked().or_else(|| init::serve_if_first(program)).or_else(|| unreadable(program))
}

/// Makes the program that does its own work unreadable, in its first moment: its environment may hold credentials, and
/// actions of another worker under the same user may be looking.
fn unreadable(program: &str) -> Option<ExitCode> {
    let error = startup::make_unreadable().err()?;
    startup::report_error(program, &error);
    Some(ExitCode::FAILURE)
}
