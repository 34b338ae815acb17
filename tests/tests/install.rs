//! `attune-agent install DIR` on real file systems, which are mounted where nobody else sees them.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    process::{Command, Output},
};

use attune_tests::binaries;

/// Runs a script in a mount namespace of its own; `$AGENT` is the agent, `$1` an empty directory.
fn in_own_namespace(script: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let namespace = if rustix::process::geteuid().is_root() { "-m" } else { "-Urm" };
    Command::new("unshare")
        .args([namespace, "sh", "-euc", script, "sh"])
        .arg(folder.path())
        .env("AGENT", binaries::path("attune-agent"))
        .output()
        .expect("unshare of util-linux can be started")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// The one line on standard error of an installation that failed.
fn refusal(script: &str) -> String {
    let output = in_own_namespace(script);
    let error = text(&output.stderr).to_owned();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(output.stdout.is_empty(), "{}", text(&output.stdout));
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(error.starts_with("attune-agent: "), "{error}");
    error
}

#[test]
fn it_installs_itself_and_the_copy_works() {
    let folder = tempfile::tempdir().unwrap();
    let agent = binaries::path("attune-agent");
    let install = |program: &Path| Command::new(program).arg("install").arg(folder.path()).output().unwrap();
    let first = install(&agent);
    assert!(first.status.success() && first.stderr.is_empty(), "{}", text(&first.stderr));
    let copy = folder.path().join("attune-agent");
    assert!(text(&first.stdout).starts_with(&format!("installed {} (version ", copy.display())));
    assert_eq!(text(&first.stdout).lines().count(), 1);
    assert_eq!(copy.metadata().unwrap().permissions().mode() & 0o7777, 0o555);
    assert!(fs::read(&copy).unwrap() == fs::read(agent).unwrap(), "the copy differs");

    // the copy can do the same, even onto itself
    let before = copy.metadata().unwrap().ino();
    let second = install(&copy);
    assert!(text(&second.stdout).starts_with("already there: "), "{}", text(&second.stderr));
    assert_eq!(copy.metadata().unwrap().ino(), before);
}

#[test]
fn a_read_only_file_system_is_told_of_unless_the_program_is_there() {
    let error = refusal("mount -t tmpfs -o ro none $1; exec $AGENT install $1");
    assert!(error.contains("is on a read-only file system: mount it writable"), "{error}");
    let output = in_own_namespace(
        "mount -t tmpfs none $1; $AGENT install $1; mount -o remount,ro $1; exec $AGENT install $1",
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).lines().last().unwrap().starts_with("already there: "));
}

#[test]
fn a_mount_without_exec_is_told_of_before_anything_is_written() {
    let error = refusal(
        "mount -t tmpfs -o noexec none $1; $AGENT install $1 || { status=$?; test -z \"$(ls -A $1)\"; exit $status; }",
    );
    assert!(error.contains("is mounted noexec, so nothing can be started from there"), "{error}");
    let forced = in_own_namespace("mount -t tmpfs -o noexec none $1; exec $AGENT install --force $1");
    assert!(forced.status.success(), "{}", text(&forced.stderr));
}

#[test]
fn a_full_file_system_is_told_of_and_stays_as_it_was() {
    let error = refusal(
        "mount -t tmpfs -o size=1M none $1; $AGENT install $1 || { status=$?; test -z \"$(ls -A $1)\"; exit $status; }",
    );
    assert!(error.contains("no space left in "), "{error}");
    let needed = binaries::path("attune-agent").metadata().unwrap().len();
    assert!(error.contains(&format!("{needed} bytes are needed and 1048576 are free")), "{error}");
}

#[test]
fn a_user_who_may_not_write_is_told_whom_the_directory_belongs_to() {
    let error = refusal(
        "mount -t tmpfs -o mode=0755 none $1; exec setpriv --bounding-set -all --inh-caps -all \
         --securebits +noroot,+no_setuid_fixup --no-new-privs --reuid 65532 --regid 65532 --clear-groups $AGENT install $1",
    );
    assert!(error.contains("permission denied: user 65532 may not write to "), "{error}");
    assert!(error.contains("(owner 0:0, mode 0755)"), "{error}");
}

#[test]
fn any_user_can_install_into_what_is_theirs() {
    let output = in_own_namespace(
        "mount -t tmpfs -o mode=0700,uid=65532 none $1; cp $AGENT $1/agent; chmod 755 $1/agent; \
         exec setpriv --reuid 65532 --regid 65532 --clear-groups $1/agent install $1",
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).starts_with("installed "));
}

#[test]
fn many_processes_fill_one_directory() {
    let folder = tempfile::tempdir().unwrap();
    let agent = binaries::path("attune-agent");
    let installers: Vec<_> = (0..12)
        .map(|_| {
            Command::new(&agent)
                .arg("install")
                .arg(folder.path())
                .stdout(std::process::Stdio::piped())
                .spawn()
        })
        .collect();
    for installer in installers {
        let output = installer.unwrap().wait_with_output().unwrap();
        assert!(output.status.success());
        let what = text(&output.stdout).to_owned();
        // whoever looked before somebody else was done has replaced it by the same
        assert!(
            ["installed ", "already there: ", "replaced "].iter().any(|start| what.starts_with(start)),
            "{what}"
        );
    }
    let entries: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(entries, ["attune-agent"]);
    assert!(fs::read(folder.path().join("attune-agent")).unwrap() == fs::read(agent).unwrap());
}

#[test]
fn wrong_usage_is_told_as_such() {
    let agent = binaries::path("attune-agent");
    for wrong in
        [&["install"][..], &["--detect-only", "install", "/tmp"], &["install", "/tmp", "--detect-only"]]
    {
        let output = Command::new(&agent).args(wrong).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{wrong:?}: {}", text(&output.stderr));
    }
    let missing = Command::new(&agent).args(["install", "/nonexistent/agent"]).output().unwrap();
    assert_eq!(missing.status.code(), Some(1));
    assert_eq!(
        text(&missing.stderr),
        "attune-agent: there is no directory /nonexistent/agent: mount the volume there, or create it with --create if it \
         belongs to this file system\n"
    );
}
