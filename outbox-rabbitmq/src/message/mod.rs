//! What an event, a delivery and a dead letter are as AMQP messages, and back.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use bytes::Bytes;
use chrono::DateTime;
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable, LongString, ShortString},
};
use relaybox_core::{
    Delivery, Envelope, Failure, HeaderName, Offset, Partition, Record, TopicName, cloudevents,
};
use uuid::Uuid;

/// The record key.
const KEY: &str = "x-relaybox-key";
/// The topic that the record was addressed to.
const TOPIC: &str = "x-relaybox-topic";
/// A dead letter's own headers of which ours have the names.
const OWN: &str = "x-relaybox-own";
/// How often a delivery failed before.
const RETRY_COUNT: &str = "x-retry-count";
const REDRIVE_CONSUMER: &str = "redrive-consumer";
const REDRIVE_ID: &str = "redrive-id";
/// Written to disk by durable queues.
const PERSISTENT: u8 = 2;

/// AMQP's headers are a map, without an order and without repeats: this is the order that an event's
/// headers have everywhere else; free headers come before the last group, by name.
const FIRST: [&str; 14] = [
    "ce_id",
    "ce_type",
    "ce_source",
    "ce_time",
    "ce_specversion",
    "content-type",
    "ce_aggregatetype",
    "ce_aggregateid",
    "ce_eventversion",
    "ce_correlationid",
    "ce_causationid",
    "ce_userid",
    "traceparent",
    "tracestate",
];
const LAST: [&str; 10] = [
    REDRIVE_CONSUMER,
    REDRIVE_ID,
    "dlq-original-topic",
    "dlq-original-partition",
    "dlq-original-offset",
    "dlq-failed-at",
    "dlq-attempts",
    "dlq-error-kind",
    "dlq-error",
    "dlq-consumer",
];

/// A message on its way to an exchange.
#[derive(Clone)]
pub(crate) struct Message {
    pub(crate) exchange: ShortString,
    pub(crate) routing_key: ShortString,
    pub(crate) properties: BasicProperties,
    pub(crate) body: Bytes,
}

/// Makes an event's message.
pub(crate) fn of_event(record: &Record, exchange: &TopicName, app_id: &str) -> Message {
    let Record { topic, envelope, .. } = record;
    let mut headers = BTreeMap::new();
    cloudevents::headers(envelope, |name, value| {
        headers.insert(ShortString::from(name), long(value));
    });
    headers.insert(KEY.into(), long(envelope.key().as_str().as_bytes()));
    headers.insert(TOPIC.into(), long(topic.as_str().as_bytes()));
    let mut properties = BasicProperties::default()
        .with_headers(headers.into())
        .with_delivery_mode(PERSISTENT)
        .with_message_id(envelope.event_id.to_string().into())
        .with_type(envelope.event_type.to_string().into())
        .with_timestamp(u64::try_from(envelope.occurred_at.timestamp()).unwrap_or_default());
    if let Ok(content_type) = ShortString::try_new(envelope.content_type.as_ref()) {
        properties = properties.with_content_type(content_type);
    }
    if let Ok(app_id) = ShortString::try_new(app_id) {
        properties = properties.with_app_id(app_id);
    }
    Message {
        exchange: exchange.as_str().into(),
        routing_key: routing_key(envelope).into(),
        properties,
        body: envelope.payload.clone(),
    }
}

/// `{aggregate type}.{event type}`: at most 64 + 1 + 128 bytes and a version, so it always fits.
fn routing_key(envelope: &Envelope) -> String {
    format!("{}.{}", envelope.aggregate_type, envelope.event_type)
}

/// Reads a message that was delivered. Headers that the broker or this library adds on the way are left
/// out, so that the record is the same each time it comes.
pub(crate) fn read(
    partition: Partition,
    offset: Offset,
    properties: &BasicProperties,
    body: Bytes,
) -> Delivery {
    let mut delivery = Delivery::new(partition, offset);
    delivery.value = Some(body);
    delivery.timestamp = properties
        .timestamp()
        .and_then(|seconds| DateTime::from_timestamp(i64::try_from(seconds).ok()?, 0));
    if let Some(table) = properties.headers() {
        let table = table.inner();
        delivery.key = table.get(KEY).and_then(bytes_of);
        delivery.attempts = table.get(RETRY_COUNT).map_or(0, count_of);
        delivery.headers = ordered(table);
    }
    delivery.place = delivery.fingerprint();
    delivery
}

