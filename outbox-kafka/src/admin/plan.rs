//! What would be done about topics.

use std::{collections::BTreeMap, fmt};

use rdkafka::types::RDKafkaErrorCode;
use relaybox_core::TopicName;

/// What [`KafkaAdmin::apply`](crate::KafkaAdmin::apply) would do, topic by topic, in the order of their
/// specs.
///
/// Its `Display` is a readable diff: `+` is made, `~` is changed, `!` is refused; what is as it should be
/// has a line without a sign.
///
/// ```text
/// + session-events.v1: 12 partitions, replication 3, retention.ms=3600000
/// ~ billing.v2: max.message.bytes 1048588 -> 2097152
/// ! billing.v2: it has 12 partitions, and 6 are asked for: Kafka takes no partition away …
///   audit.v1: unchanged
/// 1 to create, 1 to change, 1 refused, 1 unchanged
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicPlan {
    /// The topics, those that are as they should be, too.
    pub topics: Vec<PlannedTopic>,
}

/// A topic of a [`TopicPlan`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlannedTopic {
    /// Its name.
    pub name: TopicName,
    /// What would be done about it; nothing when it is as it should be.
    pub steps: Vec<TopicStep>,
}

/// One thing to be done about a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicStep {
    /// It is not there, and would be made.
    Create {
        /// How many partitions it would have.
        partitions: i32,
        /// How many brokers would have a copy; -1 leaves that to the cluster.
        replication: i32,
        /// The settings that it would have, apart from the cluster's.
        settings: BTreeMap<String, String>,
    },
    /// A setting would be changed.
    Set {
        /// Its name.
        setting: String,
        /// The value that the broker reports, its own default if the topic has none; `None` when it has
        /// no value at all.
        from: Option<String>,
        /// The value it would have.
        to: String,
    },
    /// Partitions would be added: new records of most keys go to another partition than their old ones.
    AddPartitions {
        /// How many there are.
        from: i32,
        /// How many there would be.
        to: i32,
    },
    /// What was asked for is not done.
    Refused {
        /// Why, and what may be done instead.
        reason: String,
    },
}

impl TopicPlan {
    /// Whether every topic is as it should be: nothing to do, and nothing refused.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.topics.iter().all(|topic| topic.steps.is_empty())
    }

    /// Whether [`apply`](crate::KafkaAdmin::apply) would change anything.
    #[must_use]
    pub fn has_changes(&self) -> bool {
        self.steps().any(|step| !step.is_refused())
    }

    /// Whether something that was asked for is refused.
    #[must_use]
    pub fn has_refusals(&self) -> bool {
        self.steps().any(TopicStep::is_refused)
    }

    fn steps(&self) -> impl Iterator<Item = &TopicStep> {
        self.topics.iter().flat_map(|topic| &topic.steps)
    }

    fn count(&self, counted: impl Fn(&PlannedTopic) -> bool) -> usize {
        self.topics.iter().filter(|topic| counted(topic)).count()
    }
}

impl PlannedTopic {
    pub(super) fn has(&self, wanted: impl Fn(&TopicStep) -> bool) -> bool {
        self.steps.iter().any(wanted)
    }
}

impl TopicStep {
    /// Whether this is not done.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }

    pub(super) fn is_create(&self) -> bool {
        matches!(self, Self::Create { .. })
    }

    /// Makes a refusal of it, for the cluster would refuse it so.
    pub(super) fn refuse(&mut self, code: RDKafkaErrorCode) {
        *self = Self::Refused { reason: format!("the cluster refuses it ({code}): {self}") };
    }

    /// The setting that it changes, and the new value.
    pub(super) fn as_set(&self) -> Option<(&str, &str)> {
        match self {
            Self::Set { setting, to, .. } => Some((setting, to)),
            _ => None,
        }
    }
}

impl fmt::Display for TopicPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for PlannedTopic { name, steps } in &self.topics {
            if steps.is_empty() {
                writeln!(f, "  {name}: unchanged")?;
            }
            for step in steps {
                writeln!(f, "{} {name}: {step}", step.sign())?;
            }
        }
        let changes = |step: &TopicStep| !step.is_refused() && !step.is_create();
        write!(
            f,
            "{} to create, {} to change, {} refused, {} unchanged",
            self.count(|topic| topic.has(TopicStep::is_create)),
            self.count(|topic| topic.has(changes)),
            self.count(|topic| topic.has(TopicStep::is_refused)),
            self.count(|topic| topic.steps.is_empty()),
        )
    }
}

impl fmt::Display for TopicStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create { partitions, replication, settings } => {
                write!(f, "{partitions} partitions, ")?;
                match replication {
                    -1 => f.write_str("the cluster's replication")?,
                    count => write!(f, "replication {count}")?,
                }
                settings.iter().try_for_each(|(name, value)| write!(f, ", {name}={value}"))
            }
            Self::Set { setting, from, to } => {
                write!(f, "{setting} {} -> {to}", from.as_deref().unwrap_or("(none)"))
            }
            Self::AddPartitions { from, to } => {
                write!(f, "partitions {from} -> {to}, which sends keys elsewhere")
            }
            Self::Refused { reason } => f.write_str(reason),
        }
    }
}

impl TopicStep {
    /// What its line begins with.
    fn sign(&self) -> char {
        match self {
            Self::Create { .. } => '+',
            Self::Set { .. } | Self::AddPartitions { .. } => '~',
            Self::Refused { .. } => '!',
        }
    }
}
