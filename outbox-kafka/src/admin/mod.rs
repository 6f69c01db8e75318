//! Topics: what is there, what should be, and the way from one to the other.

mod apply;
mod cluster;
mod diff;
mod plan;
mod rehearse;
mod spec;

use std::{
    fmt,
    time::{Duration, Instant},
};

use rdkafka::ClientConfig;
#[cfg(doc)]
use relaybox_core::ErrorKind;
use relaybox_core::{Result, TopicName};

pub use self::{
    plan::{PlannedTopic, TopicPlan, TopicStep},
    spec::{TopicSpec, topic_specs},
};
use crate::{KafkaConfig, client::Monitor, producer::Producer};

const ENSURE: &str = "make topics";
const PLAN: &str = "plan topics";

/// Makes topics, and changes those that are there.
///
/// [`plan`](Self::plan) says what is to be done, [`apply`](Self::apply) does it;
/// [`ensure_topics`](Self::ensure_topics) only makes what is missing.
///
/// ```no_run
/// use relaybox_core::{AggregateType, TopicMap};
/// use relaybox_kafka::{KafkaAdmin, KafkaConfig, topic_specs};
///
/// # async fn seed() -> relaybox_core::Result<()> {
/// let admin = KafkaAdmin::new(KafkaConfig::new("localhost:9092"))?;
/// let specs = topic_specs(&TopicMap::new(), &[AggregateType::new("session")?], 12, 3)?;
/// let plan = admin.plan(&specs).await?;
/// println!("{plan}");
/// if !plan.has_refusals() {
///     admin.apply(&plan).await?;
/// }
/// # Ok(()) }
/// ```
pub struct KafkaAdmin {
    settings: ClientConfig,
    /// Asks for metadata. It says why it is refused; the client that makes topics doesn't.
    probe: Producer,
    timeout: Duration,
}

/// How a topic was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Ensured {
    /// It was not there, and is now.
    Created,
    /// It was there, with as many partitions. Its settings were not looked at.
    Existed,
    /// It was there, with another number of partitions. It was left so: more partitions would send
    /// keys elsewhere and break their order.
    PartitionsDiffer {
        /// How many it has.
        found: i32,
    },
}

impl KafkaAdmin {
    /// Makes a client. Connects in the background.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when a setting or a certificate file can't be used, or when TLS or
    /// SCRAM is asked for without the feature `tls`.
    pub fn new(config: KafkaConfig) -> Result<Self> {
        let monitor = Monitor::new(&config);
        let probe = Producer::start(ENSURE, &config.producer()?, monitor)?;
        Ok(Self { settings: config.client()?, probe, timeout: Duration::from_secs(30) })
    }

    /// Sets how long a call may take; 30 s by default.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Makes the topics that are missing, and waits until all of them can be written to.
    ///
    /// What is there is never changed: calling again is safe.
    ///
    /// # Errors
    /// The first topic's that can't be made ([`ErrorKind::TopicUnavailable`] when that is not
    /// allowed, [`ErrorKind::Invalid`] when a number or a setting is not);
    /// [`ErrorKind::Authentication`] and [`ErrorKind::Unavailable`] as in
    /// [`KafkaBus::check`](crate::KafkaBus::check).
    ///
    /// # Cancel safety
    /// When the future is dropped, some topics may have been made. Call again.
    pub async fn ensure_topics(&self, specs: &[TopicSpec]) -> Result<Vec<(TopicName, Ensured)>> {
        let deadline = self.deadline();
        let found = self.topics(ENSURE, deadline).await?;
        let missing: Vec<_> =
            specs.iter().filter(|spec| !found.contains_key(spec.name.as_str())).collect();
        let mut made = Vec::new();
        if !missing.is_empty() {
            let client = self.client(ENSURE).await?;
            let steps: Vec<_> = missing.iter().map(|spec| (&spec.name, spec.create())).collect();
            made = client.create(ENSURE, &steps, deadline).await?;
        }
        let names: Vec<_> = specs.iter().map(|spec| &spec.name).collect();
        let found = self.usable(ENSURE, &names, deadline).await?;
        let ensured = specs.iter().map(|spec| {
            let ensured = match found[spec.name.as_str()].partitions() {
                count if count != spec.partitions => Ensured::PartitionsDiffer { found: count },
                _ if made.contains(&spec.name) => Ensured::Created,
                _ => Ensured::Existed,
            };
            (spec.name.clone(), ensured)
        });
        Ok(ensured.collect())
    }

    /// Compares topics with their specs, and says what [`apply`](Self::apply) would do. Changes nothing.
    ///
    /// A topic that is missing would be made. Of one that is there, the settings that its spec names
    /// would be changed where the broker reports another value; those that it doesn't name are left
    /// alone. Partitions would be added only where the spec
    /// [allows it](TopicSpec::allow_more_partitions). Fewer partitions, and another number of copies,
    /// are refused: no step of this library can do it safely. What the cluster itself would refuse (a
    /// setting that it doesn't know, more copies than brokers, a right that is missing) is asked for and
    /// not done, and is a refusal, too.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when a topic is named twice, or a number of partitions is below 1;
    /// [`ErrorKind::TopicUnavailable`] when the settings of a topic can't be read for want of a right;
    /// [`ErrorKind::Authentication`] and [`ErrorKind::Unavailable`] as in
    /// [`KafkaBus::check`](crate::KafkaBus::check).
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn plan(&self, specs: &[TopicSpec]) -> Result<TopicPlan> {
        spec::check(PLAN, specs)?;
        let deadline = self.deadline();
        let found = self.topics(PLAN, deadline).await?;
        let client = self.client(PLAN).await?;
        let mut plan = TopicPlan::default();
        for spec in specs {
            let name = spec.name.clone();
            let mut steps = match found.get(name.as_str()) {
                None => vec![spec.create()],
                Some(topic) if spec.settings.is_empty() => diff::shape(spec, topic),
                Some(topic) => {
                    let settings = client.settings(PLAN, &name, deadline).await?;
                    let mut steps = diff::settings(spec, &settings);
                    steps.extend(diff::shape(spec, topic));
                    steps
                }
            };
            client.rehearse(PLAN, &name, &mut steps, deadline).await?;
            plan.topics.push(PlannedTopic { name, steps });
        }
        Ok(plan)
    }

    /// Does what a plan says, and waits until it is seen. Gives what it did.
    ///
    /// What is refused in the plan is not done, and keeps nothing else from being done: ask
    /// [`TopicPlan::has_refusals`] first to have all or nothing. What was done since the plan was made is
    /// passed over, so that a plan may be applied again.
    ///
    /// Kafka's protocol has a request that changes single settings; librdkafka's binding for Rust doesn't.
    /// So all settings that the topic has of its own are read and sent along. A setting that somebody
    /// else changes in just these milliseconds is set back.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`], before anything is changed, when a topic is neither as it was when the plan
    /// was made nor as the plan says: plan again. Otherwise as [`plan`](Self::plan) and
    /// [`ensure_topics`](Self::ensure_topics). What was done before stays; the next plan says what is left.
    ///
    /// # Cancel safety
    /// When the future is dropped, some of it may have been done. Apply again.
    pub async fn apply(&self, plan: &TopicPlan) -> Result<TopicPlan> {
        apply::apply(self, plan).await
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }
}

impl fmt::Debug for KafkaAdmin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaAdmin").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}
