//! What the documented roles on Postgres can do, and what not.

use std::time::Duration;

use relaybox_core::{
    ArchiveQuery, ArchiveStore, ConsumerName, DeadLetterQuery, DeadLetterStore, ErrorKind, EventId,
    Failure, GiveUp, GivenUpAt, Mark, OutboxStore, OutboxWriter, Partition, ProcessedEventStore,
    SchemaFingerprint, SchemaStore, StoredSchema, Successors, TopicName,
};
use sqlx::PgPool;

use super::{
    Harness, TTL, acquire, dead, event, postgres::PgHarness, published, read, refs, run_migrated,
};
use crate::{PgMigrator, PgOutbox, PgProcessedEvents, Tables};

#[tokio::test]
async fn each_role_can_do_its_work_and_nothing_else() {
    run_migrated(async |harness: &PgHarness| {
        let suffix = &harness.schema["relaybox_test_".len()..][..12];
        let [writer, relay, archivist, consumer] = ["writer", "relay", "archivist", "consumer"]
            .map(|role| format!("relaybox_{role}_{suffix}"));
        let roles = format!("{writer}, {relay}, {archivist}, {consumer}");
        harness
            .execute(&format!(
                "CREATE ROLE {writer} LOGIN; CREATE ROLE {relay} LOGIN; \
                 CREATE ROLE {archivist} LOGIN; CREATE ROLE {consumer} LOGIN; \
                 GRANT USAGE ON SCHEMA {} TO {roles};",
                harness.schema
            ))
            .await;
        let grants: String = include_str!("../postgres/mod.rs")
            .lines()
            .filter_map(|line| line.strip_prefix("/// "))
            .skip_while(|line| *line != "```sql")
            .skip(1)
            .take_while(|line| *line != "```")
            .map(|line| format!("{line}\n"))
            .collect();
        assert!(grants.contains("GRANT INSERT"), "the documented grants are tested");
        // Roles belong to the whole server, so these have names of their own.
        let grants = grants
            .replace("TO writer, relay, consumer;", &format!("TO {writer}, {relay}, {consumer};"))
            .replace("TO writer;", &format!("TO {writer};"))
            .replace("TO relay;", &format!("TO {relay};"))
            .replace("TO archivist;", &format!("TO {archivist};"))
            .replace("TO consumer;", &format!("TO {consumer};"));
        harness.execute(&grants).await;
        let check = async {
            as_writer(harness.pool_of(&writer)).await;
            as_relay(harness.pool_of(&relay)).await;
            as_archivist(harness.pool_of(&archivist)).await;
            as_consumer(harness.pool_of(&consumer)).await;
        };
        let result = futures::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(check)).await;
        harness.execute(&format!("DROP OWNED BY {roles}; DROP ROLE {roles}")).await;
        if let Err(broken) = result {
            std::panic::resume_unwind(broken);
        }
    })
    .await;
}

async fn refused(pool: &PgPool, sql: &'static str) {
    let error = sqlx::query(sql).execute(pool).await.unwrap_err();
    assert_eq!(error.as_database_error().unwrap().code().as_deref(), Some("42501"), "{sql}");
}

async fn as_writer(pool: PgPool) {
    PgMigrator::new(pool.clone(), Tables::default()).run().await.unwrap();
    let outbox = PgOutbox::new(pool.clone());
    let mut tx = pool.begin().await.unwrap();
    outbox.write(&mut tx, &[event("s-1", "a")]).await.unwrap();
    outbox.write(&mut tx, &[event("s-1", "b"), event("s-1", "c")]).await.unwrap();
    tx.commit().await.unwrap();
    outbox.put_schemas(&[schema()]).await.unwrap();
    for sql in [
        "SELECT schema FROM outbox_schemas",
        "SELECT nextval('outbox_events_seq_seq')",
        "SELECT seq FROM outbox_events",
        "DELETE FROM outbox_events",
        "INSERT INTO outbox_events (seq) OVERRIDING SYSTEM VALUE VALUES (1)",
        "SELECT epoch FROM outbox_relay",
        "SELECT seq FROM outbox_dead_letters",
        "SELECT seq FROM outbox_archive",
        "SELECT consumer FROM processed_events",
        "SELECT consumer FROM given_up_events",
        "SELECT consumer FROM consumer_starts",
        "DELETE FROM relaybox_migrations",
    ] {
        refused(&pool, sql).await;
    }
    let error = outbox.stats().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Authentication, "{error:?}");
}

