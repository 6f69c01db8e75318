//! Servers that crash in the middle of a load: every committed event is published, in order.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use relaybox::Relay;
use relaybox_tests::{
    Database, KafkaServer, PostgresServer, Process, RelayOptions, Running, Topic, Writers, quick,
    servers, share, until,
};

use crate::{drained, relay};

/// Waits until so many more changes are in the database.
async fn more_changes(database: &Database, changes: i64) {
    let changed = "SELECT coalesce(sum(n), 0)::bigint FROM things";
    let enough = database.number(changed).await + changes;
    until("more changes", async || database.number(changed).await >= enough).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_immediate_restart_of_postgres_under_load_loses_nothing_and_keeps_the_order() {
    let Some((_, kafka)) = servers() else { return };
    let Some(mut postgres) = PostgresServer::start(&[]).await else { return };
    let database = Database::create(&postgres.url()).await;
    let topic = Topic::create(&kafka, &[]).await;
    let errors = Arc::new(AtomicU32::new(0));
    let lease_ttl = Duration::from_secs(2);
    let options = RelayOptions { lease_ttl, ..RelayOptions::default() };
    let mut process =
        Process::relay(env!("CARGO_BIN_EXE_relay-process"), &database, &topic, options);
    process.until("WORKING");
    // One here stands by, and tells what it notices.
    let told = Arc::clone(&errors);
    let relay = Running::relay(relay(&database, &topic).on_error(move |notice| {
        assert!(notice.error.is_infrastructure(), "{:?}", notice.error);
        told.fetch_add(1, Ordering::Relaxed);
    }));
    let writers = Writers::start(&database.pool, 6, Duration::ZERO);
    for _ in 0..share(15) {
        more_changes(&database, fastrand::i64(150..300)).await;
        let mut open = database.pool.acquire().await.unwrap();
        postgres.restart_immediately().await;
        let cut = sqlx::query("SELECT 1").execute(&mut *open).await;
        assert!(cut.is_err(), "a crash leaves nobody a connection");
    }
    more_changes(&database, 150).await;
    let known = writers.stop().await;
    drained(&database).await;
    process.signal("TERM");
    assert!(process.wait(), "no restart ended it");
    relay.stop().await;
    let changes: i64 = database.changes().await.values().sum();
    println!("{changes} changes, of which the writers know {known}; {errors:?} errors told");
    assert!(u64::try_from(changes).unwrap() >= known, "what was confirmed is gone");
    database.assert_published(&topic.envelopes().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_of_the_broker_under_load_loses_nothing_and_keeps_the_order() {
    let Some((postgres, _)) = servers() else { return };
    let Some(mut kafka) = KafkaServer::start().await else { return };
    let database = Database::create(&postgres).await;
    let topic = Topic::create(&kafka.brokers(), &[]).await;
    let start = || {
        let relay = Relay::builder(database.store(), topic.bus());
        let relay = relay.topics(topic.map()).lease_ttl(Duration::from_secs(2));
        Running::relay(relay.retry(quick()).batch(50))
    };
    let mut relay = start();
    let writers = Writers::start(&database.pool, 4, Duration::from_millis(2));
    for _ in 0..share(5) {
        more_changes(&database, fastrand::i64(150..300)).await;
        kafka.kill();
        more_changes(&database, 150).await;
        assert!(database.backlog().await >= 100, "nobody can have published these");
        // What only its client knows dies with a relay.
        relay.abort().await;
        relay = start();
        kafka.up().await;
        more_changes(&database, 150).await;
        until("it has caught up", async || database.backlog().await < 50).await;
    }
    more_changes(&database, 150).await;
    writers.stop().await;
    drained(&database).await;
    relay.stop().await;
    let stats = relaybox::OutboxStore::stats(&database.store()).await.unwrap();
    assert_eq!((stats.dead_letters, stats.parked), (0, 0), "an outage is no event's fault");
    database.assert_published(&topic.envelopes().await).await;
    database.drop().await;
}
