//! The operator's side: listing, redriving and discarding dead letters.

use async_trait::async_trait;
use relaybox_core::{
    AggregateId, AggregateType, DeadLetter, DeadLetterQuery, DeadLetterStore, EventId, Result,
    Successors,
};
use sqlx::{
    Row, SqlStr, Sqlite,
    query::Query,
    sqlite::{SqliteArguments, SqliteRow},
};

use super::{
    SqliteOutbox, hex, json,
    reader::{envelope, time},
};
use crate::{error, row::dead_letter_state, time::micros};

const LIST: &str = "list the dead letters";
/// The first column of the event itself.
const EVENT: usize = 6;

#[async_trait]
impl DeadLetterStore for SqliteOutbox {
    async fn dead_letters(&self, query: &DeadLetterQuery) -> Result<Vec<DeadLetter>> {
        let rows = matching(self.sql.dead_letters.clone(), query)
            .fetch_all(&self.pool)
            .await
            .map_err(error::database(LIST))?;
        rows.iter().map(decode).collect()
    }

    async fn redrive(&self, query: &DeadLetterQuery) -> Result<u64> {
        let flagged = matching(self.sql.redrive.clone(), query)
            .execute(&self.pool)
            .await
            .map_err(error::commit("redrive dead letters"))?;
        Ok(flagged.rows_affected())
    }

    async fn discard(&self, query: &DeadLetterQuery, successors: Successors) -> Result<u64> {
        let discarded = matching(self.sql.discard.clone(), query)
            .bind(successors == Successors::Discard)
            .execute(&self.pool)
            .await
            .map_err(error::commit("discard dead letters"))?;
        Ok(discarded.rows_affected())
    }
}

fn matching(statement: SqlStr, query: &DeadLetterQuery) -> Query<'_, Sqlite, SqliteArguments> {
    sqlx::query(statement)
        .bind(json(query.event_ids.iter().map(|id| hex(id.as_uuid()))))
        .bind(query.aggregate_type.as_ref().map(AggregateType::as_str))
        .bind(query.aggregate_id.as_ref().map(AggregateId::as_str))
        .bind(query.older_than.map(micros))
        .bind(query.limit.map_or(-1, i64::from))
}

fn decode(row: &SqliteRow) -> Result<DeadLetter> {
    let read = || -> sqlx::Result<_> {
        let (event_id, envelope) = envelope(row, EVENT)?;
        let state: String = row.try_get(1)?;
        let flagged: bool = row.try_get(2)?;
        let reason: Option<String> = row.try_get(3)?;
        let attempts: u32 = row.try_get(4)?;
        Ok((row.try_get(0)?, event_id, envelope, state, flagged, reason, attempts, time(row, 5)?))
    };
    let (position, event_id, envelope, state, flagged, reason, attempts, failed_at) =
        read().map_err(error::database(LIST))?;
    let state = dead_letter_state(&state, flagged)?;
    let event_id = EventId::from_uuid(event_id);
    let mut letter = DeadLetter::new(position, event_id, state, failed_at, envelope);
    letter.reason = reason;
    letter.attempts = attempts;
    Ok(letter)
}
