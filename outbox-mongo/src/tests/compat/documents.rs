//! Collections, indexes, the archive and schemas, one statement at a time.

use std::time::Duration;

use mongodb::{
    Database,
    bson::{Document, Timestamp, doc},
};
use relaybox_core::{
    AggregateId, AggregateType, ArchiveQuery, ArchiveStore, ErrorKind, OutboxStore, Published,
    Receipt, SchemaFingerprint, SchemaStore, Settlement, StoredSchema, TopicName,
};

use super::{
    super::{drop_database, event, own_database, server},
    create,
};
use crate::{Collections, MongoMigrator, MongoOutbox, document, outbox::testing, unit::Unit};

async fn on_database(test: impl AsyncFnOnce(&Database)) {
    let Some(database) = create().await else { return };
    test(&database).await;
    drop_database(&database).await;
}

#[tokio::test]
async fn migrating_again_changes_nothing_and_so_do_several_at_once() {
    on_database(async |database| {
        let relay = database.collection::<Document>("outbox_relay");
        let epoch = doc! { "$set": { "epoch": 7_i64 } };
        relay.update_one(doc! { "_id": "lease" }, epoch).await.unwrap();
        let migrator = MongoMigrator::new(database.clone(), Collections::default());
        let (one, two) = tokio::join!(migrator.make(), migrator.make());
        one.and(two).unwrap();
        let lease = relay.find_one(doc! { "_id": "lease" }).await.unwrap().unwrap();
        assert_eq!(lease.get_i64("epoch").unwrap(), 7, "the epoch must never fall");
        let letters = database.collection::<Document>("outbox_dead_letters");
        assert_eq!(letters.list_index_names().await.unwrap().len(), 4);
    })
    .await;
}

#[tokio::test]
async fn what_is_missing_or_too_new_is_a_matter_of_the_schema() {
    let Some(url) = server("RELAYBOX_MONGODB_COMPAT_URL") else { return };
    let database = own_database(&url).await;
    let outbox = MongoOutbox::new(database.clone());
    let error = testing::has_collections(&outbox).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Schema);
    let migrator = MongoMigrator::new(database.clone(), Collections::default());
    migrator.make().await.unwrap();
    testing::has_collections(&outbox).await.unwrap();

    let events = database.collection::<Document>("outbox_events");
    events.drop_index("relaybox_position").await.unwrap();
    let error = testing::has_collections(&outbox).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Schema);
    assert!(error.to_string().contains("relaybox_position"), "{error}");

    let relay = database.collection::<Document>("outbox_relay");
    let newer = doc! { "$set": { "version": 99 } };
    relay.update_one(doc! { "_id": "schema" }, newer).await.unwrap();
    let error = migrator.make().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Schema);
    assert!(error.to_string().contains("update relaybox"), "{error}");
    drop_database(&database).await;
}

#[tokio::test]
async fn a_server_without_transactions_is_refused_with_what_to_do_about_it() {
    on_database(async |database| {
        let migrator = MongoMigrator::new(database.clone(), Collections::default());
        let outbox = MongoOutbox::new(database.clone());
        let refused = [migrator.run().await.err(), outbox.reader().await.err()];
        for error in refused {
            let error = error.expect("it has no replica set");
            assert_eq!(error.kind(), ErrorKind::Invalid, "a relay ends with it");
            assert!(error.to_string().contains("--replSet"), "{error}");
        }
    })
    .await;
}

