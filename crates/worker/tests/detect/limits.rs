//! Candidates that misbehave: that hang, flood, wait, or leave others behind.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::time::{Duration, Instant};

use attune_worker::runtime_detect::{Limits, Options, Selection, detect};

use crate::tree::{Tree, answering, patient, search};

/// Limits that a hanging candidate reaches soon.
fn short() -> Limits {
    Limits { quick: Duration::from_millis(400), slow: Duration::from_millis(400), ..Limits::default() }
}

/// Whether a process runs; one that is dead and not yet reaped (state Z, or X) does not.
fn is_alive(pid: &str) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    // the command in parentheses may contain anything
    let state = stat.rsplit(')').next().and_then(|rest| rest.trim_start().chars().next());
    !matches!(state, None | Some('Z' | 'X'))
}

fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn pid_in(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_default().trim().to_owned()
}

#[tokio::test]
async fn a_hanging_candidate_is_killed_with_its_whole_group() {
    let tree = Tree::new();
    let (leader, child) = (tree.at("/leader"), tree.at("/child"));
    // the grandchild ignores what a polite kill would send, and holds the pipes open
    let body = format!(
        "(trap '' TERM HUP INT; echo $$ >/dev/null; sh -c 'echo $PPID' > {}; sleep 1000 & wait; sleep 1000) &\necho $$ > {}\nsleep 1000",
        child.display(),
        leader.display()
    );
    tree.script("/bin/ruby", &body);
    let limits = Limits { quick: Duration::from_secs(4), ..short() };
    let found = detect(&Options { limits, ..tree.options(&["/bin"]) }).await.unwrap();
    assert_eq!(found.rejected[0].reason.to_string(), "no answer within 4 s");
    for file in [leader, child] {
        let pid = pid_in(&file);
        assert!(!pid.is_empty(), "{} was not written", file.display());
        wait_for("death", || !is_alive(&pid));
    }
}

#[tokio::test]
async fn what_an_answer_leaves_running_is_killed_too() {
    let tree = Tree::new();
    let child = tree.at("/child");
    tree.script(
        "/bin/ruby",
        &format!("sleep 1000 &\necho $! > {}\necho 'ruby 3.1.2p20 (2022)'", child.display()),
    );
    let started = Instant::now();
    let found = search(&tree.options(&["/bin"])).await;
    assert!(found.runtime("ruby").is_some(), "{:?}", found.rejected);
    assert!(started.elapsed() < Duration::from_secs(30), "it waited for what holds the pipe");
    let pid = pid_in(&child);
    wait_for("death", || !is_alive(&pid));
}

