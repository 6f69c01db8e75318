//! `[[topics]]` and `[[subjects]]`: what there should be.

use std::{collections::BTreeMap, path::PathBuf};

use relaybox::{AggregateType, TopicMap, TopicName};
use serde::Deserialize;

/// The topics and subjects of a file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Seeds {
    pub(crate) topics: Vec<TopicSection>,
    pub(crate) subjects: Vec<SubjectSection>,
    /// What the paths are relative to.
    #[serde(skip)]
    pub(crate) folder: PathBuf,
}

/// A topic, by its name or by the aggregate type whose events go there.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TopicSection {
    name: Option<TopicName>,
    aggregate: Option<AggregateType>,
    pub(crate) partitions: i32,
    #[serde(default = "of_the_cluster")]
    pub(crate) replication: i32,
    /// Topic settings, as Kafka names them.
    #[serde(default)]
    pub(crate) settings: BTreeMap<String, String>,
    /// Whether it has a dead-letter topic.
    #[serde(default = "yes")]
    pub(crate) dead_letters: bool,
    /// Settings of the dead-letter topic.
    #[serde(default)]
    pub(crate) dead_letter_settings: BTreeMap<String, String>,
}

impl TopicSection {
    /// Its name; none when the section names neither a topic nor an aggregate type, or both.
    pub(crate) fn name(&self, map: &TopicMap) -> Option<TopicName> {
        match (&self.name, &self.aggregate) {
            (Some(name), None) => Some(name.clone()),
            (None, Some(aggregate)) => Some(map.topic(aggregate)),
            _ => None,
        }
    }
}

/// A schema, and the subject that it is registered under.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SubjectSection {
    /// The subject's name; by the naming strategy from topic and schema, where it is absent.
    pub(crate) name: Option<String>,
    /// The topic, for the naming strategy.
    pub(crate) topic: Option<TopicName>,
    /// The aggregate type whose topic it is, for the naming strategy.
    pub(crate) aggregate: Option<AggregateType>,
    /// The .avsc file.
    pub(crate) schema: PathBuf,
    pub(crate) compatibility: Option<String>,
}

fn of_the_cluster() -> i32 {
    -1
}

fn yes() -> bool {
    true
}
