//! The operator's side: listing, redriving and discarding dead letters.
//!
//! Redriving and discarding take as many transactions as there are pages of letters: one that holds
//! millions would outlive what the server gives a transaction.

use std::collections::BTreeMap;

use async_trait::async_trait;
use mongodb::bson::{Bson, Document, Timestamp, doc};
use relaybox_core::{
    AggregateId, AggregateType, DeadLetter, DeadLetterQuery, DeadLetterState, DeadLetterStore,
    Error, ErrorKind, EventId, Result, Successors,
};

use super::{MongoOutbox, letters};
use crate::{
    deployment,
    document::{self, Aggregate, ID, POSITION, TYPE},
    error, position,
    unit::{Unit, Wanted, one_of},
};

const LIST: &str = "list the dead letters";
const REDRIVE: &str = "redrive dead letters";
const DISCARD: &str = "discard dead letters";

/// How many letters one transaction looks at.
const PAGE: usize = 1000;

#[async_trait]
impl DeadLetterStore for MongoOutbox {
    async fn dead_letters(&self, query: &DeadLetterQuery) -> Result<Vec<DeadLetter>> {
        let Some(filter) = matching(self, query, LIST).await? else { return Ok(Vec::new()) };
        let limit = query.limit.map(|limit| limit as usize);
        if limit == Some(0) {
            return Ok(Vec::new());
        }
        let wanted = Wanted { sort: Some(by_aggregate()), limit, ..Wanted::default() };
        let found =
            Unit::alone(&self.database).find(&self.names.outbox_dead_letters, filter, wanted).await;
        found.map_err(error::database(LIST))?.into_iter().map(decode).collect()
    }

    async fn redrive(&self, query: &DeadLetterQuery) -> Result<u64> {
        let Some(filter) = matching(self, query, REDRIVE).await? else { return Ok(0) };
        let mut left = limit(query);
        let mut flagged = 0;
        while left > 0 {
            let page = left.min(PAGE);
            let done = self
                .transactions
                .run(|mut tx| {
                    let filter = filter.clone();
                    async move {
                        let mut unit = tx.unit(&self.database);
                        let done = redrive_page(self, &mut unit, filter, page).await;
                        let done = tx.watch(done.map_err(error::database(REDRIVE)))?;
                        Ok((tx, done))
                    }
                })
                .await?;
            flagged += done.changed;
            left = done.left(left, page);
        }
        Ok(flagged)
    }

    async fn discard(&self, query: &DeadLetterQuery, successors: Successors) -> Result<u64> {
        let Some(filter) = matching(self, query, DISCARD).await? else { return Ok(0) };
        let mut left = limit(query);
        let mut discarded = 0;
        while left > 0 {
            let page = left.min(PAGE);
            let done = self
                .transactions
                .run(|mut tx| {
                    let filter = filter.clone();
                    async move {
                        let mut unit = tx.unit(&self.database);
                        let done = discard_page(self, &mut unit, filter, successors, page).await;
                        let done = tx.watch(done.map_err(error::database(DISCARD)))?;
                        Ok((tx, done))
                    }
                })
                .await?;
            discarded += done.changed;
            left = done.left(left, page);
        }
        Ok(discarded)
    }
}

/// What became of a page.
pub(super) struct Paged {
    /// How many letters matched.
    matched: usize,
    /// How many were changed.
    pub(super) changed: u64,
}

impl Paged {
    /// How many more may match; none when the page was not full.
    fn left(&self, left: usize, page: usize) -> usize {
        if self.matched < page { 0 } else { left - page }
    }
}

/// Flags the dead letters at and before the first that match and may not go yet.
pub(super) async fn redrive_page(
    outbox: &MongoOutbox,
    unit: &mut Unit<'_>,
    mut filter: Document,
    page: usize,
) -> mongodb::error::Result<Paged> {
    let letters = &outbox.names.outbox_dead_letters;
    letters::lock(outbox, unit).await?;
    // Only what a flag would help, so that a limit doesn't stop at what is flagged already.
    filter.insert("ready", false);
    let matched = matched(outbox, unit, filter, page).await?;
    let mut last = BTreeMap::new();
    for letter in &matched {
        // By position: the last one counts.
        if let Some(Bson::Timestamp(at)) = letter.get(POSITION) {
            last.insert(document::aggregate(letter), *at);
        }
    }
    let last: Vec<(Aggregate, Timestamp)> = last.into_iter().collect();
    let mut changed = 0;
    for chunk in last.chunks(200) {
        let up_to_it = chunk.iter().map(|((kind, id), at)| {
            doc! { TYPE: kind, ID: id, POSITION: { "$lte": *at } }
        });
        let mut dead = letters::unflagged();
        dead.insert("$or", up_to_it.collect::<Vec<_>>());
        let flag = doc! {
            "$set": { "redrive": true },
            "$currentDate": { "redrive_requested_at": { "$type": "timestamp" } },
        };
        changed += unit.update(letters, dead, flag).await?.modified_count;
    }
    let aggregates = last.into_iter().map(|(aggregate, _)| aggregate).collect();
    let freed = letters::refresh(outbox, unit, &aggregates).await?;
    // Where nothing changes, the same would match for ever.
    let matched = if changed + freed == 0 { 0 } else { matched.len() };
    Ok(Paged { matched, changed })
}

