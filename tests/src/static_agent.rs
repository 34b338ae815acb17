//! The static agent as `tests/static-build` makes it. The first use builds it, which takes minutes; later ones a second.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::LazyLock,
};

use crate::binaries::workspace;

static X86_64: LazyLock<PathBuf> = LazyLock::new(|| build("x86_64"));
static AARCH64: LazyLock<PathBuf> = LazyLock::new(|| build("aarch64"));
static ELSEWHERE: LazyLock<PathBuf> = LazyLock::new(|| build("elsewhere"));

/// The one for `x86_64`.
#[must_use]
pub fn x86_64() -> &'static Path {
    &X86_64
}

/// The one for `aarch64`.
#[must_use]
pub fn aarch64() -> &'static Path {
    &AARCH64
}

/// The one for `x86_64` that was built from a copy of the sources in another folder.
#[must_use]
pub fn elsewhere() -> &'static Path {
    &ELSEWHERE
}

fn build(name: &str) -> PathBuf {
    let output = Command::new(workspace().join("tests/static-build"))
        .arg(name)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .expect("tests/static-build can be started");
    assert!(output.status.success(), "tests/static-build {name}: {}: its message is above", output.status);
    String::from_utf8(output.stdout).expect("a path").trim_end().into()
}
