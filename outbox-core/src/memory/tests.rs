//! What the in-memory parts promise beyond what the relay's and the consumer's tests ask of them.

use std::time::Duration;

use super::MemoryStore;
use crate::{
    Acquired, AggregateId, AggregateType, ArchiveQuery, ArchiveStore, ConsumerName,
    DeadLetterQuery, DeadLetterStore, Envelope, ErrorKind, EventId, EventType, GivenUp, Label,
    Lease, Mark, OutboxStore, OutboxWriter, ProcessedEventStore, Published, ReadRequest, Receipt,
    RelayId, Settlement, TopicName,
};

fn event(payload: &'static str) -> Envelope {
    Envelope::new(
        EventType::new("thing.changed", 1).unwrap(),
        AggregateType::new("thing").unwrap(),
        AggregateId::new("a").unwrap(),
        payload,
    )
}

async fn commit(store: &MemoryStore, payload: &'static str) {
    let mut tx = store.begin();
    store.write(&mut tx, &[event(payload)]).await.unwrap();
    tx.commit();
}

async fn lease(store: &MemoryStore) -> Lease {
    let relay = RelayId::new(&Label::new("test").unwrap());
    match store.acquire(&relay, Duration::from_secs(60)).await.unwrap() {
        Acquired::Held(lease) => lease,
        Acquired::Elsewhere { .. } => panic!("it is free"),
    }
}

#[tokio::test]
async fn no_event_passes_one_that_waits_to_be_parked() {
    let store = MemoryStore::new();
    let lease = lease(&store).await;
    commit(&store, "head").await;
    let mut reader = OutboxStore::reader(&store).await.unwrap();
    let head = reader.read(&ReadRequest::new(1)).await.unwrap()[0].event;
    let mut dead = Settlement::default();
    dead.dead.push(GivenUp::new(head, ErrorKind::Rejected, "refused".to_owned(), 1));
    store.settle(&lease, &dead).await.unwrap();
    reader.forget(&[head]);

    // The head is on its way again when the next one is read, and settled before that is parked.
    store.redrive(&DeadLetterQuery::all()).await.unwrap();
    commit(&store, "next").await;
    let rows = reader.read(&ReadRequest::new(10)).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.parked).collect::<Vec<_>>(), [false, true]);
    let mut published = Settlement::default();
    let topic = TopicName::new("thing-events.v1").unwrap();
    published.published.push(Published::new(rows[0].event, topic, Receipt::unnumbered()));
    store.settle(&lease, &published).await.unwrap();
    reader.forget(&[rows[0].event]);

    commit(&store, "last").await;
    assert!(reader.read(&ReadRequest::new(10)).await.unwrap()[0].parked);
}

#[tokio::test]
async fn a_second_mark_of_an_event_waits_for_the_first_ones_end() {
    let store = MemoryStore::new();
    let (consumer, id) = (ConsumerName::new("test").unwrap(), EventId::new());
    for commits in [false, true] {
        let mut first = store.begin();
        assert_eq!(
            store.mark(&mut first, &consumer, &[id, id]).await.unwrap(),
            [Mark::First, Mark::Repeat]
        );
        let second = tokio::spawn({
            let (store, consumer) = (store.clone(), consumer.clone());
            async move {
                let mut tx = store.begin();
                store.mark(&mut tx, &consumer, &[id]).await.unwrap()[0]
            }
        });
        tokio::task::yield_now().await;
        assert!(!second.is_finished());
        if commits {
            first.commit();
        } else {
            first.rollback();
        }
        let expected = if commits { Mark::Repeat } else { Mark::First };
        assert_eq!(second.await.unwrap(), expected);
    }
}

#[tokio::test]
async fn a_transaction_sees_its_own_writes_and_a_rollback_undoes_them() {
    let store = MemoryStore::new();
    let mut tx = store.begin();
    tx.put("k", "1");
    assert_eq!((tx.get("k").as_deref(), store.get("k")), (Some("1"), None));
    tx.commit();
    let mut tx = store.begin();
    tx.remove("k");
    assert_eq!((tx.get("k"), store.get("k").as_deref()), (None, Some("1")));
    drop(tx);
    assert_eq!(store.get("k").as_deref(), Some("1"));
}

#[tokio::test(start_paused = true)]
async fn what_was_published_is_kept_on_request_and_purged_by_age() {
    let store = MemoryStore::new();
    let topic = TopicName::new("thing-events.v1").unwrap();
    let publish = async |payload, receipt| {
        commit(&store, payload).await;
        let lease = lease(&store).await;
        let rows = OutboxStore::reader(&store).await.unwrap().read(&ReadRequest::new(10)).await;
        let mut settlement = Settlement::default();
        let event = rows.unwrap()[0].event;
        settlement.published.push(Published::new(event, topic.clone(), receipt));
        for settled in [1, 0] {
            assert_eq!(store.settle(&lease, &settlement).await.unwrap().published, settled);
        }
        store.release(&lease).await.unwrap();
        event.event_id
    };
    publish("before", Receipt::unnumbered()).await;
    let _ = store.clone().archive_published();
    let first = publish("first", Receipt::at(3, 7)).await;
    tokio::time::advance(Duration::from_secs(60)).await;
    let second = publish("second", Receipt::unnumbered()).await;

    let ids = async |query: ArchiveQuery| -> Vec<_> {
        store.archived(&query).await.unwrap().iter().map(|event| event.event_id).collect()
    };
    assert_eq!(ids(ArchiveQuery::latest()).await, [second, first]);
    assert_eq!(ids(ArchiveQuery::latest().limit(1)).await, [second]);
    assert_eq!(ids(ArchiveQuery::event(EventId::new())).await, []);
    let event = store.archived(&ArchiveQuery::event(first)).await.unwrap().remove(0);
    assert_eq!((&event.topic, event.receipt), (&topic, Receipt::at(3, 7)));
    assert_eq!(&event.envelope.unwrap().payload[..], b"first");

    for (age, limit, purged) in [(61, 9, 0), (60, 9, 1), (0, 0, 0), (0, 1, 1), (0, 1, 0)] {
        let age = Duration::from_secs(age);
        assert_eq!(store.purge_archive(age, limit).await.unwrap(), purged, "{age:?} {limit}");
    }
}
