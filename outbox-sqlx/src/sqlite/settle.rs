//! Settling: in a write transaction, which no takeover can slip into; all or nothing.
//!
//! With a write-ahead log, SQLite writes each page that a DELETE has emptied. So what is published moves a
//! mark (`settled_to`), and its rows are removed all at once when nothing waits. While something always
//! waits, they are removed a slice at a time.

use std::time::Duration;

use relaybox_core::{EventRef, GivenUp, Lease, Origin, Published, Result, Settled, Settlement};
use serde_json::{Value, json};
use sqlx::{SqlStr, Sqlite, Transaction, query::Query, sqlite::SqliteArguments};

use super::{
    SqliteOutbox, hex, json,
    sql::{BEGIN, OutboxSql},
};
use crate::{error, lease::lost, runs::runs};

const SETTLE: &str = "settle events";
/// How long published rows lie in the table while others wait, before they go in slices.
const LEFT_FOR: Duration = Duration::from_secs(5);
/// So many rows are removed after the settlement, not with it: it takes half a millisecond a thousand.
const MANY: u64 = 5_000;

pub(super) async fn settle(
    outbox: &SqliteOutbox,
    lease: &Lease,
    settlement: &Settlement,
) -> Result<Settled> {
    let sql = &*outbox.sql;
    let mut tx = outbox.pool.begin_with(BEGIN).await.map_err(error::database(SETTLE))?;
    let settled_to = hold(sql, &mut tx, lease).await?;
    if outbox.archives {
        archive(sql, &mut tx, &settlement.published).await?;
    }
    let published = published(sql, &mut tx, settled_to, &settlement.published).await?;
    let parked = park(sql, &mut tx, &settlement.parked).await?;
    let dead = give_up(sql, &mut tx, &settlement.dead).await?;
    let many_left = remove(outbox, &mut tx, settled_to, settlement.len()).await?;
    tx.commit().await.map_err(error::commit(SETTLE))?;
    if many_left {
        tokio::spawn(clear_later(outbox.clone()));
    }
    Ok(Settled::new(published, parked, dead))
}

/// Up to where everything is settled, if the lease is ours.
async fn hold(sql: &OutboxSql, tx: &mut Transaction<'_, Sqlite>, lease: &Lease) -> Result<i64> {
    sqlx::query_scalar(sql.hold.clone())
        .bind(lease.relay.as_str())
        .bind(lease.epoch)
        .fetch_optional(&mut **tx)
        .await
        .map_err(error::database(SETTLE))?
        .ok_or_else(|| lost(SETTLE, lease))
}

async fn archive(
    sql: &OutboxSql,
    tx: &mut Transaction<'_, Sqlite>,
    events: &[Published],
) -> Result<()> {
    let archive = sqlx::query(sql.archive.clone())
        .bind(places(events, Origin::Outbox))
        .bind(places(events, Origin::DeadLetter));
    run(tx, archive).await.map(drop)
}

async fn published(
    sql: &OutboxSql,
    tx: &mut Transaction<'_, Sqlite>,
    settled_to: i64,
    events: &[Published],
) -> Result<u64> {
    let events: Vec<_> = events.iter().map(|published| published.event).collect();
    let first_time = match published_run(sql, tx, settled_to, &events).await? {
        Some(first_time) => first_time,
        None => execute(tx, &sql.delete, seqs(&events, Origin::Outbox)).await?,
    };
    Ok(first_time + execute(tx, &sql.delete_redriven, seqs(&events, Origin::DeadLetter)).await?)
}

/// Moves the mark behind them, if they are neighbours, nothing waits before them, and the first and the last
/// are there.
///
/// They are counted by their positions, not by their rows: looking at each page would cost as much as all
/// else. One between them that somebody deleted by hand meanwhile counts as settled, too.
async fn published_run(
    sql: &OutboxSql,
    tx: &mut Transaction<'_, Sqlite>,
    settled_to: i64,
    events: &[EventRef],
) -> Result<Option<u64>> {
    let waits = |event: &&EventRef| event.origin == Origin::Outbox && event.position > settled_to;
    let events: Vec<_> = events.iter().filter(waits).collect();
    let [(first, last)] = runs(events.iter().map(|event| event.position))[..] else {
        return Ok(events.is_empty().then_some(0));
    };
    let id = |position| {
        let mut there = events.iter().filter(|event| event.position == position);
        there.next().map(|event| event.event_id.as_uuid())
    };
    let settle_to = sqlx::query(sql.settle_to.clone()).bind(settled_to).bind(first).bind(last);
    let moved = run(tx, settle_to.bind(id(first)).bind(id(last))).await? == 1;
    Ok(moved.then(|| first.abs_diff(last) + 1))
}

