//! Whether a schema may be a subject's next one.

use relaybox_core::{Error, ErrorKind, Result};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;
use tracing::debug;

use super::{
    SchemaRegistry,
    answer::{Answer, bounded},
    client::{checked, get},
    references::{self, Reference},
    transport::Request,
};
use crate::{Compatibility, EventSchema, Evolution};

/// Whether a schema may be a subject's next one, and if not, why.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
#[non_exhaustive]
pub struct CompatibilityVerdict {
    /// Whether it may.
    pub is_compatible: bool,
    /// Why not, a message for each reason; they name the fields. Bounded in number and length.
    pub messages: Vec<String>,
}

/// How many reasons are passed on.
const MAX_MESSAGES: usize = 20;
/// With how many of a subject's versions a schema is compared here, at most. The registry compares all.
const MAX_VERSIONS: usize = 20;

impl CompatibilityVerdict {
    pub(super) fn compatible() -> Self {
        Self { is_compatible: true, messages: Vec::new() }
    }

    pub(super) fn incompatible(mut messages: Vec<String>) -> Self {
        messages.truncate(MAX_MESSAGES);
        Self { is_compatible: false, messages }
    }
}

/// What may follow what.
impl SchemaRegistry {
    /// Whether a schema may be the subject's next version. A subject that doesn't exist takes any.
    ///
    /// The registry is asked, and [`Evolution`] by the subject's [`compatibility`](Self::compatibility):
    /// both must agree. Evolution names the fields, which not every registry does, and is stricter
    /// where that protects consumers, unless the subject demands nothing (`NONE`).
    ///
    /// # Errors
    /// [`ErrorKind::TopicUnavailable`] when the schema is not valid to the registry.
    pub async fn check_compatibility(
        &self,
        subject: &str,
        schema: &EventSchema,
    ) -> Result<CompatibilityVerdict> {
        const OPERATION: &str = "check a schema's compatibility";
        const VERBOSE: &str = "verbose=true";
        #[derive(Deserialize)]
        struct Asked {
            is_compatible: bool,
            #[serde(default)]
            messages: Vec<String>,
        }
        // With all versions that count; registries that can't do so compare the latest, and all when the
        // schema is registered.
        let mut path = vec!["compatibility", "subjects", checked(subject, OPERATION)?, "versions"];
        let mut answer = self.post(OPERATION, &path, VERBOSE, schema).await?;
        if matches!(answer.status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED) {
            path.push("latest");
            answer = self.post(OPERATION, &path, VERBOSE, schema).await?;
        }
        if answer.is_unknown() {
            return Ok(CompatibilityVerdict::compatible());
        }
        let asked: Asked = answer.read(OPERATION)?;
        let mode = self.compatibility(subject).await?;
        let mut evolution = Evolution::new(mode);
        if self.inner.allows_removed_fields {
            evolution = evolution.allow_removed_fields();
        }
        let earlier = self.earlier(subject, mode).await?;
        let found = match evolution.check(schema, &earlier) {
            Ok(()) if asked.is_compatible => return Ok(CompatibilityVerdict::compatible()),
            Ok(()) => Vec::new(),
            Err(incompatible) => incompatible.found,
        };
        let of_registry = asked.messages.iter().filter(|_| !asked.is_compatible);
        let mut messages: Vec<_> = found.iter().map(|found| bounded(&found.message)).collect();
        messages.extend(of_registry.map(|message| bounded(message)));
        if messages.is_empty() {
            messages.push(format!("it demands {mode}, and the registry says no more"));
        }
        Ok(CompatibilityVerdict::incompatible(messages))
    }

    /// The subject's versions that count, the latest last. One that can't be read here is the registry's
    /// alone to compare.
    async fn earlier(&self, subject: &str, mode: Compatibility) -> Result<Vec<EventSchema>> {
        const OPERATION: &str = "fetch a subject's schemas";
        let mut versions = self.versions(subject).await?;
        versions.sort_unstable();
        let count = match mode {
            Compatibility::None => 0,
            mode if mode.is_transitive() => MAX_VERSIONS,
            _ => 1,
        };
        let mut earlier = Vec::new();
        for version in versions.split_off(versions.len().saturating_sub(count)) {
            let reference = Reference { subject: subject.to_owned(), version };
            let Some((text, references)) = self.referred(&reference, OPERATION).await? else {
                continue;
            };
            let parsed = references::put_into(self, text, references).await;
            match parsed.and_then(EventSchema::of_others) {
                Ok(schema) => earlier.push(schema),
                Err(error) if error.is_infrastructure() => return Err(error),
                Err(error) => debug!(version, %error, "an earlier schema can't be read"),
            }
        }
        Ok(earlier)
    }

    /// What is demanded of the subject's next schema: what is set for it, else what is set for all.
    ///
    /// # Errors
    /// As [all operations](Self).
    pub async fn compatibility(&self, subject: &str) -> Result<Compatibility> {
        const OPERATION: &str = "read a subject's compatibility";
        let path = ["config", checked(subject, OPERATION)?];
        let answer =
            self.inner.transport.send(&get(OPERATION, &path, "defaultToGlobal=true")).await?;
        if answer.is_unknown() {
            return self.default_compatibility().await;
        }
        level(&answer, OPERATION)
    }

    /// What is demanded of subjects for which nothing is set.
    ///
    /// # Errors
    /// As [all operations](Self).
    pub async fn default_compatibility(&self) -> Result<Compatibility> {
        const OPERATION: &str = "read the registry's compatibility";
        level(&self.inner.transport.send(&get(OPERATION, &["config"], "")).await?, OPERATION)
    }

    /// Sets what is demanded of the subject's next schema. Some registries want the subject to exist, and
    /// to some `NONE` means what is set for all (Apicurio 3.0).
    ///
    /// # Errors
    /// [`ErrorKind::TopicUnavailable`] when there is no such subject.
    pub async fn set_compatibility(&self, subject: &str, level: Compatibility) -> Result<()> {
        const OPERATION: &str = "set a subject's compatibility";
        let request = Request {
            operation: OPERATION,
            method: Method::PUT,
            path: &["config", checked(subject, OPERATION)?],
            query: "",
            body: Some(json!({ "compatibility": level.as_str() }).to_string()),
        };
        let answer = self.inner.transport.send(&request).await?;
        if answer.is_unknown() {
            return Err(Error::new(ErrorKind::TopicUnavailable, OPERATION).detail(format!(
                "there is no subject {subject}: register its first schema before"
            )));
        }
        answer.read(OPERATION).map(|_: serde_json::Value| ())
    }
}

fn level(answer: &Answer, operation: &'static str) -> Result<Compatibility> {
    #[derive(Deserialize)]
    struct Set {
        #[serde(rename = "compatibilityLevel", alias = "compatibility")]
        level: String,
    }
    answer.read::<Set>(operation)?.level.parse()
}
