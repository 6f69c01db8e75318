//! The client.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use relaybox_core::{Error, ErrorKind, Result};
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use super::{
    RegistryConfig,
    answer::{Answer, bounded},
    references::{self, Reference},
    transport::{Request, Transport},
};
use crate::{EventSchema, SchemaSource};

/// How long a subject may be, in bytes: a topic and a record's full name.
const MAX_SUBJECT: usize = 1024;

/// A client of a schema registry with Confluent's API: Confluent's own, Apicurio, Karapace, Redpanda.
///
/// Every question is asked of all URLs, several times, within the
/// [configured time](RegistryConfig::timeout); some operations ask several. All of them may be repeated. Cheap to clone; the clones share the connections.
///
/// ```no_run
/// # async fn run() -> Result<(), relaybox_core::Error> {
/// use relaybox_avro::{EventSchema, RegistryConfig, SchemaRegistry};
///
/// let registry = SchemaRegistry::new(RegistryConfig::new("http://localhost:8081"))?;
/// let schema = EventSchema::parse(
///     r#"{"type": "record", "name": "SessionCreated", "fields": []}"#,
/// )?;
/// let verdict = registry.check_compatibility("session-events.v1-SessionCreated", &schema).await?;
/// if verdict.is_compatible {
///     let id = registry.register("session-events.v1-SessionCreated", &schema).await?;
/// }
/// # Ok(()) }
/// ```
///
/// # Errors
/// The same of all operations, beside what each one says:
/// - [`ErrorKind::Unavailable`] and [`ErrorKind::Timeout`]: the registry can't be reached, is
///   overloaded or answers something that no registry would. It may be asked again later.
/// - [`ErrorKind::Authentication`]: it refuses user, password or token, or what they may do.
/// - [`ErrorKind::TooLarge`]: the answer has more bytes than it may.
/// - [`ErrorKind::Invalid`]: the subject is empty, too long, or `.` or `..`.
///
/// # Cancel safety
/// The future of any operation may be dropped. What was asked may be done nevertheless.
#[derive(Clone)]
pub struct SchemaRegistry {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) transport: Transport,
    pub(super) allows_removed_fields: bool,
}

/// A schema as a registry keeps it under a subject.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct RegisteredSchema {
    /// What payloads know it by: the same under every subject.
    pub id: u32,
    /// Under which name.
    pub subject: String,
    /// Which one of the subject, from 1.
    pub version: u32,
    /// The text.
    #[serde(rename = "schema")]
    pub text: String,
}

impl SchemaRegistry {
    /// A client. It connects when it is first used.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when a URL is none, or a certificate or key can't be read. The error
    /// names the file, and contains neither the URL nor what is in the file.
    pub fn new(config: RegistryConfig) -> Result<Self> {
        let transport = Transport::new(&config)?;
        let allows_removed_fields = config.allows_removed_fields;
        Ok(Self { inner: Arc::new(Inner { transport, allows_removed_fields }) })
    }

    /// The text of the schema with this id. It stands alone: what it refers to under other subjects is
    /// put into it.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] when no URL that can be reached knows it, or when it is no Avro schema.
    pub async fn schema_by_id(&self, id: u32) -> Result<String> {
        const OPERATION: &str = "fetch a schema by its id";
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Found {
            schema: String,
            #[serde(default)]
            schema_type: Option<String>,
            #[serde(default)]
            references: Vec<Reference>,
        }
        let unknown = |what: String| Error::new(ErrorKind::Decode, OPERATION).detail(what);
        let number = id.to_string();
        let path = ["schemas", "ids", &number];
        let answer = self.inner.transport.ask_all(&get(OPERATION, &path, "")).await?;
        if answer.is_unknown() {
            return Err(unknown(format!("the schema registry knows no schema with id {id}")));
        }
        let found: Found = answer.read(OPERATION)?;
        if let Some(other) = found.schema_type.filter(|of| of != "AVRO") {
            let other = bounded(&other);
            return Err(unknown(format!("the schema with id {id} is of type {other}, not AVRO")));
        }
        references::put_into(self, found.schema, found.references).await
    }

    /// Registers a schema under a subject, where it is not yet; gives its id. The registry checks that
    /// it is compatible.
    ///
    /// # Errors
    /// [`ErrorKind::TopicUnavailable`] when it is incompatible with the subject's schemas, or not valid
    /// to the registry: its message says why.
    pub async fn register(&self, subject: &str, schema: &EventSchema) -> Result<u32> {
        const OPERATION: &str = "register a schema";
        #[derive(Deserialize)]
        struct Registered {
            id: u32,
        }
        let path = ["subjects", checked(subject, OPERATION)?, "versions"];
        let answer = self.post(OPERATION, &path, "", schema).await?;
        if answer.is_about_schema() {
            return Err(Error::new(ErrorKind::TopicUnavailable, OPERATION).detail(format!(
                "the schema registry refuses {} as the next version of {subject}: {}",
                schema.name().unwrap_or("the schema"),
                answer.message()
            )));
        }
        answer.read(OPERATION).map(|registered: Registered| registered.id)
    }