fn ordered(table: &BTreeMap<ShortString, AMQPValue>) -> Vec<(HeaderName, Bytes)> {
    let rank = |name: &str| match FIRST.iter().position(|known| *known == name) {
        Some(at) => at,
        None => match LAST.iter().position(|known| *known == name) {
            Some(at) => FIRST.len() + 2 + at,
            None => FIRST.len(),
        },
    };
    // Before the last group, of which one has the same name.
    let own = match table.get(OWN) {
        Some(AMQPValue::FieldTable(own)) => own.inner().iter().collect(),
        _ => Vec::new(),
    };
    let mut headers: Vec<_> = table
        .iter()
        .filter(|(name, _)| !is_of_the_way(name.as_str()))
        .map(|(name, value)| (rank(name.as_str()), name, value))
        .chain(own.into_iter().map(|(name, value)| (FIRST.len() + 1, name, value)))
        .filter_map(|(rank, name, value)| {
            Some((rank, HeaderName::from(name.as_str()), bytes_of(value)?))
        })
        .collect();
    // Stable: names come sorted.
    headers.sort_by_key(|(rank, ..)| *rank);
    headers.into_iter().map(|(_, name, value)| (name, value)).collect()
}

/// Makes the message that a delivery has as a dead letter.
pub(crate) fn of_dead_letter(
    delivery: &Delivery,
    original: Option<&BasicProperties>,
    failure: &Failure,
    exchange: &TopicName,
) -> Message {
    let mut headers = own_headers(delivery, original);
    let mut own = BTreeMap::new();
    for (name, value) in failure.headers(delivery) {
        if let Some(value) = headers.insert(name.into(), long(value.as_bytes())) {
            own.insert(ShortString::from(name), value);
        }
    }
    if !own.is_empty() {
        headers.insert(OWN.into(), AMQPValue::FieldTable(own.into()));
    }
    let routing_key = ShortString::try_new(delivery.partition.topic.as_str()).unwrap_or_default();
    Message {
        exchange: exchange.as_str().into(),
        routing_key,
        properties: again(original, headers),
        body: delivery.value.clone().unwrap_or_default(),
    }
}

/// Makes the copy of a delivery that waits in a queue for its time.
pub(crate) fn of_retry(
    delivery: &Delivery,
    original: Option<&BasicProperties>,
    queue: String,
) -> Message {
    let mut headers = own_headers(delivery, original);
    let attempts = delivery.attempts.saturating_add(1);
    headers.insert(RETRY_COUNT.into(), AMQPValue::LongLongInt(attempts.into()));
    Message {
        exchange: ShortString::default(),
        routing_key: queue.into(),
        properties: again(original, headers),
        body: delivery.value.clone().unwrap_or_default(),
    }
}

