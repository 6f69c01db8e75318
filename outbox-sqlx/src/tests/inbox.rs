//! The consumer's marks.

use std::time::Duration;

use chrono::Utc;
use relaybox_core::{
    ConsumerName, ErrorKind, EventId, Failure, GiveUp, GivenUpAt, Mark, Partition,
    ProcessedEventStore, TopicName,
};

use super::{Harness, LIMIT};
use crate::Tables;

pub(super) fn consumer() -> ConsumerName {
    ConsumerName::new("notifications").unwrap()
}

pub(super) async fn a_repeat_inside_a_call_is_a_repeat<H: Harness>(harness: &H) {
    let inbox = harness.inbox(Tables::default());
    let (one, two, three) = (EventId::new(), EventId::new(), EventId::new());
    let mut tx = inbox.begin(LIMIT).await.unwrap();
    let marks = inbox.mark(&mut tx, &consumer(), &[three, one, one, two]).await.unwrap();
    assert_eq!(marks, [Mark::First, Mark::First, Mark::Repeat, Mark::First]);
    let marks = inbox.mark(&mut tx, &consumer(), &[two]).await.unwrap();
    assert_eq!(marks, [Mark::Repeat]);
    inbox.commit(tx).await.unwrap();

    let mut tx = inbox.begin(LIMIT).await.unwrap();
    assert_eq!(inbox.mark(&mut tx, &consumer(), &[]).await.unwrap(), []);
    assert_eq!(inbox.mark(&mut tx, &consumer(), &[one]).await.unwrap(), [Mark::Repeat]);
    let other = ConsumerName::new("billing").unwrap();
    assert_eq!(inbox.mark(&mut tx, &other, &[one]).await.unwrap(), [Mark::First]);
    inbox.rollback(tx).await.unwrap();
}

pub(super) async fn a_rolled_back_mark_is_no_mark<H: Harness>(harness: &H) {
    let inbox = harness.inbox(Tables::default());
    let id = EventId::new();
    for way in ["rollback", "drop", "commit", "repeat"] {
        let mut tx = inbox.begin(LIMIT).await.unwrap();
        let marks = inbox.mark(&mut tx, &consumer(), &[id]).await.unwrap();
        let expected = if way == "repeat" { Mark::Repeat } else { Mark::First };
        assert_eq!(marks, [expected], "{way}");
        match way {
            "rollback" => inbox.rollback(tx).await.unwrap(),
            "drop" => drop(tx),
            _ => inbox.commit(tx).await.unwrap(),
        }
    }
}

pub(super) async fn of_eight_concurrent_transactions_one_handles_the_event<H: Harness>(
    harness: &H,
) {
    harness.execute("CREATE TABLE effect (n integer)").await;
    let inbox = harness.inbox(Tables::default());
    let id = EventId::new();
    let deliveries = (0..8).map(|n| {
        let inbox = inbox.clone();
        async move {
            let mut tx = inbox.begin(LIMIT).await.unwrap();
            let mark = inbox.mark(&mut tx, &consumer(), &[id]).await.unwrap()[0];
            if mark == Mark::First {
                harness.execute_in(&mut tx, "INSERT INTO effect VALUES (1)").await;
                // The first one fails at the end: its mark must go to another.
                if n == 0 {
                    inbox.rollback(tx).await.unwrap();
                    return false;
                }
            }
            inbox.commit(tx).await.unwrap();
            mark == Mark::First
        }
    });
    let handled = futures::future::join_all(deliveries).await;
    assert_eq!(handled.iter().filter(|first| **first).count(), 1, "{handled:?}");
    assert_eq!(harness.number("SELECT count(*) FROM effect").await, 1);
}

