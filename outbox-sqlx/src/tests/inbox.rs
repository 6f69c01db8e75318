//! The consumer's marks.

use std::time::Duration;

use chrono::Utc;
use relaybox_core::{
    ConsumerName, ErrorKind, EventId, Failure, GiveUp, Mark, Partition, ProcessedEventStore,
    TopicName,
};

use super::Harness;
use crate::Tables;

fn consumer() -> ConsumerName {
    ConsumerName::new("notifications").unwrap()
}

pub(super) async fn a_repeat_inside_a_call_is_a_repeat<H: Harness>(harness: &H) {
    let inbox = harness.inbox(Tables::default());
    let (one, two, three) = (EventId::new(), EventId::new(), EventId::new());
    let mut tx = inbox.begin().await.unwrap();
    let marks = inbox.mark(&mut tx, &consumer(), &[three, one, one, two]).await.unwrap();
    assert_eq!(marks, [Mark::First, Mark::First, Mark::Repeat, Mark::First]);
    let marks = inbox.mark(&mut tx, &consumer(), &[two]).await.unwrap();
    assert_eq!(marks, [Mark::Repeat]);
    inbox.commit(tx).await.unwrap();

    let mut tx = inbox.begin().await.unwrap();
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
        let mut tx = inbox.begin().await.unwrap();
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
            let mut tx = inbox.begin().await.unwrap();
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
            let mut tx = inbox.begin().await.unwrap();
            let marks = inbox.mark(&mut tx, &consumer(), &batch).await.unwrap();
            inbox.commit(tx).await.unwrap();
            marks.iter().filter(|mark| **mark == Mark::First).count()
        }
    });
    let firsts: usize = futures::future::join_all(batches).await.iter().sum();
    assert_eq!(firsts, ids.len());
}

pub(super) async fn giving_up_is_remembered_by_place<H: Harness>(harness: &H) {
    let inbox = harness.inbox(Tables::default());
    let partition =
        |number| Partition::new(TopicName::new("session-events.v1").unwrap(), number, 1);
    let failure =
        Failure::new(consumer(), ErrorKind::Rejected, "no\0such user".into(), 3, Utc::now());
    for (offset, progress) in
        [(6, GiveUp::Decided), (7, GiveUp::Decided), (7, GiveUp::DeadLettered)]
    {
        inbox.give_up(&partition(2), offset, &failure, progress).await.unwrap();
    }
    let known = async |number, from| {
        let mut known = inbox.given_up(&consumer(), &partition(number), from).await.unwrap();
        known.sort_unstable_by_key(|(offset, _)| *offset);
        known
    };
    assert_eq!(known(2, 0).await, [(6, GiveUp::Decided), (7, GiveUp::DeadLettered)]);
    assert_eq!(known(2, 7).await, [(7, GiveUp::DeadLettered)]);
    assert_eq!(known(2, 8).await, []);
    assert_eq!(known(3, 0).await, []);
    assert_eq!(harness.number("SELECT count(*) FROM processed_events").await, 0);
}

pub(super) async fn purging_is_bounded_and_spares_the_young<H: Harness>(harness: &H) {
    let inbox = harness.inbox(Tables::default());
    let ids: Vec<_> = (0..10).map(|_| EventId::new()).collect();
    let mut tx = inbox.begin().await.unwrap();
    inbox.mark(&mut tx, &consumer(), &ids).await.unwrap();
    inbox.commit(tx).await.unwrap();
    assert_eq!(inbox.purge(Duration::from_secs(3600), 100).await.unwrap(), 0);
    assert_eq!(inbox.purge(Duration::MAX, 100).await.unwrap(), 0);
    // Young by a moment at least: SQLite's clock goes by milliseconds.
    while inbox.purge(Duration::ZERO, 4).await.unwrap() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(inbox.purge(Duration::ZERO, 4).await.unwrap(), 4);
    assert_eq!(inbox.purge(Duration::ZERO, 4).await.unwrap(), 2);
}
