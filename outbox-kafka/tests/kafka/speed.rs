//! How fast and in how much memory a backlog is received. For people: the figures depend on the machine.
//!
//! ```sh
//! export SPEED_TOPIC=speed-1    # any new name
//! cargo test --release -p relaybox-kafka --test kafka -- --ignored --nocapture speed::fill
//! cargo test --release -p relaybox-kafka --test kafka -- --ignored --nocapture speed::drain
//! ```

use std::{env, fs, time::Instant};

use rdkafka::{
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use relaybox_core::{EventSource, Received, TopicName};
use relaybox_kafka::KafkaSource;

use crate::support::{Cluster, PATIENCE, client, unique_group};

const HEADERS: [(&str, &str); 8] = [
    ("ce_id", "0198b1d4-9c9f-7d52-8a15-0242ac120002"),
    ("ce_type", "thing.happened.v1"),
    ("ce_source", "speed"),
    ("ce_time", "2026-01-01T00:00:00.000000Z"),
    ("ce_specversion", "1.0"),
    ("content-type", "application/json"),
    ("ce_aggregatetype", "thing"),
    ("ce_aggregateid", "thing-1"),
];

fn number(variable: &str, default: u64) -> u64 {
    env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "for people: fills a topic"]
async fn fill() {
    let Some(cluster) = Cluster::broker() else { return };
    let topic = TopicName::new(env::var("SPEED_TOPIC").unwrap()).unwrap();
    cluster.make(&topic, 12, &[]).await;
    let mut config = client(&cluster.brokers());
    let compression = env::var("SPEED_COMPRESSION").unwrap_or_else(|_| "lz4".to_owned());
    config.set("linger.ms", "20").set("compression.type", compression);
    let producer: BaseProducer = config.create().unwrap();
    // Neither all alike nor noise.
    let payload: Vec<u8> =
        (0..1_024_u32).map(|n| b"0123456789abcdef"[(n * n / 7 % 16) as usize]).collect();
    for n in 0..number("SPEED_RECORDS", 500_000) {
        let key = format!("k{}", n % 10_000);
        let headers = HEADERS.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header { key, value: Some(*value) })
        });
        let mut record =
            BaseRecord::to(topic.as_str()).key(&key).payload(&payload).headers(headers);
        while let Err((_, refused)) = producer.send(record) {
            record = refused;
            producer.poll(std::time::Duration::from_millis(10));
        }
    }
    producer.flush(PATIENCE).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "for people: needs a topic that was filled"]
async fn drain() {
    let Some(cluster) = Cluster::broker() else { return };
    let topic = TopicName::new(env::var("SPEED_TOPIC").unwrap()).unwrap();
    let (records, mut seen) = (number("SPEED_RECORDS", 500_000), 0_u64);
    let source = KafkaSource::new(cluster.config(), unique_group(), vec![topic]).unwrap();
    let mut began = None;
    while seen < records {
        let Received::Batch { partition, deliveries } = source.receive().await.unwrap() else {
            continue;
        };
        let began = *began.get_or_insert_with(Instant::now);
        seen += deliveries.len() as u64;
        source.acknowledge(&partition, deliveries[deliveries.len() - 1].offset).await.unwrap();
        if seen >= records {
            let rate = seen as f64 / began.elapsed().as_secs_f64();
            println!("{seen} records, {rate:.0}/s, peak RSS {} MiB", peak_kib() / 1024);
        }
    }
    source.close().await.unwrap();
}
