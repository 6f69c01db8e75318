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
    plan.print(args.seed.json, "planned")?;
    plan.refusals()?;
    if args.check && plan.has_changes() {
        return Err(CliError::Refused(
            "there is something to be done: `relaybox topics apply`".into(),
        ));
    }
    Ok(())
}

pub(super) async fn apply(config: &Config, args: &TopicsApply) -> Result<(), CliError> {
    let plan = Plan::make(config, &args.seed).await?;
    if let Err(refused) = plan.refusals() {
        plan.print(args.seed.json, "refused")?;
        return Err(refused);
    }
    // Topics first: nobody needs a subject without its topic.
    plan.broker.apply(config).await?;
    plan.subjects.apply(config).await?;
    plan.print(args.seed.json, "applied")
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

    fn refusals(&self) -> Result<(), CliError> {
        if self.broker.has_refusals() || self.subjects.has_refusals() {
            return Err(CliError::Refused(
                "nothing was changed: what is marked ! can't be done safely".to_owned(),
            ));
        }
        Ok(())
    }

    fn print(&self, json: bool, outcome: &'static str) -> Result<(), CliError> {
        if json {
            return output::json(&json!({
                "outcome": outcome,
                "changes": self.has_changes(),
                "topics": self.broker.json(),
                "subjects": self.subjects.json(),
            }));
        }
        let diff = [self.broker.diff(), self.subjects.diff()];
        for part in diff.iter().filter(|part| !part.is_empty()) {
            output::line(output::printable(part))?;
        }
        output::line(match (self.has_changes(), outcome) {
            (false, _) => "nothing to be done",
            (true, "applied") => "done",
            (true, _) => "nothing was changed; `relaybox topics apply` does it",
        })
    }
}