pub(super) async fn overlapping_batches_in_any_order_all_commit<H: Harness>(harness: &H) {
    let inbox = harness.inbox(Tables::default());
    let ids: Vec<_> = (0..5000).map(|_| EventId::new()).collect();
    let batches = (0..6).map(|n| {
        let (inbox, mut batch) = (inbox.clone(), ids.clone());
        if n % 2 == 0 {
            batch.reverse();
        }
        async move {
            let mut tx = inbox.begin(LIMIT).await.unwrap();
            let marks = inbox.mark(&mut tx, &consumer(), &batch).await.unwrap();
            inbox.commit(tx).await.unwrap();
            marks.iter().filter(|mark| **mark == Mark::First).count()
        }
    });
    let firsts: usize = futures::future::join_all(batches).await.iter().sum();
    assert_eq!(firsts, ids.len());
}

pub(super) fn partition(number: i32) -> Partition {
    Partition::new(TopicName::new("session-events.v1").unwrap(), number, 1)
}

fn failure(reason: &str, attempts: u32) -> Failure {
    Failure::new(consumer(), ErrorKind::Rejected, reason.into(), attempts, Utc::now())
}

fn at(offset: i64, fingerprint: i64, progress: GiveUp) -> GivenUpAt {
    GivenUpAt::new(offset, fingerprint, progress)
}

pub(super) async fn giving_up_is_remembered_by_place<H: Harness>(harness: &H) {
    let inbox = harness.inbox(Tables::default());
    let six = at(6, i64::MIN, GiveUp::Decided);
    let seven = at(7, i64::MAX, GiveUp::DeadLettered);
    for at in [six, at(7, i64::MAX, GiveUp::Decided), seven] {
        inbox.give_up(&partition(2), at, &failure("no\0such user", 3)).await.unwrap();
    }
    let known = async |number, from| {
        let mut known = inbox.given_up(&consumer(), &partition(number), from).await.unwrap();
        known.sort_unstable_by_key(|at| at.offset);
        known
    };
    assert_eq!(known(2, 0).await, [six, seven]);
    assert_eq!(known(2, 7).await, [seven]);
    assert_eq!(known(2, 8).await, []);
    assert_eq!(known(3, 0).await, []);
    assert_eq!(harness.number("SELECT count(*) FROM processed_events").await, 0);
}

pub(super) async fn the_same_record_keeps_its_failure_and_another_replaces_it<H: Harness>(
    harness: &H,
) {
    let inbox = harness.inbox(Tables::default());
    let give_up = async |at, failure| inbox.give_up(&partition(0), at, &failure).await.unwrap();
    let expect = async |at: GivenUpAt, reason: &str, attempts: u32, decided_at: &str| {
        assert_eq!(inbox.given_up(&consumer(), &partition(0), 0).await.unwrap(), [at]);
        let sql = format!(
            "SELECT count(*) FROM given_up_events JOIN known ON decided_at {decided_at} known.at \
             WHERE reason = '{reason}' AND attempts = {attempts} AND error_kind = '{}'",
            ErrorKind::Rejected.as_str()
        );
        assert_eq!(harness.number(&sql).await, 1, "{reason}");
    };
    give_up(at(7, 1, GiveUp::Decided), failure("no such user", 3)).await;
    harness.execute("CREATE TABLE known AS SELECT decided_at AS at FROM given_up_events").await;

    // Time goes by: SQLite's clock goes by milliseconds.
    tokio::time::sleep(Duration::from_millis(5)).await;
    let unknown = Failure::new(consumer(), ErrorKind::Other, "given up".into(), 0, Utc::now());
    give_up(at(7, 1, GiveUp::DeadLettered), unknown).await;
    expect(at(7, 1, GiveUp::DeadLettered), "no such user", 3, "=").await;

    give_up(at(7, 2, GiveUp::Decided), failure("no such order", 5)).await;
    expect(at(7, 2, GiveUp::Decided), "no such order", 5, ">").await;
}

