//! The example pack, which is part of the program.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use anyhow::Context;
use attune_common::pack::{self, Archive};
use include_dir::{Dir, DirEntry, include_dir};

static EXAMPLES: Dir = include_dir!("$CARGO_MANIFEST_DIR/../../packs/examples");

/// The pack, as `attune pack push packs/examples` would make it.
pub(crate) fn archive() -> anyhow::Result<Archive> {
    let make = || -> anyhow::Result<Archive> {
        let folder = tempfile::tempdir()?;
        write(&EXAMPLES, folder.path())?;
        Ok(pack::read_folder(folder.path())?.0)
    };
    make().context("cannot unpack the built-in example pack")
}

fn write(from: &Dir, to: &Path) -> std::io::Result<()> {
    for entry in from.entries() {
        let place = to.join(entry.path());
        match entry {
            DirEntry::Dir(folder) => {
                fs::create_dir_all(&place)?;
                write(folder, to)?;
            }
            DirEntry::File(file) => {
                fs::write(&place, file.contents())?;
                // modes are not embedded; scripts that say how to be started are those that can be
                if file.contents().starts_with(b"#!") {
                    fs::set_permissions(&place, fs::Permissions::from_mode(0o755))?;
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_pack_is_the_folder() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packs/examples");
        let (archive, loaded) = pack::read_folder(&folder).unwrap();
        assert_eq!(super::archive().unwrap().digest, archive.digest);
        assert_eq!((loaded.r#ref.as_str(), loaded.warnings.len()), ("examples", 0));
    }
}
