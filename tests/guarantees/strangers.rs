//! 6. Nothing waits for a transaction that has nothing to do with the outbox.

use relaybox_tests::{Changed, Database, Topic, per_key, servers};

use crate::{Running, drained, relay};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_waits_for_a_strangers_transaction() {
    let Some((postgres, kafka)) = servers() else { return };
    let (database, topic) = (Database::create(&postgres).await, Topic::create(&kafka, &[]).await);
    let elsewhere = Database::create(&postgres).await;
    // Strangers with a snapshot, an id and locks of their own, here and in another database.
    let mut strangers = Vec::new();
    for pool in [&database.pool, &elsewhere.pool] {
        let mut stranger = pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ").await.unwrap();
        sqlx::query("INSERT INTO things VALUES ('stranger', 0)")
            .execute(&mut *stranger)
            .await
            .unwrap();
        strangers.push(stranger);
    }
    let relay = Running::relay(relay(&database, &topic));
    for _ in 0..50 {
        database.change("t").await;
    }
    drained(&database).await;
    assert_eq!(per_key(&topic.envelopes().await)["t"].len(), 50);
    for stranger in strangers {
        stranger.rollback().await.unwrap();
    }
    relay.stop().await;
    database.drop().await;
    elsewhere.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_outbox_transaction_holds_back_nothing_else_and_is_delivered_after_it_commits() {
    let Some((postgres, kafka)) = servers() else { return };
    let (database, topic) = (Database::create(&postgres).await, Topic::create(&kafka, &[]).await);
    let mut late = database.pool.begin().await.unwrap();
    let event = Changed { id: "late".to_owned(), n: 1 };
    database.outbox().enqueue(&mut late, &event).await.unwrap();
    let relay = Running::relay(relay(&database, &topic));
    for _ in 0..50 {
        database.change("t").await;
    }
    drained(&database).await;
    assert_eq!(per_key(&topic.envelopes().await).keys().collect::<Vec<_>>(), ["t"]);
    late.commit().await.unwrap();
    drained(&database).await;
    relay.stop().await;
    assert_eq!(per_key(&topic.envelopes().await)["late"], [1]);
    database.drop().await;
}
