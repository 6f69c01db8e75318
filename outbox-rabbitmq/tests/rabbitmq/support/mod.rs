//! Brokers, names, records, and a reader that shares no code with the source.

mod proxy;
mod server;

use std::{
    collections::HashMap,
    env,
    future::Future,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures::{FutureExt, StreamExt};
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicGetOptions, BasicPublishOptions,
        ConfirmSelectOptions, ExchangeDeleteOptions, QueueDeclareOptions, QueueDeleteOptions,
    },
    types::{AMQPValue, FieldTable, ShortString},
};
use relaybox_core::{
    AggregateId, AggregateType, ConsumerName, Delivery, Envelope, ErrorKind, EventBus, EventId,
    EventSource, EventType, Failure, Partition, Received, Record, TopicName,
};
use relaybox_rabbitmq::{RabbitBus, RabbitConfig, RabbitQueue, RabbitSource, RabbitTopology};

pub(crate) use self::{proxy::Proxy, server::OwnServer};

/// Longer than anything takes; a test that waits so long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The value of a variable that `scripts/services up rabbitmq` sets.
pub(crate) fn server(variable: &str) -> Option<String> {
    match env::var(variable) {
        Ok(value) => Some(value),
        Err(_) if env::var_os("CI").is_some() => panic!("{variable} is not set, and this is CI"),
        Err(_) => {
            eprintln!("SKIPPED: {variable} is not set");
            None
        }
    }
}

pub(crate) async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("it hangs")
}

