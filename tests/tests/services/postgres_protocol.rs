//! PostgreSQL does what the model of leases does, of which `lease_protocol.rs` shows that it has one outcome.

use attune_tests::{lease_replay::replay, postgres, seed};

use crate::both;

#[tokio::test]
async fn it_does_what_the_model_of_leases_does() {
    let database = postgres::shared().database_with_roles().await;
    let (api, agent) = both(&database).await;
    let mut random = seed::random("ATTUNE_LEASES_SEED");
    let walks = replay(api, agent, 50, |count| random.usize(..count)).await;
    println!("{walks} walks");
}
