//! `relaybox topics`: what there should be, on the broker and in the registry.

#[cfg_attr(not(feature = "kafka"), path = "without_kafka.rs")]
mod broker;
#[cfg_attr(not(feature = "registry"), path = "without_registry.rs")]
mod subjects;

use serde_json::json;

#[cfg(feature = "registry")]
pub(super) use self::subjects::{Subject, read_schema, subjects};
use self::{broker::BrokerPlan, subjects::SubjectsPlan};
use crate::{
    args::{Seed, TopicsApply, TopicsPlan},
    config::Config,
    error::CliError,
    output,
};

pub(super) async fn plan(config: &Config, args: &TopicsPlan) -> Result<(), CliError> {
    let plan = Plan::make(config, &args.seed).await?;
    if plan.has_refusals() {
        plan.print(args.seed.json, "refused")?;
        return Err(CliError::Refused(
            "`relaybox topics apply` would change nothing: what is marked ! can't be done safely"
                .to_owned(),
        ));
    }
    plan.print(args.seed.json, "planned")?;
    if !args.seed.json {
        output::line(match plan.has_changes() {
            true => "nothing was changed; `relaybox topics apply` does it",
            false => "nothing to be done",
        })?;
    }
    if args.check && plan.has_changes() {
        return Err(CliError::Refused(
            "there is something to be done: `relaybox topics apply`".into(),
        ));
    }
    Ok(())
}

pub(super) async fn apply(config: &Config, args: &TopicsApply) -> Result<(), CliError> {
    let plan = Plan::make(config, &args.seed).await?;
    let json = args.seed.json;
    if plan.has_refusals() {
        plan.print(json, "refused")?;
        return Err(CliError::Refused(
            "nothing was changed: what is marked ! can't be done safely".to_owned(),
        ));
    }
    if json {
        let mut done = Vec::new();
        let said = |what: &str| {
            done.push(what.to_owned());
            Ok(())
        };
        let applied = plan.apply(config, said).await;
        plan.print_json(if applied.is_ok() { "applied" } else { "failed" }, &done)?;
        return applied;
    }
    plan.print(false, "planned")?;
    plan.apply(config, |done| output::line(output::printable(done))).await?;
    output::line(if plan.has_changes() { "done" } else { "nothing to be done" })
}

/// What would be done.
struct Plan {
    broker: BrokerPlan,
    subjects: SubjectsPlan,
}

impl Plan {
    async fn make(config: &Config, seed: &Seed) -> Result<Self, CliError> {
        let seeds = config.seeds(seed.file.as_deref())?;
        if seeds.topics.is_empty() && seeds.subjects.is_empty() && seed.aggregates.is_empty() {
            return Err(CliError::Config(
                "nothing is named that there should be: give --aggregates, or [[topics]] or \
                 [[subjects]] in relaybox.toml or in --file"
                    .to_owned(),
            ));
        }
        let broker = BrokerPlan::make(config, seed, &seeds).await?;
        let subjects = SubjectsPlan::make(config, &seeds).await?;
        Ok(Self { broker, subjects })
    }

    fn has_changes(&self) -> bool {
        self.broker.has_changes() || self.subjects.has_changes()
    }

    fn has_refusals(&self) -> bool {
        self.broker.has_refusals() || self.subjects.has_refusals()
    }

    /// Makes it so, and says after each part what is done: a later one may fail.
    async fn apply(
        &self,
        config: &Config,
        mut said: impl FnMut(&str) -> Result<(), CliError> + Send,
    ) -> Result<(), CliError> {
        // Topics first: nobody needs a subject without its topic.
        if self.broker.has_changes() {
            self.broker.apply(config).await?;
            said("the topics are as they should be")?;
        }
        self.subjects.apply(config, said).await
    }

    fn print(&self, json: bool, outcome: &'static str) -> Result<(), CliError> {
        if json {
            return self.print_json(outcome, &[]);
        }
        let diff = [self.broker.diff(), self.subjects.diff()];
        for part in diff.iter().filter(|part| !part.is_empty()) {
            output::line(output::printable(part))?;
        }
        Ok(())
    }

    /// `done` is what was done of it.
    fn print_json(&self, outcome: &'static str, done: &[String]) -> Result<(), CliError> {
        output::json(&json!({
            "outcome": outcome,
            "changes": self.has_changes(),
            "topics": self.broker.json(),
            "subjects": self.subjects.json(),
            "done": done,
        }))
    }
}
