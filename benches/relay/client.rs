//! rdkafka as a loop without this library uses it.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use rdkafka::{
    ClientConfig, ClientContext,
    message::DeliveryResult,
    producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer},
};
use relaybox::TopicName;

use crate::{event::Columns, load::now_micros};

/// Of the producers of both sides, and the default of [`KafkaConfig`](relaybox::kafka::KafkaConfig).
pub(crate) const LINGER: Duration = Duration::from_millis(5);
/// How long librdkafka may take after it has connected to get its producer id, for which it asks in the
/// background, every half second. It sends nothing before, which is the start, not the rate.
pub(crate) const GREETING: Duration = Duration::from_secs(1);

/// Sends records, and counts what the broker has acknowledged.
#[derive(Clone)]
pub(crate) struct Client {
    producer: ThreadedProducer<Acknowledgements>,
    acknowledgements: Acknowledgements,
}

#[derive(Clone, Default)]
struct Acknowledgements(Arc<Counts>);

#[derive(Default)]
struct Counts {
    acknowledged: AtomicU64,
    /// When, in microseconds of the epoch, by the number of the record; none is kept beyond.
    at: Vec<AtomicI64>,
    /// Why one was not.
    failed: OnceLock<String>,
}

impl ClientContext for Acknowledgements {}

impl ProducerContext for Acknowledgements {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        if let Err((error, _)) = result {
            self.0.failed.get_or_init(|| error.to_string());
            return;
        }
        if let Some(at) = self.0.at.get(number) {
            at.store(now_micros(), Ordering::Relaxed);
        }
        self.0.acknowledged.fetch_add(1, Ordering::Release);
    }
}

impl Client {
    /// Connects with the settings of the library's producer; remembers when the first so many records
    /// were acknowledged.
    pub(crate) async fn connect(brokers: &str, remembered: usize) -> Self {
        let at = (0..remembered).map(|_| AtomicI64::new(0)).collect();
        let counts = Counts { at, ..Counts::default() };
        let acknowledgements = Acknowledgements(Arc::new(counts));
        let producer: ThreadedProducer<_> =
            settings(brokers).create_with_context(acknowledgements.clone()).unwrap();
        producer.client().fetch_metadata(None, Duration::from_secs(10)).unwrap();
        tokio::time::sleep(GREETING).await;
        Self { producer, acknowledgements }
    }

    /// Sends a record; waits while the client's queue is full, for the broker is the limit then.
    pub(crate) fn send(&self, topic: &TopicName, event: &Columns<'_>, number: usize) {
        let mut record = BaseRecord::with_opaque_to(topic.as_str(), number)
            .key(event.key())
            .payload(event.payload)
            .headers(event.headers());
        while let Err((error, refused)) = self.producer.send(record) {
            let full = rdkafka::types::RDKafkaErrorCode::QueueFull;
            assert_eq!(error.rdkafka_error_code(), Some(full), "{error}");
            record = refused;
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until so many records were acknowledged.
    pub(crate) async fn acknowledged(&self, records: u64) {
        while self.acknowledgements.0.acknowledged.load(Ordering::Acquire) < records {
            assert_eq!(self.acknowledgements.0.failed.get(), None, "all are acknowledged");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// When the remembered records were acknowledged, in microseconds of the epoch.
    pub(crate) fn acknowledged_at(&self) -> Vec<i64> {
        self.acknowledgements.0.at.iter().map(|at| at.load(Ordering::Relaxed)).collect()
    }
}

/// What `KafkaBus` sets (outbox-kafka/src/config and bus.rs), of what makes a difference to records.
fn settings(brokers: &str) -> ClientConfig {
    let mut settings = ClientConfig::new();
    settings
        .set("bootstrap.servers", brokers)
        .set("client.id", "relaybox-bench")
        .set("enable.idempotence", "true")
        .set("enable.gapless.guarantee", "true")
        .set("acks", "all")
        .set("max.in.flight.requests.per.connection", "5")
        .set("message.timeout.ms", "0")
        .set("partitioner", "murmur2_random")
        .set("compression.type", "lz4")
        .set("linger.ms", LINGER.as_millis().to_string())
        .set("queue.buffering.max.messages", "100000")
        .set("queue.buffering.max.kbytes", (256 * 1024).to_string())
        .set("topic.metadata.propagation.max.ms", "5000");
    settings
}