/// Deletes the first that match, and what is parked behind each of the dead among them.
pub(super) async fn discard_page(
    outbox: &MongoOutbox,
    unit: &mut Unit<'_>,
    filter: Document,
    successors: Successors,
    page: usize,
) -> mongodb::error::Result<Paged> {
    let letters = &outbox.names.outbox_dead_letters;
    letters::lock(outbox, unit).await?;
    let matched = matched(outbox, unit, filter, page).await?;
    let mut ids: Vec<Bson> =
        matched.iter().filter_map(|letter| letter.get("_id").cloned()).collect();
    let dead = |letter: &&Document| letter.get_str("state").is_ok_and(|state| state == "dead");
    if successors == Successors::Discard {
        for head in matched.iter().filter(dead) {
            ids.extend(behind(outbox, unit, head).await?);
        }
    }
    let mut changed = 0;
    for chunk in ids.chunks(10 * PAGE) {
        changed += unit.delete(letters, one_of("_id", chunk.iter().cloned())).await?;
    }
    let aggregates = matched.iter().map(document::aggregate).collect();
    letters::refresh(outbox, unit, &aggregates).await?;
    Ok(Paged { matched: matched.len(), changed })
}

/// What is parked behind a dead letter, up to the next dead one.
async fn behind(
    outbox: &MongoOutbox,
    unit: &mut Unit<'_>,
    head: &Document,
) -> mongodb::error::Result<Vec<Bson>> {
    let letters = &outbox.names.outbox_dead_letters;
    let (kind, id) = document::aggregate(head);
    let from = head.get(POSITION).cloned().unwrap_or(Bson::Null);
    let mut range = doc! { "$gt": from };
    let next = doc! { TYPE: &kind, ID: &id, "state": "dead", POSITION: range.clone() };
    let first = Wanted { sort: Some(doc! { POSITION: 1 }), ..Wanted::fields(&[POSITION]) };
    if let Some(next) = unit.find_one(letters, next, first).await? {
        range.insert("$lt", next.get(POSITION).cloned().unwrap_or(Bson::Null));
    }
    let parked = doc! { TYPE: kind, ID: id, "state": "parked", POSITION: range };
    let parked = unit.find(letters, parked, Wanted::fields(&["_id"])).await?;
    Ok(parked.into_iter().filter_map(|mut letter| letter.remove("_id")).collect())
}

/// The first letters that match, by aggregate and original order, without the events.
async fn matched(
    outbox: &MongoOutbox,
    unit: &mut Unit<'_>,
    filter: Document,
    limit: usize,
) -> mongodb::error::Result<Vec<Document>> {
    let wanted = Wanted {
        sort: Some(by_aggregate()),
        limit: Some(limit),
        ..Wanted::fields(&["aggregate", POSITION, "state"])
    };
    unit.find(&outbox.names.outbox_dead_letters, filter, wanted).await
}

fn limit(query: &DeadLetterQuery) -> usize {
    query.limit.map_or(usize::MAX, |limit| limit as usize)
}

fn by_aggregate() -> Document {
    doc! { TYPE: 1, ID: 1, POSITION: 1 }
}

/// Which letters a query is about; `None` when it can be none.
pub(super) async fn matching(
    outbox: &MongoOutbox,
    query: &DeadLetterQuery,
    operation: &'static str,
) -> Result<Option<Document>> {
    let mut filter = doc! {};
    if !query.event_ids.is_empty() {
        filter = one_of::<Bson>("_id", query.event_ids.iter().map(|id| document::id(*id)));
    }
    if let Some(kind) = query.aggregate_type.as_ref().map(AggregateType::as_str) {
        filter.insert(TYPE, kind);
    }
    if let Some(id) = query.aggregate_id.as_ref().map(AggregateId::as_str) {
        filter.insert(ID, id);
    }
    if let Some(age) = query.older_than.filter(|age| !age.is_zero()) {
        let now = deployment::now(&outbox.database, operation).await?;
        let age = chrono::TimeDelta::from_std(age).ok();
        let bound = age.and_then(|age| now.checked_sub_signed(age)).and_then(position::before);
        let Some(bound) = bound else { return Ok(None) };
        filter.insert("failed_at", doc! { "$lte": bound });
    }
    Ok(Some(filter))
}

fn decode(letter: Document) -> Result<DeadLetter> {
    let malformed = |field: &str| {
        Error::new(ErrorKind::Schema, LIST)
            .detail(format!("the field {field} of a dead letter is malformed"))
    };
    let event_id: EventId =
        document::event_id(letter.get("_id")).ok_or_else(|| malformed("_id"))?;
    let state = match (letter.get_str("state"), letter.get_bool("redrive")) {
        (Ok("dead"), Ok(false)) => DeadLetterState::Dead,
        (Ok("dead"), Ok(true)) => DeadLetterState::Redriving,
        (Ok("parked"), _) => DeadLetterState::Parked,
        _ => return Err(malformed("state")),
    };
    let failed_at = match letter.get("failed_at") {
        Some(Bson::Timestamp(at)) => position::time(*at),
        _ => return Err(malformed("failed_at")),
    };
    let place = position::number_of(letter.get(POSITION));
    let reason = letter.get_str("reason").ok().map(str::to_owned);
    let attempts = letter.get_i64("attempts").unwrap_or(0);
    let envelope = document::envelope(letter, event_id);
    let mut letter = DeadLetter::new(place, event_id, state, failed_at, envelope);
    letter.reason = reason;
    letter.attempts = u32::try_from(attempts).unwrap_or(u32::MAX);
    Ok(letter)
}
