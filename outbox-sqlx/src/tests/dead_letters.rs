//! Dead letters: parking, redriving, discarding.

use std::time::Duration;

use relaybox_core::{
    AggregateId, AggregateType, DeadLetterQuery, DeadLetterState, DeadLetterStore, EventId,
    OutboxStore, Settled, Successors,
};

use super::{
    Harness, acquire, dead, enqueue, expire, names, one_dead_rest_parked, parked, published, read,
    refs,
};
use crate::Tables;

async fn states(outbox: &impl DeadLetterStore) -> Vec<(String, DeadLetterState)> {
    let letters = outbox.dead_letters(&DeadLetterQuery::all()).await.unwrap();
    let name = |payload: &[u8]| String::from_utf8(payload.to_vec()).unwrap();
    letters.iter().map(|l| (name(&l.envelope.as_ref().unwrap().payload), l.state)).collect()
}

pub(super) async fn redriven_events_are_published_in_the_original_order_and_unpark_the_aggregate<
    H: Harness,
>(
    harness: &H,
) {
    let outbox = harness.outbox(Tables::default());
    one_dead_rest_parked(harness, "s-1", &["a", "b"]).await;
    enqueue(harness, "s-1", &["c"]).await;
    enqueue(harness, "s-2", &["other"]).await;

    let mut reader = outbox.reader().await.unwrap();
    assert_eq!(names(&read(&mut reader).await), ["c parked", "other"]);

    assert_eq!(outbox.redrive(&DeadLetterQuery::all()).await.unwrap(), 1);
    assert_eq!(outbox.redrive(&DeadLetterQuery::all()).await.unwrap(), 0, "flagged already");
    reader.rewind();
    let rows = read(&mut reader).await;
    assert_eq!(names(&rows), ["a", "b", "c parked", "other"]);
    assert!(read(&mut reader).await.is_empty(), "dead letters are in flight, too");

    expire(harness).await;
    let lease = acquire(&outbox).await;
    let mut settlement = published(vec![rows[0].event, rows[1].event, rows[3].event]);
    settlement.parked = vec![rows[2].event];
    let settled = outbox.settle(&lease, &settlement).await.unwrap();
    assert_eq!(settled, Settled::new(3, 1, 0));
    reader.forget(&refs(&rows));

    // "c" waited behind them, and goes before what is new.
    enqueue(harness, "s-1", &["d"]).await;
    let rows = read(&mut reader).await;
    assert_eq!(names(&rows), ["c", "d parked"]);
    let mut settlement = published(vec![rows[0].event]);
    settlement.parked = vec![rows[1].event];
    outbox.settle(&lease, &settlement).await.unwrap();
    reader.forget(&refs(&rows));
    let rows = read(&mut reader).await;
    assert_eq!(names(&rows), ["d"]);
    outbox.settle(&lease, &published(refs(&rows))).await.unwrap();
    reader.forget(&refs(&rows));
    enqueue(harness, "s-1", &["e"]).await;
    assert_eq!(names(&read(&mut reader).await), ["e"]);
}

pub(super) async fn an_event_is_parked_while_its_predecessor_is_still_being_parked<H: Harness>(
    harness: &H,
) {
    let outbox = harness.outbox(Tables::default());
    one_dead_rest_parked(harness, "s-1", &["a"]).await;
    outbox.redrive(&DeadLetterQuery::all()).await.unwrap();
    enqueue(harness, "s-1", &["b"]).await;
    let mut reader = outbox.reader().await.unwrap();
    let rows = read(&mut reader).await;
    assert_eq!(names(&rows), ["a", "b parked"]);

    // The dead letter is settled alone; "b" is still on its way behind it when "c" is read.
    expire(harness).await;
    let lease = acquire(&outbox).await;
    outbox.settle(&lease, &published(vec![rows[0].event])).await.unwrap();
    reader.forget(&[rows[0].event]);
    enqueue(harness, "s-1", &["c"]).await;
    let later = read(&mut reader).await;
    assert_eq!(names(&later), ["c parked"]);

    let waiting = vec![rows[1].event, later[0].event];
    outbox.settle(&lease, &parked(waiting.clone())).await.unwrap();
    reader.forget(&waiting);
    assert_eq!(names(&read(&mut reader).await), ["b", "c"]);
}

pub(super) async fn redriving_an_event_redrives_its_predecessors<H: Harness>(harness: &H) {
    let outbox = harness.outbox(Tables::default());
    enqueue(harness, "s-1", &["a", "b", "c", "d"]).await;
    let lease = acquire(&outbox).await;
    let rows = refs(&read(&mut outbox.reader().await.unwrap()).await);
    let mut settlement = dead(&[rows[0], rows[2]]);
    settlement.parked = vec![rows[1], rows[3]];
    outbox.settle(&lease, &settlement).await.unwrap();

    // "b" is parked behind "a" and before "c".
    assert_eq!(outbox.redrive(&DeadLetterQuery::event(rows[1].event_id)).await.unwrap(), 1);
    let mut reader = outbox.reader().await.unwrap();
    let redriven = read(&mut reader).await;
    assert_eq!(names(&redriven), ["a", "b"]);
    outbox.settle(&lease, &published(refs(&redriven))).await.unwrap();
    reader.forget(&refs(&redriven));
    assert!(read(&mut reader).await.is_empty());

    assert_eq!(outbox.redrive(&DeadLetterQuery::event(rows[3].event_id)).await.unwrap(), 1);
    assert_eq!(names(&read(&mut reader).await), ["c", "d"]);
}

