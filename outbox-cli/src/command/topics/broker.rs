//! Topics on Kafka.

use relaybox::{
    TopicMap,
    kafka::{KafkaAdmin, PlannedTopic, TopicPlan, TopicSpec, TopicStep, topic_specs},
};
use serde_json::{Value, json};

use crate::{
    args::Seed,
    config::{Config, Seeds, TopicSection},
    error::CliError,
};

/// What would be done about topics; nothing where none are named.
#[derive(Default)]
pub(super) struct BrokerPlan {
    plan: TopicPlan,
}

impl BrokerPlan {
    pub(super) async fn make(
        config: &Config,
        seed: &Seed,
        seeds: &Seeds,
    ) -> Result<Self, CliError> {
        let specs = specs(&config.topic_map(), seed, seeds)?;
        if specs.is_empty() {
            return Ok(Self::default());
        }
        let plan = KafkaAdmin::new(config.kafka()?)?.plan(&specs).await?;
        Ok(Self { plan })
    }

    pub(super) async fn apply(&self, config: &Config) -> Result<(), CliError> {
        if self.plan.has_changes() {
            KafkaAdmin::new(config.kafka()?)?.apply(&self.plan).await?;
        }
        Ok(())
    }

    pub(super) fn has_changes(&self) -> bool {
        self.plan.has_changes()
    }

    pub(super) fn has_refusals(&self) -> bool {
        self.plan.has_refusals()
    }

    pub(super) fn diff(&self) -> String {
        if self.plan.topics.is_empty() { String::new() } else { self.plan.to_string() }
    }

    pub(super) fn json(&self) -> Value {
        let topic = |topic: &PlannedTopic| {
            let steps: Vec<_> = topic.steps.iter().map(step).collect();
            json!({ "name": topic.name, "steps": steps })
        };
        self.plan.topics.iter().map(topic).collect()
    }
}

fn specs(map: &TopicMap, seed: &Seed, seeds: &Seeds) -> Result<Vec<TopicSpec>, CliError> {
    let mut specs = if seed.aggregates.is_empty() {
        let mut specs = Vec::new();
        for (number, section) in seeds.topics.iter().enumerate() {
            specs.extend(of_section(map, number, section)?);
        }
        specs
    } else {
        topic_specs(map, &seed.aggregates, seed.partitions, seed.replication)?
    };
    if seed.allow_more_partitions {
        specs = specs.into_iter().map(TopicSpec::allow_more_partitions).collect();
    }
    Ok(specs)
}

/// A topic, and its dead-letter topic.
fn of_section(
    map: &TopicMap,
    number: usize,
    section: &TopicSection,
) -> Result<Vec<TopicSpec>, CliError> {
    let wrong = |what: &str| CliError::Config(format!("topics[{number}]: {what}"));
    let name = section
        .name(map)
        .ok_or_else(|| wrong("it takes either name or aggregate, and one of them"))?;
    let set = |spec: TopicSpec, (name, value): (&String, &String)| spec.set(name, value);
    let topic = TopicSpec::new(name, section.partitions, section.replication);
    let topic = section.settings.iter().fold(topic, set);
    if !section.dead_letters {
        if !section.dead_letter_settings.is_empty() {
            return Err(wrong("it has settings for a dead-letter topic, and none of those"));
        }
        return Ok(vec![topic]);
    }
    let letters = section.dead_letter_settings.iter().fold(topic.dead_letters()?, set);
    Ok(vec![topic, letters])
}

fn step(step: &TopicStep) -> Value {
    match step {
        TopicStep::Create { partitions, replication, settings } => json!({
            "action": "create",
            "partitions": partitions,
            "replication": replication,
            "settings": settings,
        }),
        TopicStep::Set { setting, from, to } => {
            json!({ "action": "set", "setting": setting, "from": from, "to": to })
        }
        TopicStep::AddPartitions { from, to } => {
            json!({ "action": "add_partitions", "from": from, "to": to })
        }
        TopicStep::Refused { reason } => json!({ "action": "refused", "reason": reason }),
    }
}
