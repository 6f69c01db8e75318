//! The archive of what was published.

use std::time::Duration;

use relaybox_core::{
    AggregateId, AggregateType, ArchiveQuery, ArchiveStore, ArchivedEvent, DeadLetterQuery,
    DeadLetterStore, ErrorKind, EventId, EventRef, OutboxStore, OutboxWriter, Published, Receipt,
    Settled, Settlement, Successors, TopicName,
};

use super::{
    Harness, acquire, dead, enqueue, event, expire, one_dead_rest_parked, published, read, refs,
};
use crate::Tables;

/// The payloads of what is in the archive, the latest first.
async fn archived(outbox: &impl ArchiveStore) -> Vec<String> {
    payloads(&outbox.archived(&ArchiveQuery::latest()).await.unwrap())
}

fn payloads(events: &[ArchivedEvent]) -> Vec<String> {
    let payload = |event: &ArchivedEvent| event.envelope.as_ref().unwrap().payload.to_vec();
    events.iter().map(|event| String::from_utf8(payload(event)).unwrap()).collect()
}

fn went(event: EventRef, topic: &str, receipt: Receipt) -> Published {
    Published::new(event, TopicName::new(topic.to_owned()).unwrap(), receipt)
}

/// Publishes events of one aggregate, all at once; gives where they were.
async fn publish<H: Harness>(harness: &H, aggregate: &str, names: &[&str]) -> Vec<EventRef> {
    let outbox = harness.archiving(Tables::default());
    enqueue(harness, aggregate, names).await;
    expire(harness).await;
    let lease = acquire(&outbox).await;
    let rows = refs(&read(&mut outbox.reader().await.unwrap()).await);
    outbox.settle(&lease, &published(rows.clone())).await.unwrap();
    rows
}

pub(super) async fn an_archived_event_says_where_it_went_and_when<H: Harness>(harness: &H) {
    let outbox = harness.archiving(Tables::default());
    one_dead_rest_parked(harness, "s-1", &["dead", "parked"]).await;
    outbox.redrive(&DeadLetterQuery::all()).await.unwrap();
    let mut tx = harness.begin().await;
    let mut full = event("Grün / 7", "numbered");
    full.metadata.headers.insert("tenant", "\"acme\"").unwrap();
    let others = [full.clone(), event("s-2", "unnumbered")];
    outbox.write(&mut tx, &others).await.unwrap();
    harness.commit(tx).await;

    expire(harness).await;
    let lease = acquire(&outbox).await;
    let rows = refs(&read(&mut outbox.reader().await.unwrap()).await);
    let places = [
        ("session-events.v1", Receipt::at(0, 0)),
        ("session-events.v1", Receipt::at(11, i64::MAX)),
        ("billing.v2", Receipt::at(3, 7)),
        ("other.v1", Receipt::unnumbered()),
    ];
    let mut settlement = Settlement::default();
    settlement.published =
        rows.iter().zip(places).map(|(row, (topic, at))| went(*row, topic, at)).collect();
    assert_eq!(outbox.settle(&lease, &settlement).await.unwrap(), Settled::new(4, 0, 0));

    let mut kept = outbox.archived(&ArchiveQuery::latest()).await.unwrap();
    assert_eq!(payloads(&kept), ["unnumbered", "numbered", "parked", "dead"], "the latest first");
    kept.reverse();
    let now = chrono::Utc::now();
    for ((event, row), (topic, receipt)) in kept.iter().zip(&rows).zip(places) {
        assert_eq!((event.position, event.event_id), (row.position, row.event_id));
        assert_eq!((event.topic.as_str(), event.receipt), (topic, receipt));
        assert!(event.enqueued_at <= event.published_at, "{event:?}");
        let age = now - event.published_at;
        assert!(age.abs() < chrono::TimeDelta::minutes(5), "{age}");
        assert_eq!(event.published_at, kept[0].published_at, "a settlement has one time");
    }
    assert_eq!(kept[2].envelope.as_ref().unwrap(), &full);
    let gone = "SELECT (SELECT count(*) FROM outbox_events) \
         + (SELECT count(*) FROM outbox_dead_letters)";
    assert_eq!(harness.number(gone).await, 0);
}

