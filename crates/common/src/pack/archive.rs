//! Building archives, and walking through archives that nobody vouches for.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Read},
    path::{Component, Path, PathBuf},
};

use sha2::{Digest, Sha256};
use tar::{EntryType, Header};
use walkdir::WalkDir;

use super::PackError;

/// Largest archive, in bytes, compressed.
pub const MAX_ARCHIVE_BYTES: usize = 64 * 1024 * 1024;

/// Largest total of an archive's files, in bytes: what stands between a worker's disk and an archive that grows
/// a thousandfold when it is unpacked.
pub const MAX_UNPACKED_BYTES: u64 = 512 * 1024 * 1024;

/// Most entries of an archive.
pub const MAX_ENTRIES: usize = 20_000;

/// Largest manifest, in bytes.
const MAX_MANIFEST_BYTES: u64 = 1024 * 1024;

/// Folders that are never part of a pack.
const LEFT_OUT: [&str; 4] = [".git", ".attune", "__pycache__", "node_modules"];

/// A packed pack.
#[derive(Clone, Debug)]
pub struct Archive {
    /// The compressed tar file.
    pub bytes: Vec<u8>,
    /// Its SHA-256.
    pub digest: String,
}

/// SHA-256 as 64 lower-case hexadecimal digits.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Packs a folder. The same content gives the same bytes.
pub fn build(folder: &Path) -> Result<Archive, PackError> {
    // before anything is read: the wrong folder may be a whole home
    let manifest = folder.join("pack.yaml");
    std::fs::metadata(&manifest).map_err(PackError::io("find", &manifest))?;
    let mut tar = tar::Builder::new(Vec::new());
    tar.mode(tar::HeaderMode::Deterministic);
    let mut total = 0;
    let walk = WalkDir::new(folder).sort_by_file_name().into_iter();
    for entry in walk.filter_entry(|entry| !LEFT_OUT.iter().any(|name| entry.file_name() == *name)) {
        let entry = entry.map_err(|error| PackError::Io {
            what: "read",
            path: error.path().unwrap_or(folder).to_owned(),
            reason: error.into(),
        })?;
        let path = entry.path();
        let Ok(relative) = path.strip_prefix(folder) else { continue };
        if relative.as_os_str().is_empty() {
            continue;
        }
        total += entry.metadata().map_or(0, |metadata| metadata.len());
        if total > MAX_UNPACKED_BYTES {
            return Err(PackError::TooLarge(format!(
                "of {} would hold more than {MAX_UNPACKED_BYTES} bytes of files",
                folder.display()
            )));
        }
        append(&mut tar, path, relative, entry.file_type())?;
    }
    let finished = tar.into_inner().map_err(PackError::Unreadable)?;
    let bytes = zstd::encode_all(finished.as_slice(), 9).map_err(PackError::Unreadable)?;
    if bytes.len() > MAX_ARCHIVE_BYTES {
        return Err(PackError::TooLarge(format!(
            "of {} has {} bytes, more than the limit of {MAX_ARCHIVE_BYTES}",
            folder.display(),
            bytes.len()
        )));
    }
    Ok(Archive { digest: digest(&bytes), bytes })
}

fn append(
    tar: &mut tar::Builder<Vec<u8>>,
    path: &Path,
    relative: &Path,
    kind: std::fs::FileType,
) -> Result<(), PackError> {
    if kind.is_symlink() {
        let target = std::fs::read_link(path).map_err(PackError::io("read the link", path))?;
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Symlink);
        header.set_mode(0o777);
        header.set_size(0);
        return tar.append_link(&mut header, relative, target).map_err(PackError::io("pack", path));
    }
    if kind.is_dir() {
        return tar.append_dir(relative, path).map_err(PackError::io("pack", path));
    }
    if !kind.is_file() {
        return Err(PackError::Entry {
            entry: relative.display().to_string(),
            reason: "only files, folders and links can be packed".to_owned(),
        });
    }
    tar.append_path_with_name(path, relative).map_err(PackError::io("pack", path))
}

/// What an entry is; paths and targets have been checked.
pub(super) enum Entry<'a> {
    /// A folder.
    Folder,
    /// A file, whether it is executable, and its content.
    File { executable: bool, content: &'a mut dyn Read },
    /// A link to a place inside the pack.
    Link { target: PathBuf },
}

