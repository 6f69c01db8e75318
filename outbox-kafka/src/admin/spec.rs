//! Topics as they should be.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use relaybox_core::{AggregateType, Error, ErrorKind, Result, TopicMap, TopicName};

use super::TopicStep;
use crate::dead_letter_topic;

const MAX_BYTES: &str = "max.message.bytes";
/// The `max.message.bytes` of a dead-letter topic, 10 MiB. A letter is its record and up to some KiB
/// of headers, so with the topic's own limit (1,048,588 unless the broker says otherwise) it would
/// refuse the largest records. The rest is for topics that take larger ones.
const DEAD_LETTER_BYTES: u64 = 10 * 1024 * 1024;
/// What a letter may have on top of its record, generously.
const LETTER_HEADERS: u64 = 1024 * 1024;

/// A topic as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicSpec {
    /// Its name.
    pub name: TopicName,
    /// How many partitions it has.
    pub partitions: i32,
    /// How many brokers have a copy; -1 leaves that to the cluster.
    pub replication: i32,
    /// Topic settings: `retention.ms`, `max.message.bytes`. Those that are not named here are the
    /// cluster's when the topic is made, and left alone when it is there.
    pub settings: BTreeMap<String, String>,
    /// Whether a [plan](crate::KafkaAdmin::plan) may add partitions to it, see
    /// [`allow_more_partitions`](Self::allow_more_partitions).
    pub may_grow: bool,
}

impl TopicSpec {
    /// A topic with the cluster's settings.
    #[must_use]
    pub fn new(name: TopicName, partitions: i32, replication: i32) -> Self {
        Self { name, partitions, replication, settings: BTreeMap::new(), may_grow: false }
    }

    /// Sets a topic setting.
    #[must_use]
    pub fn set(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.insert(name.into(), value.into());
        self
    }

    /// Sets how long records are kept.
    #[must_use]
    pub fn retention(self, keep: Duration) -> Self {
        self.set("retention.ms", keep.as_millis().to_string())
    }

    /// Allows a [plan](crate::KafkaAdmin::plan) to add partitions when the topic has fewer.
    ///
    /// A key's new records then go to another partition than its old ones, and may be handled before
    /// them: stop the relays, let the consumers catch up, then add.
    #[must_use]
    pub fn allow_more_partitions(mut self) -> Self {
        self.may_grow = true;
        self
    }

    /// Its dead-letter topic as it should be: with as many partitions and copies, so that a key's dead
    /// letters keep their order, and with room for its largest record (`max.message.bytes`: 10 MiB, or
    /// 1 MiB more than the topic's own if that is named here).
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when its name would be too long.
    pub fn dead_letters(&self) -> Result<Self> {
        let largest: Option<u64> =
            self.settings.get(MAX_BYTES).and_then(|bytes| bytes.trim().parse().ok());
        let bytes = DEAD_LETTER_BYTES.max(largest.unwrap_or(0).saturating_add(LETTER_HEADERS));
        let mut letters =
            Self::new(dead_letter_topic(&self.name)?, self.partitions, self.replication);
        letters.may_grow = self.may_grow;
        Ok(letters.set(MAX_BYTES, bytes.to_string()))
    }

    pub(super) fn create(&self) -> TopicStep {
        TopicStep::Create {
            partitions: self.partitions,
            replication: self.replication,
            settings: self.settings.clone(),
        }
    }
}

/// The topics of some aggregate types and their dead-letter topics, each once.
///
/// The latter are as [`TopicSpec::dead_letters`] says.
///
/// # Errors
/// [`ErrorKind::Invalid`] when the name of a dead-letter topic would be too long.
pub fn topic_specs(
    topics: &TopicMap,
    aggregate_types: &[AggregateType],
    partitions: i32,
    replication: i32,
) -> Result<Vec<TopicSpec>> {
    let names: BTreeSet<_> = aggregate_types.iter().map(|known| topics.topic(known)).collect();
    let mut specs = Vec::with_capacity(names.len() * 2);
    for name in names {
        let topic = TopicSpec::new(name, partitions, replication);
        let dead_letters = topic.dead_letters()?;
        specs.extend([topic, dead_letters]);
    }
    Ok(specs)
}

/// Whether specs make sense by themselves.
pub(super) fn check(operation: &'static str, specs: &[TopicSpec]) -> Result<()> {
    let mut names = BTreeSet::new();
    for TopicSpec { name, partitions, .. } in specs {
        let wrong = match partitions {
            _ if !names.insert(name) => format!("{name} is named twice"),
            ..1 => format!("{name} is to have {partitions} partitions: it needs at least one"),
            _ => continue,
        };
        return Err(Error::new(ErrorKind::Invalid, operation).detail(wrong));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_topic_is_seeded_once_with_its_dead_letters() {
        let aggregate = |name: &'static str| AggregateType::new(name).unwrap();
        let billing = TopicName::new("billing.v2").unwrap();
        let map = TopicMap::new()
            .route(aggregate("invoice"), billing.clone())
            .route(aggregate("payment"), billing);
        let types = [aggregate("session"), aggregate("invoice"), aggregate("payment")];
        let specs = topic_specs(&map, &types, 6, 3).unwrap();
        let names: Vec<_> = specs.iter().map(|spec| spec.name.as_str()).collect();
        let expected =
            ["billing.v2", "billing.v2.dlq", "session-events.v1", "session-events.v1.dlq"];
        assert_eq!(names, expected);
        assert!(specs.iter().all(|spec| (spec.partitions, spec.replication) == (6, 3)));
        for spec in specs {
            let limit = spec.settings.get("max.message.bytes").map(|bytes| bytes.parse::<u64>());
            match spec.name.as_str().ends_with(".dlq") {
                true => assert!(limit.unwrap().unwrap() >= 1_048_588 + 64 * 1024),
                false => assert_eq!(limit, None),
            }
        }
    }

    #[test]
    fn a_dead_letter_topic_takes_its_topics_largest_record_with_the_headers() {
        let topic = TopicName::new("t").unwrap();
        let spec = TopicSpec::new(topic, 3, 1).set("max.message.bytes", "20000000");
        let letters = spec.allow_more_partitions().dead_letters().unwrap();
        assert_eq!(letters.settings["max.message.bytes"], "21048576");
        assert!(letters.may_grow);
    }
}
