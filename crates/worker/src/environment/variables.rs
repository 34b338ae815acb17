//! Variables of processes that belong to a runtime: of actions, and of installers.

use std::{
    ffi::{OsStr, OsString},
    io,
    os::unix::fs::chown,
    path::{Path, PathBuf},
};

use crate::{confinement::RunAs, settings::ExecutionSettings};

/// Where programs are looked for when the worker itself has no PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The search path that this process was given.
#[must_use]
pub fn inherited_path() -> OsString {
    std::env::var_os("PATH").filter(|path| !path.is_empty()).unwrap_or_else(|| DEFAULT_PATH.into())
}

/// A search path with these folders in front. Relative folders mean something else in every process, so they are left out.
#[must_use]
pub fn search_path(front: &[PathBuf], inherited: &OsStr) -> OsString {
    let others =
        std::env::split_paths(inherited).filter(|folder| folder.is_absolute() && !front.contains(folder));
    let all = front.iter().cloned().chain(others);
    std::env::join_paths(all).unwrap_or_else(|_| inherited.to_owned())
}

/// The variables that the worker's configuration passes on.
#[must_use]
pub fn passed(settings: &ExecutionSettings) -> Vec<(OsString, OsString)> {
    let names = settings.pass_environment.iter();
    names.filter_map(|name| Some((name.into(), std::env::var_os(name)?))).collect()
}

/// What a runtime needs to behave in a process that nobody watches: output as it comes, and nothing written beside the
/// scripts, which are shared.
///
/// Python writes no bytecode at all; what is compiled, the worker does ([`bytecode`](super::bytecode)). Node, Ruby, Perl and R
/// write nothing beside scripts; what their libraries cache goes to HOME, which is private.
///
/// # Errors
/// When a cache for the user that actions run as cannot be made.
pub fn of_runtime(runtime: &str, settings: &ExecutionSettings) -> io::Result<Vec<(OsString, OsString)>> {
    Ok(match runtime {
        "python" => {
            vec![("PYTHONUNBUFFERED".into(), "1".into()), ("PYTHONDONTWRITEBYTECODE".into(), "1".into())]
        }
        // without a shared build cache every run would compile the standard library first; Go itself removes from it what
        // has not been used for some days (`go help cache`)
        "go" => {
            vec![("GOCACHE".into(), go_build_cache(settings)?.into()), ("GOTOOLCHAIN".into(), "local".into())]
        }
        _ => Vec::new(),
    })
}

/// The folder of what Go has compiled, to which actions write: each user has one.
fn go_build_cache(settings: &ExecutionSettings) -> io::Result<PathBuf> {
    let Some(RunAs { uid, gid }) = settings.confinement.run_as else {
        return Ok(settings.cache_dir.join("go-build"));
    };
    let folder = settings.cache_dir.join(format!("go-build-{uid}"));
    std::fs::create_dir_all(&folder)?;
    chown(&folder, Some(uid), Some(gid))?;
    Ok(folder)
}

/// The text of a `go.work` file for a pack that is a Go module, if it is one.
///
/// Go looks for `go.mod` above the working directory, which is not the pack's; a workspace file (Go 1.18) names the module
/// from anywhere. It must ask for no older Go than its modules do.
#[must_use]
pub fn go_workspace(pack: &Path) -> Option<String> {
    let module = std::fs::read_to_string(pack.join("go.mod")).ok()?;
    let version = module.lines().find_map(|line| line.trim().strip_prefix("go ")).unwrap_or("1.18");
    // a quoted path, as Go reads strings
    Some(format!("go {}\n\nuse {:?}\n", version.trim(), pack.display().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_in_front_come_once_and_relative_ones_never() {
        let path =
            search_path(&["/env/bin".into(), "/usr/bin".into()], OsStr::new("/bin:.:/usr/bin:sub:/opt"));
        assert_eq!(path, "/env/bin:/usr/bin:/bin:/opt");
    }

    #[test]
    fn a_workspace_asks_for_the_go_of_its_module() {
        let pack = tempfile::tempdir().unwrap();
        assert_eq!(go_workspace(pack.path()), None);
        std::fs::write(pack.path().join("go.mod"), "module example.com/x\n\ngo 1.21.3\n").unwrap();
        let expected = format!("go 1.21.3\n\nuse \"{}\"\n", pack.path().display());
        assert_eq!(go_workspace(pack.path()).unwrap(), expected);
    }
}