/// Removes the rows of published events: all when nothing waits; else some, when they have been there for
/// long, and twice as many as are settled, so that they get fewer. Says whether all of them are to go, and
/// they are so many that the settlement should not wait for that.
async fn remove(
    outbox: &SqliteOutbox,
    tx: &mut Transaction<'_, Sqlite>,
    settled_before: i64,
    settled: usize,
) -> Result<bool> {
    let sql = &*outbox.sql;
    let Left { settled_to, others_wait, lowest } = left(sql, tx).await?;
    let lowest = lowest.unwrap_or(i64::MAX);
    if lowest > settled_before {
        // Until this settlement there was none.
        outbox.nothing_left();
    }
    if lowest > settled_to {
        return Ok(false);
    }
    let (many, old) = (lowest.abs_diff(settled_to) >= MANY, outbox.left_for() >= LEFT_FOR);
    if !others_wait {
        // Whoever was to do it before could not.
        if !many || old {
            clear(outbox, tx).await?;
        }
        return Ok(many && !old);
    }
    if old {
        let slice = i64::try_from(settled).unwrap_or(i64::MAX).saturating_mul(2);
        let last = lowest.saturating_add(slice).min(settled_to);
        delete_range(sql, tx, lowest, last).await?;
    }
    Ok(false)
}

/// Removes all rows in a transaction of its own, if nothing waits still.
async fn clear_later(outbox: SqliteOutbox) {
    let cleared = async {
        let mut tx = outbox.pool.begin_with(BEGIN).await.map_err(error::database(SETTLE))?;
        if !left(&outbox.sql, &mut tx).await?.others_wait {
            clear(&outbox, &mut tx).await?;
        }
        tx.commit().await.map_err(error::commit(SETTLE))
    };
    if let Err(error) = cleared.await {
        tracing::debug!(%error, "published events stay until a later settlement");
    }
}

struct Left {
    settled_to: i64,
    others_wait: bool,
    lowest: Option<i64>,
}

async fn left(sql: &OutboxSql, tx: &mut Transaction<'_, Sqlite>) -> Result<Left> {
    let left = sqlx::query_as(sql.left.clone()).fetch_one(&mut **tx).await;
    let (settled_to, others_wait, lowest) = left.map_err(error::database(SETTLE))?;
    Ok(Left { settled_to, others_wait, lowest })
}

async fn clear(outbox: &SqliteOutbox, tx: &mut Transaction<'_, Sqlite>) -> Result<()> {
    run(tx, sqlx::query(outbox.sql.clear.clone())).await?;
    outbox.nothing_left();
    Ok(())
}

async fn park(
    sql: &OutboxSql,
    tx: &mut Transaction<'_, Sqlite>,
    events: &[EventRef],
) -> Result<u64> {
    let first_time = seqs(events, Origin::Outbox);
    let parked = execute(tx, &sql.park, first_time.clone()).await?;
    execute(tx, &sql.delete, first_time).await?;
    Ok(parked + execute(tx, &sql.park_again, seqs(events, Origin::DeadLetter)).await?)
}

async fn give_up(
    sql: &OutboxSql,
    tx: &mut Transaction<'_, Sqlite>,
    events: &[GivenUp],
) -> Result<u64> {
    let refs: Vec<_> = events.iter().map(|dead| dead.event).collect();
    let dead = execute(tx, &sql.give_up, given_up(events, Origin::Outbox)).await?;
    execute(tx, &sql.delete, seqs(&refs, Origin::Outbox)).await?;
    Ok(dead + execute(tx, &sql.give_up_again, given_up(events, Origin::DeadLetter)).await?)
}

async fn delete_range(
    sql: &OutboxSql,
    tx: &mut Transaction<'_, Sqlite>,
    first: i64,
    last: i64,
) -> Result<u64> {
    run(tx, sqlx::query(sql.delete_range.clone()).bind(first).bind(last)).await
}

/// Runs a statement on a list, unless that is empty.
async fn execute(
    tx: &mut Transaction<'_, Sqlite>,
    statement: &SqlStr,
    list: Option<String>,
) -> Result<u64> {
    let Some(list) = list else { return Ok(0) };
    run(tx, sqlx::query(statement.clone()).bind(list)).await
}

/// Runs a statement; gives how many rows it has changed.
async fn run(
    tx: &mut Transaction<'_, Sqlite>,
    statement: Query<'_, Sqlite, SqliteArguments>,
) -> Result<u64> {
    let done = statement.execute(&mut **tx).await;
    Ok(done.map_err(error::database(SETTLE))?.rows_affected())
}

fn seqs(events: &[EventRef], origin: Origin) -> Option<String> {
    let of_origin = events.iter().filter(|event| event.origin == origin);
    list(of_origin.map(|event| json!([event.position, hex(event.event_id.as_uuid())])))
}

/// Where the events of an origin went.
fn places(events: &[Published], origin: Origin) -> String {
    let of_origin = events.iter().filter(|published| published.event.origin == origin);
    json(of_origin.map(|Published { event, topic, receipt, .. }| {
        let id = hex(event.event_id.as_uuid());
        json!([event.position, id, topic.as_str(), receipt.partition, receipt.offset])
    }))
}

fn given_up(events: &[GivenUp], origin: Origin) -> Option<String> {
    list(events.iter().filter(|dead| dead.event.origin == origin).map(|dead| {
        let reason = error::storable(&dead.reason);
        let id = hex(dead.event.event_id.as_uuid());
        json!([dead.event.position, id, dead.kind.as_str(), reason, dead.attempts])
    }))
}

fn list<T: Into<Value>>(values: impl Iterator<Item = T>) -> Option<String> {
    let mut values = values.peekable();
    values.peek().is_some().then_some(())?;
    Some(json(values))
}
