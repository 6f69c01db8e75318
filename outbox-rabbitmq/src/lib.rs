//! RabbitMQ for [relaybox](https://docs.rs/relaybox), over AMQP 0-9-1.
//!
//! [`RabbitTopology`] declares, [`RabbitBus`] publishes, [`RabbitSource`] receives, writes dead letters and
//! has the broker deliver again later, [`RabbitRedrive`] lists dead letters, puts
//! them back and discards them. The feature `tls` is for
//! `amqps`. RabbitMQ 3.10 or newer is needed.
//!
//! ```no_run
//! use relaybox_core::{
//!     AggregateId, AggregateType, Envelope, EventBus, EventSource, EventType, Received, Record,
//!     TopicName,
//! };
//! use relaybox_rabbitmq::{RabbitBus, RabbitConfig, RabbitQueue, RabbitSource, RabbitTopology};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> relaybox_core::Result<()> {
//! let config = RabbitConfig::from_url("amqp://guest:guest@localhost/%2f")?;
//! let queue = RabbitQueue::new("notifications")?.bind("session.#").single_active_consumer();
//! RabbitTopology::new().queue(queue.clone()).declare(&config).await?;
//!
//! let bus = RabbitBus::new(config.clone())?;
//! let envelope = Envelope::new(
//!     EventType::new("session.created", 1)?,
//!     AggregateType::new("session")?,
//!     AggregateId::new("s-1")?,
//!     &b"{\"user\":7}"[..],
//! );
//! let topic = TopicName::new("session-events.v1")?;
//! for result in bus.publish(vec![Record::new(topic, envelope)]).await {
//!     result?;
//! }
//!
//! let source = RabbitSource::new(config, queue)?;
//! let Received::Batch { partition, deliveries } = source.receive().await? else {
//!     unreachable!("the connection was not lost")
//! };
//! assert_eq!(deliveries[0].value.as_deref(), Some(&b"{\"user\":7}"[..]));
//! source.acknowledge(&partition, deliveries[0].offset).await?;
//! source.close().await?;
//! # Ok(()) }
//! ```
//!
//! # When order holds
//!
//! RabbitMQ has queues, not partitions: order is not a property of the broker but of how it is used.
//!
//! **Into a queue**, an aggregate's events come in the order in which the relay publishes them, repeats
//! aside, when the record key is the aggregate's own: of a key, [`RabbitBus`] has one unconfirmed event
//! with the broker at a time. An event that can't be routed, or that a queue refuses, holds back the ones
//! behind it. What goes to several queues is confirmed when all of them have it; an event that one queue
//! refused is published again to all.
//!
//! **Out of a queue**, an aggregate's events are handled in that order when all of this holds:
//!
//! 1. the queue has a [single active consumer](RabbitQueue::single_active_consumer), or there is one
//!    consumer in all: several at once share a queue message by message;
//! 2. failures are [retried in place](RabbitQueue::retry_in_place): an event in a waiting queue is overtaken;
//! 3. nothing was given up on: what is [redriven](RabbitRedrive) comes behind what its aggregate did since.
//!
//! When a connection is lost, or the active consumer dies, what it had not acknowledged goes back to its
//! place in the queue and is delivered first. Repeats are possible, and the inbox knows them. Without these
//! three, effects still happen exactly once; only their order is open.
//!
//! # Logs
//!
//! The client's own thread would log a whole message when the broker returns it. It is kept silent; what
//! goes wrong is in the errors, and in what this crate logs itself.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod bus;
mod config;
mod connection;
mod error;
mod message;
mod publisher;
mod redrive;
mod source;
mod topology;

#[doc(no_inline)]
pub use relaybox_core::Secret;

pub use self::{
    bus::{RabbitBus, RabbitBusBuilder},
    config::{RabbitConfig, Tls},
    redrive::{RabbitDiscardPlan, RabbitRedrive, RabbitRedrivePlan},
    source::{RabbitSource, RabbitSourceBuilder},
    topology::{RabbitQueue, RabbitTopology},
};