pub(super) async fn without_the_option_nothing_is_archived<H: Harness>(harness: &H) {
    let outbox = harness.outbox(Tables::default());
    one_dead_rest_parked(harness, "s-1", &["a"]).await;
    enqueue(harness, "s-2", &["b"]).await;
    outbox.redrive(&DeadLetterQuery::all()).await.unwrap();
    expire(harness).await;
    let lease = acquire(&outbox).await;
    let rows = refs(&read(&mut outbox.reader().await.unwrap()).await);
    let settled = outbox.settle(&lease, &published(rows)).await.unwrap();
    assert_eq!(settled, Settled::new(2, 0, 0));
    assert!(archived(&outbox).await.is_empty());
    assert_eq!(harness.number("SELECT count(*) FROM outbox_archive").await, 0);
}

pub(super) async fn a_late_settle_after_lease_loss_archives_nothing<H: Harness>(harness: &H) {
    let outbox = harness.archiving(Tables::default());
    one_dead_rest_parked(harness, "s-1", &["a"]).await;
    enqueue(harness, "s-2", &["b", "c"]).await;
    outbox.redrive(&DeadLetterQuery::all()).await.unwrap();
    expire(harness).await;
    let late = acquire(&outbox).await;
    let rows = refs(&read(&mut outbox.reader().await.unwrap()).await);
    assert_eq!(rows.len(), 3);
    expire(harness).await;
    acquire(&outbox).await;

    let mut mixed = published(rows[..2].to_vec());
    mixed.dead = dead(&rows[2..]).dead;
    for settlement in [published(rows), mixed] {
        let error = outbox.settle(&late, &settlement).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LeaseLost);
        assert!(archived(&outbox).await.is_empty());
        let stats = outbox.stats().await.unwrap();
        assert_eq!((stats.backlog, stats.dead_letters), (2, 1));
    }
}

pub(super) async fn settling_again_archives_nothing_again<H: Harness>(harness: &H) {
    let outbox = harness.archiving(Tables::default());
    one_dead_rest_parked(harness, "s-1", &["a"]).await;
    enqueue(harness, "s-2", &["b"]).await;
    outbox.redrive(&DeadLetterQuery::all()).await.unwrap();
    expire(harness).await;
    let lease = acquire(&outbox).await;
    let rows = refs(&read(&mut outbox.reader().await.unwrap()).await);
    // Not even in one settlement.
    let twice = published([rows.clone(), rows].concat());
    for expected in [2, 0] {
        let settled = outbox.settle(&lease, &twice).await.unwrap();
        assert_eq!(settled, Settled::new(expected, 0, 0));
        assert_eq!(archived(&outbox).await, ["b", "a"]);
    }
}

pub(super) async fn only_what_was_published_is_archived<H: Harness>(harness: &H) {
    let outbox = harness.archiving(Tables::default());
    enqueue(harness, "s-1", &["published", "dead", "parked"]).await;
    let lease = acquire(&outbox).await;
    let rows = refs(&read(&mut outbox.reader().await.unwrap()).await);
    let mut settlement = dead(&rows[1..2]);
    settlement.published = published(rows[..1].to_vec()).published;
    settlement.parked = rows[2..].to_vec();
    assert_eq!(outbox.settle(&lease, &settlement).await.unwrap(), Settled::new(1, 1, 1));
    outbox.discard(&DeadLetterQuery::all(), Successors::Discard).await.unwrap();
    assert_eq!(archived(&outbox).await, ["published"]);
}

pub(super) async fn a_malformed_row_is_archived_byte_for_byte<H: Harness>(harness: &H) {
    let outbox = harness.archiving(Tables::default());
    enqueue(harness, "s-1", &["a"]).await;
    harness.execute("UPDATE outbox_events SET event_name = 'Not A Name', headers = 'x'").await;
    let lease = acquire(&outbox).await;
    let rows = refs(&read(&mut outbox.reader().await.unwrap()).await);
    outbox.settle(&lease, &published(rows.clone())).await.unwrap();
    let kept = outbox.archived(&ArchiveQuery::latest()).await.unwrap().remove(0);
    assert_eq!(kept.event_id, rows[0].event_id);
    assert_eq!(kept.envelope.unwrap_err().kind(), ErrorKind::Decode);
    let same = "SELECT count(*) FROM outbox_archive WHERE event_name = 'Not A Name' \
         AND headers = 'x' AND enqueued_at IS NOT NULL";
    assert_eq!(harness.number(same).await, 1);
}

