//! The hints file, through the whole search.

use std::fmt::Write as _;

use attune_worker::runtime_detect::{Format, Options, Source, detect, render};

use crate::tree::{Tree, answering, patient, search};

fn machine() -> Tree {
    let tree = Tree::new();
    tree.script(
        "/usr/bin/lua5.4",
        &answering(Some("-v"), 0, "Lua 5.4.6  Copyright (C) 1994-2023 Lua.org, PUC-Rio\n", ""),
    );
    tree.script("/usr/bin/python3", &answering(Some("-V"), 0, "Python 3.11.2\n", ""));
    tree.script("/opt/cuda/bin/python3", &answering(Some("-V"), 0, "Python 3.10.14\n", ""));
    tree
}

#[tokio::test]
async fn runtimes_are_added_and_replaced() {
    let tree = machine();
    let cuda = tree.at("/opt/cuda/bin/python3");
    tree.script("/usr/bin/php", "exit 9");
    tree.script("/usr/bin/broken", "echo 'broken: no such option' >&2; exit 1");
    let text = format!(
        "# what this container can do\nruntimes:\n\
         \x20 - {{name: Lua, interpreter: lua5.4, version_command: lua5.4 -v, file_extension: .lua, args: ['-W']}}\n\
         \x20 - {{name: python3, interpreter: {}}}\n\
         \x20 - {{name: php, interpreter: php, version: 8.10, args: [-d, 1]}}\n\
         \x20 - {{name: silent, interpreter: {}}}\n\
         \x20 - {{name: broken, interpreter: broken, version_command: [broken, --version]}}\n\
         \x20 - {{name: absent, interpreter: /opt/absent/bin/absent}}\n",
        cuda.display(),
        cuda.display()
    );
    tree.file("/.attune-runtime.yaml", text, 0o644);
    let found = search(&tree.options(&["/usr/bin"])).await;
    insta::assert_snapshot!(render(&tree.seen_from_inside(&found), Format::Text));
    let runtime = |name| found.runtime(name).unwrap();
    assert_eq!(runtime("lua").file_extension.as_deref(), Some("lua"));
    assert_eq!(runtime("lua").args, ["-W"]);
    assert_eq!(runtime("php").args, ["-d", "1"]);
    assert_eq!(runtime("php").interpreters[0].raw_version.as_deref(), Some("8.10"));
    assert_eq!(
        (runtime("python").source, runtime("python").file_extension.as_deref()),
        (Source::Hints, Some("py"))
    );
}

#[tokio::test]
async fn the_root_s_file_wins_over_the_agent_s_directory() {
    let tree = machine();
    let hint = |name: &str| format!("runtimes: [{{name: {name}, interpreter: lua5.4}}]\n");
    let names =
        async || search(&tree.options(&["/usr/bin"])).await.names().map(str::to_owned).collect::<Vec<_>>();
    tree.file("/opt/attune/.attune-runtime.yaml", hint("second"), 0o644);
    assert_eq!(names().await, ["python", "second"]);
    tree.file("/.attune-runtime.yaml", hint("first"), 0o644);
    assert_eq!(names().await, ["python", "first"]);
}

#[tokio::test]
async fn wrong_files_are_explained() {
    let tree = machine();
    let cases = [
        (
            "misspelt field",
            "runtimes:\n  - name: lua\n    interpreter: lua5.4\n    version_comand: lua5.4 -v\n",
        ),
        ("unknown field", "runtimes:\n  - name: lua\n    interpreter: lua5.4\n    colour: red\n"),
        ("unknown top level", "runtime:\n  - name: lua\n"),
        ("no interpreter", "runtimes:\n  - name: lua\n    file_extension: lua\n"),
        ("list for a text", "runtimes:\n  - name: lua\n    interpreter: [lua5.4]\n"),
        ("text for a list", "runtimes:\n  - name: lua\n    interpreter: lua5.4\n    args: -W\n"),
        (
            "mapping for a command",
            "runtimes:\n  - name: lua\n    interpreter: lua5.4\n    version_command: {run: lua}\n",
        ),
        ("mapping of runtimes", "runtimes:\n  lua:\n    interpreter: lua5.4\n"),
        (
            "both versions",
            "runtimes:\n  - name: lua\n    interpreter: lua5.4\n    version: 5.4\n    version_command: lua -v\n",
        ),
        ("no version", "runtimes:\n  - name: lua\n    interpreter: lua5.4\n    version: latest\n"),
        ("bad name", "runtimes:\n  - name: \"Lua, the language\"\n    interpreter: lua5.4\n"),
        ("empty name", "runtimes:\n  - name: ''\n    interpreter: lua5.4\n"),
        ("relative interpreter", "runtimes:\n  - name: lua\n    interpreter: bin/lua5.4\n"),
        ("bad extension", "runtimes:\n  - name: lua\n    interpreter: lua5.4\n    file_extension: a/b\n"),
        (
            "unclosed command",
            "runtimes:\n  - name: lua\n    interpreter: lua5.4\n    version_command: lua '-v\n",
        ),
        ("empty command", "runtimes:\n  - name: lua\n    interpreter: lua5.4\n    version_command: []\n"),
        (
            "twice the runtime",
            "runtimes:\n  - name: python\n    interpreter: a\n  - name: python3\n    interpreter: b\n",
        ),
        ("twice the field", "runtimes:\n  - name: lua\n    name: lua\n    interpreter: lua5.4\n"),
        ("unclosed quote", "runtimes:\n  - name: \"lua\n"),
        ("bad indentation", "runtimes:\n  - name: lua\n interpreter: lua5.4\n"),
        ("a tab", "runtimes:\n\t- name: lua\n"),
        ("empty", ""),
        ("only a comment", "# nothing yet\n"),
        ("two documents", "runtimes: []\n---\nruntimes: []\n"),
        ("null", "runtimes:\n"),
    ];
    let mut lines = String::new();
    for (label, text) in cases {
        let hints = Some(tree.file("/hints.yaml", text, 0o644));
        let outcome = match detect(&Options { hints, limits: patient(), ..tree.options(&[]) }).await {
            Ok(found) => format!("accepted: {:?}", found.names().collect::<Vec<_>>()),
            Err(error) => error.to_string(),
        };
        assert!(!outcome.contains('\n'), "{label}: {outcome}");
        let _ = writeln!(lines, "{label:<22} {outcome}");
    }
    insta::assert_snapshot!(tree.redact(&lines));
}

#[tokio::test]
async fn a_named_file_must_exist_and_be_readable_text() {
    let tree = machine();
    let ask = async |hints| {
        detect(&Options { hints: Some(hints), ..tree.options(&[]) }).await.unwrap_err().to_string()
    };
    let lines = [
        ask(tree.at("/nowhere.yaml")).await,
        ask(tree.at("/usr/bin")).await,
        ask(tree.file("/latin1.yaml", b"runtimes: [{name: caf\xe9}]", 0o644)).await,
        ask(tree.file("/huge.yaml", vec![b'#'; 1024 * 1024 + 1], 0o644)).await,
    ];
    insta::assert_snapshot!(tree.redact(&lines.join("\n")));
}
