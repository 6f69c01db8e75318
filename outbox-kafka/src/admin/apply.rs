//! Doing what a plan says.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use relaybox_core::{Error, ErrorKind, Result, Retry, TopicName};

use super::{
    KafkaAdmin, PlannedTopic, TopicPlan, TopicStep,
    cluster::{Client, LOOK_EVERY, Setting, Topic},
    diff,
};

const APPLY: &str = "apply a plan for topics";
/// How long a change may take until the brokers show it.
const VISIBLE: Duration = Duration::from_secs(10);

/// See [`KafkaAdmin::apply`].
pub(super) async fn apply(admin: &KafkaAdmin, plan: &TopicPlan) -> Result<TopicPlan> {
    let deadline = admin.deadline();
    let mut done = TopicPlan::default();
    if !plan.has_changes() {
        return Ok(done);
    }
    let found = admin.topics(APPLY, deadline).await?;
    let client = admin.client(APPLY).await?;
    // All of them, before any of them is changed.
    for topic in &plan.topics {
        let steps = left(&client, topic, &found, deadline).await?;
        if !steps.is_empty() {
            done.topics.push(PlannedTopic { name: topic.name.clone(), steps });
        }
    }
    create(admin, &client, &mut done, deadline).await?;
    for PlannedTopic { name, steps } in &done.topics {
        change(&client, name, steps, deadline).await?;
    }
    let names: Vec<_> = done.topics.iter().map(|topic| &topic.name).collect();
    admin.usable(APPLY, &names, deadline).await?;
    for topic in &done.topics {
        appear(admin, &client, topic, deadline).await?;
    }
    Ok(done)
}

/// The steps of a topic that are still to be done.
async fn left(
    client: &Client,
    topic: &PlannedTopic,
    found: &BTreeMap<String, Topic>,
    deadline: Instant,
) -> Result<Vec<TopicStep>> {
    let name = &topic.name;
    let mut settings: Option<Vec<Setting>> = None;
    let mut left = Vec::new();
    for step in &topic.steps {
        let is_left = match (step, found.get(name.as_str())) {
            (TopicStep::Refused { .. }, _) => false,
            (TopicStep::Create { .. }, found) => found.is_none(),
            (TopicStep::AddPartitions { .. } | TopicStep::Set { .. }, None) => {
                return Err(stale(format!("the topic {name} is not there any more")));
            }
            (TopicStep::AddPartitions { from, to }, Some(found)) => match found.partitions() {
                count if count == *to => false,
                count if count == *from => true,
                count => return Err(stale(format!("{name} has {count} partitions by now"))),
            },
            (TopicStep::Set { setting, from, to }, Some(_)) => {
                if settings.is_none() {
                    settings = Some(client.settings(APPLY, name, deadline).await?);
                }
                let value = value(settings.as_deref().unwrap_or_default(), setting);
                match value {
                    Some(value) if diff::is_same(value, to) => false,
                    value if value == from.as_deref() => true,
                    _ => return Err(stale(format!("{setting} of {name} was changed since"))),
                }
            }
        };
        if is_left {
            left.push(step.clone());
        }
    }
    Ok(left)
}

/// Makes the topics, and forgets those that somebody else made meanwhile.
async fn create(
    admin: &KafkaAdmin,
    client: &Client,
    done: &mut TopicPlan,
    deadline: Instant,
) -> Result<()> {
    let creates = |topic: &PlannedTopic| topic.has(TopicStep::is_create);
    let steps: Vec<_> = done
        .topics
        .iter()
        .filter(|topic| creates(topic))
        .flat_map(|topic| topic.steps.iter().map(|step| (&topic.name, step.clone())))
        .collect();
    if steps.is_empty() {
        return Ok(());
    }
    let made = client.create(APPLY, &steps, deadline).await?;
    let names: Vec<_> = steps.iter().map(|(name, _)| *name).collect();
    admin.usable(APPLY, &names, deadline).await?;
    done.topics.retain(|topic| !creates(topic) || made.contains(&topic.name));
    Ok(())
}

async fn change(
    client: &Client,
    name: &TopicName,
    steps: &[TopicStep],
    deadline: Instant,
) -> Result<()> {
    let changes: Vec<_> = changes(steps).collect();
    if !changes.is_empty() {
        // Right before, for whatever was changed since would be set back.
        let found = client.settings(APPLY, name, deadline).await?;
        client.set(APPLY, name, &found, &changes, deadline).await?;
    }
    for step in steps {
        if let TopicStep::AddPartitions { to, .. } = step {
            client.add_partitions(APPLY, name, *to, deadline).await?;
        }
    }
    Ok(())
}

/// Waits until the brokers show what was changed.
async fn appear(
    admin: &KafkaAdmin,
    client: &Client,
    topic: &PlannedTopic,
    deadline: Instant,
) -> Result<()> {
    let PlannedTopic { name, steps } = topic;
    let end = deadline.min(Instant::now() + VISIBLE);
    // The last look may take as long as any.
    let deadline = end + VISIBLE;
    loop {
        let mut seen = true;
        if changes(steps).next().is_some() {
            let found = client.settings(APPLY, name, deadline).await?;
            // Another spelling than was asked for is the broker's right.
            seen = steps.iter().all(|step| match step {
                TopicStep::Set { setting, from, to } => {
                    let value = value(&found, setting);
                    value != from.as_deref() || value.is_some_and(|v| diff::is_same(v, to))
                }
                _ => true,
            });
        }
        if steps.iter().any(|step| matches!(step, TopicStep::AddPartitions { .. })) {
            let found = admin.usable(APPLY, &[name], deadline).await?;
            let count = found.get(name.as_str()).map_or(0, Topic::partitions);
            seen &= steps.iter().all(|step| match step {
                TopicStep::AddPartitions { to, .. } => count >= *to,
                _ => true,
            });
        }
        if seen {
            return Ok(());
        }
        if Instant::now() >= end {
            return Err(Error::new(ErrorKind::TopicUnavailable, APPLY).detail(format!(
                "the cluster doesn't show the changes of {name}: may this user alter its \
                 configuration? A refusal is not told"
            )));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn changes(steps: &[TopicStep]) -> impl Iterator<Item = (&str, &str)> {
    steps.iter().filter_map(TopicStep::as_set)
}

fn value<'a>(settings: &'a [Setting], name: &str) -> Option<&'a str> {
    settings.iter().find(|setting| setting.name == name)?.value.as_deref()
}

fn stale(what: String) -> Error {
    Error::new(ErrorKind::Conflict, APPLY)
        .detail(format!("{what}: make a new plan"))
        .with_retry(Retry::Never)
}
