//! Writing and reading.

use relaybox_core::{
    DeadLetterQuery, DeadLetterStore, EventId, Label, OutboxStore, OutboxWriter, PartitionKey,
    ReadRequest, TraceContext,
};

use super::{
    Harness, acquire, enqueue, event, expire, names, one_dead_rest_parked, published, read, refs,
};
use crate::Tables;

pub(super) async fn a_rolled_back_transaction_leaves_nothing<H: Harness>(harness: &H) {
    let outbox = harness.outbox(Tables::default());
    let mut tx = harness.begin().await;
    outbox.write(&mut tx, &[event("s-1", "a")]).await.unwrap();
    outbox.write(&mut tx, &[event("s-1", "b"), event("s-1", "c")]).await.unwrap();
    drop(tx);
    enqueue(harness, "s-1", &["d"]).await;
    assert_eq!(names(&read(&mut outbox.reader().await.unwrap()).await), ["d"]);
}

pub(super) async fn events_come_back_in_order_and_whole<H: Harness>(harness: &H) {
    let outbox = harness.outbox(Tables::default());
    let mut full = event("Grün / 7", "full");
    full.content_type = "application/avro".into();
    full.partition_key = Some(PartitionKey::new("tenant-1").unwrap());
    full.metadata.source = Label::new("accounts").unwrap();
    full.metadata.correlation_id = Some(Label::new("request-1").unwrap());
    full.metadata.causation_id = Some(EventId::new());
    full.metadata.user_id = Some(Label::new("u-1").unwrap());
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    full.metadata.trace = Some(TraceContext::parse(parent, Some("vendor=1")).unwrap());
    full.metadata.headers.insert("tenant", "\"acme\"").unwrap();

    // More than one statement takes on SQLite, and one alone.
    let mut events: Vec<_> = (0..2500).map(|n| event("s-1", &n.to_string())).collect();
    events.push(full.clone());
    let mut tx = harness.begin().await;
    outbox.write(&mut tx, &events).await.unwrap();
    outbox.write(&mut tx, std::slice::from_ref(&full)).await.unwrap();
    outbox.write(&mut tx, &[]).await.unwrap();
    harness.commit(tx).await;
    events.push(full);

    let mut reader = outbox.reader().await.unwrap();
    let mut given = Vec::new();
    loop {
        let rows = reader.read(&ReadRequest::new(700)).await.unwrap();
        if rows.is_empty() {
            break;
        }
        given.extend(rows.into_iter().map(|row| row.envelope.unwrap()));
    }
    assert_eq!(given, events);
}

pub(super) async fn what_is_in_flight_is_not_given_again_until_rewound<H: Harness>(harness: &H) {
    let outbox = harness.outbox(Tables::default());
    enqueue(harness, "s-1", &["a", "b", "c"]).await;
    let mut reader = outbox.reader().await.unwrap();
    let first = reader.read(&ReadRequest::new(2)).await.unwrap();
    assert_eq!(names(&first), ["a", "b"]);
    assert_eq!(names(&read(&mut reader).await), ["c"]);
    assert!(read(&mut reader).await.is_empty());

    let lease = acquire(&outbox).await;
    outbox.settle(&lease, &published(refs(&first)[..1].to_vec())).await.unwrap();
    reader.forget(&refs(&first)[..1]);
    assert!(read(&mut reader).await.is_empty());
    reader.rewind();
    let all = reader.read(&ReadRequest::new(usize::MAX)).await.unwrap();
    assert_eq!(names(&all), ["b", "c"]);
}

pub(super) async fn a_read_stops_after_the_event_that_passes_the_bytes<H: Harness>(harness: &H) {
    let outbox = harness.outbox(Tables::default());
    enqueue(harness, "s-1", &["aaaa", "bbbb", "cccc", "dddd"]).await;
    let mut reader = outbox.reader().await.unwrap();
    let mut request = ReadRequest::new(100);
    for (max_bytes, expected) in [(1, 1), (5, 2), (4, 1), (4, 0)] {
        request.max_bytes = max_bytes;
        assert_eq!(reader.read(&request).await.unwrap().len(), expected, "{max_bytes}");
    }
}

pub(super) async fn held_back_types_stay_where_they_are<H: Harness>(harness: &H) {
    let outbox = harness.outbox(Tables::default());
    enqueue(harness, "s-1", &["a"]).await;
    let mut reader = outbox.reader().await.unwrap();
    let mut request = ReadRequest::new(100);
    request.held_back = vec![event("s-1", "a").aggregate_type];
    assert!(reader.read(&request).await.unwrap().is_empty());
    assert_eq!(names(&read(&mut reader).await), ["a"]);
}

pub(super) async fn a_malformed_row_is_given_as_an_error<H: Harness>(harness: &H) {
    let outbox = harness.outbox(Tables::default());
    enqueue(harness, "s-1", &["a", "b"]).await;
    harness
        .execute(
            "UPDATE outbox_events SET event_name = 'Not A Name', user_id = 'secret' \
             WHERE seq = (SELECT min(seq) FROM outbox_events)",
        )
        .await;
    let rows = read(&mut outbox.reader().await.unwrap()).await;
    let error = rows[0].envelope.as_ref().unwrap_err();
    assert_eq!(error.kind(), relaybox_core::ErrorKind::Decode);
    assert!(error.to_string().contains("event_name"), "{error}");
    assert!(!format!("{error:?}").contains("Not A Name"), "{error:?}");
    assert!(rows[1].envelope.is_ok());
}

pub(super) async fn the_backlog_is_measured<H: Harness>(harness: &H) {
    let outbox = harness.outbox(Tables::default());
    let empty = outbox.stats().await.unwrap();
    assert_eq!((empty.backlog, empty.oldest_age, empty.holder), (0, None, None));

    enqueue(harness, "s-1", &["a", "b"]).await;
    let lease = acquire(&outbox).await;
    let stats = outbox.stats().await.unwrap();
    assert_eq!((stats.backlog, stats.dead_letters, stats.parked), (2, 0, 0));
    assert!(stats.oldest_age.unwrap() < super::TTL);
    assert_eq!(stats.holder.unwrap().0, lease.relay);
    expire(harness).await;
    assert_eq!(outbox.stats().await.unwrap().holder, None);
}

pub(super) async fn dead_letters_are_measured_apart_from_what_is_parked<H: Harness>(harness: &H) {
    let outbox = harness.outbox(Tables::default());
    one_dead_rest_parked(harness, "s-1", &["a", "b", "c"]).await;
    one_dead_rest_parked(harness, "s-2", &["d"]).await;
    enqueue(harness, "s-3", &["e"]).await;
    // What is redriven was given up on, until it is published.
    for _ in 0..2 {
        let stats = outbox.stats().await.unwrap();
        assert_eq!((stats.backlog, stats.dead_letters, stats.parked), (1, 2, 2));
        outbox.redrive(&DeadLetterQuery::all()).await.unwrap();
    }
}
