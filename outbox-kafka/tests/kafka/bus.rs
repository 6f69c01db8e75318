//! What reaches the topic, and in which order.

use std::time::Duration;

use relaybox_core::{
    AggregateId, AggregateType, Envelope, ErrorKind, EventBus, EventType, Label, PartitionKey,
    Record, cloudevents,
};

use crate::support::{Cluster, on_both, record, unique_topic, within};

on_both!(
    a_record_arrives_with_its_key_its_value_and_exactly_its_headers,
    async |cluster: Cluster| {
        let (topic, bus) = (cluster.topic(12).await, cluster.bus());
        let mut envelope = Envelope::new(
            EventType::new("session.created", 2).unwrap(),
            AggregateType::new("session").unwrap(),
            AggregateId::new("s-1").unwrap(),
            &b"{\"n\":1}"[..],
        );
        envelope.partition_key = Some(PartitionKey::new("tenant-7").unwrap());
        envelope.metadata.source = Label::new("accounts").unwrap();
        envelope.metadata.correlation_id = Some(Label::new("c-1").unwrap());
        envelope.metadata.headers.insert("tenant", "7").unwrap();
        envelope.metadata.headers.insert("empty", "").unwrap();
        let mut expected = Vec::new();
        cloudevents::headers(&envelope, |name, value| {
            expected.push((name.to_owned(), Some(value.to_vec())));
        });
        bus.publish(vec![Record::new(topic.clone(), envelope)]).await.remove(0).unwrap();

        let records = cluster.read(&topic).await;
        assert_eq!(records.len(), 1);
        assert_eq!(records[0].key.as_deref(), Some(&b"tenant-7"[..]));
        assert_eq!(records[0].value.as_deref(), Some(&b"{\"n\":1}"[..]));
        assert_eq!(records[0].headers, expected);
    }
);

on_both!(an_empty_payload_is_an_empty_value_not_a_tombstone, async |cluster: Cluster| {
    let (topic, bus) = (cluster.topic(1).await, cluster.bus());
    bus.publish(vec![record(&topic, "k", "")]).await.remove(0).unwrap();
    assert_eq!(cluster.read(&topic).await[0].value.as_deref(), Some(&b""[..]));
});

on_both!(a_key_goes_where_javas_default_partitioner_puts_it, async |cluster: Cluster| {
    let (topic, bus) = (cluster.topic(7).await, cluster.bus());
    let keys: Vec<_> = (0..50).map(|n| format!("aggregate-{n}")).collect();
    let records = keys.iter().map(|key| record(&topic, key, "1")).collect();
    assert!(bus.publish(records).await.iter().all(Result::is_ok));
    let records = cluster.read(&topic).await;
    assert_eq!(records.len(), keys.len());
    for record in records {
        let key = record.key.unwrap();
        let expected = i32::try_from((murmur2(&key) & 0x7fff_ffff) % 7).unwrap();
        assert_eq!(record.partition, expected, "{}", String::from_utf8_lossy(&key));
    }
});

on_both!(calls_in_flight_together_keep_the_order_of_the_calls, async |cluster: Cluster| {
    let (topic, bus) = (cluster.topic(3).await, cluster.bus());
    // Each call hands 40 records of 5 keys over; none waits for the one before.
    let calls: Vec<_> = (0..50_u32)
        .map(|call| {
            let numbers = call * 40..(call + 1) * 40;
            bus.publish(
                numbers.map(|n| record(&topic, &format!("k{}", n % 5), n.to_string())).collect(),
            )
        })
        .collect();
    for call in calls {
        assert!(call.await.iter().all(Result::is_ok));
    }
    let records = cluster.read(&topic).await;
    assert_eq!(records.len(), 2_000);
    for key in 0..5 {
        let key = format!("k{key}").into_bytes();
        let numbers: Vec<_> =
            records.iter().filter(|r| r.key.as_ref() == Some(&key)).map(|r| r.number()).collect();
        assert!(numbers.is_sorted(), "{numbers:?}");
    }
});

on_both!(a_dropped_future_stops_no_record, async |cluster: Cluster| {
    let (topic, bus) = (cluster.topic(1).await, cluster.bus());
    drop(bus.publish(vec![record(&topic, "k", "1")]));
    bus.publish(vec![record(&topic, "k", "2")]).await.remove(0).unwrap();
    let numbers: Vec<_> = cluster.read(&topic).await.iter().map(|r| r.number()).collect();
    assert_eq!(numbers, [1, 2]);
});

on_both!(a_check_passes_when_the_cluster_lets_us_in, async |cluster: Cluster| {
    cluster.bus().check(Duration::from_secs(10)).await.unwrap();
});

#[tokio::test]
async fn a_check_of_nobody_is_unavailable() {
    let bus =
        relaybox_kafka::KafkaBus::new(relaybox_kafka::KafkaConfig::new("127.0.0.1:1")).unwrap();
    let error = bus.check(Duration::from_secs(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn an_unknown_setting_is_named() {
    let config = relaybox_kafka::KafkaConfig::new("127.0.0.1:1").set("no.such.setting", "s3cret");
    let error = relaybox_kafka::KafkaBus::new(config.unwrap()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("no.such.setting"), "{error}");
    assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_topic_is_the_topics_fault() {
    let Some(cluster) = Cluster::broker() else { return };
    let bus = cluster.bus();
    let topic = unique_topic();
    let results =
        within(bus.publish(vec![record(&topic, "k", "1"), record(&topic, "k", "2")])).await;
    let error = results[0].as_ref().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TopicUnavailable, "{error}");
    assert!(error.to_string().contains(topic.as_str()), "{error}");
    assert!(results[1].is_err());
    // Halted until recovered; then the topic may be there.
    let halted = bus.publish(vec![record(&topic, "k", "1")]).await.remove(0).unwrap_err();
    assert_eq!(halted.kind(), ErrorKind::Halted);
    cluster.make(&topic, 1, &[]).await;
    bus.recover().await.unwrap();
    bus.publish(vec![record(&topic, "k", "1")]).await.remove(0).unwrap();
}

/// As in `org.apache.kafka.common.utils.Utils`.
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut h = 0x9747_b28c ^ u32::try_from(data.len()).unwrap();
    let mut chunks = data.chunks_exact(4);
    for chunk in chunks.by_ref() {
        let mut k = u32::from_le_bytes(chunk.try_into().unwrap()).wrapping_mul(M);
        k ^= k >> 24;
        h = h.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        h = (h ^ u32::from_le_bytes(last)).wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    h ^ (h >> 15)
}
