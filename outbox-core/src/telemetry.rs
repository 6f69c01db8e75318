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
//! | `relaybox_handle_failed_total` | counter | `consumer`, `kind` | attempts that failed |
//! | `relaybox_dead_lettered_total` | counter | `component` | events given up on, by a relay or a consumer |
//! | `relaybox_handle_seconds` | histogram | `consumer` | one attempt, begin to commit |

use std::time::Duration;

use metrics::{counter, gauge, histogram};

use crate::{ErrorKind, EventType, OutboxStats};

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

pub(crate) fn handled(consumer: &str, event_type: &EventType, took: Duration) {
    counter!("relaybox_handled_total", "consumer" => consumer.to_owned(), "event_type" => event_type.to_string())
        .increment(1);
    histogram!("relaybox_handle_seconds", "consumer" => consumer.to_owned())
        .record(took.as_secs_f64());
}

pub(crate) fn duplicate(consumer: &str) {
    counter!("relaybox_duplicates_total", "consumer" => consumer.to_owned()).increment(1);
}

pub(crate) fn skipped(consumer: &str) {
    counter!("relaybox_skipped_total", "consumer" => consumer.to_owned()).increment(1);
}

pub(crate) fn handle_failed(consumer: &str, kind: ErrorKind) {
    counter!("relaybox_handle_failed_total", "consumer" => consumer.to_owned(), "kind" => kind.as_str())
        .increment(1);
}

pub(crate) fn dead_lettered(component: &str) {
    counter!("relaybox_dead_lettered_total", "component" => component.to_owned()).increment(1);
}
