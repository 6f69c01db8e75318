//! Which of the outbox's dead letters, beyond what the store itself selects by.

use relaybox::{DeadLetter, DeadLetterQuery, DeadLetterState};

use crate::{args::Filter, error::CliError};

impl Filter {
    /// What the store can select by.
    ///
    /// # Errors
    /// [`CliError::Config`] when something is asked for that the outbox doesn't know of its dead letters.
    pub(super) fn outbox_query(&self) -> Result<DeadLetterQuery, CliError> {
        let others = [
            ("--kind", self.kind.is_some()),
            ("--consumer", self.consumer.is_some()),
            ("--key", self.key.is_some()),
            ("--at", !self.at.is_empty()),
        ];
        if let Some((option, _)) = others.into_iter().find(|(_, given)| *given) {
            return Err(CliError::Config(format!(
                "{option} is for the dead letters of consumers: say --topic or --queue, too"
            )));
        }
        let mut query = DeadLetterQuery::all();
        query.event_ids.clone_from(&self.events);
        if let Some(aggregate) = &self.aggregate {
            query.aggregate_type = Some(aggregate.aggregate_type.clone());
            query.aggregate_id.clone_from(&aggregate.id);
        }
        Ok(query)
    }

    /// Whether the store selects by all that is asked for.
    pub(super) fn is_the_stores(&self) -> bool {
        self.event_type.is_none()
            && self.error.is_none()
            && self.since.is_none()
            && self.until.is_none()
    }

    /// Whether a letter is asked for. What can't be read of a row is the store's to select by.
    pub(super) fn matches(&self, letter: &DeadLetter) -> bool {
        let envelope = letter.envelope.as_ref().ok();
        (self.events.is_empty() || self.events.contains(&letter.event_id))
            && self.aggregate.as_ref().is_none_or(|wanted| {
                envelope.is_none_or(|envelope| {
                    envelope.aggregate_type == wanted.aggregate_type
                        && wanted.id.as_ref().is_none_or(|id| envelope.aggregate_id == *id)
                })
            })
            && self.event_type.as_ref().is_none_or(|wanted| {
                envelope.is_some_and(|envelope| {
                    *wanted == envelope.event_type.to_string()
                        || wanted == envelope.event_type.name()
                })
            })
            && self.error.as_ref().is_none_or(|text| {
                letter.reason.as_ref().is_some_and(|reason| reason.contains(text))
            })
            && self.since.is_none_or(|since| letter.failed_at >= since.0)
            && self.until.is_none_or(|until| letter.failed_at < until.0)
    }
}

/// Whether a letter is given up on, and not on its way already.
pub(super) fn is_dead(letter: &DeadLetter) -> bool {
    letter.state == DeadLetterState::Dead
}

/// Letters of whole aggregates, an aggregate's one after another in their order.
pub(super) fn by_aggregate(letters: &[DeadLetter]) -> impl Iterator<Item = &[DeadLetter]> {
    letters.chunk_by(|one, next| match (&one.envelope, &next.envelope) {
        (Ok(one), Ok(next)) => {
            (&one.aggregate_type, &one.aggregate_id) == (&next.aggregate_type, &next.aggregate_id)
        }
        // Which aggregate a row is of that can't be read, is not known here.
        _ => false,
    })
}
