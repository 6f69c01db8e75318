//! The reader: whatever is in the collection and not in flight, lowest position first.
//!
//! It remembers no place up to which it has read, only what it gave and nobody settled yet. A transaction
//! gets its positions when it writes and is seen when it commits, in any order; an event that is committed
//! late is simply there in a later read. Each read sees one snapshot of what the majority has, in all its
//! statements and batches: without one, a read that goes on while transactions commit could miss an event
//! and yet find its successor.

use std::{
    collections::{HashMap, HashSet},
    ops::ControlFlow,
};

use async_trait::async_trait;
use mongodb::bson::{Bson, Document, doc};
use relaybox_core::{
    AggregateType, EventRef, Origin, OutboxReader, OutboxRow, ReadRequest, Result,
};
use tracing::warn;

use super::{MongoOutbox, stats::snapshot};
use crate::{
    CollectionName,
    document::{self, Aggregate},
    error,
    in_flight::InFlight,
    migrator::{BY_POSITION, READY},
    position,
    unit::{Unit, Wanted},
};

const READ: &str = "read the outbox";

/// How many events may be in flight: each read names them to the server, 27 bytes each, of the 16 MB that
/// a command may have. Beyond it the reader gives nothing until some are settled.
const MAX_IN_FLIGHT: usize = 200_000;

/// How many documents the server sends at once, at most.
const MAX_BATCH: usize = 1000;

pub(super) struct MongoReader {
    outbox: MongoOutbox,
    page: Page,
}

/// What is in flight, and how large events are.
#[derive(Default)]
pub(crate) struct Page {
    in_flight: InFlight,
    /// The mean payload of the last read, in bytes.
    mean: usize,
}

/// An event as it was read.
struct Read {
    row: OutboxRow,
    aggregate: Aggregate,
    bytes: usize,
}

impl MongoReader {
    pub(super) fn new(outbox: MongoOutbox) -> Self {
        Self { outbox, page: Page::default() }
    }
}

#[async_trait]
impl OutboxReader for MongoReader {
    async fn read(&mut self, request: &ReadRequest) -> Result<Vec<OutboxRow>> {
        let mut session = snapshot(&self.outbox, READ).await?;
        let mut unit = Unit::in_snapshot(&self.outbox.snapshots, &mut session);
        self.page.read(&self.outbox, &mut unit, request).await
    }

    fn forget(&mut self, settled: &[EventRef]) {
        self.page.forget(settled);
    }

    fn rewind(&mut self) {
        self.page.rewind();
    }
}

impl Page {
    /// Reads in one snapshot, or in statements of which the later ones see no less than the earlier: the
    /// dead letters come second, so that an event that failed meanwhile parks those behind it.
    pub(crate) async fn read(
        &mut self,
        outbox: &MongoOutbox,
        unit: &mut Unit<'_>,
        request: &ReadRequest,
    ) -> Result<Vec<OutboxRow>> {
        if self.in_flight.len() >= MAX_IN_FLIGHT || request.limit == 0 {
            return Ok(Vec::new());
        }
        let names = &outbox.names;
        let events = self.fetch(&names.outbox_events, Origin::Outbox, unit, request).await?;
        let letter = unit.find_one(&names.outbox_dead_letters, doc! {}, Wanted::fields(&["_id"]));
        let has_letters = letter.await.map_err(error::database(READ))?.is_some();
        let mut reads = if has_letters {
            let letters =
                self.fetch(&names.outbox_dead_letters, Origin::DeadLetter, unit, request).await?;
            let parked = aggregates_with_letters(outbox, unit, &events).await?;
            merge(letters, events, &parked)
        } else {
            events
        };
        cut(&mut reads, request);
        let bytes: usize = reads.iter().map(|read| read.bytes).sum();
        self.mean = bytes.checked_div(reads.len()).unwrap_or(self.mean);
        Ok(reads.into_iter().map(|read| self.give(read)).collect())
    }

    pub(crate) fn forget(&mut self, settled: &[EventRef]) {
        self.in_flight.forget(settled);
    }

    pub(crate) fn rewind(&mut self) {
        self.in_flight.clear();
    }

    fn give(&mut self, read: Read) -> OutboxRow {
        let Read { mut row, aggregate, .. } = read;
        self.in_flight.give(&mut row, aggregate);
        row
    }

