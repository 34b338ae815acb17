//! Packs that tests write.

use std::{fs, path::Path};

use tempfile::TempDir;

use crate::processes::run;

/// A pack `test` that is written file by file.
#[derive(Debug)]
pub struct Pack(TempDir);

impl Default for Pack {
    fn default() -> Self {
        Self(tempfile::tempdir().unwrap()).file("pack.yaml", "ref: test\nversion: 1.0.0\n")
    }
}

impl Pack {
    /// Adds a file.
    #[must_use]
    pub fn file(self, path: &str, text: &str) -> Self {
        let place = self.0.path().join(path);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(place, text).unwrap();
        self
    }

    /// An action `NAME` whose script is `NAME.EXTENSION`, with a JSON result.
    #[must_use]
    pub fn action(self, name: &str, extension: &str, manifest: &str, script: &str) -> Self {
        let entry_point = format!("{name}.{extension}");
        let head = format!("ref: test.{name}\nentry_point: {entry_point}\noutput_format: json\n{manifest}");
        self.file(&format!("actions/{name}.yaml"), &head).file(&format!("actions/{entry_point}"), script)
    }

    /// Its folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Runs a tool in the pack.
    #[must_use]
    pub fn run(self, command: &[&str]) -> Self {
        run(self.path(), command);
        self
    }
}
