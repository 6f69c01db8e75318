//! The CloudEvents attributes of an envelope, as record headers.
//!
//! After the CloudEvents 1.0 [Kafka protocol binding], binary content mode: attributes are headers
//! with the prefix `ce_`, the payload alone is the value.
//!
//! [Kafka protocol binding]: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md

use std::borrow::Cow;

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};

use crate::{
    AggregateId, AggregateType, Envelope, Error, ErrorKind, EventId, EventType, Headers, Label,
    PartitionKey, Result, TraceContext,
};

const SPEC_VERSION: &str = "1.0";

/// Calls `each` with every header of an envelope, name and value.
pub fn headers<'a>(envelope: &'a Envelope, mut each: impl FnMut(&'a str, &[u8])) {
    let Envelope { event_id, event_type, metadata, .. } = envelope;
    let mut id = [0; uuid::fmt::Hyphenated::LENGTH];
    each("ce_id", event_id.as_uuid().hyphenated().encode_lower(&mut id).as_bytes());
    each("ce_type", event_type.to_string().as_bytes());
    each("ce_source", metadata.source.as_str().as_bytes());
    each("ce_time", envelope.occurred_at.to_rfc3339_opts(SecondsFormat::Micros, true).as_bytes());
    each("ce_specversion", SPEC_VERSION.as_bytes());
    each("content-type", envelope.content_type.as_bytes());
    each("ce_aggregatetype", envelope.aggregate_type.as_str().as_bytes());
    each("ce_aggregateid", envelope.aggregate_id.as_str().as_bytes());
    each("ce_eventversion", event_type.version().to_string().as_bytes());
    if let Some(correlation) = &metadata.correlation_id {
        each("ce_correlationid", correlation.as_str().as_bytes());
    }
    if let Some(causation) = metadata.causation_id {
        each("ce_causationid", causation.to_string().as_bytes());
    }
    if let Some(user) = &metadata.user_id {
        each("ce_userid", user.as_str().as_bytes());
    }
    if let Some(trace) = &metadata.trace {
        each("traceparent", trace.traceparent().as_bytes());
        if let Some(state) = trace.tracestate() {
            each("tracestate", state.as_bytes());
        }
    }
    for (name, value) in metadata.headers.iter() {
        each(name, value.as_bytes());
    }
}

/// Reads an envelope from a record: its key, its headers and its value.
///
/// Headers that are no free ones and not of CloudEvents are passed over. Free headers beyond the
/// limits make the record undecodable: whoever sent it doesn't keep the contract.
///
/// # Errors
/// [`ErrorKind::Decode`], naming the header that is missing or malformed, never its value.
pub fn parse<'a>(
    key: Option<&[u8]>,
    headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    value: Bytes,
) -> Result<Envelope> {
    let mut found = Attributes::default();
    for (name, value) in headers {
        found.take(name, value)?;
    }
    let event_type = EventType::parse(required("ce_type", found.event_type)?)?;
    let aggregate_id = required("ce_aggregateid", found.aggregate_id)?;
    let event_id = valid("ce_id", required("ce_id", found.id)?.parse::<EventId>())?;
    let occurred_at = DateTime::parse_from_rfc3339(required("ce_time", found.time)?)
        .map_err(|source| malformed("ce_time").caused_by(source))?
        .with_timezone(&Utc);
    let mut envelope = Envelope::restore(
        event_id,
        occurred_at,
        event_type,
        valid(
            "ce_aggregatetype",
            AggregateType::new(owned("ce_aggregatetype", found.aggregate_type)?),
        )?,
        valid("ce_aggregateid", AggregateId::new(aggregate_id.to_owned()))?,
        value,
    );
    envelope.content_type = match found.content_type {
        None | Some("application/json") => Cow::Borrowed("application/json"),
        Some(other) => Cow::Owned(other.to_owned()),
    };
    if let Some(key) = key.filter(|key| *key != aggregate_id.as_bytes()) {
        let key = text("key", key)?.to_owned();
        envelope.partition_key = Some(valid("key", PartitionKey::new(key))?);
    }
    let metadata = &mut envelope.metadata;
    metadata.source = label("ce_source", found.source)?.unwrap_or_default();
    metadata.correlation_id = label("ce_correlationid", found.correlation_id)?;
    metadata.causation_id =
        found.causation_id.map(|id| valid("ce_causationid", id.parse::<EventId>())).transpose()?;
    metadata.user_id = label("ce_userid", found.user_id)?;
    // A broken trace must not cost an event: the recommendation says to start a new one.
    metadata.trace =
        found.traceparent.and_then(|parent| TraceContext::parse(parent, found.tracestate).ok());
    metadata.headers = found.free;
    Ok(envelope)
}

