//! Fake machines in a temporary directory.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use attune_worker::runtime_detect::{Detection, Limits, Options, Timing, detect};
use tempfile::TempDir;

/// A directory tree that detection takes for the root of a file system.
pub(crate) struct Tree {
    directory: TempDir,
}

impl Tree {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn root(&self) -> &Path {
        self.directory.path()
    }

    /// `path`, absolute in the fake machine, as it is in the real one.
    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.root().join(path.trim_start_matches('/'))
    }

    /// Writes a file with its directories.
    pub(crate) fn file(&self, path: &str, content: impl AsRef<[u8]>, mode: u32) -> PathBuf {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    /// Writes an executable shell script, which finds `sleep` and the like where this test does: candidates get the
    /// standard directories only, and a Nix sandbox has nothing in them.
    pub(crate) fn script(&self, path: &str, body: &str) -> PathBuf {
        let tools = std::env::var("PATH").unwrap_or_default();
        self.file(path, format!("#!/bin/sh\nPATH='{tools}'\n{body}\n"), 0o755)
    }

    /// Links `path` to `target`, which is taken as it is.
    pub(crate) fn link(&self, path: &str, target: &str) -> PathBuf {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, &path).unwrap();
        path
    }

    /// A search of this machine alone, with `path` as its search path.
    pub(crate) fn options(&self, path: &[&str]) -> Options {
        let search_path = std::env::join_paths(path.iter().map(|entry| self.at(entry))).unwrap();
        Options { search_path: Some(search_path), root: Some(self.root().to_owned()), ..Options::default() }
    }

    /// `text` with the real place of this machine taken out.
    pub(crate) fn redact(&self, text: &str) -> String {
        let real = fs::canonicalize(self.root()).unwrap();
        text.replace(&*real.to_string_lossy(), "").replace(&*self.root().to_string_lossy(), "")
    }

    /// `detection` as if this machine were the real one. To be done before the columns of a table are laid out.
    pub(crate) fn seen_from_inside(&self, detection: &Detection) -> Detection {
        let mut document = serde_json::to_value(detection).unwrap();
        document["host"]["arch"] = "[arch]".into();
        for rejected in document["rejected"].as_array_mut().unwrap() {
            if let Some(host) = rejected["reason"].get_mut("host") {
                *host = "[arch]".into();
            }
        }
        serde_json::from_str(&self.redact(&document.to_string())).unwrap()
    }
}

/// Limits that a loaded test machine does not reach by accident.
pub(crate) fn patient() -> Limits {
    Limits {
        quick: std::time::Duration::from_mins(1),
        slow: std::time::Duration::from_mins(1),
        ..Limits::default()
    }
}

/// Runs the search; what differs from run to run is replaced by fixed values.
pub(crate) async fn search(options: &Options) -> Detection {
    let mut detection = detect(&Options { limits: patient(), ..options.clone() }).await.unwrap();
    let Timing { probes, .. } = detection.timing;
    detection.timing = Timing { total_ms: 12, slowest_probe_ms: 7, slowest_probe: None, probes };
    detection
}

/// A script body that answers as told, when asked as told.
pub(crate) fn answering(asked: Option<&str>, exit: i32, stdout: &str, stderr: &str) -> String {
    let quote = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    let check = asked.map_or_else(String::new, |asked| {
        format!("[ \"$*\" = {} ] || {{ echo \"asked as: $*\" >&2; exit 64; }}\n", quote(asked))
    });
    format!("{check}printf %s {}\nprintf %s {} >&2\nexit {exit}", quote(stdout), quote(stderr))
}

/// The variables of `Options`, from pairs.
pub(crate) fn variables<const N: usize>(
    pairs: [(&str, OsString); N],
) -> std::collections::BTreeMap<String, OsString> {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
