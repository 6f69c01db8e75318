//! What a record is on the topic.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use relaybox_core::{EventId, Label, PartitionKey, Record, TraceContext, cloudevents};

use super::{Fixture, on_bus};
use crate::{BusFactory, events::event, run::same};

/// Key, value and headers, byte for byte, in order, and no others.
pub async fn a_record_arrives_byte_for_byte<F: BusFactory>(factory: &F) {
    on_bus(factory, async |bus: &Fixture<'_, F>| {
        let mut envelope = event("Grün / 7", "");
        envelope.payload = vec![0, 1, 0xff, b'"', 0].into();
        envelope.partition_key = Some(PartitionKey::new("tenant-7").expect("valid"));
        envelope.metadata.source = Label::new("accounts").expect("valid");
        envelope.metadata.correlation_id = Some(Label::new("c-1").expect("valid"));
        envelope.metadata.causation_id = Some(EventId::new());
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        envelope.metadata.trace = Some(TraceContext::parse(parent, Some("v=1")).expect("valid"));
        envelope.metadata.headers.insert("tenant", "7").expect("valid");
        envelope.metadata.headers.insert("empty", "").expect("valid");
        let mut headers = Vec::new();
        cloudevents::headers(&envelope, |name, value| {
            headers.push((name.into(), Bytes::copy_from_slice(value)));
        });
        bus.publish_all(vec![Record::new(bus.topic.clone(), envelope.clone())]).await;

        let records = bus.records().await;
        same("one record is on the topic", &records.len(), &1);
        let (_, record) = &records[0];
        same("the key", &record.key.as_deref(), &Some(&b"tenant-7"[..]));
        same("the value", &record.value.as_deref(), &Some(&envelope.payload[..]));
        same("the headers", &record.headers, &headers);
        same("the event in it", &record.envelope().ok(), &Some(envelope));
    })
    .await;
}

/// An event without payload has an empty value, not none: a tombstone would delete its key.
pub async fn an_empty_payload_is_no_tombstone<F: BusFactory>(factory: &F) {
    on_bus(factory, async |bus: &Fixture<'_, F>| {
        bus.publish_all(vec![bus.record("a", "")]).await;
        let records = bus.records().await;
        same("one record is on the topic", &records.len(), &1);
        same("its value", &records[0].1.value.as_deref(), &Some(&b""[..]));
    })
    .await;
}

/// All records of a key are in one partition: elsewhere they would have no order.
pub async fn a_key_stays_in_its_partition<F: BusFactory>(factory: &F) {
    on_bus(factory, async |bus: &Fixture<'_, F>| {
        for n in 0..4 {
            let records = (0..20).map(|key| bus.record(&format!("k{key}"), &n.to_string()));
            bus.publish_all(records.collect()).await;
        }
        let mut partitions: HashMap<Option<Bytes>, HashSet<Option<i32>>> = HashMap::new();
        let records = bus.records().await;
        same("all records are on the topic", &records.len(), &80);
        for (place, record) in records {
            partitions.entry(record.key).or_default().insert(place.partition);
        }
        same("the keys", &partitions.len(), &20);
        let scattered = partitions.values().filter(|partitions| partitions.len() > 1).count();
        same("keys in more than one partition", &scattered, &0);
    })
    .await;
}