pub(super) async fn purging_is_bounded_and_spares_the_young<H: Harness>(harness: &H) {
    let inbox = harness.inbox(Tables::default());
    for offset in 0..3 {
        let at = at(offset, 0, GiveUp::DeadLettered);
        inbox.give_up(&partition(0), at, &failure("no such user", 3)).await.unwrap();
    }
    let ids: Vec<_> = (0..10).map(|_| EventId::new()).collect();
    let mut tx = inbox.begin(LIMIT).await.unwrap();
    inbox.mark(&mut tx, &consumer(), &ids).await.unwrap();
    inbox.commit(tx).await.unwrap();
    assert_eq!(inbox.purge(&consumer(), Duration::from_secs(3600), 100).await.unwrap(), 0);
    assert_eq!(inbox.purge(&consumer(), Duration::MAX, 100).await.unwrap(), 0);
    assert_eq!(inbox.purge(&consumer(), Duration::ZERO, 0).await.unwrap(), 0);

    let rows = "SELECT (SELECT count(*) FROM processed_events) \
         + (SELECT count(*) FROM given_up_events)";
    let mut left = 13;
    while left > 0 {
        // None at first: SQLite's clock goes by milliseconds.
        let purged = inbox.purge(&consumer(), Duration::ZERO, 4).await.unwrap();
        assert!(purged <= 4, "{purged}");
        left -= i64::try_from(purged).unwrap();
        assert_eq!(harness.number(rows).await, left);
        tokio::task::yield_now().await;
    }
}

pub(super) async fn a_consumer_purges_its_own<H: Harness>(harness: &H) {
    let inbox = harness.inbox(Tables::default());
    let other = ConsumerName::new("billing").unwrap();
    let id = EventId::new();
    let mut tx = inbox.begin(LIMIT).await.unwrap();
    for by in [&consumer(), &other] {
        inbox.mark(&mut tx, by, &[id]).await.unwrap();
    }
    inbox.commit(tx).await.unwrap();
    for by in [&consumer(), &other] {
        let failure = Failure::new(by.clone(), ErrorKind::Rejected, String::new(), 1, Utc::now());
        inbox.give_up(&partition(0), at(7, 1, GiveUp::Decided), &failure).await.unwrap();
    }
    harness.age("processed_events", "processed_at", 60).await;
    harness.age("given_up_events", "decided_at", 60).await;
    assert_eq!(inbox.purge(&consumer(), Duration::from_secs(30), 10).await.unwrap(), 2);
    assert_eq!(inbox.known(&consumer(), &[id]).await.unwrap(), [Mark::First]);
    assert_eq!(inbox.known(&other, &[id]).await.unwrap(), [Mark::Repeat]);
    assert_eq!(harness.number("SELECT count(*) FROM given_up_events").await, 1);
    assert_eq!(inbox.purge(&consumer(), Duration::from_secs(30), 10).await.unwrap(), 0);
    assert_eq!(inbox.purge(&other, Duration::from_secs(30), 10).await.unwrap(), 2);
}

pub(super) async fn what_has_committed_is_known<H: Harness>(harness: &H) {
    let inbox = harness.inbox(Tables::default());
    let [one, two, three] = [EventId::new(), EventId::new(), EventId::new()];
    let mut tx = inbox.begin(LIMIT).await.unwrap();
    inbox.mark(&mut tx, &consumer(), &[one]).await.unwrap();
    // It waits for nobody: the transaction may be rolled back yet.
    assert_eq!(inbox.known(&consumer(), &[one]).await.unwrap(), [Mark::First]);
    inbox.commit(tx).await.unwrap();
    let mut tx = inbox.begin(LIMIT).await.unwrap();
    inbox.mark(&mut tx, &consumer(), &[two]).await.unwrap();
    inbox.rollback(tx).await.unwrap();
    let known = inbox.known(&consumer(), &[three, one, two, one]).await.unwrap();
    assert_eq!(known, [Mark::First, Mark::Repeat, Mark::First, Mark::Repeat]);
    assert_eq!(inbox.known(&consumer(), &[]).await.unwrap(), []);
    let other = ConsumerName::new("billing").unwrap();
    assert_eq!(inbox.known(&other, &[one]).await.unwrap(), [Mark::First]);
}
