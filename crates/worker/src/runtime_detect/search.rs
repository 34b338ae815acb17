//! Where interpreters may be: the directories of `PATH`, then places that distributions and version managers use.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use super::Options;

/// Directories below the root of the file system, looked at after `PATH` and the environment's own hints.
/// `*` stands for any one directory name.
const SYSTEM: [&str; 24] = [
    "/usr/local/bin",
    "/usr/bin",
    "/bin",
    "/usr/local/sbin",
    "/usr/sbin",
    "/sbin",
    "/usr/local/go/bin",
    "/usr/lib/go*/bin",
    "/usr/lib/jvm/*/bin",
    "/usr/lib/jvm/*/jre/bin",
    "/usr/java/*/bin",
    // the official images of OpenJDK and of Eclipse Temurin
    "/usr/local/openjdk-*/bin",
    "/opt/java/*/bin",
    "/opt/*/bin",
    // Posit's builds of R, Red Hat's software collections
    "/opt/R/*/bin",
    "/opt/rh/*/root/usr/bin",
    // RHEL 8 keeps its only Python here
    "/usr/libexec",
    "/snap/bin",
    "/home/linuxbrew/.linuxbrew/bin",
    "/run/current-system/sw/bin",
    "/nix/var/nix/profiles/default/bin",
    "/usr/local/rbenv/versions/*/bin",
    "/usr/local/nvm/versions/node/*/bin",
    // distroless images' debug flavour
    "/busybox",
];

/// Directories that an environment variable leads to. The places of version managers below the home directory are
/// tried as well when their own variable is unset.
const BY_VARIABLE: [(&str, &str); 15] = [
    ("JAVA_HOME", "bin"),
    ("GOROOT", "bin"),
    ("PYENV_ROOT", "versions/*/bin"),
    ("RBENV_ROOT", "versions/*/bin"),
    ("NVM_DIR", "versions/node/*/bin"),
    ("ASDF_DATA_DIR", "installs/*/*/bin"),
    ("MISE_DATA_DIR", "installs/*/*/bin"),
    ("SDKMAN_DIR", "candidates/java/*/bin"),
    ("HOME", ".pyenv/versions/*/bin"),
    ("HOME", ".rbenv/versions/*/bin"),
    ("HOME", ".nvm/versions/node/*/bin"),
    ("HOME", ".asdf/installs/*/*/bin"),
    ("HOME", ".local/share/mise/installs/*/*/bin"),
    ("HOME", ".sdkman/candidates/java/*/bin"),
    ("HOME", ".nix-profile/bin"),
];

/// The environment variables that matter to the search; `TMPDIR` matters to the probes.
pub(super) fn variables() -> impl Iterator<Item = &'static str> {
    BY_VARIABLE.iter().map(|(name, _)| *name).chain(["TMPDIR"])
}

/// One directory to look into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) directory: PathBuf,
    pub(super) on_path: bool,
    /// Rank of the entry it comes from. The directories that one pattern expands to share a rank.
    pub(super) rank: usize,
}

/// Every existing directory to look into, best first; each one once, under the name it has first.
pub(super) fn places(options: &Options) -> Vec<Place> {
    let mut seen = HashSet::new();
    let mut places = Vec::new();
    let mut add = |directory: PathBuf, on_path: bool, rank: usize| {
        if let Ok(metadata) = fs::metadata(&directory)
            && metadata.is_dir()
            && seen.insert((metadata.dev(), metadata.ino()))
        {
            places.push(Place { directory, on_path, rank });
        }
    };
    let on_path = path_entries(options);
    let ranks = on_path.len();
    for (rank, directory) in on_path.into_iter().enumerate() {
        add(directory, true, rank);
    }
    for (offset, directory) in fallbacks(options) {
        add(directory, false, ranks + offset);
    }
    places
}

/// The absolute entries of the search path. Relative ones, the empty one included, mean the working directory, which
/// is a different one for every action.
fn path_entries(options: &Options) -> Vec<PathBuf> {
    let path = options.search_path.clone().unwrap_or_default();
    std::env::split_paths(&path).filter(|entry| entry.is_absolute()).collect()
}

fn fallbacks(options: &Options) -> Vec<(usize, PathBuf)> {
    let by_variable = BY_VARIABLE.iter().filter_map(|(name, below)| {
        let value = options.variables.get(*name).filter(|value| !value.is_empty())?;
        Some(Path::new(value).join(below)).filter(|path| path.is_absolute())
    });
    let system = SYSTEM.iter().map(|pattern| options.below_root(Path::new(pattern)));
    let patterns: Vec<_> = by_variable.chain(system).collect();
    patterns
        .iter()
        .enumerate()
        .flat_map(|(offset, pattern)| expand(pattern).into_iter().map(move |path| (offset, path)))
        .collect()
}

/// The paths that match `pattern`, in which a `*` matches within one component; sorted by name.
fn expand(pattern: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for component in pattern.components() {
        let wild = match component {
            Component::Normal(name) => name.to_str().and_then(|name| name.split_once('*')),
            _ => None,
        };
        let Some((before, after)) = wild else {
            for path in &mut found {
                path.push(component);
            }
            continue;
        };
        found = found.iter().flat_map(|directory| matching(directory, before, after)).collect();
    }
    found
}

