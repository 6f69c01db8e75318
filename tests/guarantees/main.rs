//! The guarantees of docs/guarantees.md on a real Postgres and a real Kafka, a file each.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod bounded_memory;
mod effects;
mod lease;
mod poison;
mod publishing;
mod redrive;
mod spine;
mod strangers;
mod unreachable;

use std::time::Duration;

use relaybox::{
    CancellationToken, Error, EventBus, OutboxStore, Relay, RelayBuilder, RetryPolicy,
    kafka::KafkaBus, postgres::PgOutbox,
};
use relaybox_tests::{Database, Topic};
use tokio::task::JoinHandle;

/// A run loop in this process.
struct Running {
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), Error>>,
}

impl Running {
    fn start<F>(run: impl FnOnce(CancellationToken) -> F) -> Self
    where
        F: Future<Output = Result<(), Error>> + Send + 'static,
    {
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(run(shutdown.clone()));
        Self { shutdown, task }
    }

    fn relay<S: OutboxStore, B: EventBus>(builder: RelayBuilder<S, B>) -> Self {
        let relay = builder.build();
        Self::start(|shutdown| relay.run(shutdown))
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }
}

/// A relay from a database to a topic, quick to retry.
fn relay(database: &Database, topic: &Topic) -> RelayBuilder<PgOutbox, KafkaBus> {
    Relay::builder(database.store(), topic.bus())
        .topics(topic.map())
        .lease_ttl(Duration::from_secs(2))
        .retry(quick())
}

fn quick() -> RetryPolicy {
    RetryPolicy::default().base(Duration::from_millis(10)).cap(Duration::from_millis(200))
}

/// Waits until everything is published and settled.
async fn drained(database: &Database) {
    relaybox_tests::until("the outbox to be empty", async || database.backlog().await == 0).await;
}
