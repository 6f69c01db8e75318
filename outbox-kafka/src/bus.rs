//! Publishing.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures::{FutureExt, future::BoxFuture};
use rdkafka::{
    ClientConfig,
    message::{Header, OwnedHeaders},
    producer::Producer as _,
};
use relaybox_core::{Error, ErrorKind, EventBus, Receipt, Record, Result, cloudevents};

use crate::{
    KafkaConfig,
    client::{self, Monitor, off_thread},
    producer::{Outgoing, Producer},
};

const PUBLISH: &str = "publish to Kafka";
const CHECK: &str = "reach Kafka";
/// The attributes that every event has, and some more.
const USUAL_HEADERS: usize = 16;

/// Publishes to Kafka, in order and without a gap.
///
/// The producer is idempotent and waits for all in-sync replicas. Records don't expire: while no
/// broker can be reached they wait, and the futures of [`publish`](EventBus::publish) with them.
/// Memory is bounded by [`KafkaConfig::queue`]. Dropping the bus drops what is in flight.
///
/// ```
/// use futures::FutureExt;
/// use relaybox_core::{
///     AggregateId, AggregateType, Envelope, EventBus, EventType, Record, TopicName,
/// };
/// use relaybox_kafka::{EmbeddedCluster, KafkaBus, KafkaConfig};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> relaybox_core::Result<()> {
/// let cluster = EmbeddedCluster::start(1)?;
/// let topic = TopicName::new("session-events.v1")?;
/// cluster.create_topic(&topic, 3)?;
///
/// let bus = KafkaBus::new(KafkaConfig::new(cluster.brokers()))?;
/// let envelope = Envelope::new(
///     EventType::new("session.created", 1)?,
///     AggregateType::new("session")?,
///     AggregateId::new("s-1")?,
///     &b"{}"[..],
/// );
/// let results = bus.publish(vec![Record::new(topic, envelope)]).await;
/// assert!(results[0].is_ok());
/// # Ok(()) }
/// ```
pub struct KafkaBus {
    settings: Arc<ClientConfig>,
    monitor: Monitor,
    /// None while it is made anew, or when that failed.
    producer: Mutex<Option<Producer>>,
}

impl KafkaBus {
    /// Makes a bus. Connects in the background; [`check`](Self::check) waits for that.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when a setting or a certificate file can't be used, or when TLS or
    /// SCRAM is asked for without the feature `tls`.
    pub fn new(config: KafkaConfig) -> Result<Self> {
        let settings = settings(&config)?;
        let monitor = Monitor::new(&config);
        let producer = Producer::start(PUBLISH, &settings, monitor.clone())?;
        Ok(Self { settings: Arc::new(settings), monitor, producer: Mutex::new(Some(producer)) })
    }

    /// Asks the cluster for its topics: proves that it can be reached and lets us in.
    ///
    /// # Errors
    /// [`ErrorKind::Authentication`] with the reason when a broker refuses the password or its
    /// certificate is not trusted; [`ErrorKind::Unavailable`] when none answers within `timeout`.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn check(&self, timeout: Duration) -> Result<()> {
        let producer = self
            .lock()
            .as_ref()
            .and_then(|producer| Some((producer.client()?, producer.monitor().clone())));
        let Some((client, monitor)) = producer else {
            return Err(Error::new(ErrorKind::Unavailable, CHECK).detail("recover it first"));
        };
        off_thread(CHECK, move || {
            client::metadata(CHECK, client.client(), &monitor, Instant::now() + timeout).map(drop)
        })
        .await
    }

    fn lock(&self) -> MutexGuard<'_, Option<Producer>> {
        self.producer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn make_anew(&self) -> Result<()> {
        let old = self.lock().take();
        if let Some(old) = old {
            old.halt();
            old.stop().await;
        }
        let (settings, monitor) = (Arc::clone(&self.settings), self.monitor.clone());
        let new = off_thread(PUBLISH, move || Producer::start(PUBLISH, &settings, monitor)).await?;
        // Somebody else may have recovered at the same time, and published since: theirs stays.
        self.lock().get_or_insert(new);
        Ok(())
    }
}

impl EventBus for KafkaBus {
    fn publish(&self, records: Vec<Record>) -> BoxFuture<'static, Vec<Result<Receipt>>> {
        // Held for the whole call: the records of two calls don't mix.
        let mut producer = self.lock();
        let Some(producer) = producer.as_mut() else {
            let halted = || Error::new(ErrorKind::Halted, PUBLISH).detail("it is being recovered");
            return futures::future::ready(records.iter().map(|_| Err(halted())).collect()).boxed();
        };
        if records.is_empty() {
            return futures::future::ready(Vec::new()).boxed();
        }
        let outgoing = records.iter().map(|Record { topic, envelope, .. }| Outgoing {
            topic: topic.as_str(),
            partition: None,
            key: Some(envelope.key().as_str().as_bytes()),
            value: Some(&envelope.payload),
            headers: headers(envelope),
        });
        producer.hand_over(outgoing).all().boxed()
    }

    /// # Cancel safety
    /// Cancel safe: when the future is dropped, the bus stays halted until the next call.
    fn recover(&self) -> BoxFuture<'_, Result<()>> {
        self.make_anew().boxed()
    }
}

impl fmt::Debug for KafkaBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaBus").finish_non_exhaustive()
    }
}

fn settings(config: &KafkaConfig) -> Result<ClientConfig> {
    let mut settings = config.producer()?;
    settings
        // Without it the broker takes what follows a refused record.
        .set("enable.gapless.guarantee", "true")
        // Otherwise an old record expires while a newer one succeeds.
        .set("message.timeout.ms", "0");
    Ok(settings)
}

fn headers(envelope: &relaybox_core::Envelope) -> OwnedHeaders {
    let mut headers = Some(OwnedHeaders::new_with_capacity(USUAL_HEADERS));
    cloudevents::headers(envelope, |key, value| {
        headers = headers.take().map(|headers| headers.insert(Header { key, value: Some(value) }));
    });
    headers.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sweep after a failure hides most of what these prevent, so no test on a broker sees them.
    #[test]
    fn the_producer_leaves_no_gap_and_expires_nothing() {
        let settings = settings(&KafkaConfig::new("localhost:1")).unwrap();
        for (name, value) in [
            ("enable.idempotence", "true"),
            ("enable.gapless.guarantee", "true"),
            ("message.timeout.ms", "0"),
            ("acks", "all"),
        ] {
            assert_eq!(settings.get(name), Some(value), "{name}");
        }
    }
}
