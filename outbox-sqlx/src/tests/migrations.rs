//! Migrations.

use std::time::Duration;

use relaybox_core::{
    ArchiveQuery, ArchiveStore, ConsumerName, ErrorKind, OutboxStore, OutboxWriter,
    ProcessedEventStore,
};

use super::{Harness, acquire, dead, enqueue, event, expire, names, published, read, refs};
use crate::{TableName, Tables, row::COLUMNS};

/// How many migrations there are.
fn versions<H: Harness>() -> i64 {
    let script = H::script(&Tables::default());
    script.matches("(version, name) VALUES").count().try_into().unwrap()
}

pub(super) async fn migrating_twice_is_a_no_op<H: Harness>(harness: &H) {
    for _ in 0..2 {
        harness.migrate(Tables::default()).await.unwrap();
    }
    assert_eq!(harness.number("SELECT count(*) FROM relaybox_migrations").await, versions::<H>());
    acquire(&harness.outbox(Tables::default())).await;
}

pub(super) async fn eight_may_migrate_at_once<H: Harness>(harness: &H) {
    let all = (0..8).map(|_| harness.migrate(Tables::default()));
    for result in futures::future::join_all(all).await {
        result.unwrap();
    }
    assert_eq!(harness.number("SELECT count(*) FROM outbox_relay").await, 1);
}

pub(super) async fn a_newer_schema_is_refused<H: Harness>(harness: &H) {
    harness.migrate(Tables::default()).await.unwrap();
    harness
        .execute("INSERT INTO relaybox_migrations (version, name) VALUES (999, 'tomorrow')")
        .await;
    let error = harness.migrate(Tables::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Schema);
    assert!(error.to_string().contains("999"), "{error}");
}

pub(super) async fn a_database_of_the_first_version_is_upgraded_with_what_is_in_it<H: Harness>(
    harness: &H,
) {
    let script = H::script(&Tables::default());
    let (first, _) = script.split_once("\n-- 2: ").unwrap();
    harness.execute(first).await;
    enqueue(harness, "s-1", &["a", "b"]).await;
    enqueue(harness, "s-2", &["c", "d"]).await;
    // What the relay of that version would have done.
    harness
        .execute(&format!(
            "INSERT INTO outbox_dead_letters (seq, {COLUMNS}, enqueued_at, state) \
             SELECT seq, {COLUMNS}, enqueued_at, \
                 CASE WHEN seq = (SELECT min(seq) FROM outbox_events) THEN 'dead' ELSE 'parked' END \
             FROM outbox_events WHERE aggregate_id = 's-1'"
        ))
        .await;
    harness.execute("DELETE FROM outbox_events WHERE aggregate_id = 's-1'").await;
    harness.execute("INSERT INTO processed_events (consumer, event_id) SELECT 'c', event_id FROM outbox_events").await;
    let outbox = harness.archiving(Tables::default());
    assert!(outbox.reader().await.is_err(), "it has no archive yet");

    harness.migrate(Tables::default()).await.unwrap();
    assert_eq!(
        harness.number("SELECT max(version) FROM relaybox_migrations").await,
        versions::<H>()
    );
    let rows = read(&mut outbox.reader().await.unwrap()).await;
    assert_eq!(names(&rows), ["c", "d"]);
    expire(harness).await;
    let lease = acquire(&outbox).await;
    outbox.settle(&lease, &published(refs(&rows))).await.unwrap();
    assert_eq!(outbox.archived(&ArchiveQuery::latest()).await.unwrap().len(), 2);
    let stats = outbox.stats().await.unwrap();
    assert_eq!((stats.backlog, stats.dead_letters, stats.parked), (0, 1, 1));
    let (inbox, consumer) = (harness.inbox(Tables::default()), ConsumerName::new("c").unwrap());
    assert_eq!(inbox.purge(&consumer, Duration::from_secs(3600), 9).await.unwrap(), 0);
    harness.age("processed_events", "processed_at", 7200).await;
    assert_eq!(inbox.purge(&consumer, Duration::from_secs(3600), 9).await.unwrap(), 2);
}

pub(super) async fn the_printed_script_applied_by_hand_is_accepted<H: Harness>(harness: &H) {
    harness.execute(&H::script(&Tables::default())).await;
    harness.migrate(Tables::default()).await.unwrap();
    acquire(&harness.outbox(Tables::default())).await;
}

pub(super) async fn tables_may_have_other_names_and_schemas<H: Harness>(harness: &H) {
    let schema = harness.schema().await;
    let name = |name: &str| TableName::new(format!("{schema}.{name}")).unwrap();
    let long = "dead_letters_with_a_name_of_sixty_three_bytes_which_is_the_most";
    assert_eq!(long.len(), 63);
    let tables = Tables::in_schema(schema)
        .unwrap()
        .outbox_events(name("order"))
        .outbox_relay(name("lease"))
        .outbox_dead_letters(name(long))
        .outbox_archive(name("select"))
        .outbox_schemas(name("table"))
        .processed_events(name("marks"))
        .given_up_events(name("lost"))
        .consumer_starts(name("starts"))
        .migrations(name("versions"));
    harness.migrate(tables.clone()).await.unwrap();
    harness.migrate(tables.clone()).await.unwrap();

    let outbox = harness.archiving(tables.clone());
    let mut tx = harness.begin().await;
    outbox.write(&mut tx, &[event("s-1", "a"), event("s-1", "b")]).await.unwrap();
    harness.commit(tx).await;
    let lease = acquire(&outbox).await;
    let rows = read(&mut outbox.reader().await.unwrap()).await;
    assert_eq!(names(&rows), ["a", "b"]);
    outbox.settle(&lease, &dead(&refs(&rows)[..1])).await.unwrap();
    assert_eq!(names(&read(&mut outbox.reader().await.unwrap()).await), ["b parked"]);
    assert_eq!(outbox.stats().await.unwrap().dead_letters, 1);
    outbox.settle(&lease, &published(refs(&rows)[1..].to_vec())).await.unwrap();
    assert_eq!(outbox.archived(&ArchiveQuery::latest()).await.unwrap().len(), 1);
    while outbox.purge_archive(Duration::ZERO, 10).await.unwrap() == 0 {}
    let inbox = harness.inbox(tables);
    inbox.commit(inbox.begin(super::LIMIT).await.unwrap()).await.unwrap();

    // The default names are free still.
    harness.migrate(Tables::default()).await.unwrap();
}

pub(super) async fn other_names_under_the_same_migrations_are_refused<H: Harness>(harness: &H) {
    harness.migrate(Tables::default()).await.unwrap();
    let name = |name: &str| TableName::new(name).unwrap();
    let tables = Tables::default().outbox_events(name("events_out")).given_up_events(name("lost"));
    let error = harness.migrate(tables).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Schema);
    assert!(error.to_string().contains("missing: \"events_out\", \"lost\";"), "{error}");
    harness.migrate(Tables::default()).await.unwrap();
}

pub(super) async fn missing_tables_are_named_with_advice<H: Harness>(harness: &H) {
    let outbox = harness.outbox(Tables::default());
    let Err(error) = outbox.reader().await else { panic!("there are no tables") };
    assert_eq!(error.kind(), ErrorKind::Schema);
    assert!(error.to_string().contains("run the migrations"), "{error}");
    let error = outbox.acquire(&super::relay(), super::TTL).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Schema);
}
