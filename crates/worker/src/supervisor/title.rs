//! What the list of processes shows: a supervisor is started before anybody knows what for.

use std::{fs, ptr};

use super::descendants::fields;

/// Shown until there is an action.
const WAITING: &str = "waiting for an action";

/// Bytes that are kept for a title, in the arguments (`proc_pid_cmdline(5)`). Longer ones are cut.
const ROOM: usize = 200;

/// Where the kernel tells between which addresses the arguments are (`proc_pid_stat(5)`), counted behind the name.
const ARGUMENTS_START: usize = 45;

/// The last argument of a supervisor, which makes room for its title.
pub(crate) fn placeholder() -> String {
    format!("{WAITING:<ROOM$}")
}

/// Shows this title. No crate: those that do it serve platforms on which titles have another place.
pub(super) fn show(title: &str) {
    // a process that keeps its first title works all the same
    let _ = overwrite(title);
}

#[expect(unsafe_code, reason = "the memory of the arguments belongs to nobody else")]
fn overwrite(title: &str) -> Option<()> {
    let stat = fs::read("/proc/self/stat").ok()?;
    let mut fields = fields(&stat)?.skip(ARGUMENTS_START);
    let (first, behind): (usize, usize) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    // the placeholder is the last argument, and ends with a NUL like all of them
    let room = behind.checked_sub(ROOM + 1).filter(|room| first != 0 && *room > first)?;
    let cut = title.floor_char_boundary(title.len().min(ROOM));
    let shown = format!("{:<ROOM$}", title[..cut].replace('\0', " "));
    // SAFETY: the kernel put the arguments there, in memory of this process that may be written (execve(2)); the standard
    // library only reads them, when it is asked for them, and this process has a single thread now. At most ROOM bytes are
    // written, all of them inside the last argument: `behind` is behind its NUL
    unsafe { ptr::copy_nonoverlapping(shown.as_ptr(), ptr::with_exposed_provenance_mut(room), ROOM) };
    Some(())
}