/// Walks through an archive and hands every entry on, unless it is one that no honest pack has.
pub(super) fn walk(
    bytes: &[u8],
    mut visit: impl FnMut(&Path, Entry<'_>) -> Result<(), PackError>,
) -> Result<(), PackError> {
    if bytes.len() > MAX_ARCHIVE_BYTES {
        return Err(PackError::TooLarge(format!(
            "has {} bytes, more than the limit of {MAX_ARCHIVE_BYTES}",
            bytes.len()
        )));
    }
    let decoder = zstd::Decoder::with_buffer(bytes).map_err(PackError::Unreadable)?;
    // headers and padding come on top of the content
    let mut archive = tar::Archive::new(decoder.take(MAX_UNPACKED_BYTES + MAX_ENTRIES as u64 * 2048));
    let mut links: BTreeSet<PathBuf> = BTreeSet::new();
    let mut total = 0;
    for (number, entry) in archive.entries().map_err(PackError::Unreadable)?.enumerate() {
        let mut entry = entry.map_err(PackError::Unreadable)?;
        let name = entry.path().map_err(PackError::Unreadable)?.into_owned();
        let refuse = |reason: &str| PackError::Entry { entry: shown(&name), reason: reason.to_owned() };
        if number >= MAX_ENTRIES {
            return Err(PackError::TooLarge(format!("has more than {MAX_ENTRIES} entries")));
        }
        let path = inside(&name).ok_or_else(|| refuse("its path leaves the pack"))?;
        if path.as_os_str().is_empty() {
            continue;
        }
        if path.ancestors().any(|ancestor| links.contains(ancestor)) {
            return Err(refuse("its path leads through a link"));
        }
        total += entry.size();
        if total > MAX_UNPACKED_BYTES {
            return Err(PackError::TooLarge(format!("unpacks to more than {MAX_UNPACKED_BYTES} bytes")));
        }
        match entry.header().entry_type() {
            EntryType::Directory => visit(&path, Entry::Folder)?,
            EntryType::Regular | EntryType::Continuous => {
                let executable = entry.header().mode().map_err(PackError::Unreadable)? & 0o111 != 0;
                visit(&path, Entry::File { executable, content: &mut entry })?;
            }
            EntryType::Symlink => {
                let target =
                    entry.link_name().map_err(PackError::Unreadable)?.unwrap_or_default().into_owned();
                if !stays_inside(&path, &target) {
                    return Err(refuse("it is a link that leaves the pack"));
                }
                links.insert(path.clone());
                visit(&path, Entry::Link { target })?;
            }
            EntryType::XGlobalHeader => {}
            _ => return Err(refuse("only files, folders and symbolic links are let in")),
        }
    }
    Ok(())
}

/// A relative path without any `..`, or nothing.
fn inside(name: &Path) -> Option<PathBuf> {
    let mut path = PathBuf::new();
    for component in name.components() {
        match component {
            Component::Normal(part) => path.push(part),
            Component::CurDir => {}
            _ => return None,
        }
    }
    Some(path)
}

/// Whether a link's target lies in the pack. `..` may only lead: behind a name, which may itself be a link, it could
/// lead anywhere. The link's own folders are real ones, because no path goes through a link.
fn stays_inside(link: &Path, target: &Path) -> bool {
    let mut depth = link.components().count() as i64 - 1;
    let mut named = false;
    for component in target.components() {
        match component {
            Component::Normal(_) => named = true,
            Component::CurDir => {}
            Component::ParentDir if !named => depth -= 1,
            _ => return false,
        }
    }
    depth >= 0 && !target.as_os_str().is_empty()
}

fn shown(name: &Path) -> String {
    name.display().to_string().chars().take(200).collect()
}

/// The pack's manifests, and the names of all its files.
#[derive(Debug, Default)]
pub(super) struct ManifestFiles {
    /// Texts of `pack.yaml`, `actions/*.yaml` and `runtimes/*.yaml`, by path.
    pub(super) texts: BTreeMap<String, String>,
    /// Every file and link, by path.
    pub(super) files: BTreeSet<String>,
}

pub(super) fn read_manifests(bytes: &[u8]) -> Result<ManifestFiles, PackError> {
    let mut found = ManifestFiles::default();
    walk(bytes, |path, entry| {
        let Some(name) = path.to_str() else {
            return Err(PackError::Entry { entry: shown(path), reason: "its name is not UTF-8".to_owned() });
        };
        if matches!(entry, Entry::Folder) {
            return Ok(());
        }
        found.files.insert(name.to_owned());
        let Entry::File { content, .. } = entry else { return Ok(()) };
        let folder = path.parent().and_then(Path::to_str);
        let manifest = matches!(folder, Some("actions" | "runtimes")) && is_yaml(path);
        if manifest || name == "pack.yaml" {
            found.texts.insert(name.to_owned(), read_text(name, content)?);
        }
        Ok(())
    })?;
    Ok(found)
}

pub(super) fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
}

fn read_text(name: &str, content: &mut dyn Read) -> Result<String, PackError> {
    let mut text = String::new();
    match content.take(MAX_MANIFEST_BYTES + 1).read_to_string(&mut text) {
        Ok(_) if text.len() as u64 > MAX_MANIFEST_BYTES => {
            Err(PackError::manifest(name, format!("a manifest has at most {MAX_MANIFEST_BYTES} bytes")))
        }
        Ok(_) => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            Err(PackError::manifest(name, "it is not UTF-8 text"))
        }
        Err(error) => Err(PackError::Unreadable(error)),
    }
}