/// Waits for a condition.
pub(crate) async fn until(mut condition: impl AsyncFnMut() -> bool) {
    within(async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// Runs a test on the shared broker, and removes what it made.
pub(crate) async fn on_broker(test: impl AsyncFnOnce(&Broker)) {
    if let Some(url) = server("RELAYBOX_RABBITMQ_URL") {
        on_broker_at(url, test).await;
    }
}

pub(crate) async fn on_broker_at(url: String, test: impl AsyncFnOnce(&Broker)) {
    let broker = Broker::new(url);
    let bounded = async {
        tokio::time::timeout(5 * PATIENCE, test(&broker)).await.expect("the test hangs");
    };
    let result = std::panic::AssertUnwindSafe(bounded).catch_unwind().await;
    broker.clean().await;
    if let Err(failed) = result {
        std::panic::resume_unwind(failed);
    }
}

/// A broker, and the names that a test has on it.
pub(crate) struct Broker {
    pub(crate) url: String,
    made: Mutex<Vec<String>>,
}

impl Broker {
    pub(crate) fn new(url: String) -> Self {
        Self { url, made: Mutex::default() }
    }

    pub(crate) fn config(&self) -> RabbitConfig {
        config(&self.url)
    }

    /// A name that nobody else has. The exchange or queue of the name is removed in the end, with what
    /// belongs to it.
    pub(crate) fn name(&self) -> TopicName {
        let name = format!("test-{}", EventId::new());
        self.made.lock().unwrap_or_else(PoisonError::into_inner).push(name.clone());
        TopicName::new(name).unwrap()
    }

    /// A queue of its own.
    pub(crate) fn queue(&self) -> RabbitQueue {
        RabbitQueue::new(self.name().to_string())
            .unwrap()
            .retry_levels(Duration::from_millis(200), Duration::from_millis(1600))
            .unwrap()
    }

    /// Declares a queue with an exchange of its own, and gives that.
    pub(crate) async fn declare(&self, queue: &RabbitQueue) -> TopicName {
        let exchange = self.name();
        let topology = RabbitTopology::new().exchange(exchange.clone()).queue(queue.clone());
        topology.declare(&self.config()).await.unwrap();
        exchange
    }

    /// A queue that has everything, and a bus to it.
    pub(crate) async fn chain(&self) -> (RabbitBus, RabbitQueue) {
        let queue = self.queue().bind("#");
        let exchange = self.declare(&queue).await;
        (self.bus(&exchange), queue)
    }

    /// The same, with a line to the broker that can be cut.
    pub(crate) async fn proxied_chain(&self) -> (Proxy, RabbitBus, RabbitQueue) {
        let queue = self.queue().bind("#");
        let exchange = self.declare(&queue).await;
        let proxy = Proxy::start(&self.url).await;
        let through = config(&proxy.url(&self.url));
        let bus = RabbitBus::builder(through).exchange(exchange).build().unwrap();
        (proxy, bus, queue)
    }

    pub(crate) fn bus(&self, exchange: &TopicName) -> RabbitBus {
        RabbitBus::builder(self.config()).exchange(exchange.clone()).build().unwrap()
    }

    pub(crate) fn source(&self, queue: &RabbitQueue) -> RabbitSource {
        RabbitSource::new(self.config(), queue.clone()).unwrap()
    }

    pub(crate) async fn channel(&self) -> (Connection, Channel) {
        let properties = ConnectionProperties::default();
        let connection = Connection::connect(&self.url, properties).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        (connection, channel)
    }

    /// How many messages are ready.
    pub(crate) async fn length(&self, queue: &str) -> u32 {
        let (_connection, channel) = self.channel().await;
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let found = channel.queue_declare(queue.into(), passive, FieldTable::default()).await;
        found.unwrap().message_count()
    }

    /// Takes everything out of a queue.
    pub(crate) async fn take_all(&self, queue: &str) -> Vec<Raw> {
        let (_connection, channel) = self.channel().await;
        let mut found = Vec::new();
        while let Some(got) =
            channel.basic_get(queue.into(), BasicGetOptions::default()).await.unwrap()
        {
            let tag = got.delivery.delivery_tag;
            channel.basic_ack(tag, BasicAckOptions::default()).await.unwrap();
            found.push(Raw {
                routing_key: got.delivery.routing_key.to_string(),
                properties: got.delivery.properties,
                body: got.delivery.data,
            });
        }
        channel.close(200, "OK".into()).await.unwrap();
        found
    }

    /// Puts a message into a queue, as a stranger would.
    pub(crate) async fn put(&self, queue: &str, properties: BasicProperties, body: &[u8]) {
        let (_connection, channel) = self.channel().await;
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let confirm =
            channel.basic_publish("".into(), queue.into(), options, body, properties).await;
        assert!(confirm.unwrap().await.unwrap().take_message().is_none());
    }

    /// Puts many messages into a queue.
    pub(crate) async fn put_all(
        &self,
        queue: &str,
        messages: impl Iterator<Item = (BasicProperties, String)>,
    ) {
        let (_connection, channel) = self.channel().await;
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        for (properties, body) in messages {
            let options = BasicPublishOptions::default();
            let body = body.as_bytes();
            // Waited for below.
            drop(channel.basic_publish("".into(), queue.into(), options, body, properties).await);
        }
        channel.wait_for_confirms().await.unwrap();
    }

    /// Looks at everything that is ready in a queue, and leaves it there.
    pub(crate) async fn look(&self, queue: &str) -> Vec<Raw> {
        let count = self.length(queue).await as usize;
        let (_connection, channel) = self.channel().await;
        let options = BasicConsumeOptions::default();
        let consuming =
            channel.basic_consume(queue.into(), "".into(), options, FieldTable::default());
        let consumer = consuming.await.unwrap();
        let found = consumer.take(count).map(|delivery| {
            let delivery = delivery.unwrap();
            Raw {
                routing_key: delivery.routing_key.to_string(),
                properties: delivery.properties,
                body: delivery.data,
            }
        });
        let found = found.collect().await;
        // Back they go, in their order.
        channel.close(200, "OK".into()).await.unwrap();
        found
    }

    pub(crate) async fn clean(&self) {
        let names = std::mem::take(&mut *self.made.lock().unwrap_or_else(PoisonError::into_inner));
        let (_connection, channel) = self.channel().await;
        for name in names {
            let of = |suffix: String| ShortString::from(format!("{name}{suffix}"));
            let retries = (0..4).map(|n| format!(".retry.{}", 200 << n));
            for queue in [String::new(), ".dlq".to_owned()].into_iter().chain(retries) {
                let deleting = channel.queue_delete(of(queue), QueueDeleteOptions::default());
                let _ = deleting.await;
            }
            for exchange in ["", ".dlq"] {
                let exchange = of(exchange.to_owned());
                let _ = channel.exchange_delete(exchange, ExchangeDeleteOptions::default()).await;
            }
        }
    }
}

pub(crate) fn config(url: &str) -> RabbitConfig {
    RabbitConfig::from_url(url).unwrap()
}

/// A message as it lies in a queue.
pub(crate) struct Raw {
    pub(crate) routing_key: String,
    pub(crate) properties: BasicProperties,
    pub(crate) body: Vec<u8>,
}

impl Raw {
    pub(crate) fn name(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let table = self.properties.headers().as_ref()?.inner();
        match table.get(name)? {
            AMQPValue::LongString(text) => Some(text.to_string()),
            other => Some(format!("{other:?}")),
        }
    }

    pub(crate) fn key(&self) -> String {
        self.header("x-relaybox-key").unwrap()
    }
}

/// An event of a session with this id, of which the payload is the name.
pub(crate) fn record(key: &str, name: impl Into<String>) -> Record {
    record_of("session", key, name)
}

pub(crate) fn record_of(aggregate: &'static str, key: &str, name: impl Into<String>) -> Record {
    let envelope = Envelope::new(
        EventType::new(format!("{aggregate}.changed"), 1).unwrap(),
        AggregateType::new(aggregate).unwrap(),
        AggregateId::new(key.to_owned()).unwrap(),
        name.into().into_bytes(),
    );
    Record::new(TopicName::new(format!("{aggregate}-events.v1")).unwrap(), envelope)
}

/// Publishes numbers of one key, all of which must be accepted.
pub(crate) async fn publish_numbers(bus: &RabbitBus, key: &str, numbers: std::ops::Range<u32>) {
    let records = numbers.map(|n| record(key, n.to_string())).collect();
    for result in within(bus.publish(records)).await {
        result.unwrap();
    }
}

/// What a relay does: several batches in flight; after a failure all land, the bus recovers, and the first
/// record without an acknowledgement is next. Gives how often it recovered.
pub(crate) async fn relay(bus: &RabbitBus, keys: usize, total: usize) -> usize {
    let mut recovered = 0;
    let mut acknowledged = vec![false; total];
    while let Some(first) = acknowledged.iter().position(|done| !done) {
        let waiting: Vec<_> = (first..total).filter(|n| !acknowledged[*n]).collect();
        let flights: Vec<_> = waiting
            .chunks(50)
            .map(|numbers| {
                let records =
                    numbers.iter().map(|n| record(&format!("k{}", n % keys), n.to_string()));
                (numbers.to_vec(), bus.publish(records.collect()))
            })
            .collect();
        let mut failed = false;
        for (numbers, flight) in flights {
            for (n, result) in numbers.into_iter().zip(within(flight).await) {
                acknowledged[n] |= result.is_ok();
                failed |= result.is_err();
            }
        }
        if failed {
            until(async || bus.recover().await.is_ok()).await;
            recovered += 1;
        }
    }
    recovered
}

/// Every key's numbers, each where it first appears, are in order and complete.
pub(crate) fn assert_complete_and_ordered(
    found: impl Iterator<Item = (String, String)>,
    keys: usize,
    total: usize,
) {
    let mut firsts: HashMap<String, Vec<usize>> = HashMap::new();
    for (key, name) in found {
        let numbers = firsts.entry(key).or_default();
        let number = name.parse().unwrap();
        if !numbers.contains(&number) {
            numbers.push(number);
        }
    }
    for key in 0..keys {
        let expected: Vec<_> = (0..total).filter(|n| n % keys == key).collect();
        assert_eq!(firsts.get(&format!("k{key}")), Some(&expected), "key {key}");
    }
}

pub(crate) fn kinds<T>(results: &[relaybox_core::Result<T>]) -> Vec<Option<ErrorKind>> {
    results.iter().map(|result| result.as_ref().err().map(relaybox_core::Error::kind)).collect()
}

/// The next batch; errors in between are the broker's right.
pub(crate) async fn batch(source: &RabbitSource) -> (Partition, Vec<Delivery>) {
    within(async {
        loop {
            if let Ok(Received::Batch { partition, deliveries }) = source.receive().await {
                return (partition, deliveries);
            }
        }
    })
    .await
}

/// Takes and acknowledges so many deliveries. What is revoked is released, as a consumer does.
pub(crate) async fn drain(source: &RabbitSource, count: usize) -> Vec<Delivery> {
    let mut drained = Vec::new();
    while drained.len() < count {
        match within(source.receive()).await {
            Ok(Received::Batch { partition, deliveries }) => {
                let last = deliveries[deliveries.len() - 1].offset;
                let done = source.acknowledge(&partition, last).await;
                if done.is_ok() {
                    drained.extend(deliveries);
                }
            }
            Ok(Received::Revoked(partition)) => source.release(&partition).await.unwrap(),
            Err(_) => {}
        }
    }
    drained
}

pub(crate) fn name(delivery: &Delivery) -> String {
    String::from_utf8(delivery.value.clone().unwrap().to_vec()).unwrap()
}

pub(crate) fn names(deliveries: &[Delivery]) -> Vec<String> {
    deliveries.iter().map(name).collect()
}

pub(crate) fn numbers(numbers: std::ops::Range<u32>) -> Vec<String> {
    numbers.map(|n| n.to_string()).collect()
}

pub(crate) fn failure() -> Failure {
    let consumer = ConsumerName::new("notifications").unwrap();
    Failure::new(consumer, ErrorKind::Timeout, "too slow".to_owned(), 3, chrono::Utc::now())
}
