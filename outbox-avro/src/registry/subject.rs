//! Under which name a schema is registered.

use relaybox_core::{Error, ErrorKind, Result, TopicName};

use crate::EventSchema;

/// How a subject is named.
///
/// The names are those of Confluent's serializers, so that tools and other languages find the same ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum SubjectStrategy {
    /// `{topic}-value`: a topic has one type of event, which evolves.
    TopicName,
    /// `{record}`: an event type evolves alike on all topics.
    RecordName,
    /// `{topic}-{record}`: each event type on a topic evolves by itself. The default, as a topic
    /// carries all events of an aggregate type.
    #[default]
    TopicRecordName,
}

impl SubjectStrategy {
    /// The subject of a schema on a topic. The record is named in full: `com.acme.SessionCreated`.
    ///
    /// ```
    /// use relaybox_avro::{EventSchema, SubjectStrategy};
    /// use relaybox_core::TopicName;
    ///
    /// let topic = TopicName::new("session-events.v1")?;
    /// let schema = EventSchema::parse(
    ///     r#"{"type": "record", "name": "SessionCreated", "namespace": "com.acme", "fields": []}"#,
    /// )?;
    /// let subject = SubjectStrategy::default().subject(&topic, &schema)?;
    /// assert_eq!(subject, "session-events.v1-com.acme.SessionCreated");
    /// let subject = SubjectStrategy::TopicName.subject(&topic, &schema)?;
    /// assert_eq!(subject, "session-events.v1-value");
    /// # Ok::<(), relaybox_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when the strategy needs a record's name and the schema has none.
    pub fn subject(self, topic: &TopicName, schema: &EventSchema) -> Result<String> {
        let record = || {
            schema.name().ok_or_else(|| {
                Error::new(ErrorKind::Invalid, "name a subject").detail(
                    "the schema is no record and has no name: use SubjectStrategy::TopicName",
                )
            })
        };
        Ok(match self {
            Self::TopicName => format!("{topic}-value"),
            Self::RecordName => record()?.to_owned(),
            Self::TopicRecordName => format!("{topic}-{}", record()?),
        })
    }
}
