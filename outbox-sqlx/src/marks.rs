//! Which of some events were new, and how far giving up has come.

use std::collections::HashSet;

use relaybox_core::{EventId, GiveUp, GivenUpAt, Mark, Offset};
use uuid::Uuid;

/// The ids as UUIDs, each once, in order: transactions that mark the same events take their locks in
/// the same order, and so don't deadlock.
pub(crate) fn ordered(events: &[EventId]) -> Vec<Uuid> {
    let mut ids: Vec<_> = events.iter().map(|id| id.as_uuid()).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// One mark per event: the first of each that the database took is new.
pub(crate) fn aligned(events: &[EventId], inserted: Vec<Uuid>) -> Vec<Mark> {
    let mut new: HashSet<_> = inserted.into_iter().collect();
    let mark = |id: &EventId| if new.remove(&id.as_uuid()) { Mark::First } else { Mark::Repeat };
    events.iter().map(mark).collect()
}

/// One mark per event: those that the database has are repeats.
pub(crate) fn looked_up(events: &[EventId], found: Vec<Uuid>) -> Vec<Mark> {
    let found: HashSet<_> = found.into_iter().collect();
    let mark =
        |id: &EventId| if found.contains(&id.as_uuid()) { Mark::Repeat } else { Mark::First };
    events.iter().map(mark).collect()
}

/// A count of starts or attempts, as the table has it.
pub(crate) fn count(count: i64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// How far giving up has come, as the table has it.
pub(crate) fn progress_name(progress: GiveUp) -> &'static str {
    match progress {
        GiveUp::Decided => "decided",
        GiveUp::DeadLettered => DEAD_LETTERED,
    }
}

/// Reads a row, with what [`progress_name`] wrote; the table admits nothing else.
pub(crate) fn given_up((offset, fingerprint, progress): (Offset, i64, String)) -> GivenUpAt {
    let dead_lettered = progress == DEAD_LETTERED;
    let progress = if dead_lettered { GiveUp::DeadLettered } else { GiveUp::Decided };
    GivenUpAt::new(offset, fingerprint, progress)
}

const DEAD_LETTERED: &str = "dead_lettered";