pub(super) async fn archived_events_are_found_by_query<H: Harness>(harness: &H) {
    let outbox = harness.archiving(Tables::default());
    let ids = publish(harness, "s-1", &["a", "b"]).await;
    harness.age("outbox_archive", "published_at", 1).await;
    publish(harness, "s-2", &["c"]).await;
    let found = async |query: ArchiveQuery| payloads(&outbox.archived(&query).await.unwrap());
    let session = || AggregateType::new("session").unwrap();
    let aggregate = |id| ArchiveQuery::aggregate(session(), AggregateId::new(id).unwrap());

    assert_eq!(found(ArchiveQuery::latest()).await, ["c", "b", "a"]);
    assert_eq!(found(ArchiveQuery::latest().limit(2)).await, ["c", "b"]);
    assert_eq!(found(ArchiveQuery::latest().limit(0)).await, [""; 0]);
    assert_eq!(found(aggregate("s-1")).await, ["b", "a"]);
    assert_eq!(found(aggregate("s-3")).await, [""; 0]);
    assert_eq!(found(ArchiveQuery::event(ids[0].event_id)).await, ["a"]);
    assert_eq!(found(ArchiveQuery::event(EventId::new())).await, [""; 0]);
    let mut of_type = ArchiveQuery::latest();
    of_type.aggregate_type = Some(AggregateType::new("invoice").unwrap());
    assert_eq!(found(of_type).await, [""; 0]);

    let latest = outbox.archived(&ArchiveQuery::latest().limit(1)).await.unwrap()[0].published_at;
    let mut since = ArchiveQuery::latest();
    since.published_from = Some(latest);
    assert_eq!(found(since).await, ["c"]);
    let mut before = ArchiveQuery::latest();
    before.published_before = Some(latest);
    assert_eq!(found(before).await, ["b", "a"]);
}

pub(super) async fn purging_the_archive_is_bounded_and_goes_by_age<H: Harness>(harness: &H) {
    let outbox = harness.archiving(Tables::default());
    publish(harness, "s-1", &["a", "b", "c", "d", "e"]).await;
    // As if an hour had passed, in the unit of each database.
    harness.age("outbox_archive", "published_at", 3600).await;
    publish(harness, "s-2", &["young"]).await;
    let purge =
        async |age, limit| outbox.purge_archive(Duration::from_secs(age), limit).await.unwrap();
    assert_eq!(purge(3700, 100).await, 0);
    assert_eq!(outbox.purge_archive(Duration::MAX, 100).await.unwrap(), 0);
    assert_eq!(purge(3500, 0).await, 0);
    assert_eq!(purge(3500, 2).await, 2);
    assert_eq!(archived(&outbox).await.len(), 4);
    assert_eq!(purge(3500, 2).await, 2);
    assert_eq!(purge(3500, 2).await, 1);
    assert_eq!(purge(3500, 2).await, 0);
    assert_eq!(archived(&outbox).await, ["young"]);
    // Nothing that waits is purged, however old.
    enqueue(harness, "s-3", &["waiting"]).await;
    assert_eq!(purge(0, 2).await, 1);
    assert_eq!(harness.number("SELECT count(*) FROM outbox_events").await, 1);
}

pub(super) async fn an_archive_that_is_missing_is_named_before_anything_is_published<H: Harness>(
    harness: &H,
) {
    harness.execute("DROP TABLE outbox_archive").await;
    harness.outbox(Tables::default()).reader().await.unwrap();
    let Err(error) = harness.archiving(Tables::default()).reader().await else {
        panic!("there is no archive")
    };
    assert_eq!(error.kind(), ErrorKind::Schema);
    assert!(error.to_string().contains("run the migrations"), "{error}");
}
