//! The in-memory store and bus: what the relay itself costs. There is no bare loop to compare with but
//! handing the envelopes over.

use std::time::Instant;

use relaybox::{
    AggregateId, AggregateType, CancellationToken, Envelope, EventBus, EventType, OutboxStore,
    OutboxWriter, Record, Relay, TopicMap,
    memory::{MemoryBus, MemoryStore},
};

use crate::{Options, Row, report::median};

const PAYLOAD: usize = 1024;

pub(crate) async fn drain(options: &Options) {
    let events = options.events.unwrap_or(20_000);
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        bare.push(rate(events, hand_over(events).await));
        ours.push(rate(events, relay(events).await));
    }
    let (events_per_s, bare_events_per_s) = (median(ours), median(bare));
    options.print(&Row {
        bench: "drain",
        store: "memory",
        bus: "memory",
        events,
        payload_bytes: PAYLOAD,
        events_per_s,
        bare_events_per_s,
        ratio: events_per_s / bare_events_per_s,
    });
}

fn envelopes(events: u64) -> Vec<Envelope> {
    let payload = bytes::Bytes::from(vec![b'x'; PAYLOAD]);
    (0..events)
        .map(|n| {
            Envelope::new(
                EventType::from_static("thing.changed", 1),
                AggregateType::new("thing").unwrap(),
                AggregateId::new(format!("t{}", n % 1000)).unwrap(),
                payload.clone(),
            )
        })
        .collect()
}

async fn hand_over(events: u64) -> f64 {
    let (bus, topics) = (MemoryBus::new(), TopicMap::new());
    let records: Vec<_> = envelopes(events)
        .into_iter()
        .map(|envelope| Record::new(topics.topic(&envelope.aggregate_type), envelope))
        .collect();
    let since = Instant::now();
    for batch in records.chunks(500) {
        bus.publish(batch.to_vec()).await;
    }
    since.elapsed().as_secs_f64()
}

async fn relay(events: u64) -> f64 {
    let (store, bus) = (MemoryStore::new(), MemoryBus::new());
    let mut tx = store.begin();
    store.write(&mut tx, &envelopes(events)).await.unwrap();
    tx.commit();
    let shutdown = CancellationToken::new();
    let since = Instant::now();
    let relay = tokio::spawn(Relay::builder(store.clone(), bus).build().run(shutdown.clone()));
    while store.stats().await.unwrap().backlog > 0 {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    let took = since.elapsed().as_secs_f64();
    shutdown.cancel();
    relay.await.unwrap().unwrap();
    took
}

#[expect(clippy::cast_precision_loss, reason = "a rate is a float")]
fn rate(events: u64, seconds: f64) -> f64 {
    events as f64 / seconds
}
