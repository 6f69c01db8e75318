//! Reading, and being woken to read.

use std::time::Duration;

use mongodb::bson::{Timestamp, doc};
use relaybox_core::{
    CancellationToken, OutboxStore, OutboxWriter, ReadRequest, Relay, TopicName,
    memory::{MemoryBus, MemoryStore},
};

use super::{super::event, server::cursor, *};
use crate::{MongoMigrator, MongoOutbox, document};

fn asks_for_schema(command: &Document) -> bool {
    command
        .get_document("filter")
        .is_ok_and(|filter| filter.get_str("_id").is_ok_and(|id| id == "schema"))
}

/// A server whose checks are passed, and that has one event.
async fn server_with_an_event() -> Server {
    let mut stored = document::of_event(&event("a", "1"));
    stored.insert("position", Timestamp { time: 50, increment: 1 });
    Server::start(move |name, command| {
        let of = command.get_str(name).unwrap_or_default();
        let index = |name: &str| doc! { "v": 2, "name": name, "key": { "position": 1 } };
        match (name, of) {
            ("find", "outbox_relay") if asks_for_schema(command) => {
                found(vec![doc! { "_id": "schema", "version": 1 }])
            }
            ("find", "outbox_relay") => found(vec![
                doc! { "_id": "lease", "owner": null, "epoch": 0_i64, "until": null },
                doc! { "_id": "schema", "version": 1 },
            ]),
            ("listIndexes", _) => found(vec![
                index("relaybox_position"),
                index("relaybox_aggregate"),
                index("relaybox_ready"),
                index("relaybox_state"),
            ]),
            ("find", "outbox_events") => {
                let mut answer = cursor(0, "firstBatch", vec![stored.clone()]);
                let at = Timestamp { time: 60, increment: 1 };
                answer.get_document_mut("cursor").unwrap().insert("atClusterTime", at);
                Answer::Says(answer)
            }
            _ => Answer::Done,
        }
    })
    .await
}

#[tokio::test]
async fn a_read_sees_one_snapshot_in_all_its_statements_and_the_next_one_another() {
    let server = server_with_an_event().await;
    let outbox = MongoOutbox::new(server.database().await);
    let mut reader = outbox.reader().await.unwrap();
    let checks = server.names().len();
    let rows = reader.read(&ReadRequest::new(10)).await.unwrap();
    assert_eq!(rows.len(), 1);
    reader.read(&ReadRequest::new(10)).await.unwrap();

    let reads = &server.commands()[checks..];
    assert_eq!(reads.len(), 4, "{:?}", server.names());
    let concern = |at: usize| reads[at].get_document("readConcern").unwrap();
    for read in reads {
        assert!(transaction(read).is_none(), "a reader holds no transaction open");
    }
    for at in 0..4 {
        assert_eq!(concern(at).get_str("level").unwrap(), "snapshot");
    }
    assert!(!concern(0).contains_key("atClusterTime"));
    let at = Timestamp { time: 60, increment: 1 };
    assert_eq!(concern(1).get_timestamp("atClusterTime").unwrap(), at);
    assert!(!concern(2).contains_key("atClusterTime"), "what was committed since is seen");

    // In flight, it is asked for no more.
    let ids = |at: usize| reads[at].get_document("filter").unwrap().get_document("_id").unwrap();
    assert!(!ids(0).contains_key("$nin"));
    assert_eq!(ids(2).get_array("$nin").unwrap()[0], document::id(rows[0].event.event_id));
    assert_eq!(reads[0].get_str("hint").unwrap(), "relaybox_position");
}

#[tokio::test]
async fn collections_and_indexes_are_made_for_the_majority() {
    let server = server_with_an_event().await;
    let migrator = MongoMigrator::new(server.database().await, crate::Collections::default());
    migrator.run().await.unwrap();
    let names = server.names();
    assert_eq!(names.iter().filter(|name| *name == "create").count(), 8);
    assert_eq!(names.iter().filter(|name| *name == "createIndexes").count(), 5);
    for command in server.commands().iter().filter(|command| name(command).starts_with("create")) {
        let concern = command.get_document("writeConcern").unwrap();
        assert_eq!(concern.get_str("w").unwrap(), "majority", "a snapshot needs them there");
    }
}

#[tokio::test]
async fn a_server_that_is_too_old_is_refused() {
    let server = Server::of_wire_version(9).await;
    let database = server.database().await;
    let migrator = MongoMigrator::new(database.clone(), crate::Collections::default());
    let refused = [migrator.run().await.err(), MongoOutbox::new(database).reader().await.err()];
    for error in refused.map(|error| error.expect("it is a 4.4")) {
        assert_eq!(error.kind(), relaybox_core::ErrorKind::Invalid);
        assert!(error.to_string().contains("5.0"), "{error}");
    }
    assert_eq!(server.names(), [""; 0]);
}

#[tokio::test]
async fn a_change_stream_wakes_the_relay_and_is_opened_again_when_it_breaks() {
    let mut streams = 0;
    let (more, events) = std::sync::mpsc::channel::<()>();
    let token = |n: i32| doc! { "_id": { "_data": n.to_string() } };
    let server = Server::start(move |name, command| match name {
        "aggregate" if command.to_string().contains("$changeStream") => {
            streams += 1;
            if streams == 2 {
                return error(10107, "NotWritablePrimary", &[]);
            }
            let mut answer = cursor(7, "firstBatch", vec![]);
            let cursor = answer.get_document_mut("cursor").unwrap();
            cursor.insert("postBatchResumeToken", doc! { "_data": "0" });
            Answer::Says(answer)
        }
        "getMore" => match events.recv_timeout(Duration::from_millis(20)) {
            Ok(()) => Answer::Says(cursor(7, "nextBatch", vec![token(1)])),
            Err(_) if streams == 1 => error(136, "CappedPositionLost", &[]),
            Err(_) => Answer::Says(cursor(7, "nextBatch", vec![])),
        },
        _ => Answer::Done,
    })
    .await;
    let outbox = MongoOutbox::new(server.database().await);
    let (store, bus) = (MemoryStore::new(), MemoryBus::new());
    let (slow, shutdown) = (Duration::from_secs(3600), CancellationToken::new());
    let relay = Relay::builder(store.clone(), bus.clone()).poll_interval(slow, slow).build();
    let (wake_up, stop) = (relay.wake_up(), shutdown.clone());
    let watching = tokio::spawn(async move { outbox.wake_on_commit(wake_up, stop).await });
    let running = tokio::spawn(relay.run(shutdown.clone()));
    server.asked("aggregate", 3).await;

    let topic = TopicName::new("thing-events.v1").unwrap();
    for n in 1..=3 {
        let mut tx = store.begin();
        store.write(&mut tx, &[event("a", "x")]).await.unwrap();
        tx.commit();
        more.send(()).unwrap();
        let arrived = async {
            while bus.records(&topic).len() < n {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), arrived).await.unwrap();
    }
    shutdown.cancel();
    running.await.unwrap().unwrap();
    watching.await.unwrap();
}
