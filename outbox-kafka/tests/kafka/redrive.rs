//! Dead letters that go back.

use bytes::Bytes;
use chrono::Utc;
use rdkafka::{
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use relaybox_core::{
    ConsumerName, Delivery, ErrorKind, EventSource, Failure, Partition, TopicName,
};
use relaybox_kafka::{KafkaRedrive, KafkaSource, dead_letter_topic};

use crate::support::{Cluster, PATIENCE, client, on_both, unique_group, unique_topic, within};

fn delivery(topic: &TopicName, offset: i64) -> Delivery {
    let mut delivery = Delivery::new(Partition::new(topic.clone(), 0, 1), offset);
    delivery.key = Some(Bytes::from_static(&[0xff, 1]));
    delivery.value = Some(Bytes::from_static(&[0, 0xfe]));
    delivery.headers = vec![
        ("b".to_owned(), Bytes::from_static(&[0xff, 0])),
        // Of an earlier redrive: the consumer that gives up now counts.
        ("redrive-consumer".to_owned(), Bytes::from_static(b"another")),
        ("b".to_owned(), Bytes::from_static(b"again")),
    ];
    delivery
}

on_both!(a_dead_letter_goes_back_once_as_it_was, async |cluster: Cluster| {
    let (topic, other) = (cluster.topic(1).await, unique_topic());
    let dead_letters = dead_letter_topic(&topic).unwrap();
    cluster.make(&dead_letters, 2, &[]).await;
    let source = KafkaSource::new(cluster.config(), unique_group(), vec![topic.clone()]).unwrap();
    let consumer = ConsumerName::new("notifications").unwrap();
    let failure = Failure::new(consumer, ErrorKind::Decode, "broken".to_owned(), 5, Utc::now());
    source.dead_letter(&delivery(&topic, 41), &failure).await.unwrap();
    let mut tombstone = delivery(&topic, 42);
    tombstone.value = None;
    source.dead_letter(&tombstone, &failure).await.unwrap();
    // Two that are none of the topic's: one says nothing, one names another topic.
    let brokers = match &cluster {
        Cluster::Embedded(cluster) => cluster.brokers(),
        Cluster::Broker(brokers) => brokers.clone(),
    };
    let producer: BaseProducer = client(&brokers).create().unwrap();
    let said = Header { key: "dlq-original-topic", value: Some(other.as_str()) };
    for headers in [OwnedHeaders::new(), OwnedHeaders::new().insert(said)] {
        let foreign = BaseRecord::<[u8], [u8]>::to(dead_letters.as_str()).payload(b"x");
        producer.send(foreign.headers(headers)).unwrap();
    }
    producer.flush(PATIENCE).unwrap();

    let redrive = KafkaRedrive::new(cluster.config(), topic.clone());
    let redriven = redrive.run().await.unwrap();
    assert_eq!((redriven.sent, redriven.passed_over), (2, 2));
    let redriven = redrive.run().await.unwrap();
    assert_eq!((redriven.sent, redriven.passed_over), (0, 0), "all of it was sent");

    let records = cluster.read(&topic).await;
    assert_eq!(records.len(), 2);
    let expected = [
        ("b".to_owned(), Some(vec![0xff, 0])),
        ("b".to_owned(), Some(b"again".to_vec())),
        ("redrive-consumer".to_owned(), Some(b"notifications".to_vec())),
    ];
    for (record, value) in records.iter().zip([Some(&[0, 0xfe][..]), None]) {
        assert_eq!(record.key.as_deref(), Some(&[0xff, 1][..]));
        assert_eq!(record.value.as_deref(), value);
        assert_eq!(record.headers, expected);
    }

    source.dead_letter(&delivery(&topic, 43), &failure).await.unwrap();
    assert_eq!(redrive.run().await.unwrap().sent, 1, "what came since");
    source.close().await.unwrap();
});

on_both!(a_redrive_without_a_dead_letter_topic_says_so, async |cluster: Cluster| {
    let error = KafkaRedrive::new(cluster.config(), unique_topic()).run().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TopicUnavailable);
});
