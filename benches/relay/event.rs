//! The event of the benchmark, typed and as a loop without this library has it.

use chrono::{DateTime, Utc};
use rdkafka::message::{Header, OwnedHeaders};
use relaybox::{DomainEvent, Envelope};
use serde::Serialize;
use uuid::Uuid;

use crate::support::PAYLOAD;

pub(crate) const AGGREGATE: &str = "thing";
pub(crate) const NAME: &str = "thing.changed";
pub(crate) const SOURCE: &str = "bench";
/// The key of the first event of a filled outbox: its aggregate, of 10,000.
pub(crate) const FIRST_KEY: &[u8] = b"t1";

/// A thing changed: as JSON, exactly [`PAYLOAD`] bytes.
#[derive(Debug, Clone, Serialize, DomainEvent)]
#[event(aggregate = "thing", name = "thing.changed", version = 1)]
pub(crate) struct Changed {
    #[event(aggregate_id)]
    pub(crate) id: Uuid,
    text: String,
}

impl Changed {
    pub(crate) fn new(id: Uuid) -> Self {
        let around = r#"{"id":"","text":""}"#.len() + uuid::fmt::Hyphenated::LENGTH;
        let mut text = id.simple().to_string().repeat(PAYLOAD.div_ceil(32));
        text.truncate(PAYLOAD - around);
        Self { id, text }
    }
}

/// The columns of a stored event, as they are.
pub(crate) struct Columns<'a> {
    pub(crate) event_id: Uuid,
    pub(crate) aggregate_type: &'a str,
    pub(crate) aggregate_id: &'a str,
    pub(crate) event_name: &'a str,
    pub(crate) event_version: i32,
    pub(crate) occurred_at: DateTime<Utc>,
    pub(crate) content_type: &'a str,
    pub(crate) partition_key: Option<&'a str>,
    pub(crate) source: &'a str,
    pub(crate) correlation_id: Option<&'a str>,
    pub(crate) causation_id: Option<Uuid>,
    pub(crate) user_id: Option<&'a str>,
    pub(crate) traceparent: Option<&'a str>,
    pub(crate) tracestate: Option<&'a str>,
    pub(crate) headers: Option<&'a str>,
    pub(crate) payload: &'a [u8],
}

/// Takes the columns from a row, from the second on; `$time` reads `occurred_at`.
macro_rules! columns {
    ($row:expr, $time:expr) => {{
        let row = $row;
        $crate::event::Columns {
            event_id: row.get(1),
            aggregate_type: row.get(2),
            aggregate_id: row.get(3),
            event_name: row.get(4),
            event_version: row.get(5),
            occurred_at: $time(row, 6),
            content_type: row.get(7),
            partition_key: row.get(8),
            source: row.get(9),
            correlation_id: row.get(10),
            causation_id: row.get(11),
            user_id: row.get(12),
            traceparent: row.get(13),
            tracestate: row.get(14),
            headers: row.get(15),
            payload: row.get(16),
        }
    }};
}
pub(crate) use columns;

impl<'a> Columns<'a> {
    pub(crate) fn of(envelope: &'a Envelope) -> Self {
        let metadata = &envelope.metadata;
        Self {
            event_id: envelope.event_id.as_uuid(),
            aggregate_type: envelope.aggregate_type.as_str(),
            aggregate_id: envelope.aggregate_id.as_str(),
            event_name: envelope.event_type.name(),
            event_version: envelope.event_type.version().into(),
            occurred_at: envelope.occurred_at,
            content_type: &envelope.content_type,
            partition_key: envelope.partition_key.as_ref().map(|key| key.as_str()),
            source: metadata.source.as_str(),
            correlation_id: metadata.correlation_id.as_ref().map(|id| id.as_str()),
            causation_id: metadata.causation_id.map(|id| id.as_uuid()),
            user_id: metadata.user_id.as_ref().map(|id| id.as_str()),
            traceparent: None,
            tracestate: None,
            headers: None,
            payload: &envelope.payload,
        }
    }

    pub(crate) fn key(&self) -> &str {
        self.partition_key.unwrap_or(self.aggregate_id)
    }

    /// The headers that the library sends for these columns, by hand.
    pub(crate) fn headers(&self) -> OwnedHeaders {
        let mut headers = OwnedHeaders::new_with_capacity(16);
        let mut id = [0; uuid::fmt::Hyphenated::LENGTH];
        let version = self.event_version;
        let time = self.occurred_at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
        headers = add(headers, "ce_id", self.event_id.hyphenated().encode_lower(&mut id));
        headers = add(headers, "ce_type", &format!("{}.v{version}", self.event_name));
        headers = add(headers, "ce_source", self.source);
        headers = add(headers, "ce_time", &time);
        headers = add(headers, "ce_specversion", "1.0");
        headers = add(headers, "content-type", self.content_type);
        headers = add(headers, "ce_aggregatetype", self.aggregate_type);
        headers = add(headers, "ce_aggregateid", self.aggregate_id);
        headers = add(headers, "ce_eventversion", &version.to_string());
        let causation = self.causation_id.map(|id| id.to_string());
        for (name, value) in [
            ("ce_correlationid", self.correlation_id),
            ("ce_causationid", causation.as_deref()),
            ("ce_userid", self.user_id),
            ("traceparent", self.traceparent),
            ("tracestate", self.tracestate),
        ] {
            if let Some(value) = value {
                headers = add(headers, name, value);
            }
        }
        assert!(self.headers.is_none(), "the events of the benchmark have no free headers");
        headers
    }
}

fn add(headers: OwnedHeaders, key: &str, value: &str) -> OwnedHeaders {
    headers.insert(Header { key, value: Some(value) })
}
