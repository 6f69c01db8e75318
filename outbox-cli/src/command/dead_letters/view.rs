//! A dead letter in a list, without what is the user's.

use chrono::{DateTime, Utc};
use relaybox::{ConsumerDeadLetter, DeadLetter, EventId, error_chain};
use serde::Serialize;

use crate::{error::CliError, output};

/// How much of an error a table has room for.
const MAX_ERROR: usize = 80;

/// A dead letter as a list shows it.
#[derive(Debug, Serialize)]
pub(super) struct LetterView {
    pub(super) event_id: Option<EventId>,
    pub(super) event_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aggregate_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aggregate_id: Option<String>,
    /// Of the outbox: dead, redriving, parked. Of a consumer: open, redriven, discarded.
    state: &'static str,
    attempts: u32,
    pub(super) failed_at: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_kind: Option<String>,
    error: Option<String>,
    /// The place in the outbox's order.
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<i64>,
    /// The consumer that gave it up.
    #[serde(skip_serializing_if = "Option::is_none")]
    consumer: Option<String>,
    /// Where it is in a dead-letter topic or queue, as `--at` takes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
    payload_bytes: usize,
}

impl LetterView {
    /// One that a relay gave up on.
    pub(super) fn of_outbox(letter: &DeadLetter) -> Self {
        let envelope = letter.envelope.as_ref();
        let unreadable = envelope.err().map(|error| error_chain(error));
        let envelope = envelope.ok();
        Self {
            event_id: Some(letter.event_id),
            event_type: envelope.map(|envelope| envelope.event_type.to_string()),
            aggregate_type: envelope.map(|envelope| envelope.aggregate_type.to_string()),
            aggregate_id: envelope.map(|envelope| envelope.aggregate_id.to_string()),
            state: letter.state.as_str(),
            attempts: letter.attempts,
            failed_at: letter.failed_at,
            error_kind: None,
            error: why(letter.reason.as_deref(), unreadable),
            position: Some(letter.position),
            consumer: None,
            at: None,
            payload_bytes: envelope.map_or(0, |envelope| envelope.payload.len()),
        }
    }

    /// One that a consumer gave up on.
    pub(super) fn of_consumer(
        letter: &ConsumerDeadLetter,
        state: &'static str,
        at: String,
    ) -> Self {
        let header = |name: &str| {
            let mut headers = letter.delivery.headers();
            let (_, value) = headers.find(|(other, _)| *other == name)?;
            std::str::from_utf8(value).ok().map(str::to_owned)
        };
        Self {
            event_id: letter.event_id,
            event_type: letter.event_type.clone(),
            aggregate_type: header("ce_aggregatetype"),
            aggregate_id: header("ce_aggregateid"),
            state,
            attempts: letter.attempts,
            failed_at: letter.failed_at,
            error_kind: Some(letter.error_kind.clone()),
            error: Some(letter.error.clone()),
            position: None,
            consumer: Some(letter.consumer.clone()),
            at: Some(at),
            payload_bytes: letter.delivery.value.as_ref().map_or(0, |value| value.len()),
        }
    }

    fn aggregate(&self) -> String {
        match (&self.aggregate_type, &self.aggregate_id) {
            (Some(aggregate_type), Some(id)) => format!("{aggregate_type}/{id}"),
            _ => String::new(),
        }
    }

    /// The lines of a person's view, name and value.
    pub(super) fn lines(&self) -> Vec<(&'static str, String)> {
        let mut lines = vec![
            ("event", self.event_id.map_or_else(|| "(unreadable)".to_owned(), |id| id.to_string())),
            ("type", self.event_type.clone().unwrap_or_default()),
            ("aggregate", self.aggregate()),
            ("state", self.state.to_owned()),
            ("attempts", self.attempts.to_string()),
            ("failed at", output::time(self.failed_at)),
        ];
        let others = [
            ("error kind", self.error_kind.clone()),
            ("error", self.error.clone()),
            ("consumer", self.consumer.clone()),
            ("position", self.position.map(|position| position.to_string())),
            ("at", self.at.clone()),
        ];
        lines.extend(others.into_iter().filter_map(|(name, value)| Some((name, value?))));
        lines.push(("payload bytes", self.payload_bytes.to_string()));
        lines
    }
}

/// Why it was given up on, and why its row can't be read.
fn why(reason: Option<&str>, unreadable: Option<String>) -> Option<String> {
    match (reason, unreadable) {
        (Some(reason), Some(unreadable)) => Some(format!("{reason}; unreadable: {unreadable}")),
        (reason, unreadable) => reason.map(str::to_owned).or(unreadable),
    }
}

/// Prints a table.
pub(super) fn print(letters: &[LetterView]) -> Result<(), CliError> {
    let row = |letter: &LetterView| {
        let error = letter.error.as_deref().unwrap_or_default().replace(['\n', '\t'], " ");
        let error = match &letter.error_kind {
            Some(kind) => format!("{kind}: {error}"),
            None => error,
        };
        [
            letter.event_id.map(|id| id.to_string()).unwrap_or_default(),
            letter.event_type.clone().unwrap_or_default(),
            letter.aggregate(),
            letter.state.to_owned(),
            letter.attempts.to_string(),
            output::time(letter.failed_at),
            output::short(&error, MAX_ERROR).into_owned(),
        ]
    };
    output::table(
        ["event", "type", "aggregate", "state", "#attempts", "failed at", "error"],
        letters.iter().map(row),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unreadable_row_says_why_it_was_given_up_on_and_why_it_is_unreadable() {
        let why = |reason, unreadable: Option<&str>| why(reason, unreadable.map(str::to_owned));
        assert_eq!(why(Some("no"), None).as_deref(), Some("no"));
        assert_eq!(why(None, Some("no id")).as_deref(), Some("no id"));
        assert_eq!(why(Some("no"), Some("no id")).as_deref(), Some("no; unreadable: no id"));
    }
}
