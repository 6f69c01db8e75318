//! The guarantees of docs/guarantees.md on a real Postgres and a real Kafka, a file each.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod archive;
mod bounded_memory;
mod effects;
mod lease;
mod poison;
mod publishing;
mod redrive;
mod refusals;
mod restarts;
mod spine;
mod strangers;
mod takeover;
mod unreachable;
mod withdrawals;

use std::time::Duration;

use relaybox::{Relay, RelayBuilder, kafka::KafkaBus, postgres::PgOutbox};
use relaybox_tests::{Database, Running, Topic, quick};

/// A relay from a database to a topic, quick to retry.
fn relay(database: &Database, topic: &Topic) -> RelayBuilder<PgOutbox, KafkaBus> {
    Relay::builder(database.store(), topic.bus())
        .topics(topic.map())
        .lease_ttl(Duration::from_secs(2))
        .retry(quick())
}

/// Waits until everything is published and settled.
async fn drained(database: &Database) {
    relaybox_tests::until("the outbox to be empty", async || database.backlog().await == 0).await;
}
