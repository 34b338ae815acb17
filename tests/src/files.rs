//! What lies in a folder.

use std::{collections::BTreeMap, fs, path::Path};

use walkdir::WalkDir;

/// Every file below a folder, by its path from there, with its content. A folder that is not there has none.
#[must_use]
pub fn below(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    if !folder.exists() {
        return BTreeMap::new();
    }
    let entries = WalkDir::new(folder).into_iter().map(Result::unwrap);
    let files = entries.filter(|entry| !entry.file_type().is_dir());
    files
        .map(|entry| {
            let name = entry.path().strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect()
}
