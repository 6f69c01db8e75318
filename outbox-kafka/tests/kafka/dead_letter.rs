//! What was given up on.

use bytes::Bytes;
use chrono::Utc;
use relaybox_core::{
    ConsumerName, Delivery, ErrorKind, EventSource, Failure, Partition, TopicName,
};
use relaybox_kafka::{KafkaSource, dead_letter_topic};

use crate::support::{Cluster, on_both, unique_group, within};

fn delivery(topic: &TopicName) -> Delivery {
    let mut delivery = Delivery::new(Partition::new(topic.clone(), 3, 1), 42);
    delivery.key = Some(Bytes::from_static(&[0xff, 1]));
    delivery.value = Some(Bytes::from_static(&[0, 0xfe]));
    delivery.headers = vec![
        ("b".into(), Bytes::from_static(&[0xff, 0])),
        ("a".into(), Bytes::new()),
        ("b".into(), Bytes::from_static(b"again")),
    ];
    delivery
}

fn failure(reason: String) -> Failure {
    let consumer = ConsumerName::new("notifications").unwrap();
    Failure::new(consumer, ErrorKind::Decode, reason, 5, Utc::now())
}

on_both!(a_dead_letter_has_the_records_bytes_and_the_reason, async |cluster: Cluster| {
    let topic = cluster.topic(1).await;
    let dead_letters = dead_letter_topic(&topic).unwrap();
    cluster.make(&dead_letters, 1, &[]).await;
    let source = KafkaSource::new(cluster.config(), unique_group(), vec![topic.clone()]).unwrap();
    let (delivery, failure) = (delivery(&topic), failure("ä".repeat(3_000)));
    source.dead_letter(&delivery, &failure).await.unwrap();
    let mut tombstone = Delivery::new(delivery.partition.clone(), 43);
    tombstone.key.clone_from(&delivery.key);
    source.dead_letter(&tombstone, &failure).await.unwrap();

    let records = cluster.read(&dead_letters).await;
    assert_eq!(records.len(), 2);
    assert_eq!(records[0].key.as_deref(), delivery.key.as_deref());
    assert_eq!(records[0].value.as_deref(), delivery.value.as_deref());
    let (own, added) = records[0].headers.split_at(3);
    let expected: Vec<_> = delivery
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), Some(value.to_vec())))
        .collect();
    assert_eq!(own, expected);
    let text = |name: &str| {
        let found = added.iter().find(|(known, _)| known == name).unwrap();
        String::from_utf8(found.1.clone().unwrap()).unwrap()
    };
    assert_eq!(text("dlq-original-topic"), topic.as_str());
    assert_eq!(
        (text("dlq-original-partition"), text("dlq-original-offset")),
        ("3".into(), "42".into())
    );
    assert_eq!(text("dlq-error"), "ä".repeat(1_000));
    assert_eq!((text("dlq-attempts"), text("dlq-consumer")), ("5".into(), "notifications".into()));
    assert_eq!(records[1].value, None);
    source.close().await.unwrap();
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_dead_letter_topic_is_said_and_works_once_it_is_there() {
    let Some(cluster) = Cluster::broker() else { return };
    let topic = cluster.topic(1).await;
    let source = KafkaSource::new(cluster.config(), unique_group(), vec![topic.clone()]).unwrap();
    let (delivery, failure) = (delivery(&topic), failure("broken".to_owned()));
    let error = within(source.dead_letter(&delivery, &failure)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TopicUnavailable);
    let dead_letters = dead_letter_topic(&topic).unwrap();
    assert!(error.to_string().contains(dead_letters.as_str()), "{error}");
    cluster.make(&dead_letters, 1, &[]).await;
    within(source.dead_letter(&delivery, &failure)).await.unwrap();
    assert_eq!(cluster.read(&dead_letters).await.len(), 1);
    source.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_letter_is_for_the_topic_to_refuse_and_the_error_says_what_to_do() {
    let Some(cluster) = Cluster::broker() else { return };
    let topic = cluster.topic(1).await;
    let dead_letters = dead_letter_topic(&topic).unwrap();
    cluster.make(&dead_letters, 1, &[("max.message.bytes", "2000000")]).await;
    let config = cluster.config().queue(10, 1 << 20).set("compression.type", "none").unwrap();
    let source = KafkaSource::new(config, unique_group(), vec![topic.clone()]).unwrap();
    let (mut delivery, failure) = (delivery(&topic), failure("broken".to_owned()));
    delivery.value = Some(Bytes::from(vec![7; 1_900_000]));
    within(source.dead_letter(&delivery, &failure)).await.unwrap();
    delivery.value = Some(Bytes::from(vec![7; 2_100_000]));
    let error = within(source.dead_letter(&delivery, &failure)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    let text = error.to_string();
    assert!(text.contains("max.message.bytes") && text.contains(dead_letters.as_str()), "{text}");
    assert_eq!(cluster.read(&dead_letters).await.len(), 1);
    source.close().await.unwrap();
}
