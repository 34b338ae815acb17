//! The rule "one outcome" on every order of events that a small model has, and the proof that the SQLite store is that model.

use std::sync::Arc;

use attune_common::store::{SqliteStore, Store};
use attune_tests::{
    lease_model::{Condition, explore},
    lease_replay::replay,
    seed,
};

#[test]
fn whatever_arrives_in_whatever_order_there_is_one_outcome() {
    let explored = explore(None).unwrap_or_else(|broken| panic!("{broken}"));
    println!("{} states, {} steps", explored.states, explored.steps);
    let accepted: Vec<_> = explored.kinds.into_iter().filter(|kind| kind.contains("accepted")).collect();
    insta::assert_snapshot!(accepted.join("\n"));
}

#[test]
fn every_condition_of_the_store_is_needed() {
    let lines = Condition::ALL.map(|condition| {
        let broken = explore(Some(condition)).expect_err(&format!("nothing breaks without {condition:?}"));
        format!("{condition:?}\n  {broken}")
    });
    insta::assert_snapshot!(lines.join("\n"));
}

#[tokio::test]
async fn the_sqlite_store_does_what_the_model_does() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("attune.db").display());
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&url).await.unwrap());
    let mut random = seed::random("ATTUNE_LEASES_SEED");
    let walks = replay(store.clone(), store, 50, |count| random.usize(..count)).await;
    println!("{walks} walks");
}
