//! Whole fake machines, and the three forms of the report about them.

use std::fs;

use attune_worker::runtime_detect::{Detection, Format, Options, Selection, detect, render};

use crate::tree::{Tree, answering, search, variables};

const DASH: (i32, &str, &str) = (2, "", "sh: 0: Illegal option --\n");
const BUSYBOX: (i32, &str, &str) =
    (0, "", "BusyBox v1.36.1 (2023-11-07 18:53:09 UTC) multi-call binary.\n\nUsage: sh\n");

fn install(tree: &Tree, path: &str, (exit, stdout, stderr): (i32, &str, &str)) {
    tree.script(path, &answering(None, exit, stdout, stderr));
}

fn java(version: &str) -> (i32, String) {
    (
        0,
        format!(
            "openjdk version \"{version}\" 2024-01-16\nOpenJDK Runtime Environment (build {version}+1)\n"
        ),
    )
}

fn install_java(tree: &Tree, home: &str, version: &str, modules: Option<&str>) {
    let (exit, answer) = java(version);
    install(tree, &format!("{home}/bin/java"), (exit, "", &answer));
    if let Some(modules) = modules {
        tree.file(
            &format!("{home}/release"),
            format!("JAVA_VERSION=\"{version}\"\nMODULES=\"{modules}\"\n"),
            0o644,
        );
    }
}

/// A Debian with everything, several versions of most, and some of it broken.
fn workstation() -> Tree {
    let tree = Tree::new();
    install(&tree, "/usr/bin/bash", (0, "GNU bash, version 5.2.15(1)-release (x86_64-pc-linux-gnu)\n", ""));
    install(&tree, "/usr/bin/dash", DASH);
    tree.link("/usr/bin/sh", "dash");
    tree.link("/bin", "usr/bin");
    install(&tree, "/usr/bin/python3.11", (0, "Python 3.11.2\n", ""));
    tree.link("/usr/bin/python3", "python3.11");
    install(&tree, "/usr/local/bin/python3.12", (0, "Python 3.12.1\n", ""));
    install(&tree, "/usr/bin/python2.7", (0, "", "Python 2.7.18\n"));
    tree.link("/usr/local/bin/python", "../../bin/python2.7");
    // a virtual environment off the search path: its python is the system's, and yet another one
    tree.file("/opt/venv/pyvenv.cfg", "home = /usr/bin\n", 0o644);
    tree.link("/opt/venv/bin/python3", "../../../usr/bin/python3.11");
    for name in ["python3.9", "python3.10"] {
        let refusal = format!(
            "pyenv: {name}: command not found\n\nThe `{name}' command exists in these Python versions:\n  3.9.18\n"
        );
        install(&tree, &format!("/root/.pyenv/shims/{name}"), (127, "", &refusal));
    }
    for (home, version) in [("3.9.18", "3.9.18"), ("3.13.0b2", "3.13.0b2"), ("3.10.13", "3.10.13")] {
        install(
            &tree,
            &format!("/root/.pyenv/versions/{home}/bin/python3"),
            (0, &format!("Python {version}\n"), ""),
        );
    }
    install(&tree, "/usr/bin/node", (0, "v20.20.2\n", ""));
    tree.link("/usr/bin/nodejs", "node");
    install(
        &tree,
        "/usr/bin/ruby3.1",
        (0, "ruby 3.1.2p20 (2022-04-12 revision 4491bb740a) [x86_64-linux-gnu]\n", ""),
    );
    tree.link("/usr/bin/ruby", "ruby3.1");
    tree.file("/usr/local/bin/ruby", "#!/opt/ruby/bin/launcher\n", 0o755);
    install(&tree, "/usr/local/go/bin/go", (0, "go version go1.22.1 linux/amd64\n", ""));
    install_java(&tree, "/usr/lib/jvm/java-17-openjdk-amd64", "17.0.9", Some("java.base jdk.compiler"));
    install_java(&tree, "/usr/lib/jvm/java-8-openjdk-amd64", "1.8.0_392", None);
    install_java(&tree, "/usr/lib/jvm/temurin-21-jre", "21.0.1", Some("java.base java.logging"));
    tree.link("/usr/lib/jvm/default-java", "java-17-openjdk-amd64");
    tree.link("/etc/alternatives/java", "../../usr/lib/jvm/java-17-openjdk-amd64/bin/java");
    tree.link("/usr/bin/java", "../../etc/alternatives/java");
    install(&tree, "/usr/bin/Rscript", (0, "Rscript (R) version 4.2.2 Patched (2022-11-10 r83330)\n", ""));
    install(&tree, "/usr/bin/R", (0, "R version 4.2.2 Patched\n", ""));
    install(
        &tree,
        "/usr/bin/perl",
        (0, "\nThis is perl 5, version 36, subversion 0 (v5.36.0) built for x86_64-linux-gnu\n", ""),
    );
    fs::hard_link(tree.at("/usr/bin/perl"), tree.at("/usr/bin/perl5.36.0")).unwrap();
    tree.link("/usr/local/bin/perl", "/nonexistent/perl");
    tree.file("/usr/local/bin/node", "#!/bin/sh\n", 0o644);
    tree
}

fn workstation_options(tree: &Tree) -> Options {
    Options {
        variables: variables([("HOME", tree.at("/root").into())]),
        ..tree.options(&["/root/.pyenv/shims", "/usr/local/bin", "/usr/bin", "/bin"])
    }
}

async fn report(tree: &Tree, options: &Options, format: Format) -> String {
    render(&tree.seen_from_inside(&search(options).await), format)
}

#[tokio::test]
async fn workstation_text() {
    let tree = workstation();
    insta::assert_snapshot!(report(&tree, &workstation_options(&tree), Format::Text).await);
}