fn schema() -> StoredSchema {
    StoredSchema::new(SchemaFingerprint::from_bytes([7; 32]), "avro", "\"string\"")
}

async fn as_relay(pool: PgPool) {
    let outbox = PgOutbox::new(pool.clone()).archive_published();
    assert_eq!(outbox.schemas().await.unwrap(), [schema()]);
    assert_eq!(outbox.schema(&schema().fingerprint).await.unwrap(), Some(schema()));
    assert!(outbox.put_schemas(&[schema()]).await.is_err());
    let lease = acquire(&outbox).await;
    outbox.renew(&lease, TTL).await.unwrap();
    let mut reader = outbox.reader().await.unwrap();
    let rows = refs(&read(&mut reader).await);
    let mut settlement = dead(&rows[..1]);
    settlement.parked = rows[1..2].to_vec();
    outbox.settle(&lease, &settlement).await.unwrap();
    outbox.settle(&lease, &published(rows[2..].to_vec())).await.unwrap();
    outbox.redrive(&DeadLetterQuery::all()).await.unwrap();
    reader.rewind();
    let redriven = read(&mut reader).await;
    assert_eq!(redriven.len(), 2);
    outbox.settle(&lease, &dead(&refs(&redriven)[..1])).await.unwrap();
    outbox.discard(&DeadLetterQuery::all(), Successors::Discard).await.unwrap();
    outbox.stats().await.unwrap();
    outbox.release(&lease).await.unwrap();
    refused(&pool, "SELECT consumer FROM processed_events").await;
    refused(&pool, "INSERT INTO outbox_events (event_id) VALUES (gen_random_uuid())").await;
    refused(&pool, "DELETE FROM outbox_archive").await;
}

async fn as_archivist(pool: PgPool) {
    let outbox = PgOutbox::new(pool.clone());
    // The relay published one of three, gave up on one, and parked one.
    assert_eq!(outbox.archived(&ArchiveQuery::latest()).await.unwrap().len(), 1);
    assert_eq!(outbox.purge_archive(Duration::ZERO, 10).await.unwrap(), 1);
    refused(&pool, "UPDATE outbox_archive SET topic = 'x'").await;
    refused(&pool, "SELECT seq FROM outbox_events").await;

    // It may not put anything there, so it must not publish.
    let outbox = outbox.archive_published();
    let Err(error) = outbox.reader().await else { panic!("it may not archive") };
    assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
    assert!(error.to_string().contains("INSERT"), "{error}");
}

async fn as_consumer(pool: PgPool) {
    let inbox = PgProcessedEvents::new(pool.clone());
    let consumer = ConsumerName::new("notifications").unwrap();
    let mut tx = inbox.begin(TTL).await.unwrap();
    inbox.mark(&mut tx, &consumer, &[EventId::new()]).await.unwrap();
    inbox.commit(tx).await.unwrap();
    let partition = Partition::new(TopicName::new("t").unwrap(), 0, 1);
    let failure =
        Failure::new(consumer.clone(), ErrorKind::Rejected, String::new(), 1, chrono::Utc::now());
    for progress in [GiveUp::Decided, GiveUp::DeadLettered] {
        inbox.give_up(&partition, GivenUpAt::new(1, 7, progress), &failure).await.unwrap();
    }
    assert_eq!(inbox.given_up(&consumer, &partition, 0).await.unwrap().len(), 1);
    for count in [1, 2] {
        assert_eq!(inbox.started(&consumer, &partition, 7).await.unwrap(), count);
        assert_eq!(inbox.attempted(&consumer, &partition, 7).await.unwrap(), count);
    }
    inbox.stopped(&consumer, &partition).await.unwrap();
    assert_eq!(inbox.known(&consumer, &[EventId::new()]).await.unwrap(), [Mark::First]);
    assert_eq!(inbox.purge(&consumer, Duration::ZERO, 10).await.unwrap(), 2);
    refused(&pool, "SELECT seq FROM outbox_events").await;
    refused(&pool, "UPDATE processed_events SET consumer = 'x'").await;
}
