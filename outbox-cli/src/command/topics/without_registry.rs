//! No subjects: the registry is not compiled in.

use serde_json::Value;

use crate::{
    config::{Config, Seeds},
    error::CliError,
};

/// Nothing.
pub(super) struct SubjectsPlan;

impl SubjectsPlan {
    pub(super) async fn make(_: &Config, seeds: &Seeds) -> Result<Self, CliError> {
        if seeds.subjects.is_empty() {
            return Ok(Self);
        }
        Err(CliError::Feature { feature: "registry", what: "a subject" })
    }

    pub(super) async fn apply(
        &self,
        _: &Config,
        _: impl FnMut(&str) -> Result<(), CliError> + Send,
    ) -> Result<(), CliError> {
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
