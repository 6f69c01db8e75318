//! The metrics, through the [`metrics`] facade: nothing is recorded until an exporter is installed.
//!
//! | name | kind | labels | what |
//! |---|---|---|---|
//! | `relaybox_enqueued_total` | counter | | events written to an outbox |
//! | `relaybox_published_total` | counter | `relay` | events acknowledged by the broker |
//! | `relaybox_publish_failed_total` | counter | `relay`, `kind` | batches that failed, by the kind of the first error |
//! | `relaybox_publish_seconds` | histogram | `relay` | from hand-over to acknowledgement, a batch |
//! | `relaybox_settle_seconds` | histogram | `relay` | settling a batch in the store |
//! | `relaybox_late_settled_total` | counter | `relay` | events that a settlement did not find |
//! | `relaybox_overlooked_total` | counter | `relay` | events that came late, because their numbers were out of order |
//! | `relaybox_lease_held` | gauge | `relay` | 1 while this relay holds the lease |
//! | `relaybox_backlog_events` | gauge | `relay` | committed events not yet published |
//! | `relaybox_backlog_oldest_seconds` | gauge | `relay` | age of the oldest of them |
//! | `relaybox_outbox_dead_letters` | gauge | `relay` | events the relay gave up on |
//! | `relaybox_outbox_parked` | gauge | `relay` | events waiting behind those |
//! | `relaybox_handled_total` | counter | `consumer`, `event_type` | effects committed |
//! | `relaybox_duplicates_total` | counter | `consumer` | repeats skipped |
//! | `relaybox_skipped_total` | counter | `consumer` | events of unknown type skipped |
//! | `relaybox_handle_failed_total` | counter | `consumer`, `kind` | transactions that failed for an event or a conflict |
//! | `relaybox_dead_lettered_total` | counter | `component` | events given up on, by a relay or a consumer |
//! | `relaybox_handle_seconds` | histogram | `consumer` | one transaction that was committed, from begin to commit; one event of a handler without any |
//! | `relaybox_handle_events` | histogram | `consumer` | events handled in it |
//! | `relaybox_consumer_lag` | gauge | `consumer`, `topic`, `partition` | records that a partition this member holds has, and that are not acknowledged |
//! | `relaybox_consumer_dead_letters` | gauge | `consumer`, `topic` | records in the topic's dead-letter topic or queue |

use std::time::Duration;

use metrics::{counter, gauge, histogram};

use crate::{ErrorKind, EventType, OutboxStats, TopicName};

pub(crate) fn enqueued(events: usize) {
    counter!("relaybox_enqueued_total").increment(events as u64);
}

pub(crate) fn published(relay: &str, events: usize, took: Duration) {
    counter!("relaybox_published_total", "relay" => relay.to_owned()).increment(events as u64);
    histogram!("relaybox_publish_seconds", "relay" => relay.to_owned()).record(took.as_secs_f64());
}

pub(crate) fn publish_failed(relay: &str, kind: ErrorKind) {
    counter!("relaybox_publish_failed_total", "relay" => relay.to_owned(), "kind" => kind.as_str())
        .increment(1);
}

pub(crate) fn settled(relay: &str, missing: u64, took: Duration) {
    counter!("relaybox_late_settled_total", "relay" => relay.to_owned()).increment(missing);
    histogram!("relaybox_settle_seconds", "relay" => relay.to_owned()).record(took.as_secs_f64());
}

pub(crate) fn overlooked(relay: &str, events: u64) {
    counter!("relaybox_overlooked_total", "relay" => relay.to_owned()).increment(events);
}

pub(crate) fn lease_held(relay: &str, held: bool) {
    gauge!("relaybox_lease_held", "relay" => relay.to_owned()).set(if held { 1.0 } else { 0.0 });
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
pub(crate) fn outbox(relay: &str, stats: &OutboxStats) {
    let labels = [("relay", relay.to_owned())];
    gauge!("relaybox_backlog_events", &labels).set(stats.backlog as f64);
    gauge!("relaybox_backlog_oldest_seconds", &labels)
        .set(stats.oldest_age.unwrap_or_default().as_secs_f64());
    gauge!("relaybox_outbox_dead_letters", &labels).set(stats.dead_letters as f64);
    gauge!("relaybox_outbox_parked", &labels).set(stats.parked as f64);
}

/// Counts effects, run by run of one type; gives how many there were.
pub(crate) fn handled<'a>(
    consumer: &str,
    event_types: impl Iterator<Item = &'a EventType>,
) -> usize {
    let count = |event_type: &EventType, events: u64| {
        counter!("relaybox_handled_total", "consumer" => consumer.to_owned(), "event_type" => event_type.to_string())
            .increment(events);
    };
    let (mut total, mut run) = (0, None::<(&EventType, u64)>);
    for event_type in event_types {
        total += 1;
        run = match run {
            Some((same, events)) if same == event_type => Some((same, events + 1)),
            Some((other, events)) => {
                count(other, events);
                Some((event_type, 1))
            }
            None => Some((event_type, 1)),
        };
    }
    if let Some((event_type, events)) = run {
        count(event_type, events);
    }
    total
}

#[expect(clippy::cast_precision_loss, reason = "a histogram takes floats")]
pub(crate) fn transaction(consumer: &str, events: usize, took: Duration) {
    histogram!("relaybox_handle_seconds", "consumer" => consumer.to_owned())
        .record(took.as_secs_f64());
    histogram!("relaybox_handle_events", "consumer" => consumer.to_owned()).record(events as f64);
}

pub(crate) fn duplicates(consumer: &str, events: usize) {
    counter!("relaybox_duplicates_total", "consumer" => consumer.to_owned())
        .increment(events as u64);
}

pub(crate) fn skipped(consumer: &str, events: usize) {
    counter!("relaybox_skipped_total", "consumer" => consumer.to_owned()).increment(events as u64);
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
pub(crate) fn lag(consumer: &str, topic: &TopicName, partition: i32, records: u64) {
    gauge!("relaybox_consumer_lag", "consumer" => consumer.to_owned(), "topic" => topic.to_string(), "partition" => partition.to_string())
        .set(records as f64);
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
pub(crate) fn dead_letter_records(consumer: &str, topic: &TopicName, records: u64) {
    gauge!("relaybox_consumer_dead_letters", "consumer" => consumer.to_owned(), "topic" => topic.to_string())
        .set(records as f64);
}

pub(crate) fn handle_failed(consumer: &str, kind: ErrorKind) {
    counter!("relaybox_handle_failed_total", "consumer" => consumer.to_owned(), "kind" => kind.as_str())
        .increment(1);
}

pub(crate) fn dead_lettered(component: &str) {
    counter!("relaybox_dead_lettered_total", "component" => component.to_owned()).increment(1);
}