    /// Takes documents up to the limits of the request.
    async fn fetch(
        &self,
        from: &CollectionName,
        origin: Origin,
        unit: &mut Unit<'_>,
        request: &ReadRequest,
    ) -> Result<Vec<Read>> {
        let mut filter = filter(&request.held_back);
        let in_flight: Vec<_> =
            self.in_flight.of(origin).iter().map(|id| document::id(*id)).collect();
        // What has another kind of id is none of ours, and could not be named.
        let mut ids = doc! { "$type": "binData" };
        if !in_flight.is_empty() {
            ids.insert("$nin", in_flight);
        }
        filter.insert("_id", ids);
        if origin == Origin::DeadLetter {
            filter.insert("ready", true);
        }
        let wanted = Wanted {
            sort: Some(doc! { document::POSITION: 1, "_id": 1 }),
            hint: Some(if origin == Origin::Outbox { BY_POSITION } else { READY }),
            limit: Some(request.limit),
            batch: Some(self.batch(request)),
            ..Wanted::default()
        };
        let mut reads: Vec<Read> = Vec::new();
        let mut bytes = 0_usize;
        let take = |document| {
            if let Some(read) = decode(document, origin) {
                bytes = bytes.saturating_add(read.bytes);
                reads.push(read);
            }
            if bytes < request.max_bytes {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        };
        unit.each(from, filter, wanted, take).await.map_err(error::database(READ))?;
        Ok(reads)
    }

    /// As many as are likely to be taken, so that few are sent in vain.
    fn batch(&self, request: &ReadRequest) -> u32 {
        let likely = request.max_bytes / self.mean.max(1);
        let batch = likely.saturating_add(1).min(request.limit).clamp(1, MAX_BATCH);
        u32::try_from(batch).expect("it is small")
    }
}

/// The aggregates of these events that have letters, dead or parked.
async fn aggregates_with_letters(
    outbox: &MongoOutbox,
    unit: &mut Unit<'_>,
    events: &[Read],
) -> Result<HashSet<Aggregate>> {
    let mut ids: HashMap<&str, HashSet<&str>> = HashMap::new();
    for Read { aggregate: (kind, id), .. } in events {
        ids.entry(kind).or_default().insert(id);
    }
    let mut found = HashSet::new();
    for (kind, ids) in ids {
        let ids: Vec<_> = ids.into_iter().collect();
        let filter = doc! { document::TYPE: kind, document::ID: { "$in": ids } };
        let parked = unit.distinct(&outbox.names.outbox_dead_letters, document::ID, filter).await;
        for id in parked.map_err(error::database(READ))? {
            if let Bson::String(id) = id {
                found.insert((kind.to_owned(), id));
            }
        }
    }
    Ok(found)
}

/// Both in the order of their positions, each event of a parked aggregate marked.
fn merge(letters: Vec<Read>, events: Vec<Read>, parked: &HashSet<Aggregate>) -> Vec<Read> {
    let mut reads = letters;
    reads.extend(events.into_iter().map(|mut read| {
        read.row.parked = parked.contains(&read.aggregate);
        read
    }));
    // Stable: those of one collection keep the order in which they came.
    reads.sort_by_key(|read| read.row.event.position);
    reads
}

/// Leaves as many as were asked for, up to the one that passes the bytes.
fn cut(reads: &mut Vec<Read>, request: &ReadRequest) {
    let mut bytes = 0_usize;
    let passes = reads.iter().position(|read| {
        bytes = bytes.saturating_add(read.bytes);
        bytes >= request.max_bytes
    });
    reads.truncate(passes.map_or(usize::MAX, |last| last + 1).min(request.limit));
}

fn filter(held_back: &[AggregateType]) -> Document {
    if held_back.is_empty() {
        return doc! {};
    }
    let types: Vec<_> = held_back.iter().map(AggregateType::as_str).collect();
    doc! { document::TYPE: { "$nin": types } }
}

fn decode(document: Document, origin: Origin) -> Option<Read> {
    let position = position::number_of(document.get(document::POSITION));
    let Some(event_id) = document::event_id(document.get("_id")) else {
        warn!(position, "a document of the outbox has no UUID for an id, and is left where it is");
        return None;
    };
    let aggregate = document::aggregate(&document);
    let envelope = document::envelope(document, event_id);
    let bytes = envelope.as_ref().map_or(0, |envelope| envelope.payload.len());
    let row = OutboxRow::new(EventRef::new(position, event_id, origin), false, envelope);
    Some(Read { row, aggregate, bytes })
}
