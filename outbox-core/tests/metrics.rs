//! The metrics say what happened.

use std::{collections::HashMap, time::Duration};

use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use relaybox_core::{
    CancellationToken, Consumer, ConsumerName, DomainEvent, Envelope, EventHandler, HandlerError,
    Outbox, PermanentExt, Relay, TopicName, async_trait,
    memory::{MemoryBus, MemorySource, MemoryStore, MemoryTx},
};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, DomainEvent)]
#[event(aggregate = "order", name = "order.placed")]
struct OrderPlaced {
    #[event(aggregate_id)]
    id: u32,
}

struct Ship;

#[async_trait]
impl EventHandler<OrderPlaced, MemoryTx> for Ship {
    async fn handle(
        &self,
        tx: &mut MemoryTx,
        event: &OrderPlaced,
        _: &Envelope,
    ) -> Result<(), HandlerError> {
        if event.id == 2 {
            Err("out of stock for good").permanent()?;
        }
        tx.put(format!("shipped/{}", event.id), "yes");
        Ok(())
    }
}

#[tokio::test]
async fn the_metrics_count_what_was_published_handled_skipped_and_given_up_on() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    recorder.install().unwrap();

    let (store, bus) = (MemoryStore::new(), MemoryBus::new());
    let outbox = Outbox::new(store.clone());
    let mut tx = store.begin();
    for id in 1..=3 {
        outbox.enqueue(&mut tx, &OrderPlaced { id }).await.unwrap();
    }
    tx.commit();
    let topic = TopicName::new("order-events.v1").unwrap();
    let source = MemorySource::new(&bus, ConsumerName::new("ship").unwrap(), vec![topic.clone()]);
    let consumer = Consumer::builder("ship", source, store.clone())
        .on::<OrderPlaced, _>(Ship)
        .build()
        .unwrap();
    let relay = Relay::builder(store.clone(), bus.clone()).stats_interval(Duration::ZERO).build();
    let shutdown = CancellationToken::new();
    let all = async {
        let records = bus.wait_for(&topic, 3).await;
        bus.append(&topic, records[0].clone());
        bus.wait_for(&TopicName::new("order-events.v1.dlq").unwrap(), 1).await;
        while store.values().len() < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        shutdown.cancel();
    };
    let (relay, consumer, ()) =
        tokio::join!(relay.run(shutdown.clone()), consumer.run(shutdown.clone()), all);
    relay.unwrap();
    consumer.unwrap();

    let mut counters: HashMap<String, u64> = HashMap::new();
    let mut names = Vec::new();
    for (key, _, _, value) in snapshotter.snapshot().into_vec() {
        let name = key.key().name().to_owned();
        if let DebugValue::Counter(count) = value {
            *counters.entry(name.clone()).or_default() += count;
        }
        names.push(name);
    }
    assert_eq!(counters["relaybox_enqueued_total"], 3);
    assert_eq!(counters["relaybox_published_total"], 3);
    assert_eq!(counters["relaybox_handled_total"], 2);
    assert_eq!(counters["relaybox_dead_lettered_total"], 1);
    assert_eq!(counters["relaybox_duplicates_total"] + counters["relaybox_handle_failed_total"], 2);
    for name in [
        "relaybox_publish_seconds",
        "relaybox_settle_seconds",
        "relaybox_handle_seconds",
        "relaybox_handle_events",
        "relaybox_consumer_lag",
        "relaybox_consumer_dead_letters",
        "relaybox_backlog_events",
        "relaybox_backlog_oldest_seconds",
        "relaybox_lease_held",
    ] {
        assert!(names.iter().any(|known| known == name), "{name}");
    }
}
