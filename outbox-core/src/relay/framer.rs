//! Framing what was read, before it is handed over.

use std::{fmt, sync::Arc};

use crate::{AggregateType, Error, ErrorKind, Framing, OutboxRow, TopicMap};

/// What is put around payloads, if anything.
#[derive(Clone, Default)]
pub(super) struct Framer(Option<Arc<dyn Framing>>);

/// What a read gave, ready to be handed over.
pub(super) struct Page {
    pub(super) rows: Vec<OutboxRow>,
    /// The rows from here on are missing: the first can't be framed for now.
    pub(super) held: Option<(AggregateType, Error)>,
}

impl Framer {
    pub(super) fn new(framing: impl Framing) -> Self {
        Self(Some(Arc::new(framing)))
    }

    /// Frames rows in order, as far as it gets.
    pub(super) async fn frame(&self, mut rows: Vec<OutboxRow>, topics: &TopicMap) -> Page {
        let Some(framing) = &self.0 else { return Page { rows, held: None } };
        for index in 0..rows.len() {
            let row = &mut rows[index];
            let Ok(envelope) = &mut row.envelope else { continue };
            let topic = topics.topic(&envelope.aggregate_type);
            let Err(error) = framing.frame(&topic, envelope).await else { continue };
            if is_of_event(error.kind()) {
                row.envelope = Err(error);
                continue;
            }
            let aggregate_type = envelope.aggregate_type.clone();
            rows.truncate(index);
            return Page { rows, held: Some((aggregate_type, error)) };
        }
        Page { rows, held: None }
    }
}

/// Whether it is the event's own fault, and would be again.
fn is_of_event(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Decode | ErrorKind::Encode | ErrorKind::TooLarge | ErrorKind::Rejected
    )
}

impl fmt::Debug for Framer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Framer" } else { "None" })
    }
}