/// Makes the message with which a dead letter goes back to its queue: as it was before it was given up
/// on, with the consumer that gave it up, and a mark that tells it from the record that was given up on.
pub(crate) fn of_redriven(
    letter: &BasicProperties,
    body: Bytes,
    consumer: &str,
    queue: &TopicName,
) -> Message {
    let table = letter.headers().as_ref().map(FieldTable::inner);
    let mut headers: BTreeMap<_, _> = table
        .into_iter()
        .flatten()
        .filter(|(name, _)| !name.as_str().starts_with("dlq-") && is_kept(name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    if let Some(AMQPValue::FieldTable(own)) = table.and_then(|table| table.get(OWN)) {
        headers.extend(own.inner().clone());
    }
    headers.insert(REDRIVE_CONSUMER.into(), long(consumer.as_bytes()));
    headers.insert(REDRIVE_ID.into(), long(Uuid::now_v7().to_string().as_bytes()));
    Message {
        exchange: ShortString::default(),
        routing_key: queue.as_str().into(),
        properties: again(Some(letter), headers),
        body,
    }
}

/// The headers that go along with a delivery: those of the message as it came, types and all.
fn own_headers(
    delivery: &Delivery,
    original: Option<&BasicProperties>,
) -> BTreeMap<ShortString, AMQPValue> {
    if let Some(original) = original {
        let table = original.headers().as_ref().map(FieldTable::inner);
        return table
            .into_iter()
            .flatten()
            .filter(|(name, _)| is_kept(name.as_str()))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
    }
    let mut headers: BTreeMap<_, _> = delivery
        .headers()
        .filter_map(|(name, value)| Some((ShortString::try_new(name).ok()?, long(value))))
        .collect();
    if let Some(key) = &delivery.key {
        headers.insert(KEY.into(), long(key));
    }
    headers
}

/// A message's properties when it is published again. Not its expiration, which is not ours to keep, nor
/// its user, whom the broker would compare with our login.
fn again(
    original: Option<&BasicProperties>,
    headers: BTreeMap<ShortString, AMQPValue>,
) -> BasicProperties {
    let mut properties =
        BasicProperties::default().with_headers(headers.into()).with_delivery_mode(PERSISTENT);
    let Some(original) = original else { return properties };
    macro_rules! keep {
        ($($get:ident $set:ident),+) => {$(
            if let Some(value) = original.$get() {
                properties = properties.$set(value.clone());
            }
        )+};
    }
    keep!(
        content_type with_content_type,
        content_encoding with_content_encoding,
        priority with_priority,
        correlation_id with_correlation_id,
        reply_to with_reply_to,
        message_id with_message_id,
        timestamp with_timestamp,
        kind with_type,
        app_id with_app_id
    );
    properties
}

/// Headers that belong to one publication or one way through the broker, not to the record.
fn is_of_the_way(name: &str) -> bool {
    ["x-death", "x-delivery-count", "x-acquired-count", RETRY_COUNT, "CC", "BCC"].contains(&name)
        || ["x-first-death-", "x-last-death-", "x-relaybox-"].iter().any(|p| name.starts_with(p))
}

/// What goes along when a message is published again. CC and BCC would send it elsewhere as well.
fn is_kept(name: &str) -> bool {
    !is_of_the_way(name) || name == KEY || name == TOPIC
}

fn long(value: &[u8]) -> AMQPValue {
    AMQPValue::LongString(LongString::from(value.to_vec()))
}

/// A header's value as bytes: texts as they are, numbers in decimal; what has parts has none.
fn bytes_of(value: &AMQPValue) -> Option<Bytes> {
    let number = |number: String| Some(Bytes::from(number));
    match value {
        AMQPValue::LongString(text) => Some(Bytes::copy_from_slice(text.as_bytes())),
        AMQPValue::ShortString(text) => Some(Bytes::copy_from_slice(text.as_str().as_bytes())),
        AMQPValue::ByteArray(bytes) => Some(Bytes::copy_from_slice(bytes.as_slice())),
        AMQPValue::Boolean(value) => number(value.to_string()),
        AMQPValue::ShortShortInt(value) => number(value.to_string()),
        AMQPValue::ShortShortUInt(value) => number(value.to_string()),
        AMQPValue::ShortInt(value) => number(value.to_string()),
        AMQPValue::ShortUInt(value) => number(value.to_string()),
        AMQPValue::LongInt(value) => number(value.to_string()),
        AMQPValue::LongUInt(value) => number(value.to_string()),
        AMQPValue::LongLongInt(value) => number(value.to_string()),
        AMQPValue::Timestamp(value) => number(value.to_string()),
        AMQPValue::Float(value) => number(value.to_string()),
        AMQPValue::Double(value) => number(value.to_string()),
        AMQPValue::Void => Some(Bytes::new()),
        AMQPValue::DecimalValue(_) | AMQPValue::FieldArray(_) | AMQPValue::FieldTable(_) => None,
    }
}

fn count_of(value: &AMQPValue) -> u32 {
    let text = bytes_of(value).unwrap_or_default();
    std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}
