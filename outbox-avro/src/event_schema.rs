//! The schema of one event type: its text, what it parses to, its fingerprint.

use std::{fmt, sync::Arc};

use apache_avro::AvroSchema;
use relaybox_core::{Error, ErrorKind, Result, SchemaFingerprint, StoredSchema};
use sha2::{Digest, Sha256};

use crate::{
    model::{Model, Name},
    plan::check_defaults,
};

/// An Avro schema with its full text and the fingerprint of that text.
///
/// Cheap to clone. Equal when the texts are.
#[derive(Clone)]
pub struct EventSchema {
    inner: Arc<Inner>,
}

struct Inner {
    text: String,
    fingerprint: SchemaFingerprint,
    model: Model,
}

/// What [`StoredSchema::format`] says of an Avro schema.
pub(crate) const FORMAT: &str = "avro";

impl EventSchema {
    /// Parses a schema's text.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] when it is no Avro schema, or a field's default is no value of its type;
    /// [`ErrorKind::TooLarge`] when it is larger than 512 KiB or nests deeper than any should: texts from
    /// elsewhere are parsed, too.
    ///
    /// ```
    /// use relaybox_avro::EventSchema;
    /// let schema = EventSchema::parse(
    ///     r#"{"type": "record", "name": "SessionCreated", "namespace": "com.acme", "fields": [
    ///         {"name": "session_id", "type": "string"}]}"#,
    /// )?;
    /// assert_eq!(schema.name(), Some("com.acme.SessionCreated"));
    /// # Ok::<(), relaybox_core::Error>(())
    /// ```
    pub fn parse(text: impl Into<String>) -> Result<Self> {
        let schema = Self::of_others(text.into())?;
        check_defaults(schema.model())?;
        Ok(schema)
    }

    /// Parses the text of a schema that others wrote and a registry took. Defaults that are wrong keep
    /// nobody from reading what was written with it.
    pub(crate) fn of_others(text: String) -> Result<Self> {
        let model = Model::parse(&text)?;
        let fingerprint = SchemaFingerprint::from_bytes(Sha256::digest(text.as_bytes()).into());
        Ok(Self { inner: Arc::new(Inner { text, fingerprint, model }) })
    }

    /// The schema of a type that derives apache-avro's `AvroSchema`.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] when what it says is no schema.
    pub fn of<T: AvroSchema>() -> Result<Self> {
        let text = serde_json::to_string(&T::get_schema()).map_err(|error| {
            Error::new(ErrorKind::Decode, "write the text of a derived Avro schema")
                .caused_by(error)
        })?;
        Self::parse(text)
    }

    /// The full text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.inner.text
    }

    /// The SHA-256 of the text.
    #[must_use]
    pub fn fingerprint(&self) -> SchemaFingerprint {
        self.inner.fingerprint
    }

    /// The full name of the record (or enum, or fixed) that it defines: `com.acme.SessionCreated`.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.inner.model.root_name().map(Name::full)
    }

    pub(crate) fn model(&self) -> &Model {
        &self.inner.model
    }

    /// As a [`SchemaStore`](relaybox_core::SchemaStore) keeps it.
    #[must_use]
    pub fn stored(&self) -> StoredSchema {
        StoredSchema::new(self.fingerprint(), FORMAT, self.text())
    }
}

impl PartialEq for EventSchema {
    fn eq(&self, other: &Self) -> bool {
        self.inner.text == other.inner.text
    }
}

impl Eq for EventSchema {}

impl fmt::Debug for EventSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventSchema")
            .field("name", &self.name())
            .field("fingerprint", &self.inner.fingerprint)
            .finish_non_exhaustive()
    }
}
