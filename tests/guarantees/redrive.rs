//! Dead letters of a consumer are put back, each once, for the consumer that gave them up.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use relaybox::{RedriveQuery, kafka::KafkaRedrive};
use relaybox_tests::{Database, Topic, servers, until};

use crate::{
    Running, drained,
    effects::{WriteEffect, builder},
    relay,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_redriven_dead_letter_has_its_effect_once_and_is_redriven_once() {
    let Some((postgres, kafka)) = servers() else { return };
    let (database, topic) = (Database::create(&postgres).await, Topic::create(&kafka, &[]).await);
    let relay = Running::relay(relay(&database, &topic));
    // Three events fail all their five attempts.
    let failures = Arc::new(AtomicU32::new(15));
    let handler = WriteEffect::failing(Arc::clone(&failures));
    // One by one, or a batch would use a failure up.
    let consumer = builder(&database, &topic, "redrive", handler).max_batch(1).build().unwrap();
    let consumer = Running::start(|shutdown| consumer.run(shutdown));
    for _ in 0..10 {
        database.change("t").await;
    }
    drained(&database).await;
    let dead = "SELECT count(*) FROM given_up_events WHERE progress = 'dead_lettered'";
    let effects = "SELECT count(*) FROM effects";
    until("three dead letters", async || database.number(dead).await == 3).await;
    until("seven effects", async || database.number(effects).await == 7).await;

    let redrive = KafkaRedrive::new(topic.config(), topic.name.clone());
    let plan = redrive.plan(&RedriveQuery::all()).await.unwrap();
    assert_eq!((plan.summary().chosen, plan.summary().foreign), (3, 0));
    assert_eq!(plan.run().await.unwrap().chosen, 3);
    until("ten effects", async || database.number(effects).await == 10).await;
    let plan = redrive.plan(&RedriveQuery::all()).await.unwrap();
    assert_eq!((plan.summary().chosen, plan.summary().redriven_before), (0, 3), "each once");
    consumer.stop().await;
    relay.stop().await;
    assert_eq!(failures.load(Ordering::SeqCst), 0);
    assert_eq!(database.number("SELECT count(DISTINCT event_id) FROM effects").await, 10);
    let back = topic.envelopes().await;
    assert_eq!(back.len(), 13);
    database.drop().await;
}
