//! The SQLite store does what every store must do, and keeps its file to itself.

use std::{os::unix::fs::PermissionsExt, sync::Arc};

use attune_common::store::{Client, SqliteStore, Store, open};
use attune_tests::store_conformance;

const CLIENT: Client = Client { name: "attune-test", max_connections: 2 };

fn url(path: &std::path::Path) -> String {
    format!("sqlite://{}", path.display())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sqlite_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let url = url(&folder.path().join("attune.db"));
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&url).await.unwrap());
    let second: Arc<dyn Store> = Arc::new(SqliteStore::open(&url).await.unwrap());
    store_conformance::run(store, second).await;
}

#[tokio::test]
async fn the_database_file_is_private() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("attune.db");
    SqliteStore::open(&url(&path)).await.unwrap();
    assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_processes_may_start_at_once_on_a_new_file() {
    let folder = tempfile::tempdir().unwrap();
    let url = url(&folder.path().join("attune.db"));
    let starts = (0..8).map(|_| {
        let url = url.clone();
        tokio::spawn(async move { SqliteStore::open(&url).await.map(|_| ()) })
    });
    for start in starts.collect::<Vec<_>>() {
        start.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn what_cannot_be_opened_is_said_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(
        path("text.db"),
        "this is no database, only text that is long enough to be read as a header",
    )
    .unwrap();
    std::fs::create_dir(path("folder.db")).unwrap();
    let mut told = Vec::new();
    for url in [
        url(&path("text.db")),
        url(&path("folder.db")),
        url(&path("missing/attune.db")),
        "mysql://localhost/x".to_owned(),
        "attune.db".to_owned(),
        "sqlite::memory:".to_owned(),
    ] {
        let error = open(&url.into(), &CLIENT).await.expect_err("it must be refused");
        told.push(error.to_string().replace(folder.path().to_str().unwrap(), "DIR"));
    }
    insta::assert_snapshot!(told.join("\n"));
}
