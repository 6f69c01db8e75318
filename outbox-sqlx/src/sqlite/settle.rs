//! Settling: in a write transaction, which no takeover can slip into; all or nothing.

use relaybox_core::{EventRef, GivenUp, Lease, Origin, Published, Result, Settled, Settlement};
use serde_json::{Value, json};
use sqlx::{SqlStr, Sqlite, Transaction};

use super::{
    SqliteOutbox, json,
    sql::{BEGIN, OutboxSql},
};
use crate::{error, lease::lost, runs::runs};

const SETTLE: &str = "settle events";

pub(super) async fn settle(
    outbox: &SqliteOutbox,
    lease: &Lease,
    settlement: &Settlement,
) -> Result<Settled> {
    let sql = &*outbox.sql;
    let mut tx = outbox.pool.begin_with(BEGIN).await.map_err(error::database(SETTLE))?;
    hold(sql, &mut tx, lease).await?;
    if outbox.archives {
        archive(sql, &mut tx, &settlement.published).await?;
    }
    let published = published(sql, &mut tx, &settlement.published).await?;
    let parked = park(sql, &mut tx, &settlement.parked).await?;
    let dead = give_up(sql, &mut tx, &settlement.dead).await?;
    tx.commit().await.map_err(error::commit(SETTLE))?;
    Ok(Settled::new(published, parked, dead))
}

async fn hold(sql: &OutboxSql, tx: &mut Transaction<'_, Sqlite>, lease: &Lease) -> Result<()> {
    sqlx::query(sql.hold.clone())
        .bind(lease.relay.as_str())
        .bind(lease.epoch)
        .fetch_optional(&mut **tx)
        .await
        .map_err(error::database(SETTLE))?
        .map(drop)
        .ok_or_else(|| lost(SETTLE, lease))
}

async fn archive(
    sql: &OutboxSql,
    tx: &mut Transaction<'_, Sqlite>,
    events: &[Published],
) -> Result<()> {
    sqlx::query(sql.archive.clone())
        .bind(places(events, Origin::Outbox))
        .bind(places(events, Origin::DeadLetter))
        .execute(&mut **tx)
        .await
        .map_err(error::database(SETTLE))
        .map(drop)
}

async fn published(
    sql: &OutboxSql,
    tx: &mut Transaction<'_, Sqlite>,
    events: &[Published],
) -> Result<u64> {
    let events: Vec<_> = events.iter().map(|published| published.event).collect();
    let of_outbox = events.iter().filter(|event| event.origin == Origin::Outbox);
    let first_time = match runs(of_outbox.map(|event| event.position))[..] {
        [(first, last)] => delete_range(sql, tx, first, last).await?,
        _ => execute(tx, &sql.delete, seqs(&events, Origin::Outbox)).await?,
    };
    Ok(first_time + execute(tx, &sql.delete_redriven, seqs(&events, Origin::DeadLetter)).await?)
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
    let delete = sqlx::query(sql.delete_range.clone()).bind(first).bind(last);
    let done = delete.execute(&mut **tx).await;
    Ok(done.map_err(error::database(SETTLE))?.rows_affected())
}

/// Runs a statement on a list, unless that is empty.
async fn execute(
    tx: &mut Transaction<'_, Sqlite>,
    statement: &SqlStr,
    list: Option<String>,
) -> Result<u64> {
    let Some(list) = list else { return Ok(0) };
    let done = sqlx::query(statement.clone()).bind(list).execute(&mut **tx).await;
    Ok(done.map_err(error::database(SETTLE))?.rows_affected())
}

fn seqs(events: &[EventRef], origin: Origin) -> Option<String> {
    let of_origin = events.iter().filter(|event| event.origin == origin);
    list(of_origin.map(|event| event.position))
}

/// Where the events of an origin went.
fn places(events: &[Published], origin: Origin) -> String {
    let of_origin = events.iter().filter(|published| published.event.origin == origin);
    json(of_origin.map(|Published { event, topic, receipt, .. }| {
        json!([event.position, topic.as_str(), receipt.partition, receipt.offset])
    }))
}

fn given_up(events: &[GivenUp], origin: Origin) -> Option<String> {
    list(events.iter().filter(|dead| dead.event.origin == origin).map(|dead| {
        let reason = error::storable(&dead.reason);
        json!([dead.event.position, dead.kind.as_str(), reason, dead.attempts])
    }))
}

fn list<T: Into<Value>>(values: impl Iterator<Item = T>) -> Option<String> {
    let mut values = values.peekable();
    values.peek().is_some().then_some(())?;
    Some(json(values))
}