    /// The schema under this subject, if it is registered there.
    ///
    /// # Errors
    /// As [all operations](Self).
    pub async fn lookup(
        &self,
        subject: &str,
        schema: &EventSchema,
    ) -> Result<Option<RegisteredSchema>> {
        const OPERATION: &str = "look up a schema";
        let path = ["subjects", checked(subject, OPERATION)?];
        known(&self.post(OPERATION, &path, "", schema).await?, OPERATION)
    }

    /// The names of all subjects.
    ///
    /// # Errors
    /// As [all operations](Self).
    pub async fn subjects(&self) -> Result<Vec<String>> {
        const OPERATION: &str = "list the subjects";
        self.inner.transport.send(&get(OPERATION, &["subjects"], "")).await?.read(OPERATION)
    }

    /// The numbers of a subject's versions; none when there is no such subject.
    ///
    /// # Errors
    /// As [all operations](Self).
    pub async fn versions(&self, subject: &str) -> Result<Vec<u32>> {
        const OPERATION: &str = "list a subject's versions";
        let path = ["subjects", checked(subject, OPERATION)?, "versions"];
        let answer = self.inner.transport.send(&get(OPERATION, &path, "")).await?;
        Ok(known(&answer, OPERATION)?.unwrap_or_default())
    }

    /// A subject's latest schema, if there is one.
    ///
    /// # Errors
    /// As [all operations](Self).
    pub async fn latest(&self, subject: &str) -> Result<Option<RegisteredSchema>> {
        self.at(subject, "latest", "fetch a subject's latest schema").await
    }

    /// A subject's schema of this version, if there is one.
    ///
    /// # Errors
    /// As [all operations](Self).
    pub async fn version(&self, subject: &str, version: u32) -> Result<Option<RegisteredSchema>> {
        self.at(subject, &version.to_string(), "fetch a subject's schema").await
    }

    async fn at(
        &self,
        subject: &str,
        version: &str,
        operation: &'static str,
    ) -> Result<Option<RegisteredSchema>> {
        let path = ["subjects", checked(subject, operation)?, "versions", version];
        known(&self.inner.transport.send(&get(operation, &path, "")).await?, operation)
    }

    pub(super) async fn referred(
        &self,
        reference: &Reference,
        operation: &'static str,
    ) -> Result<Option<(String, Vec<Reference>)>> {
        #[derive(Deserialize)]
        struct Found {
            schema: String,
            #[serde(default)]
            references: Vec<Reference>,
        }
        let version = reference.version.to_string();
        let path = ["subjects", checked(&reference.subject, operation)?, "versions", &version];
        let answer = self.inner.transport.ask_all(&get(operation, &path, "")).await?;
        let found: Option<Found> = known(&answer, operation)?;
        Ok(found.map(|found| (found.schema, found.references)))
    }

    pub(super) async fn post(
        &self,
        operation: &'static str,
        path: &[&str],
        query: &'static str,
        schema: &EventSchema,
    ) -> Result<Answer> {
        // Without its type: Avro is what every registry takes it for, and the oldest know no other.
        let body = Some(json!({ "schema": schema.text() }).to_string());
        let request = Request { operation, method: Method::POST, path, query, body };
        self.inner.transport.send(&request).await
    }
}

#[async_trait]
impl SchemaSource for SchemaRegistry {
    async fn schema_by_id(&self, id: u32) -> Result<String> {
        Self::schema_by_id(self, id).await
    }
}

/// Without URLs and secrets.
impl fmt::Debug for SchemaRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SchemaRegistry").finish_non_exhaustive()
    }
}

pub(super) fn get<'a>(
    operation: &'static str,
    path: &'a [&'a str],
    query: &'static str,
) -> Request<'a> {
    Request { operation, method: Method::GET, path, query, body: None }
}

/// `None` when the registry says that there is no such thing.
fn known<T: serde::de::DeserializeOwned>(
    answer: &Answer,
    operation: &'static str,
) -> Result<Option<T>> {
    if answer.is_unknown() { Ok(None) } else { answer.read(operation).map(Some) }
}

/// A subject becomes a segment of a URL's path, where `.` and `..` mean something else.
pub(super) fn checked<'a>(subject: &'a str, operation: &'static str) -> Result<&'a str> {
    let is_valid = !subject.is_empty()
        && subject.len() <= MAX_SUBJECT
        && !matches!(subject, "." | "..")
        && !subject.contains(char::is_control);
    if is_valid {
        return Ok(subject);
    }
    Err(Error::new(ErrorKind::Invalid, operation).detail(format!(
        "a subject has 1 to {MAX_SUBJECT} bytes, none of them a control character, and is neither . nor .."
    )))
}
