//! The static agent: what it is made of, how large it is, that its bytes depend on its sources alone, and that it finds
//! what there is in root file systems that have little in common.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use attune_tests::{
    binaries::workspace,
    dev::shown,
    rootfs::{self, Sandbox},
    static_agent,
};
use goblin::elf::{Elf, dynamic::DF_1_PIE, header, program_header::PT_INTERP};

/// Most bytes of the program. It was half of that before it spoke TLS to databases, brokers and buckets, checked results against
/// schemas, masked secrets and answered probes; what grows it further has to be worth it.
const BUDGET: usize = 16_500_000;

/// Most bytes of the scratch image's layer.
const LAYER_BUDGET: usize = 7_700_000;

/// Every built-in runtime.
const EVERY: &[&str] = &["shell", "python", "node", "ruby", "go", "java", "r", "perl"];

fn both() -> [(&'static str, &'static Path, u16); 2] {
    [
        ("x86_64", static_agent::x86_64(), header::EM_X86_64),
        ("aarch64", static_agent::aarch64(), header::EM_AARCH64),
    ]
}

/// Where cargo keeps what it downloads.
fn cargo_home() -> PathBuf {
    let set = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    set.unwrap_or_else(|| std::env::home_dir().unwrap().join(".cargo"))
}

#[test]
fn it_needs_no_loader_and_no_library() {
    for (name, path, machine) in both() {
        let bytes = fs::read(path).unwrap();
        let elf = Elf::parse(&bytes).unwrap();
        assert_eq!(elf.header.e_machine, machine, "{name}");
        assert!(elf.libraries.is_empty(), "{name} needs {:?}", elf.libraries);
        assert!(elf.program_headers.iter().all(|segment| segment.p_type != PT_INTERP), "{name} has a loader");
        let position_independent =
            elf.dynamic.as_ref().is_some_and(|dynamic| dynamic.info.flags_1 & DF_1_PIE != 0);
        match elf.header.e_type {
            header::ET_DYN => assert!(position_independent, "{name} is a library"),
            kind => assert_eq!((kind, elf.dynamic.is_none()), (header::ET_EXEC, true), "{name}"),
        }
        // on x86_64 the address is random, too; rustc makes no such programs for aarch64-musl yet
        assert!(position_independent || name == "aarch64", "{name} is always at the same address");
        assert!(elf.syms.is_empty(), "{name} is not stripped: {} symbols", elf.syms.len());
        for folder in [workspace().to_owned(), cargo_home()] {
            let folder = folder.to_str().unwrap();
            let leaked = bytes.windows(folder.len()).any(|window| window == folder.as_bytes());
            assert!(!leaked, "{name} names {folder}");
        }
    }
}

#[test]
fn it_stays_within_its_budget() {
    for (name, path, _) in both() {
        let size = fs::read(path).unwrap().len();
        let layer = layer_size(path);
        println!(
            "attune-agent for {name}: {size} bytes of {BUDGET}, as a compressed layer {layer} of {LAYER_BUDGET}"
        );
        assert!(size <= BUDGET, "attune-agent for {name} has {size} bytes, and {BUDGET} are the most");
        assert!(layer <= LAYER_BUDGET, "its layer has {layer} bytes, and {LAYER_BUDGET} are the most");
        assert!(size > BUDGET / 8 && layer > LAYER_BUDGET / 8, "that is no agent");
    }
}

/// Size of an image layer with this file and nothing else.
fn layer_size(path: &Path) -> usize {
    let mut tar = Command::new("tar")
        .args(["--owner=0", "--group=0", "--mtime=@0", "-C"])
        .args([path.parent().unwrap(), Path::new("-cf-"), Path::new(path.file_name().unwrap())])
        .stdout(Stdio::piped())
        .spawn()
        .expect("tar can be started");
    let layer = Command::new("gzip").arg("-9nc").stdin(tar.stdout.take().unwrap()).output().unwrap();
    assert!(tar.wait().unwrap().success() && layer.status.success());
    layer.stdout.len()
}

#[test]
fn two_builds_in_different_folders_are_the_same() {
    let (here, elsewhere) = (static_agent::x86_64(), static_agent::elsewhere());
    assert_ne!(here, elsewhere);
    let (one, other) = (fs::read(here).unwrap(), fs::read(elsewhere).unwrap());
    let different = one.iter().zip(&other).filter(|(one, other)| one != other).count();
    assert!(
        one == other,
        "{different} bytes differ, sizes are {} and {}: compare {} with {}",
        one.len(),
        other.len(),
        here.display(),
        elsewhere.display()
    );
}

/// The names of the runtimes that the agent reports, after a check of its exit status.
#[track_caller]
fn detected(mut agent: Command) -> Vec<String> {
    let output = agent.args(["--detect-only", "--format", "json"]).output().expect("it can be started");
    let report: serde_json::Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", shown(&output)));
    let runtimes = report["runtimes"].as_array().unwrap();
    let names: Vec<String> =
        runtimes.iter().map(|runtime| runtime["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(output.status.code(), Some(if names.is_empty() { 3 } else { 0 }), "{}", shown(&output));
    names
}

#[track_caller]
fn finds_always(root: &str, expected: &[&str]) {
    let folder = rootfs::path(root);
    let ordinary = Sandbox::ORDINARY;
    for sandbox in [
        ordinary,
        Sandbox { unprivileged: true, ..ordinary },
        Sandbox { read_only: true, ..ordinary },
        Sandbox { search_path: Some(""), ..ordinary },
        Sandbox { search_path: None, unprivileged: true, read_only: true },
    ] {
        assert_eq!(detected(sandbox.agent(&folder)), expected, "in the root {root}, {sandbox:?}");
    }
}

#[test]
fn an_empty_root_has_nothing() {
    finds_always("empty", &[]);
    let told: Output = Sandbox::ORDINARY.agent(&rootfs::path("empty")).arg("--detect-only").output().unwrap();
    assert_eq!(told.status.code(), Some(3), "{}", shown(&told));
}

#[test]
fn a_busybox_root_has_a_shell() {
    finds_always("busybox", &["shell"]);
}

#[test]
fn a_musl_root_has_a_shell_and_node() {
    finds_always("node", &["shell", "node"]);
}

#[test]
fn a_distroless_root_has_python_alone() {
    finds_always("python", &["python"]);
}

#[test]
fn a_root_without_java_on_the_search_path_has_java() {
    finds_always("java", &["java"]);
}

#[test]
fn a_debian_root_has_everything() {
    finds_always("debian", EVERY);
}

#[test]
fn on_aarch64_it_finds_the_same() {
    for (root, expected) in [("empty", &[][..]), ("busybox", &["shell"]), ("debian", EVERY)] {
        let agent = Sandbox::ORDINARY.emulated_agent(&rootfs::path(root));
        assert_eq!(detected(agent), expected, "in the root {root}");
    }
}
