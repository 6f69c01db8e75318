//! Asking a cluster about topics, and telling it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use rdkafka::{
    admin::{
        AdminClient, AdminOptions, AlterConfig, ConfigSource, NewPartitions, NewTopic,
        ResourceSpecifier, TopicReplication,
    },
    config::FromClientConfigAndContext,
    error::KafkaError,
    metadata::MetadataTopic,
    producer::Producer as _,
    types::RDKafkaErrorCode as Code,
};
use relaybox_core::{Error, ErrorKind, Result, TopicName};

use super::{KafkaAdmin, TopicStep};
use crate::{
    client::{self, Closing, Monitor, off_thread},
    error,
};

/// How often it looks whether a change is there.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A topic as it is.
#[derive(Debug, Clone)]
pub(super) struct Topic {
    /// The leader of each partition; negative: none.
    leaders: Vec<i32>,
    /// How many copies each partition has.
    copies: Vec<usize>,
}

/// A setting as a broker reports it.
#[derive(Debug, Clone)]
pub(super) struct Setting {
    pub(super) name: String,
    pub(super) value: Option<String>,
    /// Whether the topic has it of its own.
    pub(super) is_own: bool,
    /// Whether the broker keeps the value to itself.
    pub(super) is_secret: bool,
}

/// A client that changes topics.
pub(super) struct Client(Closing<AdminClient<Monitor>>);

impl Topic {
    pub(super) fn new(leaders: Vec<i32>, copies: Vec<usize>) -> Self {
        Self { leaders, copies }
    }

    pub(super) fn partitions(&self) -> i32 {
        i32::try_from(self.leaders.len()).unwrap_or(i32::MAX)
    }

    pub(super) fn is_usable(&self) -> bool {
        !self.leaders.is_empty() && self.leaders.iter().all(|leader| *leader >= 0)
    }

    /// A number of copies that is not the wanted one; -1 wants none in particular.
    pub(super) fn other_replication(&self, wanted: i32) -> Option<usize> {
        let wanted = usize::try_from(wanted).ok()?;
        self.copies.iter().copied().find(|count| *count != wanted)
    }
}

impl Setting {
    #[cfg(test)]
    pub(super) fn new(name: &str, value: Option<&str>, is_own: bool) -> Self {
        let (name, value) = (name.to_owned(), value.map(str::to_owned));
        Self { name, value, is_own, is_secret: false }
    }
}

impl KafkaAdmin {
    /// All topics of the cluster.
    pub(super) async fn topics(
        &self,
        operation: &'static str,
        deadline: Instant,
    ) -> Result<BTreeMap<String, Topic>> {
        let monitor = self.probe.monitor().clone();
        let probe = self.probe.client().ok_or_else(|| Error::new(ErrorKind::Halted, operation))?;
        off_thread(operation, move || {
            // All of them: asking for one by name might make it.
            let metadata = client::metadata(operation, probe.client(), &monitor, deadline)?;
            let topic = |topic: &MetadataTopic| {
                let leaders = topic.partitions().iter().map(|partition| partition.leader());
                let copies = topic.partitions().iter().map(|partition| partition.replicas().len());
                (topic.name().to_owned(), Topic::new(leaders.collect(), copies.collect()))
            };
            Ok(metadata.topics().iter().map(topic).collect())
        })
        .await
    }

