//! A Kafka cluster in this process, for tests and demonstrations.

use std::{sync::mpsc, thread};

use rdkafka::{error::KafkaResult, mocking::MockCluster, producer::DefaultProducerContext};
use relaybox_core::{Error, ErrorKind, Result, TopicName};

use crate::error;

const EMBED: &str = "run an embedded cluster";

/// librdkafka's mock cluster: real clients talk the real protocol to it over loopback.
///
/// It keeps records in memory, up to 5 MB a partition, knows consumer groups, and makes topics that
/// are asked for. A group's first member waits 3 s, and a later one as long as `session.timeout.ms`
/// (45 s unless set). It knows neither topic administration nor limits, logins or TLS: for those,
/// run a broker. Dropping it ends it.
///
/// ```
/// use relaybox_core::TopicName;
/// use relaybox_kafka::{EmbeddedCluster, KafkaConfig};
///
/// let cluster = EmbeddedCluster::start(1)?;
/// cluster.create_topic(&TopicName::new("session-events.v1")?, 3)?;
/// let config = KafkaConfig::new(cluster.brokers());
/// # drop(config);
/// # Ok::<(), relaybox_core::Error>(())
/// ```
#[derive(Debug)]
pub struct EmbeddedCluster {
    brokers: String,
    commands: mpsc::Sender<Command>,
}

type Mock = MockCluster<'static, DefaultProducerContext>;
type Command = Box<dyn FnOnce(&Mock) + Send>;

impl EmbeddedCluster {
    /// Starts so many brokers.
    ///
    /// # Errors
    /// When librdkafka can't.
    pub fn start(brokers: u16) -> Result<Self> {
        let (commands, inbox) = mpsc::channel::<Command>();
        let (started, address) = mpsc::channel();
        // It can't move between threads, so it gets one.
        thread::Builder::new()
            .name("relaybox-embedded-kafka".to_owned())
            .spawn(move || {
                let mock = match Mock::new(brokers.max(1).into()) {
                    Ok(mock) => mock,
                    Err(error) => return drop(started.send(Err(error))),
                };
                drop(started.send(Ok(mock.bootstrap_servers())));
                inbox.into_iter().for_each(|command| command(&mock));
            })
            .map_err(|source| Error::new(ErrorKind::Other, EMBED).caused_by(source))?;
        let brokers = address.recv().map_err(|_| gone())?;
        Ok(Self { brokers: brokers.map_err(|error| error::convert(EMBED, error))?, commands })
    }

    /// The brokers' addresses, for [`KafkaConfig::new`](crate::KafkaConfig::new).
    #[must_use]
    pub fn brokers(&self) -> String {
        self.brokers.clone()
    }

    /// Makes a topic, kept by every broker.
    ///
    /// # Errors
    /// When it exists.
    pub fn create_topic(&self, topic: &TopicName, partitions: i32) -> Result<()> {
        let topic = topic.clone();
        let replicas = i32::try_from(self.brokers.split(',').count()).unwrap_or(1);
        self.command(move |mock| mock.create_topic(topic.as_str(), partitions, replicas))
    }

    /// Cuts all connections and takes no new ones.
    ///
    /// # Errors
    /// When librdkafka can't.
    pub fn down(&self) -> Result<()> {
        self.command(|mock| mock.broker_down(-1))
    }

    /// Takes connections again.
    ///
    /// # Errors
    /// When librdkafka can't.
    pub fn up(&self) -> Result<()> {
        self.command(|mock| mock.broker_up(-1))
    }

    fn command(&self, work: impl FnOnce(&Mock) -> KafkaResult<()> + Send + 'static) -> Result<()> {
        let (done, result) = mpsc::channel();
        let command: Command = Box::new(move |mock| drop(done.send(work(mock))));
        self.commands.send(command).map_err(|_| gone())?;
        result.recv().map_err(|_| gone())?.map_err(|error| error::convert(EMBED, error))
    }
}

fn gone() -> Error {
    Error::new(ErrorKind::Other, EMBED).detail("its thread is gone")
}