#[derive(Default)]
struct Attributes<'a> {
    id: Option<&'a str>,
    event_type: Option<&'a str>,
    source: Option<&'a str>,
    time: Option<&'a str>,
    content_type: Option<&'a str>,
    aggregate_type: Option<&'a str>,
    aggregate_id: Option<&'a str>,
    correlation_id: Option<&'a str>,
    causation_id: Option<&'a str>,
    user_id: Option<&'a str>,
    traceparent: Option<&'a str>,
    tracestate: Option<&'a str>,
    free: Headers,
}

impl<'a> Attributes<'a> {
    fn take(&mut self, name: &str, value: &'a [u8]) -> Result<()> {
        let slot = match name {
            "ce_id" => &mut self.id,
            "ce_type" => &mut self.event_type,
            "ce_source" => &mut self.source,
            "ce_time" => &mut self.time,
            "content-type" => &mut self.content_type,
            "ce_aggregatetype" => &mut self.aggregate_type,
            "ce_aggregateid" => &mut self.aggregate_id,
            "ce_correlationid" => &mut self.correlation_id,
            "ce_causationid" => &mut self.causation_id,
            "ce_userid" => &mut self.user_id,
            "traceparent" => {
                self.traceparent = std::str::from_utf8(value).ok();
                return Ok(());
            }
            "tracestate" => {
                self.tracestate = std::str::from_utf8(value).ok();
                return Ok(());
            }
            "ce_specversion" => {
                return if value == SPEC_VERSION.as_bytes() {
                    Ok(())
                } else {
                    Err(malformed("ce_specversion"))
                };
            }
            // It is in the type, too.
            "ce_eventversion" => return Ok(()),
            free if Headers::is_free(free) => {
                let value = text("a free header", value)?;
                return valid("a free header", self.free.insert(free, value));
            }
            _ => return Ok(()),
        };
        *slot = Some(std::str::from_utf8(value).map_err(|_| {
            Error::new(ErrorKind::Decode, "read a record").detail(format!("{name} is not UTF-8"))
        })?);
        Ok(())
    }
}

fn text<'a>(name: &'static str, value: &'a [u8]) -> Result<&'a str> {
    std::str::from_utf8(value).map_err(|_| malformed(name))
}

fn required<'a>(name: &'static str, value: Option<&'a str>) -> Result<&'a str> {
    value.ok_or_else(|| {
        Error::new(ErrorKind::Decode, "read a record").detail(format!("it has no {name} header"))
    })
}

fn owned(name: &'static str, value: Option<&str>) -> Result<String> {
    required(name, value).map(str::to_owned)
}

fn label(name: &'static str, value: Option<&str>) -> Result<Option<Label>> {
    value.map(|value| valid(name, Label::new(value.to_owned()))).transpose()
}

fn valid<T>(name: &'static str, parsed: Result<T>) -> Result<T> {
    parsed.map_err(|_| malformed(name))
}

fn malformed(name: &'static str) -> Error {
    Error::new(ErrorKind::Decode, "read a record").detail(format!("{name} is malformed"))
}
