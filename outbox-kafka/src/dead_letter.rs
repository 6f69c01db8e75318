//! Dead-letter topics.

use bytes::Bytes;
use rdkafka::{
    ClientConfig,
    message::{Header, OwnedHeaders},
};
use relaybox_core::{Delivery, Error, ErrorKind, Failure, Result, TopicName};
use tokio::sync::Mutex;

use crate::{
    KafkaConfig,
    client::{Monitor, off_thread},
    producer::{Outgoing, Producer},
};

const WRITE: &str = "write a dead letter";
/// How long the broker may take. Then nobody knows whether it has the record.
const TIMEOUT_MS: &str = "30000";
/// Twice what a broker takes in one request (`socket.request.max.bytes`, 100 MiB), for it counts
/// compressed bytes and the client doesn't: what is too large is for the topic to say.
const MAX_BYTES: &str = "200000000";
/// What the queue holds: a letter of that size, and more of the usual ones.
const QUEUE_KBYTES: &str = "262144";
/// How many characters of the error a dead letter carries.
const MAX_REASON: usize = 1_000;

/// The dead-letter topic of a topic: `{topic}.dlq`.
///
/// ```
/// use relaybox_core::TopicName;
/// let topic = relaybox_kafka::dead_letter_topic(&TopicName::new("session-events.v1")?)?;
/// assert_eq!(topic.as_str(), "session-events.v1.dlq");
/// # Ok::<(), relaybox_core::Error>(())
/// ```
///
/// # Errors
/// [`ErrorKind::Invalid`] when that is longer than a topic's name may be.
pub fn dead_letter_topic(topic: &TopicName) -> Result<TopicName> {
    TopicName::new(format!("{topic}.dlq"))
}

/// Writes dead letters. The producer is made when the first one comes, and anew after a failure.
pub(crate) struct DeadLetters {
    config: KafkaConfig,
    producer: Mutex<Option<Producer>>,
}

impl DeadLetters {
    pub(crate) fn new(config: KafkaConfig) -> Self {
        Self { config, producer: Mutex::new(None) }
    }

    pub(crate) async fn write(&self, delivery: &Delivery, failure: &Failure) -> Result<()> {
        let topic = dead_letter_topic(&delivery.partition.topic)?;
        let mut slot = self.producer.lock().await;
        let mut producer = match slot.take() {
            Some(producer) if !producer.is_halted() => producer,
            _ => self.start().await?,
        };
        let record = Outgoing {
            topic: topic.as_str(),
            partition: None,
            key: delivery.key.as_deref(),
            value: delivery.value.as_deref(),
            headers: headers(delivery, failure),
        };
        let results = producer.hand_over([record].into_iter());
        // Back before waiting: others may write meanwhile, and nothing is lost when we are dropped.
        *slot = Some(producer);
        drop(slot);
        let result = results.all().await.pop();
        result.transpose().map(drop).map_err(|error| explain(error, &topic))
    }

    async fn start(&self) -> Result<Producer> {
        let mut settings = settings(&self.config)?;
        settings.set("message.timeout.ms", TIMEOUT_MS);
        // Nobody sends a second one soon.
        settings.set("linger.ms", "0");
        let monitor = Monitor::new(&self.config);
        off_thread(WRITE, move || Producer::start(WRITE, &settings, monitor)).await
    }
}

/// A producer's settings for records that a broker has taken once, whatever their size.
pub(crate) fn settings(config: &KafkaConfig) -> Result<ClientConfig> {
    let mut settings = config.producer()?;
    settings.set("message.max.bytes", MAX_BYTES).set("queue.buffering.max.kbytes", QUEUE_KBYTES);
    Ok(settings)
}

/// Key, value and headers go byte for byte; ours come behind.
fn headers(delivery: &Delivery, failure: &Failure) -> OwnedHeaders {
    let added = failure.headers(delivery);
    let mut headers = OwnedHeaders::new_with_capacity(delivery.headers.len() + added.len());
    for (key, value) in &delivery.headers {
        headers =
            headers.insert(Header { key, value: Some(<Bytes as AsRef<[u8]>>::as_ref(value)) });
    }
    for (key, mut value) in added {
        if let Some((end, _)) = value.char_indices().nth(MAX_REASON) {
            value.truncate(end);
        }
        headers = headers.insert(Header { key, value: Some(&value) });
    }
    headers
}

fn explain(error: Error, topic: &TopicName) -> Error {
    let detail = match error.kind() {
        ErrorKind::TopicUnavailable => format!(
            "the dead-letter topic {topic} doesn't exist, or can't be written: create it with \
             KafkaAdmin::ensure_topics"
        ),
        ErrorKind::TooLarge => format!(
            "the dead letter is too large for the topic {topic}: raise its max.message.bytes"
        ),
        _ => return error,
    };
    let retry = error.retry();
    Error::new(error.kind(), WRITE).detail(detail).with_retry(retry).caused_by(error)
}