#[tokio::test]
async fn an_abandoned_search_kills_what_it_started() {
    let tree = Tree::new();
    let (leader, child) = (tree.at("/leader"), tree.at("/child"));
    let body = format!("sleep 1000 &\necho $! > {}\necho $$ > {}\nwait", child.display(), leader.display());
    tree.script("/bin/ruby", &body);
    let options = Options { limits: patient(), ..tree.options(&["/bin"]) };
    let running = tokio::spawn(async move { detect(&options).await });
    let deadline = Instant::now() + Duration::from_secs(20);
    while pid_in(&leader).is_empty() {
        assert!(Instant::now() < deadline, "the candidate did not start");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    for file in [leader, child] {
        let pid = pid_in(&file);
        wait_for("death", || !is_alive(&pid));
    }
}

#[tokio::test]
async fn the_search_takes_as_long_as_its_slowest_candidate() {
    let tree = Tree::new();
    let names: Vec<_> = (0..24).map(|minor| format!("/bin/python3.{minor}")).collect();
    for name in &names {
        tree.script(name, "exec sleep 1000");
    }
    let limits = Limits { quick: Duration::from_secs(2), ..short() };
    let started = Instant::now();
    let found = detect(&Options { limits, ..tree.options(&["/bin"]) }).await.unwrap();
    assert_eq!(found.rejected.len(), names.len());
    // one after the other would be 48 s
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_flood_is_cut_and_does_not_block_its_writer() {
    let tree = Tree::new();
    let flood = "head -c 10485760 /dev/zero | tr '\\0' x";
    tree.script("/bin/ruby", &format!("echo 'ruby 3.1.2p20 (2022)'\n{flood}\n{flood} >&2"));
    tree.script("/bin/perl", &format!("{flood}\nexit 3"));
    let found = search(&tree.options(&["/bin"])).await;
    assert_eq!(found.runtime("ruby").unwrap().interpreters[0].raw_version.as_deref(), Some("3.1.2p20"));
    let reason = found.rejected[0].reason.to_string();
    assert!(reason.starts_with("exit status 3: xxx") && reason.chars().count() < 250, "{reason}");
}

#[tokio::test]
async fn standard_input_is_empty() {
    let tree = Tree::new();
    // what `busybox sh --version` does: it reads commands until its input ends
    tree.script("/bin/sh", "while read -r line; do :; done");
    tree.script("/bin/node", "cat; echo v20.0.0");
    let found = search(&tree.options(&["/bin"])).await;
    assert_eq!(found.names().collect::<Vec<_>>(), ["shell", "node"]);
}

#[tokio::test]
async fn bytes_that_are_no_text_are_read_all_the_same() {
    let tree = Tree::new();
    tree.script("/bin/python3", r"printf 'Python 3.11.2 \377\376\n'");
    tree.script("/bin/ruby", r"printf '\377\000\033]0;title\007 broken\n' >&2; exit 1");
    let found = search(&tree.options(&["/bin"])).await;
    let python = &found.runtime("python").unwrap().interpreters[0];
    assert_eq!(python.version.as_ref().unwrap().to_string(), "3.11.2");
    assert_eq!(python.banner.as_deref(), Some("Python 3.11.2 \u{fffd}\u{fffd}"));
    assert_eq!(found.rejected[0].reason.to_string(), "exit status 1: \u{fffd} broken");
}

#[tokio::test]
async fn candidates_see_a_scrubbed_environment_and_an_empty_directory() {
    let tree = Tree::new();
    let seen = tree.at("/seen");
    // what the shell can tell by itself; a pattern that matches nothing stays as it is
    let body =
        format!("{{ export -p; echo files: * .[!.]* \"$HOME\"/*; }} > {}\necho v20.0.0", seen.display());
    tree.file("/bin/node", format!("#!/bin/sh\n{body}\n"), 0o755);
    let scratch = tree.at("/scratch");
    fs::create_dir(&scratch).unwrap();
    let variables =
        [("TMPDIR".to_owned(), scratch.clone().into_os_string()), ("GOROOT".to_owned(), "/secret".into())];
    search(&Options { variables: variables.into(), ..tree.options(&["/bin"]) }).await;
    let text = tree.redact(&fs::read_to_string(seen).unwrap());
    // shells differ in how they quote, and add some variables of their own
    let plain = |line: &str| line.replace("export ", "").replace("declare -x ", "").replace(['"', '\''], "");
    let mut lines: Vec<_> = text.lines().map(plain).collect();
    lines.retain(|line| !["_=", "SHLVL", "OLDPWD"].iter().any(|own| line.starts_with(own)));
    lines.sort();
    let mut settings = insta::Settings::clone_current();
    settings.add_filter("attune-detect-[A-Za-z0-9]+", "[directory]");
    settings.bind(|| insta::assert_snapshot!(lines.join("\n")));
    assert_eq!(fs::read_dir(scratch).unwrap().count(), 0, "the temporary directory was left behind");
}

#[tokio::test]
async fn a_search_path_that_is_no_text_is_searched() {
    let tree = Tree::new();
    let odd = tree.root().join(OsString::from_vec(b"caf\xe9".to_vec()));
    fs::create_dir(&odd).unwrap();
    fs::copy(tree.script("/x/node", &answering(None, 0, "v20.0.0\n", "")), odd.join("node")).unwrap();
    let only = Selection::parse("node", "the test");
    let options = Options { search_path: Some(odd.clone().into_os_string()), only, ..tree.options(&[]) };
    let found = search(&options).await;
    assert_eq!(found.runtimes[0].interpreters[0].path, odd.join("node"));
    let json = attune_worker::runtime_detect::render(&found, attune_worker::runtime_detect::Format::Json);
    assert!(json.contains("caf\u{fffd}/node"), "{json}");
}
