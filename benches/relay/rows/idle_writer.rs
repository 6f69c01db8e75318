//! Whether the events of others wait for a transaction that has written to the outbox and stays open.

use std::time::Duration;

use relaybox::Outbox;
use uuid::Uuid;

use super::{Bench, latency::outbox};
use crate::{
    child::Watch,
    event::Changed,
    load::{WRITERS, commit},
    process::RelayProcess,
    support::{
        POSTGRES_KAFKA,
        database::{Database, sync},
        report::{Bar, Line},
        topic::Topic,
    },
};

const PER_SECOND: u64 = 1000;

pub(super) async fn measure(bench: &Bench) {
    let seconds = bench.options.seconds(60);
    let database = Database::create(&bench.servers().postgres).await;
    let topic = Topic::create(&bench.servers().kafka).await;
    let mut relay = RelayProcess::start(&database, &topic, Watch::Acknowledgements).await;
    let (pool, send) = (database.connections(WRITERS).await, outbox(&database));
    sync();

    let undisturbed = (seconds / 3).max(1) * PER_SECOND;
    let committed = commit(&pool, undisturbed, &send).await;
    committed.check_rate("idle-writer, undisturbed");
    relay.settled(undisturbed).await;
    let alone = committed.until(&relay.report().await.acknowledged);

    let mut idle = database.pool.begin().await.unwrap();
    let late = Changed::new(Uuid::now_v7());
    Outbox::new(database.store()).enqueue(&mut idle, &late).await.unwrap();
    let events = seconds * PER_SECOND;
    let committed = commit(&pool, events, &send).await;
    committed.check_rate("idle-writer");
    relay.settled(undisturbed + events).await;
    let disturbed = committed.until(&relay.report().await.acknowledged);

    idle.commit().await.unwrap();
    tokio::time::timeout(Duration::from_secs(30), relay.settled(undisturbed + events + 1))
        .await
        .expect("the idle writer's own event is delivered once it has committed");
    relay.stop().await;
    Line::new("idle-writer", POSTGRES_KAFKA, events)
        .figure("events_per_s", committed.events_per_s())
        .figure("p50_ms", disturbed.p50)
        .figure("undisturbed_p50_ms", alone.p50)
        .figure("p99_ms", disturbed.p99)
        .figure("undisturbed_p99_ms", alone.p99)
        .bar("p99_ratio", disturbed.p99 / alone.p99, Bar::AtMost(3.0))
        .print(bench.options.json);
}
