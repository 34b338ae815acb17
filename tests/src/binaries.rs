//! The programs under test.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::LazyLock,
};

use cargo_metadata::Message;

/// Folder of the programs: built now by cargo, unless `ATTUNE_TEST_BINARIES` names one with programs built elsewhere.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| match std::env::var_os("ATTUNE_TEST_BINARIES") {
    Some(folder) => folder.into(),
    None => build(),
});

/// Path of a program.
#[must_use]
pub fn path(name: &str) -> PathBuf {
    let path = FOLDER.join(name);
    assert!(path.is_file(), "there is no program {}", path.display());
    path
}

/// The top of the project.
#[must_use]
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Builds all programs (a fraction of a second when they are up to date) and returns their folder.
fn build() -> PathBuf {
    // measurements are of what people use, tests of what is compiled quickly
    let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        // the whole workspace, as `cargo test --workspace` sees it: with other packages, other features would be chosen and
        // every dependency compiled a second time
        .args(["build", "--quiet", "--locked", "--workspace", "--bins", "--message-format=json"])
        .args(["--profile", profile])
        .current_dir(workspace())
        .stdout(Stdio::piped());
    // ring's build script would run again for what `cargo test` tells tests of their package, and all that needs ring would be
    // compiled again
    for (name, _) in std::env::vars_os() {
        if name
            .to_str()
            .is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"))
        {
            cargo.env_remove(&name);
        }
    }
    let mut cargo = cargo.spawn().expect("cargo can be started");
    let output = std::io::BufReader::new(cargo.stdout.take().expect("it is piped"));
    let folder = Message::parse_stream(output)
        .filter_map(|message| match message.expect("cargo writes messages") {
            Message::CompilerArtifact(artifact) => artifact.executable,
            _ => None,
        })
        .last()
        .and_then(|executable| executable.parent().map(|folder| folder.as_std_path().to_owned()));
    let status = cargo.wait().expect("cargo can be waited for");
    assert!(status.success(), "the programs cannot be built: run 'cargo build --bins' to see why");
    folder.expect("cargo has built programs")
}
