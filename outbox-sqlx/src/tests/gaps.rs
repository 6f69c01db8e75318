//! What the Postgres reader remembers, and what it forgets. The attacks on a whole relay are in the
//! workspace's `tests/attacks`.

use std::time::{Duration, Instant};

use relaybox_core::{
    AggregateType, Envelope, OutboxReader, OutboxStore, OutboxWriter, ReadRequest,
};

use super::{Harness, event, names, postgres::PgHarness, read, run_migrated};
use crate::{PgOutbox, Tables};

type Reader = Box<dyn OutboxReader>;

/// Writes in a transaction of its own.
async fn commit(harness: &PgHarness, outbox: &PgOutbox, events: &[Envelope]) {
    let mut tx = harness.begin().await;
    outbox.write(&mut tx, events).await.unwrap();
    harness.commit(tx).await;
}

fn of_type(aggregate_type: &'static str, payload: &'static str) -> Envelope {
    let mut envelope = event("s-1", payload);
    envelope.aggregate_type = AggregateType::new(aggregate_type).unwrap();
    envelope
}

/// Reads until something comes, as long as a sweep may take.
async fn read_late(reader: &mut Reader) -> Vec<String> {
    let since = Instant::now();
    loop {
        let rows = read(reader).await;
        if !rows.is_empty() {
            return names(&rows);
        }
        assert!(since.elapsed() < Duration::from_secs(20), "nothing came");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_million_numbers_that_are_rolled_back_cost_one_range() {
    run_migrated(async |harness: &PgHarness| {
        let outbox = harness.outbox(Tables::default());
        let mut reader = outbox.open_reader().await.unwrap();
        let mut many = harness.begin().await;
        outbox.write(&mut many, &[event("s-1", "never")]).await.unwrap();
        sqlx::query(
            "SELECT count(nextval(pg_get_serial_sequence('outbox_events', 'seq'))) \
             FROM generate_series(1, 1000000)",
        )
        .execute(&mut *many)
        .await
        .unwrap();
        let request = ReadRequest::new(10);
        commit(harness, &outbox, &[event("s-2", "other")]).await;
        for other in ["other", "another"] {
            assert_eq!(names(&reader.read(&request).await.unwrap()), [other]);
            assert_eq!(reader.gaps(), 1);
            commit(harness, &outbox, &[event("s-2", "another")]).await;
        }
        many.rollback().await.unwrap();
        let since = Instant::now();
        while reader.gaps() > 0 {
            assert!(since.elapsed() < Duration::from_secs(60), "the rollback is remembered");
            reader.read(&request).await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn a_late_event_comes_before_its_successor_of_the_same_page() {
    run_migrated(async |harness: &PgHarness| {
        let outbox = harness.outbox(Tables::default());
        let mut reader = outbox.reader().await.unwrap();
        commit(harness, &outbox, &[event("s-0", "first")]).await;
        let mut late = harness.begin().await;
        outbox.write(&mut late, &[event("s-1", "late")]).await.unwrap();
        commit(harness, &outbox, &[event("s-2", "other")]).await;
        assert_eq!(names(&read(&mut reader).await), ["first", "other"]);
        for _ in 0..3 {
            assert!(read(&mut reader).await.is_empty());
        }
        harness.commit(late).await;
        commit(harness, &outbox, &[event("s-1", "successor")]).await;
        assert_eq!(names(&read(&mut reader).await), ["late", "successor"]);
        assert_eq!(reader.overlooked(), 0, "no sweep was needed");
    })
    .await;
}

#[tokio::test]
async fn a_position_that_nobody_owns_any_more_is_late_when_it_is_used_and_counted() {
    run_migrated(async |harness: &PgHarness| {
        let outbox = harness.outbox(Tables::default());
        let mut reader = outbox.reader().await.unwrap();
        commit(harness, &outbox, &[event("s-1", "1")]).await;
        harness.execute("SELECT nextval(pg_get_serial_sequence('outbox_events', 'seq'))").await;
        commit(harness, &outbox, &[event("s-1", "3")]).await;
        assert_eq!(names(&read(&mut reader).await), ["1", "3"]);
        // Two looks forget the gap.
        for _ in 0..3 {
            assert!(read(&mut reader).await.is_empty());
        }
        harness
            .execute(
                "INSERT INTO outbox_events (seq, event_id, aggregate_type, aggregate_id, event_name, \
                 event_version, occurred_at, content_type, source, payload) \
                 OVERRIDING SYSTEM VALUE VALUES (2, gen_random_uuid(), 'session', 's-2', \
                 'session.created', 1, now(), 'application/json', '', '2')",
            )
            .await;
        assert_eq!(read_late(&mut reader).await, ["2"]);
        assert_eq!((reader.overlooked(), reader.overlooked()), (1, 0));
        // It has gone back to there: what follows comes in order, and nothing comes twice.
        commit(harness, &outbox, &[event("s-1", "4")]).await;
        assert_eq!(names(&read(&mut reader).await), ["4"]);
    })
    .await;
}

#[tokio::test]
async fn what_was_held_back_comes_first_when_it_is_not_any_more() {
    run_migrated(async |harness: &PgHarness| {
        let outbox = harness.outbox(Tables::default());
        let mut reader = outbox.reader().await.unwrap();
        let mut request = ReadRequest::new(2);
        request.held_back = vec![AggregateType::new("held").unwrap()];
        let mut late = harness.begin().await;
        for n in 0..3 {
            commit(harness, &outbox, &[of_type("held", "h"), of_type("free", "f")]).await;
            if n == 1 {
                outbox
                    .write(&mut late, &[of_type("held", "late h"), of_type("free", "late f")])
                    .await
                    .unwrap();
            }
        }
        assert_eq!(names(&reader.read(&request).await.unwrap()), ["f", "f"]);
        assert_eq!(names(&reader.read(&request).await.unwrap()), ["f"]);
        harness.commit(late).await;
        assert_eq!(names(&reader.read(&request).await.unwrap()), ["late f"]);
        assert!(reader.read(&request).await.unwrap().is_empty());

        request.held_back.clear();
        let mut held = names(&reader.read(&request).await.unwrap());
        held.extend(names(&reader.read(&request).await.unwrap()));
        assert_eq!(held, ["h", "h", "late h", "h"]);
        assert_eq!(reader.overlooked(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_gap_with_more_rows_than_a_page_is_read_whole_and_first() {
    run_migrated(async |harness: &PgHarness| {
        let outbox = harness.outbox(Tables::default());
        let mut reader = outbox.reader().await.unwrap();
        let mut late = harness.begin().await;
        let events: Vec<_> = (0..25).map(|_| event("s-1", "late")).collect();
        outbox.write(&mut late, &events).await.unwrap();
        commit(harness, &outbox, &[event("s-2", "early")]).await;
        let mut request = ReadRequest::new(10);
        assert_eq!(names(&reader.read(&request).await.unwrap()), ["early"]);
        harness.commit(late).await;
        commit(harness, &outbox, &[event("s-1", "last")]).await;
        let mut given = Vec::new();
        for bytes in [usize::MAX, 9, 9, usize::MAX, usize::MAX, usize::MAX] {
            request.max_bytes = bytes;
            given.extend(names(&reader.read(&request).await.unwrap()));
        }
        let mut expected = vec!["late"; 25];
        expected.push("last");
        assert_eq!(given, expected);
    })
    .await;
}

#[tokio::test]
async fn a_read_waits_for_no_strangers_log_records() {
    run_migrated(async |harness: &PgHarness| {
        let outbox = harness.outbox(Tables::default());
        let mut reader = outbox.reader().await.unwrap();
        harness.execute("CREATE TABLE things (n integer)").await;
        // Written to the log, and not flushed by anybody.
        let mut stranger = harness.begin().await;
        harness.execute_in(&mut stranger, "INSERT INTO things VALUES (1)").await;
        for payload in ["1", "2", "3"] {
            commit(harness, &outbox, &[event("s-1", payload)]).await;
            harness.execute_in(&mut stranger, "INSERT INTO things VALUES (2)").await;
            assert_eq!(names(&read(&mut reader).await), [payload]);
        }
    })
    .await;
}
