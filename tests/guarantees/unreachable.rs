//! Servers that can't be reached: a typed error that names the operation, no secret, and nothing lost.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use relaybox::{
    CancellationToken, ErrorKind, OutboxStore, Relay, error_chain,
    kafka::{KafkaBus, KafkaConfig},
    memory::MemoryBus,
    postgres::PgOutbox,
};
use relaybox_tests::{Database, Topic, per_key, servers, until};
use sqlx::postgres::PgPoolOptions;

use crate::{Running, drained, quick, relay};

/// A port of this machine on which nobody listens.
fn nobody() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_database_is_a_typed_error_without_secrets_and_ends_no_relay() {
    let url = format!("postgres://teller:s3cret@127.0.0.1:{}/bank", nobody());
    let pool = PgPoolOptions::new()
        .acquire_timeout(Duration::from_millis(200))
        .connect_lazy(&url)
        .unwrap();
    let error = PgOutbox::new(pool.clone()).stats().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let text = error_chain(&error);
    for secret in ["s3cret", "teller", "bank"] {
        assert!(!text.contains(secret), "{text}");
    }

    let errors: Arc<Mutex<Vec<ErrorKind>>> = Arc::default();
    let seen = Arc::clone(&errors);
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    let relay = Relay::builder(PgOutbox::new(pool), MemoryBus::new())
        .retry(quick())
        .on_error(move |notice| {
            let mut errors = seen.lock().unwrap();
            errors.push(notice.error.kind());
            if errors.len() == 3 {
                stop.cancel();
            }
        })
        .build();
    relay.run(shutdown).await.unwrap();
    assert_eq!(*errors.lock().unwrap(), [ErrorKind::Unavailable; 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_broker_charges_nobody_and_what_waits_is_published_later() {
    let Some((postgres, kafka)) = servers() else { return };
    let (database, topic) = (Database::create(&postgres).await, Topic::create(&kafka, &[]).await);
    for _ in 0..20 {
        database.change("t").await;
    }
    let nowhere = KafkaBus::new(KafkaConfig::new(format!("127.0.0.1:{}", nobody()))).unwrap();
    let in_vain = Running::relay(
        Relay::builder(database.store(), nowhere)
            .topics(topic.map())
            .retry(quick())
            .lease_ttl(Duration::from_secs(6))
            .drain_timeout(Duration::from_millis(500)),
    );
    // Longer than a lease: it kept it all the time.
    let ends =
        "SELECT coalesce((extract(epoch FROM lease_until) * 1e6)::bigint, 0) FROM outbox_relay";
    until("it holds the lease", async || database.number(ends).await > 0).await;
    let first = database.number(ends).await;
    let now = "SELECT (extract(epoch FROM clock_timestamp()) * 1e6)::bigint";
    until("its first end is over", async || database.number(now).await > first).await;
    assert!(database.store().stats().await.unwrap().holder.is_some());
    assert_eq!(database.number("SELECT epoch FROM outbox_relay").await, 1);
    in_vain.stop().await;
    let stats = database.store().stats().await.unwrap();
    assert_eq!((stats.backlog, stats.dead_letters, stats.parked), (20, 0, 0));

    let relay = Running::relay(relay(&database, &topic));
    drained(&database).await;
    relay.stop().await;
    assert_eq!(per_key(&topic.envelopes().await)["t"].len(), 20);
    database.drop().await;
}
