//! What a request says about itself, on the real Kafka.

use std::time::{Duration, Instant};

use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    message::Headers,
};
use serde_json::json;

use crate::{
    client::{Client, new_session},
    demo::Demo,
};

const TOPIC: &str = "session-events.v1";
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn an_event_carries_the_correlation_id_and_the_trace_of_the_request_that_raised_it() {
    let Some(brokers) = relaybox_tests::server("RELAYBOX_KAFKA_BROKERS") else { return };
    let (_demo, url) = Demo::serve(&["--sessions", "1", "--brokers", &brokers]);
    let reader = reader_from_now_on(&brokers);

    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let created = Client::new(url).send(
        "POST",
        "/sessions",
        &[
            ("content-type", "application/json"),
            ("x-correlation-id", "order 66"),
            ("traceparent", &format!("00-{trace}-00f067aa0ba902b7-01")),
        ],
        Some(&new_session("firefox/142.0")),
    );
    assert_eq!(created.status, 201, "{created:?}");

    let headers = headers_of(&reader, created.body["id"].as_str().unwrap());
    let header = |wanted: &str| {
        let (_, value) = headers.iter().find(|(name, _)| name == wanted)?;
        Some(value.as_str())
    };
    assert_eq!(header("ce_type"), Some("session.created.v1"), "{headers:?}");
    assert_eq!(header("ce_correlationid"), Some("order 66"), "{headers:?}");
    assert!(header("traceparent").is_some_and(|parent| parent.contains(trace)), "{headers:?}");
    assert_eq!(json!(header("ce_aggregateid")), created.body["id"], "{headers:?}");
}

/// Reads what comes onto the topic from now on.
fn reader_from_now_on(brokers: &str) -> BaseConsumer {
    let reader: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "demo-test")
        .set("enable.auto.commit", "false")
        .create()
        .unwrap();
    let metadata = reader.fetch_metadata(Some(TOPIC), PATIENCE).unwrap();
    let mut partitions = TopicPartitionList::new();
    for partition in metadata.topics()[0].partitions() {
        let (_, high) = reader.fetch_watermarks(TOPIC, partition.id(), PATIENCE).unwrap();
        partitions.add_partition_offset(TOPIC, partition.id(), Offset::Offset(high)).unwrap();
    }
    reader.assign(&partitions).unwrap();
    reader
}

/// The headers of the first record with this key.
fn headers_of(reader: &BaseConsumer, key: &str) -> Vec<(String, String)> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "no record of {key}");
        let Some(record) = reader.poll(Duration::from_millis(100)) else { continue };
        let record = record.unwrap();
        if record.key() == Some(key.as_bytes()) {
            let headers = record.headers().unwrap().iter();
            return headers
                .map(|header| {
                    let value = String::from_utf8_lossy(header.value.unwrap_or_default());
                    (header.key.to_owned(), value.into_owned())
                })
                .collect();
        }
    }
}
