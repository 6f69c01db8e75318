//! The configuration: one TOML file, and the options that stand above it.

mod file;
mod kafka;
mod rabbitmq;
mod registry;
mod relay;
mod seed;
mod span;
mod store;
mod text;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use relaybox::{AggregateType, TopicMap, TopicName};
use serde::Deserialize;

pub(crate) use self::{
    kafka::KafkaSection,
    rabbitmq::RabbitSection,
    registry::RegistrySection,
    relay::{BusKind, ParkOrSkip, RelaySection},
    seed::{Seeds, SubjectSection, TopicSection},
    store::{StoreKind, StoreSection, no_store},
    text::Text,
};
use crate::{args::Global, error::CliError};

/// The file that is read when none is named.
const USUAL: &str = "relaybox.toml";

/// What the file says, with the options of the command line and the environment above it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    pub(crate) store: Option<StoreSection>,
    pub(crate) kafka: Option<KafkaSection>,
    pub(crate) rabbitmq: Option<RabbitSection>,
    pub(crate) registry: Option<RegistrySection>,
    pub(crate) relay: RelaySection,
    /// Which topic an aggregate type's events go to, where that is not the default.
    routes: BTreeMap<AggregateType, TopicName>,
    topics: Vec<TopicSection>,
    subjects: Vec<SubjectSection>,
    /// What the paths in the file are relative to.
    #[serde(skip)]
    folder: PathBuf,
}

impl Config {
    /// Reads the file that is named, or the usual one if it is there, and puts the options above it.
    ///
    /// # Errors
    /// [`CliError::Config`] when the file can't be read or has a mistake: it says which key.
    pub(crate) fn load(global: &Global) -> Result<Self, CliError> {
        let usual = || Some(PathBuf::from(USUAL)).filter(|path| path.exists());
        let mut config = match global.config.clone().or_else(usual) {
            Some(path) => {
                let mut config: Self = file::read(&path)?;
                config.folder = folder_of(&path);
                if let Some(store) = &mut config.store {
                    store.folder.clone_from(&config.folder);
                }
                config
            }
            None => Self::default(),
        };
        if let Some(url) = &global.store {
            config.store.get_or_insert_default().url = Some(Text::given("--store", url));
        }
        if let Some(brokers) = &global.brokers {
            config.kafka.get_or_insert_default().brokers = Some(Text::given("--brokers", brokers));
        }
        if let Some(url) = &global.rabbitmq {
            config.rabbitmq.get_or_insert_default().url = Some(Text::given("--rabbitmq", url));
        }
        if let Some(urls) = &global.registry {
            let urls = urls.split(',').map(|url| Text::given("--registry", url.trim()));
            config.registry.get_or_insert_default().urls = urls.collect();
        }
        Ok(config)
    }

    /// Where events go.
    pub(crate) fn topic_map(&self) -> TopicMap {
        self.routes.iter().fold(TopicMap::new(), |map, (aggregate, topic)| {
            map.route(aggregate.clone(), topic.clone())
        })
    }

    /// The topics and subjects that there should be: those of `file`, or else those of the configuration.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub(crate) fn seeds(&self, file: Option<&Path>) -> Result<Seeds, CliError> {
        let Some(path) = file else {
            let (topics, subjects) = (self.topics.clone(), self.subjects.clone());
            return Ok(Seeds { topics, subjects, folder: self.folder.clone() });
        };
        let mut seeds: Seeds = file::read(path)?;
        seeds.folder = folder_of(path);
        Ok(seeds)
    }

    /// A path of the configuration, from the folder of its file.
    pub(crate) fn path(&self, path: &Path) -> PathBuf {
        self.folder.join(path)
    }

    /// The topics whose dead letters are counted: those that are named in `[[topics]]` and `[routes]`,
    /// but for those without a dead-letter topic.
    pub(crate) fn known_topics(&self) -> Vec<TopicName> {
        let map = self.topic_map();
        let named = |dead_letters: bool| {
            let topics = self.topics.iter().filter(move |topic| topic.dead_letters == dead_letters);
            topics.filter_map(|topic| topic.name(&map)).collect::<Vec<_>>()
        };
        let (mut topics, without) = (named(true), named(false));
        topics.extend(self.routes.values().filter(|topic| !without.contains(topic)).cloned());
        topics.sort();
        topics.dedup();
        topics
    }
}

impl Config {
    /// The queues whose dead letters are counted.
    pub(crate) fn known_queues(&self) -> Vec<String> {
        self.rabbitmq.as_ref().map(|rabbitmq| rabbitmq.queues.clone()).unwrap_or_default()
    }
}

/// Refuses what needs a section that is not there.
pub(crate) fn missing(what: &str, option: &str, section: &str) -> CliError {
    CliError::Config(format!("{what} is not configured: give {option}, or [{section}] in {USUAL}"))
}

fn half_a_certificate(key: &str) -> CliError {
    CliError::Config(format!("{key}: certificate and key belong together"))
}

fn folder_of(path: &Path) -> PathBuf {
    path.parent().map(Path::to_owned).unwrap_or_default()
}