#[tokio::test]
async fn workstation_json() {
    let tree = workstation();
    insta::assert_snapshot!(report(&tree, &workstation_options(&tree), Format::Json).await);
}

#[tokio::test]
async fn workstation_env() {
    let tree = workstation();
    insta::assert_snapshot!(report(&tree, &workstation_options(&tree), Format::Env).await);
}

#[tokio::test]
async fn alpine() {
    let tree = Tree::new();
    install(&tree, "/bin/busybox", BUSYBOX);
    for applet in ["sh", "ash", "ls"] {
        tree.link(&format!("/bin/{applet}"), "busybox");
    }
    install(&tree, "/usr/bin/python3", (0, "Python 3.12.3\n", ""));
    insta::assert_snapshot!(report(&tree, &tree.options(&["/usr/bin", "/bin"]), Format::Text).await);
}

/// The busybox image has one file under many hard links, so that no link tells what it is.
#[tokio::test]
async fn busybox_image() {
    let tree = Tree::new();
    install(&tree, "/bin/[", BUSYBOX);
    for applet in ["ash", "busybox", "sh"] {
        fs::hard_link(tree.at("/bin/["), tree.at(&format!("/bin/{applet}"))).unwrap();
    }
    insta::assert_snapshot!(report(&tree, &tree.options(&["/bin"]), Format::Text).await);
}

#[tokio::test]
async fn distroless() {
    let tree = Tree::new();
    tree.file("/usr/libexec/placeholder", "", 0o644);
    let options = tree.options(&["/usr/bin"]);
    let found = search(&options).await;
    assert_eq!(found.exit_code(), 3);
    let found = tree.seen_from_inside(&found);
    insta::assert_snapshot!([Format::Text, Format::Env].map(|form| render(&found, form)).concat());
}

/// `default-jre-headless` unpacked without its maintainer scripts: there is no `/usr/bin/java`.
#[tokio::test]
async fn java_without_alternatives() {
    let tree = Tree::new();
    for (home, version) in
        [("java-11", "11.0.21"), ("java-23", "23-ea"), ("java-21", "21.0.1"), ("java-9", "9.0.4")]
    {
        install_java(&tree, &format!("/usr/lib/jvm/{home}"), version, None);
    }
    tree.file("/usr/lib/jvm/java-21/bin/javac", "", 0o755);
    insta::assert_snapshot!(report(&tree, &tree.options(&["/usr/bin"]), Format::Text).await);
}

#[tokio::test]
async fn r_without_rscript_still_runs_files() {
    let tree = Tree::new();
    install(
        &tree,
        "/usr/bin/R",
        (0, "R version 4.2.2 Patched (2022-11-10 r83330) -- \"Innocent and Trusting\"\n", ""),
    );
    let found = search(&tree.options(&["/usr/bin"])).await;
    let runtime = found.runtime("r").unwrap();
    let command = runtime.command(runtime.default_interpreter().unwrap(), "main.R".as_ref());
    assert_eq!(command[1..], ["-s", "--no-restore", "-f", "main.R"]);
}

/// mise and volta link every name to one binary, which looks at the name it was called by.
#[tokio::test]
async fn dispatching_links_are_told_apart_by_what_they_answer() {
    let tree = Tree::new();
    let body = "case ${0##*/} in python3.11) v=3.11.9;; *) v=3.12.1;; esac; echo Python $v";
    tree.script("/opt/mise/mise", body);
    for name in ["python", "python3", "python3.11", "python3.12"] {
        tree.link(&format!("/shims/{name}"), "../opt/mise/mise");
    }
    insta::assert_snapshot!(report(&tree, &tree.options(&["/shims"]), Format::Text).await);
}

#[tokio::test]
async fn an_emptied_or_unset_path_finds_the_same() {
    let tree = workstation();
    let names = async |search_path| {
        let options = Options { search_path, ..workstation_options(&tree) };
        search(&options).await.names().map(str::to_owned).collect::<Vec<_>>()
    };
    let all = ["shell", "python", "node", "ruby", "go", "java", "r", "perl"];
    assert_eq!(names(None).await, all);
    assert_eq!(names(Some("".into())).await, all);
    assert_eq!(names(Some("relative:./also:".into())).await, all);
}

#[tokio::test]
async fn the_document_can_be_read_back() {
    let tree = workstation();
    let found = search(&workstation_options(&tree)).await;
    let document = render(&found, Format::Json);
    assert_eq!(serde_json::from_str::<Detection>(&document).unwrap(), found);
}

#[tokio::test]
async fn a_selection_limits_the_search_and_misses_what_is_absent() {
    let tree = Tree::new();
    install(&tree, "/bin/sh", DASH);
    install(&tree, "/bin/ruby", (1, "", "rbenv: version `2.7.4' is not installed\n"));
    install(&tree, "/bin/node", (0, "v20.20.2\n", ""));
    let ask = async |list: &str, allow_missing| {
        let only = Selection::parse(list, "ATTUNE_WORKER_RUNTIMES");
        let options =
            Options { only, allow_missing, limits: crate::tree::patient(), ..tree.options(&["/bin"]) };
        match detect(&options).await {
            Ok(found) => format!(
                "{}missing {:?}, rejected {}",
                render(&found, Format::Env),
                found.missing,
                found.rejected.len()
            ),
            Err(error) => error.to_string(),
        }
    };
    let lines = [
        ask("nodejs,bash", false).await,
        ask("python,shell", false).await,
        ask("ruby, python3", false).await,
        ask("ruby,python,sh", true).await,
        ask("pyhton", true).await,
    ];
    insta::assert_snapshot!(tree.redact(&lines.join("\n\n")));
}
