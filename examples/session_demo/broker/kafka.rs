//! Kafka: real, or a cluster inside this process that speaks the same protocol.

use std::time::Duration;

use relaybox::{
    AggregateType, ConsumerName, Label, Result, TopicMap, TopicName,
    kafka::{
        EmbeddedCluster, KafkaAdmin, KafkaBus, KafkaConfig, KafkaSource, dead_letter_topic,
        topic_specs,
    },
};

use super::Broker;
use crate::scenario::{
    Delivered, RunSource,
    outage::{OutageBus, Switch},
};

/// Where session events go.
const TOPIC: &str = "session-events.v1";

const PARTITIONS: i32 = 6;
/// The cluster's own default.
const REPLICATION: i32 = -1;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A cluster with the topics of session events, and this run's way to them.
pub(crate) struct Kafka {
    config: KafkaConfig,
    topic: TopicName,
    /// What this run's records have as `ce_source`. Its groups are named after it, too.
    run: Label,
    embedded: Option<EmbeddedCluster>,
    /// Between us and brokers that are not ours to stop.
    switch: Switch,
}

impl Kafka {
    /// Connects to `brokers`, or starts a cluster, and makes the topics.
    pub(crate) async fn start(brokers: Option<&str>, run: Label) -> Result<Self> {
        let topic = TopicName::new(TOPIC)?;
        let (config, embedded) = match brokers {
            Some(brokers) => {
                let config = KafkaConfig::new(brokers);
                KafkaBus::new(config.clone())?.check(CONNECT_TIMEOUT).await?;
                let sessions = [AggregateType::new("session")?];
                let specs = topic_specs(&TopicMap::new(), &sessions, PARTITIONS, REPLICATION)?;
                KafkaAdmin::new(config.clone())?.ensure_topics(&specs).await?;
                (config, None)
            }
            None => {
                let cluster = EmbeddedCluster::start(1)?;
                cluster.create_topic(&topic, PARTITIONS)?;
                cluster.create_topic(&dead_letter_topic(&topic)?, PARTITIONS)?;
                (KafkaConfig::new(cluster.brokers()), Some(cluster))
            }
        };
        Ok(Self { config, topic, run, embedded, switch: Switch::default() })
    }

    fn source(
        &self,
        reading: &str,
        topic: TopicName,
        delivered: Delivered,
    ) -> Result<RunSource<KafkaSource>> {
        let group = ConsumerName::new(format!("{}-{reading}", self.run))?;
        let source = KafkaSource::new(self.config.clone(), group, vec![topic])?;
        Ok(RunSource::new(source, self.run.clone(), delivered))
    }
}

impl Broker for Kafka {
    type Bus = KafkaBus;
    type Source = KafkaSource;

    fn bus(&self) -> Result<OutageBus<KafkaBus>> {
        Ok(OutageBus::new(KafkaBus::new(self.config.clone())?, self.switch.clone()))
    }

    fn first_source(&self, delivered: Delivered) -> Result<RunSource<KafkaSource>> {
        self.source("first", self.topic.clone(), delivered)
    }

    fn second_source(&self, delivered: Delivered) -> Result<RunSource<KafkaSource>> {
        self.source("second", self.topic.clone(), delivered)
    }

    fn origin(&self) -> String {
        self.topic.to_string()
    }

    fn dead_letters(&self) -> Result<RunSource<KafkaSource>> {
        self.source("dead-letters", dead_letter_topic(&self.topic)?, Delivered::default())
    }

    fn cut(&self) -> Result<()> {
        match &self.embedded {
            Some(cluster) => cluster.down(),
            None => {
                self.switch.cut();
                Ok(())
            }
        }
    }

    fn mend(&self) -> Result<()> {
        match &self.embedded {
            Some(cluster) => cluster.up(),
            None => {
                self.switch.mend();
                Ok(())
            }
        }
    }

    async fn remove(&self) -> Result<()> {
        // The topics are everybody's.
        Ok(())
    }
}
