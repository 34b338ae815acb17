//! Logs by the page.

use attune_api::views::LogPage;
use attune_common::model::{ExecutionId, Outcome};

use crate::server::Server;

async fn page(server: &Server, id: ExecutionId, query: &str) -> LogPage {
    serde_json::from_value(server.get(&format!("/executions/{id}/logs{query}")).await).unwrap()
}

#[tokio::test]
async fn pages_follow_each_other_without_gaps() {
    let server = Server::start().await;
    let id = server.submit().await;
    let empty = page(&server, id, "").await;
    assert_eq!((empty.attempt, empty.chunks.len(), empty.next, empty.complete), (0, 0, 0, false));

    let worker = server.register("box", "shell", "5.2.15").await;
    let (fence, _) = server.claim(worker, id).await;
    let mut written = Vec::new();
    for number in 0..20 {
        let data = format!("line {number} ✓\n").into_bytes();
        server.log(fence, written.len() as u64, &data).await;
        written.extend(data);
    }
    let all = page(&server, id, "").await;
    assert_eq!((all.attempt, all.next, all.complete), (1, written.len() as u64, false));
    server.succeed(fence).await;
    for limit in [1, 30, 1000] {
        let (mut read, mut next, mut pages) = (Vec::new(), 0, 0);
        loop {
            let page = page(&server, id, &format!("?attempt=1&from={next}&limit={limit}")).await;
            next = page.next;
            pages += 1;
            for chunk in page.chunks {
                read.extend(chunk.into_bytes().unwrap());
            }
            if page.complete {
                break;
            }
            assert!(pages <= 20, "pages make progress");
        }
        assert_eq!(read, written, "limit {limit}");
    }
    let behind = page(&server, id, "?from=100000").await;
    assert_eq!((behind.next, behind.complete, behind.chunks.len()), (100_000, true, 0));
}

#[tokio::test]
async fn bytes_that_are_no_text_survive() {
    let server = Server::start().await;
    let id = server.submit().await;
    let worker = server.register("box", "shell", "5.2.15").await;
    let (fence, _) = server.claim(worker, id).await;
    server.log(fence, 0, "ä".as_bytes()).await;
    server.log(fence, 2, &[0xff, 0x00, 0xfe]).await;
    let chunks = page(&server, id, "").await.chunks;
    assert_eq!((chunks[0].text.as_deref(), chunks[0].base64.as_deref()), (Some("ä"), None));
    assert_eq!((chunks[1].text.as_deref(), chunks[1].base64.as_deref()), (None, Some("/wD+")));
    assert_eq!(chunks[1].clone().into_bytes().unwrap(), [0xff, 0x00, 0xfe]);
    // a page may start within a character
    let chunks = page(&server, id, "?from=1").await.chunks;
    assert_eq!((chunks[0].offset, chunks[0].base64.as_deref()), (1, Some("pA==")));
}

#[tokio::test]
async fn an_attempt_that_was_given_back_is_complete() {
    let server = Server::start().await;
    let id = server.submit().await;
    let worker = server.register("box", "shell", "5.2.15").await;
    let (fence, _) = server.claim(worker, id).await;
    server.log(fence, 0, b"one\n").await;
    server.store.release(fence, Outcome::default(), vec![]).await.unwrap();
    assert!(page(&server, id, "").await.complete);
    let (_, execution) = server.claim(worker, id).await;
    assert_eq!(execution.attempt, 2);
    assert!(!page(&server, id, "").await.complete);
    assert!(page(&server, id, "?attempt=1").await.complete);
}
