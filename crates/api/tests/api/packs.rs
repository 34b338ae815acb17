//! Packs and their actions.

use attune_api::views::{ActionView, PackDetail, PushedPack};
use reqwest::StatusCode;
use serde_json::Value;

use crate::server::{Server, demo_files, settings};

#[tokio::test]
async fn a_new_archive_is_stored_and_the_same_one_changes_nothing() {
    let server = Server::empty().await;
    for (version, expected) in [
        ("1.0.0", StatusCode::CREATED),
        ("1.0.0", StatusCode::OK),
        ("1.1.0", StatusCode::CREATED),
        ("1.1.0", StatusCode::OK),
        // an older archive becomes the current one again
        ("1.0.0", StatusCode::CREATED),
    ] {
        let answer = server.push(demo_files(version)).await;
        assert_eq!(answer.status(), expected, "{version}");
        let pushed: PushedPack = answer.json().await.unwrap();
        assert_eq!((pushed.pack.version.as_str(), pushed.pack.action_count), (version, 4));
        let detail: PackDetail = serde_json::from_value(server.get("/packs/demo").await).unwrap();
        assert_eq!(detail.pack, pushed.pack);
    }
}

#[tokio::test]
async fn warnings_come_back() {
    let server = Server::empty().await;
    let mut files = demo_files("1.0.0");
    files[0].1.push_str("colour: red\n");
    let pushed: PushedPack = server.push(files).await.json().await.unwrap();
    assert_eq!(pushed.warnings.len(), 1);
    assert!(pushed.warnings[0].contains("colour"), "{:?}", pushed.warnings);
}

#[tokio::test]
async fn packs_and_actions_are_shown() {
    let server = Server::start().await;
    server.register("box", "shell", "5.2.15").await;
    server.submit().await;
    for (name, path) in [
        ("packs", "/packs"),
        ("pack", "/packs/demo"),
        ("actions", "/actions?pack=demo"),
        ("action", "/actions/demo.greet"),
        ("group", "/actions/demo.both"),
    ] {
        let shown: Value = server.get(path).await;
        settings().bind(|| insta::assert_json_snapshot!(name, shown));
    }
    assert_eq!(server.get("/actions?pack=other").await["actions"], Value::Array(Vec::new()));
    let action: ActionView = serde_json::from_value(server.get("/actions/demo.greet").await).unwrap();
    assert_eq!((action.satisfied_by, action.waiting), (vec!["box".to_owned()], 1));
}

#[tokio::test]
async fn large_packs_are_taken() {
    let server = Server::empty().await;
    let mut files = demo_files("1.0.0");
    // digits that no compression gets below the limit of other bodies
    let mut state = 1_u64;
    let data = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        format!("{state:016x}")
    });
    files.push(("data.txt", data.take(200_000).collect()));
    assert_eq!(server.push(files).await.status(), StatusCode::CREATED);
}