fn matching(directory: &Path, before: &str, after: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut names: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.file_name()))
        .filter(|name| {
            let name = name.as_encoded_bytes();
            name.len() >= before.len() + after.len()
                && name.starts_with(before.as_bytes())
                && name.ends_with(after.as_bytes())
        })
        .collect();
    names.sort();
    names.into_iter().map(|name| directory.join(name)).collect()
}

/// The files of `place` whose names match `pattern`, sorted, broken ones included.
///
/// A directory that may be entered but not listed is asked for the names in `usual` instead.
pub(super) fn files(place: &Place, pattern: &regex::Regex, usual: &[&str]) -> Vec<PathBuf> {
    let Ok(only) = std::env::join_paths([&place.directory]) else { return Vec::new() };
    if fs::read_dir(&place.directory).is_err() {
        return usual
            .iter()
            .filter_map(|name| which::which_in_global(name, Some(&only)).ok()?.next())
            .collect();
    }
    let mut files: Vec<_> = which::which_re_in(pattern, Some(&only)).into_iter().flatten().collect();
    files.sort();
    files
}

/// Finds one program by name in `places`, the way a shell would.
pub(super) fn program(places: &[Place], name: &str) -> Option<PathBuf> {
    let all = std::env::join_paths(places.iter().map(|place| &place.directory)).ok()?;
    which::which_in_global(name, Some(all)).ok()?.next()
}

/// The `PATH` of the candidates: the search path's absolute entries, then the standard directories that it lacks, so
/// that a script that starts with `#!/usr/bin/env` finds what it asks for.
pub(super) fn candidates_path(options: &Options) -> OsString {
    const STANDARD: [&str; 6] =
        ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    let mut entries = path_entries(options);
    for standard in STANDARD.map(PathBuf::from) {
        if !entries.contains(&standard) {
            entries.push(standard);
        }
    }
    std::env::join_paths(entries).unwrap_or_else(|_| STANDARD.join(":").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(paths: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for path in paths {
            fs::create_dir_all(root.path().join(path)).unwrap();
        }
        root
    }

    fn relative(root: &Path, places: &[Place]) -> Vec<String> {
        let name = |place: &Place| {
            let path = place.directory.strip_prefix(root).unwrap().display().to_string();
            format!("{}{path}", if place.on_path { "PATH " } else { "" })
        };
        places.iter().map(name).collect()
    }

    #[test]
    fn the_search_path_comes_first_and_nothing_comes_twice() {
        let root = tree(&[
            "usr/bin",
            "usr/local/bin",
            "usr/lib/jvm/b/bin",
            "usr/lib/jvm/a/bin",
            "opt/tool/bin",
            "home/.pyenv/versions/3.9/bin",
        ]);
        std::os::unix::fs::symlink("usr/bin", root.path().join("bin")).unwrap();
        let options = Options {
            search_path: Some(
                std::env::join_paths([
                    root.path().join("bin"),
                    PathBuf::from("."),
                    PathBuf::new(),
                    root.path().join("gone"),
                ])
                .unwrap(),
            ),
            root: Some(root.path().to_owned()),
            variables: [
                ("HOME".to_owned(), root.path().join("home").into_os_string()),
                ("GOROOT".to_owned(), OsString::new()),
            ]
            .into(),
            ..Options::default()
        };
        assert_eq!(
            relative(root.path(), &places(&options)),
            [
                "PATH bin",
                "home/.pyenv/versions/3.9/bin",
                "usr/local/bin",
                "usr/lib/jvm/a/bin",
                "usr/lib/jvm/b/bin",
                "opt/tool/bin"
            ]
        );
    }

    #[test]
    fn without_a_search_path_the_usual_places_remain() {
        let root = tree(&["usr/bin", "busybox"]);
        for search_path in [None, Some(OsString::new())] {
            let options = Options { search_path, root: Some(root.path().to_owned()), ..Options::default() };
            assert_eq!(relative(root.path(), &places(&options)), ["usr/bin", "busybox"]);
        }
    }

    #[test]
    fn patterns_expand_within_one_component() {
        let root = tree(&["lib/go-1.19/bin", "lib/go/bin", "lib/gopher", "lib/xgo/bin"]);
        let found = expand(&root.path().join("lib/go*/bin"));
        let names: Vec<_> =
            found.iter().map(|p| p.strip_prefix(root.path()).unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["lib/go/bin", "lib/go-1.19/bin", "lib/gopher/bin"]);
    }

    #[test]
    fn candidates_always_have_the_standard_directories() {
        let path = |search: Option<&str>| {
            let options = Options { search_path: search.map(OsString::from), ..Options::default() };
            candidates_path(&options).into_string().unwrap()
        };
        assert_eq!(path(None), "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        assert_eq!(
            path(Some("/x:rel::/bin")),
            "/x:/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin"
        );
    }
}
