//! Workers and requirements.

use attune_api::views::{RequirementList, WorkerList};
use serde_json::json;

use crate::server::{Server, settings};

#[tokio::test]
async fn workers_are_shown_with_what_they_can_do() {
    let server = Server::start().await;
    let worker = server.register("box", "shell", "5.2.15").await;
    let id = server.submit().await;
    server.claim(worker, id).await;
    let shown = server.get("/workers").await;
    settings().bind(|| insta::assert_json_snapshot!(shown));
    let list: WorkerList = serde_json::from_value(shown).unwrap();
    assert_eq!(list.workers[0].id, worker);
}

#[tokio::test]
async fn requirements_tell_what_waits_and_who_could_take_it() {
    let server = Server::start().await;
    let box_1 = server.register("box", "shell", "5.2.15").await;
    let away = server.register("away", "shell", "5.2.15").await;
    server.store.drain_worker(away).await.unwrap();
    let first = server.submit().await;
    server.submit().await;
    server.claim(box_1, first).await;
    server.post("/executions", &json!({"action": "demo.needy"})).await;
    let shown = server.get("/requirements").await;
    settings().bind(|| insta::assert_json_snapshot!(shown));
    serde_json::from_value::<RequirementList>(shown).unwrap();
}
