//! What private servers have in common: they are watched, and waited for.

use std::{
    fs,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
};

use crate::dev::wait_for;

/// A process that cleans up after a server when the test process is gone, however it ended.
#[derive(Debug)]
pub(crate) struct Watcher {
    child: Child,
    /// As long as it is open, the watcher waits.
    alive: Option<ChildStdin>,
}

impl Watcher {
    /// Starts a script that reads a line from its standard input, which never comes, and then removes the folder that it is
    /// given. `shell` is the shell, as the user who may do that.
    pub(crate) fn start(mut shell: Command, script: &str, folder: &Path) -> Self {
        let mut child = shell
            .args(["-c", script, "watcher"])
            .arg(folder)
            // what a terminal tells the tests is not for it
            .process_group(0)
            .stdin(Stdio::piped())
            .spawn()
            .expect("there is a shell");
        Self { alive: child.stdin.take(), child }
    }

    /// Lets it do its work, and waits for that.
    pub(crate) fn clean_up(&mut self) {
        drop(self.alive.take());
        let _ = self.child.wait();
    }
}

/// Waits until a server says in its log that it can be used; `false` when it has ended instead.
pub(crate) fn is_up(name: &str, child: &mut Child, log: &Path, ready: &str) -> bool {
    let mut up = false;
    wait_for(&format!("{name} to start"), || {
        up = fs::read_to_string(log).unwrap_or_default().contains(ready);
        up || child.try_wait().unwrap().is_some()
    });
    up
}
