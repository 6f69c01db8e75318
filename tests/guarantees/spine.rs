//! From a business transaction to a handler's effect.

use relaybox_tests::{Database, Topic, per_key, servers, until};

use crate::{
    Running, drained,
    effects::{WriteEffect, consumer},
    relay,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_committed_change_has_its_effect_exactly_once_and_in_order() {
    let Some((postgres, kafka)) = servers() else { return };
    let (database, topic) = (Database::create(&postgres).await, Topic::create(&kafka, &[]).await);
    let relay = Running::relay(relay(&database, &topic));
    let consumer = consumer(&database, &topic, "spine", WriteEffect::default());
    let consumer = Running::start(|shutdown| consumer.run(shutdown));
    for n in 0..300 {
        database.change(&format!("t{}", n % 9)).await;
    }
    drained(&database).await;
    until("all effects", async || database.number("SELECT count(*) FROM effects").await >= 300)
        .await;
    relay.stop().await;
    consumer.stop().await;
    assert_eq!(database.number("SELECT count(DISTINCT event_id) FROM effects").await, 300);
    for (key, numbers) in per_key(&topic.envelopes().await) {
        assert!(numbers.is_sorted(), "{key}: {numbers:?}");
    }
    let gaps = "SELECT count(*) FROM (SELECT n, lag(n) OVER (PARTITION BY id ORDER BY at) AS before FROM effects) AS pairs WHERE n <> coalesce(before, 0) + 1";
    assert_eq!(database.number(gaps).await, 0);
    database.drop().await;
}