#[tokio::test]
async fn published_events_are_found_in_the_archive_and_purged_by_age() {
    on_database(async |database| {
        let outbox = MongoOutbox::new(database.clone()).archive_published();
        let events = [event("a", "1"), event("a", "2"), event("b", "3")];
        let mut entries = Vec::new();
        for (at, event) in (1_u32..).zip(&events) {
            let mut entry = document::of_event(event);
            let id = entry.remove("_id").unwrap();
            entry.insert("position", Timestamp { time: 50, increment: at });
            entry.extend(doc! {
                "event_id": id,
                "published_at": Timestamp { time: 100 * at, increment: 1 },
                "topic": "thing-events.v1",
                "record_partition": 2,
                "record_offset": i64::from(at),
            });
            entries.push(entry);
        }
        database.collection("outbox_archive").insert_many(entries).await.unwrap();
        let found = async |query: ArchiveQuery| {
            let found = outbox.archived(&query).await.unwrap();
            found.iter().map(|event| event.event_id).collect::<Vec<_>>()
        };
        let [one, two, three] = [0, 1, 2].map(|at: usize| events[at].event_id);
        assert_eq!(found(ArchiveQuery::latest()).await, [three, two, one]);
        assert_eq!(found(ArchiveQuery::latest().limit(1)).await, [three]);
        assert_eq!(found(ArchiveQuery::event(two)).await, [two]);
        let (kind, id) = (AggregateType::new("thing").unwrap(), AggregateId::new("a").unwrap());
        assert_eq!(found(ArchiveQuery::aggregate(kind, id)).await, [two, one]);
        let mut query = ArchiveQuery::latest();
        query.published_from = chrono::DateTime::from_timestamp(200, 0);
        query.published_before = chrono::DateTime::from_timestamp(300, 0);
        assert_eq!(found(query).await, [two]);

        let archived = outbox.archived(&ArchiveQuery::event(two)).await.unwrap();
        assert_eq!(archived[0].envelope.as_ref().unwrap(), &events[1]);
        assert_eq!((archived[0].receipt.partition, archived[0].receipt.offset), (Some(2), Some(2)));
        assert_eq!(archived[0].published_at.timestamp(), 200);

        let age = |at: u64| {
            let now = u64::try_from(chrono::Utc::now().timestamp()).unwrap();
            Duration::from_secs(now - at)
        };
        assert_eq!(outbox.purge_archive(age(90), 10).await.unwrap(), 0);
        assert_eq!(outbox.purge_archive(age(250), 1).await.unwrap(), 1);
        assert_eq!(found(ArchiveQuery::latest()).await, [three, two], "the oldest first");
        assert_eq!(outbox.purge_archive(age(250), 0).await.unwrap(), 0);
        assert_eq!(outbox.purge_archive(Duration::MAX, 10).await.unwrap(), 0);
        assert_eq!(outbox.purge_archive(Duration::ZERO, 10).await.unwrap(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_settlement_of_an_outbox_that_archives_moves_and_does_not_copy() {
    on_database(async |database| {
        let outbox = MongoOutbox::new(database.clone()).archive_published();
        let event = event("a", "1");
        let mut stored = document::of_event(&event);
        stored.insert("position", Timestamp { time: 50, increment: 1 });
        database.collection("outbox_events").insert_one(stored).await.unwrap();
        let lease = relaybox_core::Lease::new(super::super::relay(), 1);
        let taken = doc! { "$set": { "owner": lease.relay.as_str(), "epoch": 1_i64 } };
        let leases = database.collection::<Document>("outbox_relay");
        leases.update_one(doc! { "_id": "lease" }, taken).await.unwrap();

        let mut unit = Unit::alone(database);
        let rows = testing::Page::default()
            .read(&outbox, &mut unit, &relaybox_core::ReadRequest::new(10))
            .await
            .unwrap();
        let mut receipt = Receipt::unnumbered();
        (receipt.partition, receipt.offset) = (Some(3), Some(i64::MAX));
        let topic = TopicName::new("thing-events.v1").unwrap();
        let mut settlement = Settlement::default();
        settlement.published = vec![Published::new(rows[0].event, topic.clone(), receipt)];
        let settled = testing::apply(&outbox, &mut unit, &lease, &settlement).await.unwrap();
        assert_eq!(settled.published, 1);
        let archived = outbox.archived(&ArchiveQuery::latest()).await.unwrap();
        assert_eq!(archived.len(), 1);
        assert_eq!(archived[0].envelope.as_ref().unwrap(), &event);
        assert_eq!((&archived[0].topic, archived[0].receipt.offset), (&topic, Some(i64::MAX)));
        assert_eq!(archived[0].position, rows[0].event.position);
        // Its reply was lost.
        let again = testing::apply(&outbox, &mut unit, &lease, &settlement).await.unwrap();
        assert_eq!(again.published, 0);
        assert_eq!(outbox.archived(&ArchiveQuery::latest()).await.unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn schemas_that_are_there_are_left_as_they_are() {
    on_database(async |database| {
        let outbox = MongoOutbox::new(database.clone());
        let schema = |n: u8, text: &str| {
            StoredSchema::new(SchemaFingerprint::from_bytes([n; 32]), "avro", text)
        };
        let mut unit = Unit::alone(database);
        let twice = [schema(2, "two"), schema(1, "one"), schema(2, "two")];
        testing::put(&outbox, &mut unit, &twice).await.unwrap();
        testing::put(&outbox, &mut unit, &[schema(1, "another")]).await.unwrap();
        assert_eq!(outbox.schemas().await.unwrap(), [schema(1, "one"), schema(2, "two")]);
        let two = SchemaFingerprint::from_bytes([2; 32]);
        assert_eq!(outbox.schema(&two).await.unwrap(), Some(schema(2, "two")));
        let none = SchemaFingerprint::from_bytes([3; 32]);
        assert_eq!(outbox.schema(&none).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn a_document_that_is_no_event_of_ours_is_passed_over() {
    on_database(async |database| {
        let outbox = MongoOutbox::new(database.clone());
        let events = database.collection::<Document>("outbox_events");
        let mut odd = document::of_event(&event("a", "odd"));
        odd.insert("_id", "no uuid");
        let mut fine = document::of_event(&event("a", "fine"));
        fine.insert("position", Timestamp { time: 50, increment: 1 });
        events.insert_many([doc! {}, odd, fine]).await.unwrap();
        let rows = testing::Page::default()
            .read(&outbox, &mut Unit::alone(database), &relaybox_core::ReadRequest::new(1))
            .await
            .unwrap();
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].envelope.as_ref().unwrap().payload, &b"fine"[..]);
    })
    .await;
}
