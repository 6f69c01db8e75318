//! A stored event: its fields, and the envelope they make.

use std::borrow::Cow;

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use mongodb::bson::{Binary, Bson, Document, doc, spec::BinarySubtype};
use relaybox_core::{
    AggregateId, AggregateType, Envelope, Error, ErrorKind, EventId, EventType, Headers, Label,
    PartitionKey, Result, TraceContext,
};
use uuid::Uuid;

use crate::position;

/// The fields of an event, as the archive copies them.
pub(crate) const POSITION: &str = "position";
pub(crate) const TYPE: &str = "aggregate.type";
pub(crate) const ID: &str = "aggregate.id";

/// An aggregate's type and id as a document has them, valid or not.
pub(crate) type Aggregate = (String, String);

/// A UUID as documents have it.
pub(crate) fn uuid(id: Uuid) -> Bson {
    Bson::Binary(Binary { subtype: BinarySubtype::Uuid, bytes: id.as_bytes().to_vec() })
}

/// An event's id as documents have it.
pub(crate) fn id(event: EventId) -> Bson {
    uuid(event.as_uuid())
}

/// The id in a value, if it is one.
pub(crate) fn event_id(value: Option<&Bson>) -> Option<EventId> {
    match value {
        Some(Bson::Binary(binary)) => Uuid::from_slice(&binary.bytes).ok().map(EventId::from_uuid),
        _ => None,
    }
}

/// The document of an event that is to be inserted. The server fills in its position.
pub(crate) fn of_event(event: &Envelope) -> Document {
    let metadata = &event.metadata;
    let payload = Binary { subtype: BinarySubtype::Generic, bytes: event.payload.to_vec() };
    let mut document = doc! {
        "_id": id(event.event_id),
        POSITION: position::NOW,
        "aggregate": { "type": event.aggregate_type.as_str(), "id": event.aggregate_id.as_str() },
        "event_name": event.event_type.name(),
        "event_version": i32::from(event.event_type.version()),
        // A BSON date has milliseconds only.
        "occurred_at": event.occurred_at.to_rfc3339_opts(SecondsFormat::Micros, true),
        "content_type": event.content_type.as_ref(),
        "source": metadata.source.as_str(),
        "payload": payload,
    };
    let texts = [
        ("partition_key", event.partition_key.as_ref().map(|key| key.as_str().to_owned())),
        ("correlation_id", metadata.correlation_id.as_ref().map(|id| id.as_str().to_owned())),
        ("user_id", metadata.user_id.as_ref().map(|id| id.as_str().to_owned())),
        ("traceparent", metadata.trace.as_ref().map(|trace| trace.traceparent().to_string())),
        (
            "tracestate",
            metadata.trace.as_ref().and_then(|trace| trace.tracestate().map(str::to_owned)),
        ),
        ("headers", metadata.headers.to_json()),
    ];
    for (field, text) in texts {
        if let Some(text) = text {
            document.insert(field, text);
        }
    }
    if let Some(causation) = metadata.causation_id {
        document.insert("causation_id", id(causation));
    }
    document
}

/// The envelope that a document holds, or which field is none; never what is in it.
pub(crate) fn envelope(mut document: Document, event_id: EventId) -> Result<Envelope> {
    let payload = match document.remove("payload") {
        Some(Bson::Binary(binary)) => Bytes::from(binary.bytes),
        _ => return Err(malformed("payload")),
    };
    let fields = Fields(&document);
    let version = document.get_i32("event_version").ok().and_then(|n| u16::try_from(n).ok());
    let version = version.ok_or_else(|| malformed("event_version"))?;
    let name = fields.text("event_name")?;
    let mut envelope = Envelope::restore(
        event_id,
        fields.time("occurred_at")?,
        EventType::new(name, version).map_err(|_| malformed("event_name"))?,
        fields.aggregate("type")?.parse::<AggregateType>().map_err(|_| malformed(TYPE))?,
        fields.aggregate("id")?.parse::<AggregateId>().map_err(|_| malformed(ID))?,
        payload,
    );
    envelope.content_type = match fields.text("content_type")? {
        "application/json" => Cow::Borrowed("application/json"),
        other => Cow::Owned(other.to_owned()),
    };
    envelope.partition_key = fields.parsed::<PartitionKey>("partition_key")?;
    let metadata = &mut envelope.metadata;
    metadata.source = fields.text("source")?.parse().map_err(|_| malformed("source"))?;
    metadata.correlation_id = fields.parsed::<Label>("correlation_id")?;
    metadata.user_id = fields.parsed::<Label>("user_id")?;
    if let Some(causation) = document.get("causation_id") {
        let causation = self::event_id(Some(causation)).ok_or_else(|| malformed("causation_id"))?;
        metadata.causation_id = Some(causation);
    }
    // A broken trace must not cost an event: the recommendation says to start a new one.
    metadata.trace = fields
        .optional("traceparent")?
        .and_then(|parent| TraceContext::parse(parent, document.get_str("tracestate").ok()).ok());
    if let Some(headers) = fields.optional("headers")? {
        metadata.headers = Headers::from_json(headers).map_err(|_| malformed("headers"))?;
    }
    Ok(envelope)
}

/// The aggregate of an event, as far as the document has one.
pub(crate) fn aggregate(document: &Document) -> Aggregate {
    let fields = Fields(document);
    let text = |field| fields.aggregate(field).unwrap_or_default().to_owned();
    (text("type"), text("id"))
}

/// Why a stored document is no event.
pub(crate) fn malformed(field: &'static str) -> Error {
    Error::new(ErrorKind::Decode, "read a stored event")
        .detail(format!("the field {field} is malformed"))
}

struct Fields<'d>(&'d Document);

impl<'d> Fields<'d> {
    fn text(&self, field: &'static str) -> Result<&'d str> {
        self.0.get_str(field).map_err(|_| malformed(field))
    }

    fn optional(&self, field: &'static str) -> Result<Option<&'d str>> {
        match self.0.get(field) {
            None | Some(Bson::Null) => Ok(None),
            Some(Bson::String(text)) => Ok(Some(text)),
            Some(_) => Err(malformed(field)),
        }
    }

    fn parsed<T: std::str::FromStr>(&self, field: &'static str) -> Result<Option<T>> {
        self.optional(field)?.map(|text| text.parse().map_err(|_| malformed(field))).transpose()
    }

    fn aggregate(&self, field: &str) -> Result<&'d str> {
        let aggregate = self.0.get_document("aggregate").map_err(|_| malformed("aggregate"))?;
        aggregate.get_str(field).map_err(|_| malformed("aggregate"))
    }

    fn time(&self, field: &'static str) -> Result<DateTime<Utc>> {
        let time = DateTime::parse_from_rfc3339(self.text(field)?).map_err(|_| malformed(field))?;
        Ok(time.with_timezone(&Utc))
    }
}