pub(super) async fn a_redriven_event_that_fails_again_waits_for_a_person<H: Harness>(harness: &H) {
    let outbox = harness.outbox(Tables::default());
    one_dead_rest_parked(harness, "s-1", &["a", "b"]).await;
    outbox.redrive(&DeadLetterQuery::all()).await.unwrap();
    expire(harness).await;
    let lease = acquire(&outbox).await;
    let rows = read(&mut outbox.reader().await.unwrap()).await;
    let mut settlement = dead(&[rows[0].event]);
    settlement.parked = vec![rows[1].event];
    assert_eq!(outbox.settle(&lease, &settlement).await.unwrap(), Settled::new(0, 1, 1));

    assert!(read(&mut outbox.reader().await.unwrap()).await.is_empty());
    let letters = outbox.dead_letters(&DeadLetterQuery::all()).await.unwrap();
    assert_eq!(letters[0].state, DeadLetterState::Dead);
    assert_eq!(letters[0].attempts, 6);
    assert_eq!(letters[0].reason.as_deref(), Some("tooodd"));
    assert_eq!(letters[1].state, DeadLetterState::Parked);
}

pub(super) async fn discarding_the_head_releases_its_successors_or_takes_them_along<H: Harness>(
    harness: &H,
) {
    let outbox = harness.outbox(Tables::default());
    let head = one_dead_rest_parked(harness, "s-1", &["a", "b"]).await[0].event;
    let query = DeadLetterQuery::event(head.event_id);
    assert_eq!(outbox.discard(&query, Successors::Release).await.unwrap(), 1);
    let released = read(&mut outbox.reader().await.unwrap()).await;
    assert_eq!(names(&released), ["b"]);
    expire(harness).await;
    let lease = acquire(&outbox).await;
    outbox.settle(&lease, &published(refs(&released))).await.unwrap();

    // a dead, b and c parked, d dead, e parked; and another aggregate.
    enqueue(harness, "s-1", &["a", "b", "c", "d", "e"]).await;
    let rows = refs(&read(&mut outbox.reader().await.unwrap()).await);
    let mut settlement = dead(&[rows[0], rows[3]]);
    settlement.parked = vec![rows[1], rows[2], rows[4]];
    outbox.settle(&lease, &settlement).await.unwrap();
    one_dead_rest_parked(harness, "s-2", &["x", "y"]).await;

    let query = DeadLetterQuery::event(rows[0].event_id);
    assert_eq!(outbox.discard(&query, Successors::Discard).await.unwrap(), 3);
    assert_eq!(
        states(&outbox).await,
        [
            ("d".to_owned(), DeadLetterState::Dead),
            ("e".to_owned(), DeadLetterState::Parked),
            ("x".to_owned(), DeadLetterState::Dead),
            ("y".to_owned(), DeadLetterState::Parked),
        ]
    );
    assert_eq!(outbox.discard(&DeadLetterQuery::all(), Successors::Release).await.unwrap(), 4);
}

pub(super) async fn a_malformed_row_is_parked_and_given_up_on_byte_for_byte<H: Harness>(
    harness: &H,
) {
    let outbox = harness.outbox(Tables::default());
    enqueue(harness, "s-1", &["a", "b"]).await;
    harness.execute("UPDATE outbox_events SET event_name = 'Not A Name', headers = 'x'").await;
    let lease = acquire(&outbox).await;
    let rows = refs(&read(&mut outbox.reader().await.unwrap()).await);
    let mut settlement = dead(&rows[..1]);
    settlement.parked = rows[1..].to_vec();
    assert_eq!(outbox.settle(&lease, &settlement).await.unwrap(), Settled::new(0, 1, 1));
    let kept = "SELECT count(*) FROM outbox_dead_letters \
         WHERE event_name = 'Not A Name' AND headers = 'x' AND enqueued_at IS NOT NULL";
    assert_eq!(harness.number(kept).await, 2);
    let letters = outbox.dead_letters(&DeadLetterQuery::all()).await.unwrap();
    assert!(letters.iter().all(|letter| letter.envelope.is_err()));
    assert_eq!(letters.iter().map(|l| l.event_id).collect::<Vec<_>>(), ids(&rows));

    // And goes the same way when it is redriven.
    outbox.redrive(&DeadLetterQuery::all()).await.unwrap();
    let again = read(&mut outbox.reader().await.unwrap()).await;
    assert!(again.len() == 2 && again.iter().all(|row| row.envelope.is_err()));
}

pub(super) async fn dead_letters_are_found_by_query<H: Harness>(harness: &H) {
    let outbox = harness.outbox(Tables::default());
    for aggregate in ["s-1", "s-2"] {
        one_dead_rest_parked(harness, aggregate, &["a", "b"]).await;
    }
    let count = async |query: DeadLetterQuery| outbox.dead_letters(&query).await.unwrap().len();
    assert_eq!(count(DeadLetterQuery::all()).await, 4);
    assert_eq!(count(DeadLetterQuery::all().limit(3)).await, 3);
    assert_eq!(count(DeadLetterQuery::event(EventId::new())).await, 0);

    let mut query = DeadLetterQuery::all();
    query.aggregate_type = Some(AggregateType::new("session").unwrap());
    query.aggregate_id = Some(AggregateId::new("s-2").unwrap());
    query.older_than = Some(Duration::ZERO);
    assert_eq!(count(query.clone()).await, 2);
    query.older_than = Some(Duration::MAX);
    assert_eq!(count(query).await, 0);

    // A limit gets on: it counts what is not flagged yet.
    for expected in [1, 1, 0] {
        let one = DeadLetterQuery::all().limit(1);
        assert_eq!(outbox.redrive(&one).await.unwrap(), expected);
    }
}

fn ids(events: &[relaybox_core::EventRef]) -> Vec<EventId> {
    events.iter().map(|event| event.event_id).collect()
}
