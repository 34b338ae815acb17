//! The collection of real answers in `fixtures/answers.yaml`, every one given by a real process.

use std::fmt::Write as _;

use attune_worker::runtime_detect::{Detection, Options, Selection};
use serde::Deserialize;

use crate::tree::{Tree, answering, search};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    family: String,
    label: String,
    /// Name of the fake.
    file: String,
    /// Name of the file behind it, when the fake is a link.
    resolves: Option<String>,
    asked: String,
    #[serde(default)]
    exit: i32,
    #[serde(default)]
    stdout: String,
    #[serde(default)]
    stderr: String,
    /// The version that must be read, or `none`.
    version: Option<String>,
    /// The kind of rejection that must come instead.
    rejected: Option<String>,
}

fn answers(family: &str) -> Vec<Answer> {
    let all: Vec<Answer> = serde_saphyr::from_str(include_str!("fixtures/answers.yaml")).unwrap();
    all.into_iter().filter(|answer| answer.family == family).collect()
}

#[test]
fn the_collection_is_large() {
    let all: Vec<Answer> = serde_saphyr::from_str(include_str!("fixtures/answers.yaml")).unwrap();
    assert!(all.len() >= 120, "{}", all.len());
    assert!(all.iter().filter(|answer| answer.rejected.is_some()).count() >= 25);
}

/// Installs every answer of a family, each in a directory of its own, and searches them all at once.
async fn examine(family: &str) -> String {
    let tree = Tree::new();
    let answers = answers(family);
    let directories: Vec<_> = (0..answers.len()).map(|index| format!("/{index:02}")).collect();
    for (answer, directory) in answers.iter().zip(&directories) {
        let body = answering(Some(&answer.asked), answer.exit, &answer.stdout, &answer.stderr);
        let link = format!("{directory}/{}", answer.file);
        match &answer.resolves {
            Some(target) => {
                // beside the search path, so that it is found through the link only
                tree.script(&format!("/behind{directory}/{target}"), &body);
                tree.link(&link, &format!("../behind{directory}/{target}"));
            }
            None => drop(tree.script(&link, &body)),
        }
    }
    let path: Vec<_> = directories.iter().map(String::as_str).collect();
    let only = Selection::parse(family, "the test");
    let detection = search(&Options { only, allow_missing: true, ..tree.options(&path) }).await;

    let mut report = String::new();
    for (answer, directory) in answers.iter().zip(&directories) {
        let line = outcome(&detection, &tree, directory, answer);
        let _ = writeln!(report, "{:<32} {line}", answer.label);
    }
    report
}

/// What became of the fake in `directory`, checked against what the collection says.
fn outcome(detection: &Detection, tree: &Tree, directory: &str, answer: &Answer) -> String {
    let here = tree.at(&format!("{directory}/{}", answer.file));
    let found =
        detection.runtimes.iter().flat_map(|runtime| &runtime.interpreters).find(|found| found.path == here);
    if let Some(found) = found {
        let version = found.version.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string);
        assert_eq!(answer.version.as_deref(), Some(version.as_str()), "{}", answer.label);
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        return format!(
            "{version:<14} raw {:<16} {:<11} {}",
            or_dash(&found.raw_version),
            or_dash(&found.implementation),
            or_dash(&found.banner)
        );
    }
    let rejected = detection.rejected.iter().find(|rejected| rejected.path == here).expect(&answer.label);
    assert_eq!(
        answer.rejected.as_deref(),
        Some(rejected.reason.kind()),
        "{}: {}",
        answer.label,
        rejected.reason
    );
    format!("REJECTED       {}", rejected.reason)
}

macro_rules! families {
    ($($family:ident)*) => {$(
        #[tokio::test]
        async fn $family() {
            insta::assert_snapshot!(concat!("answers_", stringify!($family)), examine(stringify!($family)).await);
        }
    )*};
}

families!(shell python node ruby go java r perl);
