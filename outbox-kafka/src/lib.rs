//! Kafka for [relaybox](https://docs.rs/relaybox), on librdkafka.
//!
//! [`KafkaBus`] publishes, [`KafkaSource`] receives and writes dead letters, [`KafkaRedrive`] lists
//! them, sends them back and discards them, [`KafkaAdmin`] makes and changes topics, and [`EmbeddedCluster`] is a cluster in this process for tests. The feature `tls` links
//! OpenSSL, for TLS and for SCRAM.
//!
//! librdkafka's own log goes to `tracing` with the target `librdkafka`.
//!
//! ```
//! use relaybox_core::{
//!     AggregateId, AggregateType, ConsumerName, Envelope, EventBus, EventSource, EventType, Received,
//!     Record, TopicName,
//! };
//! use relaybox_kafka::{EmbeddedCluster, KafkaBus, KafkaConfig, KafkaSource};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> relaybox_core::Result<()> {
//! let cluster = EmbeddedCluster::start(1)?;
//! let topic = TopicName::new("session-events.v1")?;
//! cluster.create_topic(&topic, 3)?;
//! let config = KafkaConfig::new(cluster.brokers());
//!
//! let bus = KafkaBus::new(config.clone())?;
//! let envelope = Envelope::new(
//!     EventType::new("session.created", 1)?,
//!     AggregateType::new("session")?,
//!     AggregateId::new("s-1")?,
//!     &b"{\"user\":7}"[..],
//! );
//! for result in bus.publish(vec![Record::new(topic.clone(), envelope)]).await {
//!     result?;
//! }
//!
//! let source = KafkaSource::new(config, ConsumerName::new("notifications")?, vec![topic])?;
//! let Received::Batch { partition, deliveries } = source.receive().await? else {
//!     unreachable!("nobody else is in the group")
//! };
//! assert_eq!(deliveries[0].value.as_deref(), Some(&b"{\"user\":7}"[..]));
//! source.acknowledge(&partition, deliveries[0].offset).await?;
//! source.close().await?;
//! # Ok(()) }
//! ```

#![cfg_attr(docsrs, feature(doc_cfg))]

mod admin;
mod batch;
mod bus;
mod client;
mod config;
mod dead_letter;
mod embedded;
mod error;
mod producer;
mod redrive;
mod source;
mod warm_up;

#[doc(no_inline)]
pub use relaybox_core::Secret;

pub use self::{
    admin::{Ensured, KafkaAdmin, PlannedTopic, TopicPlan, TopicSpec, TopicStep, topic_specs},
    bus::KafkaBus,
    config::{KafkaConfig, Sasl, Tls},
    dead_letter::dead_letter_topic,
    embedded::EmbeddedCluster,
    redrive::{
        KafkaDeadLetter, KafkaDiscardPlan, KafkaRedrive, KafkaRedrivePlan, LetterCounts,
        LetterState,
    },
    source::{KafkaSource, KafkaSourceBuilder, StartAt},
};
