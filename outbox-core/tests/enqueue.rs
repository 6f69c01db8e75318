//! What can be refused is refused at `enqueue`, before commit, with a typed error.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::HashMap;

use relaybox_core::{
    DomainEvent, ErrorKind, EventContext, Headers, Outbox, OutboxStore, ReadRequest,
    memory::MemoryStore,
};
use serde::Serialize;

#[derive(Clone, Serialize, DomainEvent)]
#[event(aggregate = "note", name = "note.taken")]
struct NoteTaken {
    #[event(aggregate_id)]
    id: String,
    #[event(partition_key)]
    shelf: String,
    text: String,
}

fn note(id: &str, text: &str) -> NoteTaken {
    NoteTaken { id: id.to_owned(), shelf: "s".to_owned(), text: text.to_owned() }
}

/// JSON has no objects with keys that are no text.
#[derive(Serialize, DomainEvent)]
#[event(aggregate = "note", name = "note.garbled")]
struct Garbled {
    #[event(aggregate_id)]
    id: u8,
    map: HashMap<(u8, u8), u8>,
}

async fn stored(store: &MemoryStore) -> Vec<relaybox_core::Envelope> {
    let mut reader = store.reader().await.unwrap();
    let rows = reader.read(&ReadRequest::new(100)).await.unwrap();
    rows.into_iter().map(|row| row.envelope.unwrap()).collect()
}

#[tokio::test]
async fn what_is_refused_is_refused_before_commit_and_nothing_of_its_call_is_stored() {
    let store = MemoryStore::new();
    let outbox = Outbox::builder(store.clone()).max_payload(100).build();
    let mut tx = store.begin();
    let long = "x".repeat(101);
    let cases = [
        (vec![note("1", "fits"), note("2", &long)], ErrorKind::TooLarge),
        (vec![note("1", "fits"), note("", "no id")], ErrorKind::Invalid),
        (vec![note("1", "fits"), note("line\nbreak", "bad id")], ErrorKind::Invalid),
        (vec![NoteTaken { shelf: "y".repeat(256), ..note("1", "long key") }], ErrorKind::TooLarge),
    ];
    for (events, kind) in cases {
        let error = outbox.enqueue_all(&mut tx, &events).await.unwrap_err();
        assert_eq!(error.kind(), kind);
        assert!(!error.to_string().contains(&long), "no payload in an error");
    }
    let garbled = Garbled { id: 1, map: [((1, 2), 3)].into() };
    assert_eq!(outbox.enqueue(&mut tx, &garbled).await.unwrap_err().kind(), ErrorKind::Encode);
    tx.commit();
    assert!(stored(&store).await.is_empty());
}

#[tokio::test]
async fn the_default_limit_is_900_kilobytes() {
    let store = MemoryStore::new();
    let outbox = Outbox::new(store.clone());
    let mut tx = store.begin();
    let frame = serde_json::to_vec(&note("1", "")).unwrap().len();
    outbox.enqueue(&mut tx, &note("1", &"x".repeat(900_000 - frame))).await.unwrap();
    let error =
        outbox.enqueue(&mut tx, &note("1", &"x".repeat(900_001 - frame))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
}

#[tokio::test]
async fn an_envelope_says_all_that_its_context_does() {
    let store = MemoryStore::new();
    let outbox = Outbox::builder(store.clone()).source("notes").unwrap().build();
    let mut headers = Headers::default();
    headers.insert("tenant", "acme").unwrap();
    let mut tx = store.begin();
    let ids = EventContext::new()
        .with_headers(headers.clone())
        .scope(outbox.enqueue_all(&mut tx, &[note("1", "a"), note("1", "b")]))
        .await
        .unwrap();
    tx.commit();
    let stored = stored(&store).await;
    assert_eq!(stored.iter().map(|envelope| envelope.event_id).collect::<Vec<_>>(), ids);
    let first = &stored[0];
    assert_eq!(first.event_type.to_string(), "note.taken.v1");
    assert_eq!((first.aggregate_id.as_str(), first.key().as_str()), ("1", "s"));
    assert_eq!(first.metadata.source.as_str(), "notes");
    assert_eq!(first.metadata.correlation_id.as_ref().unwrap().as_str(), ids[0].to_string());
    assert_eq!(first.metadata.headers, headers);
    assert_eq!(first.event_id.as_uuid().get_version_num(), 7);
}

#[tokio::test]
async fn debug_shows_no_payload_no_user_and_no_header_value() {
    let outbox = Outbox::new(MemoryStore::new());
    let mut headers = Headers::default();
    headers.insert("card", "4111-1111").unwrap();
    let context = EventContext::new()
        .with_headers(headers)
        .with_user_id(relaybox_core::Label::new("ada@example.org").unwrap());
    let envelope =
        context.scope(async { outbox.envelope(&note("1", "a secret text")) }).await.unwrap();
    let shown = format!("{envelope:?}");
    for hidden in ["a secret text", "4111", "ada@"] {
        assert!(!shown.contains(hidden), "{shown}");
    }
    assert!(shown.contains("card") && shown.contains("note.taken"), "{shown}");
    let refused = outbox.envelope(&note("line\nbreak of ada", "x")).unwrap_err();
    assert!(!refused.to_string().contains("ada"), "{refused}");
}
