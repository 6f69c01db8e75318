//! No topics: Kafka is not compiled in.

use serde_json::Value;

use crate::{
    args::Seed,
    config::{Config, Seeds},
    error::CliError,
};

/// Nothing.
pub(super) struct BrokerPlan;

impl BrokerPlan {
    pub(super) async fn make(_: &Config, seed: &Seed, seeds: &Seeds) -> Result<Self, CliError> {
        if seeds.topics.is_empty() && seed.aggregates.is_empty() {
            return Ok(Self);
        }
        Err(CliError::Feature { feature: "kafka", what: "a topic" })
    }

    pub(super) async fn apply(&self, _: &Config) -> Result<(), CliError> {
        Ok(())
    }

    pub(super) fn has_changes(&self) -> bool {
        false
    }

    pub(super) fn has_refusals(&self) -> bool {
        false
    }

    pub(super) fn diff(&self) -> String {
        String::new()
    }

    pub(super) fn json(&self) -> Value {
        Value::Array(Vec::new())
    }
}
