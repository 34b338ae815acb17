//! Files that executions left: listed, and given as they were left.

use attune_common::{
    artifact_store::ArtifactKey,
    model::{Artifact, ExecutionId, ExecutionStatus, Outcome},
};
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::server::{Server, settings, shown};

/// SHA-256 as the tests need it: any 64 digits.
const DIGEST: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

/// An execution that has left files, whose contents are in the store.
async fn left(server: &Server, files: &[(&str, &[u8], &str)]) -> ExecutionId {
    let id = server.submit().await;
    let worker = server.register("w", "sh", "5.2.0").await;
    let (fence, _) = server.claim(worker, id).await;
    for (path, content, _) in files {
        put(server, ArtifactKey { execution: id, attempt: fence.attempt, path }, content).await;
    }
    let listed = |(path, content, media_type): &(&str, &[u8], &str)| Artifact {
        path: (*path).to_owned(),
        size: content.len() as u64,
        sha256: DIGEST.to_owned(),
        media_type: (*media_type).to_owned(),
    };
    let outcome = Outcome { artifacts: files.iter().map(listed).collect(), ..Outcome::default() };
    server.store.finish(fence, ExecutionStatus::Failed, outcome, Vec::new()).await.unwrap();
    id
}

async fn put(server: &Server, key: ArtifactKey<'_>, content: &[u8]) {
    let mut upload = server.artifacts.upload(key).unwrap();
    upload.write(content.to_vec()).await.unwrap();
    upload.finish().await.unwrap();
}

#[tokio::test]
async fn files_are_listed_and_given_as_they_were_left() {
    let server = Server::start().await;
    let files: [(&str, &[u8], &str); 4] = [
        ("reports/größe 1%.csv", b"a,b\n", "text/csv"),
        ("index.html", b"<script>alert(1)</script>", "text/html"),
        ("empty", b"", "application/octet-stream"),
        ("a;b\"c\\d#1?x", &[0, 255, 10, 13], "application/octet-stream"),
    ];
    let id = left(&server, &files).await;
    let list = server.get(&format!("/executions/{id}/artifacts")).await;
    assert_eq!(server.get(&format!("/executions/{id}")).await["artifacts"], list["artifacts"]);
    settings().bind(|| insta::assert_json_snapshot!("list", list));
    let mut headers = Vec::new();
    for (path, content, _) in files {
        // as a client does that leaves slashes alone, and as one that does not
        for escape_slashes in [false, true] {
            let mut url =
                reqwest::Url::parse(&format!("{}/api/v1/executions/{id}/artifacts", server.base)).unwrap();
            let parts: Vec<&str> = if escape_slashes { vec![path] } else { path.split('/').collect() };
            url.path_segments_mut().unwrap().extend(parts);
            let answer = server.client.get(url).bearer_auth(crate::server::TOKEN).send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK, "{path}");
            if !escape_slashes {
                headers.push(format!("{path}\n"));
                for name in [
                    "content-type",
                    "content-length",
                    "content-disposition",
                    "etag",
                    "x-content-type-options",
                ] {
                    headers.push(format!("  {name}: {}\n", answer.headers()[name].to_str().unwrap()));
                }
            }
            assert_eq!(answer.bytes().await.unwrap(), content, "{path}");
        }
    }
    settings().bind(|| insta::assert_snapshot!("headers", headers.concat()));
    let again = server.request(Method::GET, &format!("/executions/{id}/artifacts/empty"));
    let again = again.header("if-none-match", format!("\"{DIGEST}\"")).send().await.unwrap();
    assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
}

#[tokio::test]
async fn only_what_is_listed_is_given() {
    let server = Server::start().await;
    let id = left(&server, &[("a/listed", b"x", "text/plain")]).await;
    let key = |path| ArtifactKey { execution: id, attempt: 1, path };
    put(&server, key("unlisted"), b"half of an attempt that was lost").await;
    for path in ["unlisted", "a", "a/listed/", "A/listed", "../1/a/listed", "..%2f..%2fa", "%2fetc%2fpasswd"]
    {
        let answer =
            server.request(Method::GET, &format!("/executions/{id}/artifacts/{path}")).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
    }
    let waiting = server.submit().await;
    assert_eq!(server.get(&format!("/executions/{waiting}/artifacts")).await, json!({"artifacts": []}));
    let unknown = ExecutionId::new();
    let ask = async |path: String| shown(server.request(Method::GET, &path).send().await.unwrap()).await;
    let answers = [
        ask(format!("/executions/{id}/artifacts/unlisted")).await,
        ask(format!("/executions/{unknown}/artifacts/a")).await,
        ask(format!("/executions/{unknown}/artifacts")).await,
        ask("/executions/12/artifacts/a".to_owned()).await,
        ask(format!("/executions/{id}/artifacts/%ff")).await,
    ];
    settings().bind(|| insta::assert_snapshot!("unlisted", answers.join("\n\n")));
    let anonymous = server.client.get(format!("{}/api/v1/executions/{id}/artifacts/a/listed", server.base));
    assert_eq!(anonymous.send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn what_the_store_has_lost_or_changed_is_a_fault_of_the_server() {
    let server = Server::start().await;
    let id = left(&server, &[("gone", b"x", "text/plain"), ("changed", b"xyz", "text/plain")]).await;
    server.artifacts.remove(ArtifactKey { execution: id, attempt: 1, path: "gone" }).await.unwrap();
    put(&server, ArtifactKey { execution: id, attempt: 1, path: "changed" }, b"xy").await;
    for path in ["gone", "changed"] {
        let answer =
            server.request(Method::GET, &format!("/executions/{id}/artifacts/{path}")).send().await.unwrap();
        let told = shown(answer).await.replace(&format!("'{path}'"), "'PATH'");
        settings().bind(|| insta::assert_snapshot!("lost", told));
    }
}
