//! What decides where a delivery goes, before its event is read.

use crate::{Delivery, EventId, redrive::REDRIVE_CONSUMER};

/// One look at a delivery's headers.
#[derive(Default)]
pub(super) struct Glance<'a> {
    pub(super) event_id: Option<EventId>,
    pub(super) event_type: Option<&'a str>,
    /// The consumer that gave it up, if it was sent back for one.
    pub(super) redriven_for: Option<&'a [u8]>,
}

impl<'a> Glance<'a> {
    pub(super) fn at(delivery: &'a Delivery) -> Self {
        let mut glance = Self::default();
        let text = |value| std::str::from_utf8(value).ok();
        for (name, value) in delivery.headers() {
            match name {
                "ce_id" => glance.event_id = text(value).and_then(|id| id.parse().ok()),
                "ce_type" => glance.event_type = text(value),
                REDRIVE_CONSUMER => glance.redriven_for = glance.redriven_for.or(Some(value)),
                _ => {}
            }
        }
        // A tombstone has headers, but is no event.
        if delivery.value.is_none() {
            glance.event_id = None;
        }
        glance
    }
}
