//! Candidates: files that may be interpreters, with the names that lead to the same file put together.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::families::Family;
use super::search::{self, Place};
use super::{Kind, Rejected, Rejection, reject};

/// Scripts up to this size are compared byte by byte: version managers write one small launcher per name.
const LARGEST_LAUNCHER: u64 = 8 * 1024;

/// How good a name is as the family's default, best first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Standing {
    off_path: bool,
    /// 0: one of the family's usual names, 1: any other.
    unusual: u8,
    /// Rank of the directory.
    pub(super) place: usize,
    /// Position among the usual names.
    rank: usize,
    /// The numbers in the file name, larger first (`python3.12` before `python3.9`).
    numbers: Reverse<Vec<u64>>,
    path: PathBuf,
}

impl Standing {
    fn new(family: &Family, place: &Place, path: PathBuf) -> Self {
        let name = file_name(&path);
        let rank = family.usual.iter().position(|usual| *usual == name);
        Self {
            off_path: !place.on_path,
            unusual: u8::from(rank.is_none()),
            place: place.rank,
            rank: rank.unwrap_or(usize::MAX),
            numbers: Reverse(numbers(&name)),
            path,
        }
    }

    /// Whether the two may be ordered by version: usual or unusual names of one pattern of fallback directories.
    pub(super) fn is_peer_of(&self, other: &Self) -> bool {
        self.off_path && other.off_path && self.unusual == other.unusual && self.place == other.place
    }

    pub(super) fn on_path(&self) -> bool {
        !self.off_path
    }
}

/// One file that may be an interpreter, with every name it was found under.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub(super) standing: Standing,
    /// The name that a person would type.
    pub(super) path: PathBuf,
    pub(super) aliases: Vec<PathBuf>,
    /// The file itself, without symbolic links.
    pub(super) resolved: PathBuf,
    /// Set when what runs may depend on the name it is started by. Candidates whose launchers are equal and that
    /// answer the same are one.
    pub(super) launcher: Option<Launcher>,
}

/// A program that starts others depending on the name it is called by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Launcher {
    /// Links to one dispatching binary (snap, mise, volta).
    Dispatcher(PathBuf),
    /// Identical scripts in one directory (pyenv, rbenv).
    Script {
        /// The directory.
        directory: PathBuf,
        /// What each of them contains.
        content: Vec<u8>,
    },
}

/// What makes two names one candidate.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Identity {
    device: u64,
    inode: u64,
    /// A virtual environment's `python` is a link to the system's, and behaves differently.
    environment: Option<PathBuf>,
    /// Set when the file behind the link belongs to no interpreter, so that the name decides what runs.
    name: Option<OsString>,
}

impl Candidate {
    /// Whether any of its names, or the file itself, is called so.
    pub(super) fn is_called(&self, test: impl Fn(&str) -> bool) -> bool {
        self.aliases.iter().chain([&self.path, &self.resolved]).any(|path| test(&file_name(path)))
    }
}

/// Every candidate of `family` in `places`, best first, and the files that cannot be candidates.
pub(super) fn collect(family: &Family, places: &[Place]) -> (Vec<Candidate>, Vec<Rejected>) {
    let mut rejected = Vec::new();
    let mut groups: BTreeMap<Identity, Vec<Standing>> = BTreeMap::new();
    for place in places {
        let mut files = search::files(place, family.regex(), family.usual);
        if family.kind == Kind::R {
            prefer_rscript(&mut files);
        }
        for path in files {
            match reject::inspect(&path) {
                Ok(None) => {}
                Ok(Some(metadata)) => {
                    let identity = identify(family, &path, &metadata);
                    groups.entry(identity).or_default().push(Standing::new(family, place, path));
                }
                Err(reason) => rejected.push(Rejected { runtime: family.name.to_owned(), path, reason }),
            }
        }
    }
    let mut candidates: Vec<_> = groups.into_iter().filter_map(|(id, names)| candidate(&id, names)).collect();
    candidates.sort_by(|a, b| a.standing.cmp(&b.standing));
    (candidates, rejected)
}

/// The candidate that a hints file names: an absolute path, or a program that is looked up in `places`.
pub(super) fn named(interpreter: &str, places: &[Place]) -> Result<Candidate, Rejection> {
    let path = if interpreter.starts_with('/') {
        PathBuf::from(interpreter)
    } else {
        search::program(places, interpreter).ok_or(Rejection::NotFound)?
    };
    reject::inspect(&path)?.ok_or(Rejection::NotFound)?;
    let directory = path.parent().unwrap_or(Path::new("/"));
    let standing = Standing {
        off_path: !places.iter().any(|place| place.on_path && place.directory == directory),
        unusual: 0,
        place: 0,
        rank: 0,
        numbers: Reverse(Vec::new()),
        path: path.clone(),
    };
    let resolved = fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
    Ok(Candidate { standing, path, aliases: Vec::new(), resolved, launcher: None })
}

/// Leaves `R` out of a directory where `Rscript` stands beside it: both start the same interpreter, and only
/// `Rscript FILE` runs a file the way other interpreters do.
fn prefer_rscript(files: &mut Vec<PathBuf>) {
    if files.iter().any(|path| file_name(path).starts_with("Rscript")) {
        files.retain(|path| file_name(path).starts_with("Rscript"));
    }
}

fn identify(family: &Family, path: &Path, metadata: &Metadata) -> Identity {
    let resolved = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let environment = (family.kind == Kind::Python)
        .then(|| path.parent()?.parent().filter(|prefix| prefix.join("pyvenv.cfg").is_file()))
        .flatten()
        .map(Path::to_owned);
    // shells that are one binary under many names do the same under each of them
    let dispatches = family.kind != Kind::Shell && !family.owns(&file_name(&resolved));
    let name = dispatches.then(|| path.file_name().map(OsString::from)).flatten();
    Identity { device: metadata.dev(), inode: metadata.ino(), environment, name }
}

fn candidate(identity: &Identity, mut names: Vec<Standing>) -> Option<Candidate> {
    names.sort();
    let mut names = names.into_iter();
    let standing = names.next()?;
    let path = standing.path.clone();
    let resolved = fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
    let launcher = match identity.name {
        Some(_) => Some(Launcher::Dispatcher(resolved.clone())),
        None => launcher_script(&path),
    };
    Some(Candidate { path, aliases: names.map(|name| name.path).collect(), resolved, launcher, standing })
}

fn launcher_script(path: &Path) -> Option<Launcher> {
    let small = fs::metadata(path).is_ok_and(|metadata| metadata.len() <= LARGEST_LAUNCHER);
    let content = if small { fs::read(path).ok()? } else { return None };
    let directory = path.parent()?.to_owned();
    content.starts_with(b"#!").then_some(Launcher::Script { directory, content })
}

/// The numbers in a file name, so that `python3.9` sorts before `python3.12`.
pub(super) fn numbers(name: &str) -> Vec<u64> {
    name.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

/// The last component of a path, lossily; empty when there is none.
pub(super) fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
