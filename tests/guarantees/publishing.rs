//! 1. A rolled-back transaction publishes nothing, ever. A committed one is published at least once.

use std::collections::HashSet;

use relaybox_tests::{Changed, Database, Process, RelayOptions, Topic, per_key, servers, share};

use crate::{Running, drained, relay};

#[tokio::test(flavor = "multi_thread")]
async fn a_rolled_back_transaction_publishes_nothing_and_a_committed_one_is_published() {
    let Some((postgres, kafka)) = servers() else { return };
    let (database, topic) = (Database::create(&postgres).await, Topic::create(&kafka, &[]).await);
    let relay = Running::relay(relay(&database, &topic));
    let mut committed = HashSet::new();
    for n in 0..60 {
        let id = format!("t{}", n % 5);
        let mut tx = database.pool.begin().await.unwrap();
        let changed = Database::change_in(&mut tx, &id).await;
        let event_id = database.outbox().enqueue(&mut tx, &changed).await.unwrap();
        match n % 4 {
            0 => tx.rollback().await.unwrap(),
            1 => drop(tx),
            _ => {
                tx.commit().await.unwrap();
                committed.insert(event_id);
            }
        }
    }
    // A savepoint that is rolled back takes its event with it; its transaction's others stay.
    let mut tx = database.pool.begin().await.unwrap();
    let kept = Changed { id: "savepoint".to_owned(), n: 1 };
    committed.insert(database.outbox().enqueue(&mut tx, &kept).await.unwrap());
    let mut savepoint = sqlx::Acquire::begin(&mut tx).await.unwrap();
    database.outbox().enqueue(&mut savepoint, &Changed { n: 2, ..kept }).await.unwrap();
    savepoint.rollback().await.unwrap();
    tx.commit().await.unwrap();

    drained(&database).await;
    relay.stop().await;
    let published: HashSet<_> =
        topic.envelopes().await.iter().map(|envelope| envelope.event_id).collect();
    assert_eq!(published, committed);
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_killed_between_publish_and_settle_loses_nothing_and_keeps_the_order() {
    let Some((postgres, kafka)) = servers() else { return };
    let (database, topic) = (Database::create(&postgres).await, Topic::create(&kafka, &[]).await);
    let binary = env!("CARGO_BIN_EXE_relay-process");
    let mut committed = 0;
    for _ in 0..share(20) {
        for n in 0..30 {
            database.change(&format!("t{}", n % 4)).await;
            committed += 1;
        }
        let options = RelayOptions { hang_before_settle: true, ..RelayOptions::default() };
        let mut process = Process::relay(binary, &database, &topic, options);
        process.until("READY");
        process.until("SETTLING");
        process.signal("KILL");
        assert!(!process.wait());
        assert!(database.backlog().await > 0, "nothing was settled");
    }
    let relay = Running::relay(relay(&database, &topic));
    drained(&database).await;
    relay.stop().await;
    let envelopes = topic.envelopes().await;
    assert!(envelopes.len() > committed, "what was not settled was published again");
    let per_key = per_key(&envelopes);
    assert_eq!(per_key.values().map(Vec::len).sum::<usize>(), committed);
    for (key, numbers) in per_key {
        let expected: Vec<i64> = (1..).take(numbers.len()).collect();
        assert_eq!(numbers, expected, "{key}");
    }
    database.drop().await;
}
