//! Asking a cluster what it would refuse.

use std::time::Instant;

use rdkafka::{
    admin::{AdminOptions, NewTopic, TopicReplication},
    types::RDKafkaErrorCode as Code,
};
use relaybox_core::{ErrorKind, Result, TopicName};

use super::{
    TopicStep,
    cluster::{Client, Setting, merged, new_topic, one, options},
};
use crate::error;

impl Client {
    /// Asks the cluster whether it would do the steps, and makes refusals of those that it wouldn't.
    pub(super) async fn rehearse(
        &self,
        operation: &'static str,
        name: &TopicName,
        steps: &mut [TopicStep],
        deadline: Instant,
    ) -> Result<()> {
        let options = options(deadline).validate_only(true);
        let sets: Vec<_> = steps.iter().filter_map(TopicStep::as_set).collect();
        let mut found = Vec::new();
        // All at once, for one may need the other.
        let mut refused_together = None;
        if !sets.is_empty() {
            found = self.settings(operation, name, deadline).await?;
            refused_together =
                self.would_take(operation, name, &found, &sets, &options).await?.err();
        }
        let mut is_alone = false;
        for step in steps.iter_mut() {
            let answer = match &*step {
                TopicStep::Create { .. } => {
                    let topic = new_topic(name, step);
                    one(operation, self.get().create_topics(&topic, &options).await)?
                        .map_or_else(|(_, code)| Err(code), |_| Ok(()))
                }
                TopicStep::Set { setting, to, .. } if refused_together.is_some() => {
                    let set = [(setting.as_str(), to.as_str())];
                    let answer = self.would_take(operation, name, &found, &set, &options).await?;
                    is_alone |= answer.is_err();
                    answer
                }
                TopicStep::AddPartitions { to, .. } => {
                    self.grow(operation, name, *to, &options).await?
                }
                TopicStep::Set { .. } | TopicStep::Refused { .. } => Ok(()),
            };
            match answer {
                Ok(()) | Err(Code::TopicAlreadyExists) => {}
                Err(code) if is_verdict(code) => step.refuse(code),
                Err(code) => return Err(error::from_code(operation, code)),
            }
        }
        if let Some(code) = refused_together.filter(|_| !is_alone) {
            let sets = steps.iter_mut().filter(|step| step.as_set().is_some());
            sets.for_each(|step| step.refuse(code));
        }
        Ok(())
    }

    /// Whether the cluster finds the settings in order that a topic would have. The binding for Rust
    /// doesn't tell of a refusal to alter settings (rdkafka 0.39: `alter_configs` gives `Ok` for every
    /// topic), so the question is about a topic with these settings that is to be made.
    async fn would_take(
        &self,
        operation: &'static str,
        name: &TopicName,
        found: &[Setting],
        changes: &[(&str, &str)],
        options: &AdminOptions,
    ) -> Result<std::result::Result<(), Code>> {
        let settings = merged(operation, name, found, changes)?;
        // Where rights are given by prefix, it is under that of the topic.
        let probe: String = name.as_str().chars().take(200).chain(".dry-run".chars()).collect();
        let topic = NewTopic::new(&probe, 1, TopicReplication::Fixed(-1));
        let topic = settings.iter().fold(topic, |topic, (name, value)| topic.set(name, value));
        let answer = one(operation, self.get().create_topics([&topic], options).await)?;
        // Any other refusal is about making topics, which nobody wants to do.
        Ok(answer.map_or_else(|(_, code)| Err(code), |_| Ok(())).or_else(|code| match code {
            Code::InvalidConfig => Err(code),
            _ => Ok(()),
        }))
    }
}

/// Whether a cluster that answers so would answer so again.
fn is_verdict(code: Code) -> bool {
    matches!(error::kind(code), ErrorKind::Invalid | ErrorKind::TopicUnavailable)
        && code != Code::ThrottlingQuotaExceeded
}