    /// Waits until all of these topics can be written to, and gives all topics.
    pub(super) async fn usable(
        &self,
        operation: &'static str,
        names: &[&TopicName],
        deadline: Instant,
    ) -> Result<BTreeMap<String, Topic>> {
        loop {
            let found = self.topics(operation, deadline).await?;
            let usable = |name: &TopicName| found.get(name.as_str()).is_some_and(Topic::is_usable);
            let Some(name) = names.iter().find(|name| !usable(name)) else { return Ok(found) };
            if Instant::now() >= deadline {
                return Err(Error::new(ErrorKind::TopicUnavailable, operation)
                    .detail(format!("a partition of {name} has no leader yet")));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// A client for one call: rdkafka reads nothing of what librdkafka queues up for it.
    pub(super) async fn client(&self, operation: &'static str) -> Result<Client> {
        let (settings, monitor) = (self.settings.clone(), self.probe.monitor().clone());
        off_thread(operation, move || {
            AdminClient::from_config_and_context(&settings, monitor)
                .map(|client| Client(Closing::new(client)))
                .map_err(|error| error::convert(operation, error))
        })
        .await
    }
}

impl Client {
    pub(super) fn get(&self) -> &AdminClient<Monitor> {
        self.0.get()
    }

    /// Makes topics; gives those that nobody else made before.
    pub(super) async fn create(
        &self,
        operation: &'static str,
        steps: &[(&TopicName, TopicStep)],
        deadline: Instant,
    ) -> Result<Vec<TopicName>> {
        let topics = steps.iter().filter_map(|(name, step)| new_topic(name, step));
        let topics: Vec<_> = topics.collect();
        let answers = self.get().create_topics(&topics, &options(deadline)).await;
        let answers = answers.map_err(|error| error::convert(operation, error))?;
        let mut made = Vec::with_capacity(answers.len());
        for answer in answers {
            match answer {
                Ok(name) => made.extend(TopicName::new(name)),
                // Somebody else was faster.
                Err((_, Code::TopicAlreadyExists)) => {}
                Err((name, code)) => return Err(refusal(operation, &name, code)),
            }
        }
        Ok(made)
    }

    pub(super) async fn add_partitions(
        &self,
        operation: &'static str,
        name: &TopicName,
        to: i32,
        deadline: Instant,
    ) -> Result<()> {
        self.grow(operation, name, to, &options(deadline))
            .await?
            .map_err(|code| refusal(operation, name.as_str(), code))
    }

    /// A topic's settings, all that the broker knows.
    pub(super) async fn settings(
        &self,
        operation: &'static str,
        name: &TopicName,
        deadline: Instant,
    ) -> Result<Vec<Setting>> {
        let topic = ResourceSpecifier::Topic(name.as_str());
        let asked = self.get().describe_configs([&topic], &options(deadline)).await;
        let answer = one(operation, asked)?;
        let described = answer.map_err(|code| {
            error::from_code(operation, code)
                .detail(format!("the cluster doesn't show the settings of {name}: {code}"))
        })?;
        let setting = |entry: rdkafka::admin::ConfigEntry| Setting {
            is_own: entry.source == ConfigSource::DynamicTopic,
            is_secret: entry.is_sensitive,
            name: entry.name,
            value: entry.value,
        };
        Ok(described.entries.into_iter().map(setting).collect())
    }

    /// Changes settings of a topic, and leaves its others as they were `found`.
    ///
    /// Whether the cluster did so, only its settings tell: the binding for Rust doesn't.
    pub(super) async fn set(
        &self,
        operation: &'static str,
        name: &TopicName,
        found: &[Setting],
        changes: &[(&str, &str)],
        deadline: Instant,
    ) -> Result<()> {
        let all = merged(operation, name, found, changes)?;
        let altered = AlterConfig::new(ResourceSpecifier::Topic(name.as_str()));
        let altered = all.iter().fold(altered, |altered, (name, value)| altered.set(name, value));
        one(operation, self.get().alter_configs([&altered], &options(deadline)).await)?
            .map(drop)
            .map_err(|(_, code)| refusal(operation, name.as_str(), code))
    }

    pub(super) async fn grow(
        &self,
        operation: &'static str,
        name: &TopicName,
        to: i32,
        options: &AdminOptions,
    ) -> Result<std::result::Result<(), Code>> {
        let more = NewPartitions::new(name.as_str(), usize::try_from(to).unwrap_or(0));
        let answer = one(operation, self.get().create_partitions([&more], options).await)?;
        Ok(answer.map(drop).map_err(|(_, code)| code))
    }
}

/// All that a topic has of its own, with the changes: to alter is to replace it all.
pub(super) fn merged<'a>(
    operation: &'static str,
    name: &TopicName,
    found: &'a [Setting],
    changes: &[(&'a str, &'a str)],
) -> Result<BTreeMap<&'a str, &'a str>> {
    let mut all = BTreeMap::new();
    for setting in found.iter().filter(|setting| setting.is_own) {
        let value = setting.value.as_deref().filter(|_| !setting.is_secret);
        let Some(value) = value else {
            return Err(Error::new(ErrorKind::Invalid, operation).detail(format!(
                "{name} has a setting of its own that the cluster doesn't show, {}: it would be lost",
                setting.name
            )));
        };
        all.insert(setting.name.as_str(), value);
    }
    all.extend(changes.iter().copied());
    Ok(all)
}

pub(super) fn options(deadline: Instant) -> AdminOptions {
    let left = deadline.saturating_duration_since(Instant::now());
    AdminOptions::new().request_timeout(Some(left)).operation_timeout(Some(left))
}

pub(super) fn new_topic<'a>(name: &'a TopicName, step: &'a TopicStep) -> Option<NewTopic<'a>> {
    let TopicStep::Create { partitions, replication, settings } = step else { return None };
    let topic = NewTopic::new(name.as_str(), *partitions, TopicReplication::Fixed(*replication));
    Some(settings.iter().fold(topic, |topic, (name, value)| topic.set(name, value)))
}

/// The answer to a question about one topic.
pub(super) fn one<T>(
    operation: &'static str,
    answers: std::result::Result<Vec<T>, KafkaError>,
) -> Result<T> {
    let answers = answers.map_err(|error| error::convert(operation, error))?;
    answers.into_iter().next().ok_or_else(|| {
        Error::new(ErrorKind::Other, operation).detail("the cluster answers nothing")
    })
}

fn refusal(operation: &'static str, name: &str, code: Code) -> Error {
    error::from_code(operation, code)
        .detail(format!("the cluster refuses the topic {name}: {code}"))
}
