//! Settling: under the lease's row lock, all or nothing, no statement per event.

use relaybox_core::{EventRef, GivenUp, Lease, Origin, Published, Result, Settled, Settlement};
use sqlx::{PgExecutor, Postgres, SqlStr, Transaction, postgres::PgArguments, query::QueryAs};
use uuid::Uuid;

use super::{
    PgOutbox, begin,
    sql::{BEGIN, OutboxSql},
};
use crate::{error, lease::lost, runs::runs};

const SETTLE: &str = "settle events";

/// Gives the number of leases, and that of events.
type Settles<'q> = QueryAs<'q, Postgres, (i64, i64), PgArguments>;

pub(super) async fn settle(
    outbox: &PgOutbox,
    lease: &Lease,
    settlement: &Settlement,
) -> Result<Settled> {
    let sql = &outbox.sql;
    if settlement.parked.is_empty() && settlement.dead.is_empty() {
        let published = published(outbox, &outbox.pool, lease, &settlement.published).await?;
        return Ok(Settled::new(published, 0, 0));
    }
    let mut tx = begin(&outbox.pool, BEGIN).await.map_err(error::database(SETTLE))?;
    let published = published(outbox, &mut *tx, lease, &settlement.published).await?;
    let parked = park(sql, &mut tx, &settlement.parked).await?;
    let dead = give_up(sql, &mut tx, &settlement.dead).await?;
    tx.commit().await.map_err(error::commit(SETTLE))?;
    Ok(Settled::new(published, parked, dead))
}

/// Looks at the lease and locks it against a takeover, whether anything was published or not.
async fn published(
    outbox: &PgOutbox,
    executor: impl PgExecutor<'_>,
    lease: &Lease,
    events: &[Published],
) -> Result<u64> {
    let sql = &outbox.sql;
    let (first_time, redriven): (Vec<_>, Vec<_>) =
        events.iter().partition(|published| published.event.origin == Origin::Outbox);
    let positions = column(&first_time, |published| published.event.position);
    let events = column(&first_time, |published| published.event.event_id.as_uuid());
    let letters = column(&redriven, |published| published.event.position);
    let ids = column(&redriven, |published| published.event.event_id.as_uuid());
    // Planned each time, for the table as it is: a plan that was made for an empty one would walk a
    // full one for each settlement.
    let under_lease = |sql: &SqlStr| {
        let statement = sqlx::query_as(sql.clone()).persistent(false);
        statement.bind(lease.relay.as_str()).bind(lease.epoch)
    };
    let statement: Settles<'_> = if outbox.archives {
        let statement = places(under_lease(&sql.archive).bind(positions).bind(events), &first_time);
        places(statement.bind(letters).bind(ids), &redriven)
    } else if let [(first, last)] = runs(positions.iter().copied())[..] {
        let run = under_lease(&sql.published_run).bind(letters).bind(ids).bind(events);
        run.bind(first).bind(last)
    } else {
        under_lease(&sql.published).bind(letters).bind(ids).bind(events).bind(positions)
    };
    let (leases, published) = statement.fetch_one(executor).await.map_err(error::commit(SETTLE))?;
    if leases == 0 { Err(lost(SETTLE, lease)) } else { Ok(published.unsigned_abs()) }
}

/// Says where the events went: topic, partition, offset.
fn places<'q>(statement: Settles<'q>, events: &[&'q Published]) -> Settles<'q> {
    statement
        .bind(column(events, |published| published.topic.as_str()))
        .bind(column(events, |published| published.receipt.partition))
        .bind(column(events, |published| published.receipt.offset))
}

async fn park(
    sql: &OutboxSql,
    tx: &mut Transaction<'_, Postgres>,
    events: &[EventRef],
) -> Result<u64> {
    let mut parked = 0;
    let (seqs, ids) = of(events, Origin::Outbox);
    if !seqs.is_empty() {
        let park = sqlx::query(sql.park.clone()).bind(seqs).bind(ids);
        parked += park.execute(&mut **tx).await.map_err(error::database(SETTLE))?.rows_affected();
    }
    let (seqs, ids) = of(events, Origin::DeadLetter);
    if !seqs.is_empty() {
        let park = sqlx::query(sql.park_again.clone()).bind(seqs).bind(ids);
        parked += park.execute(&mut **tx).await.map_err(error::database(SETTLE))?.rows_affected();
    }
    Ok(parked)
}

async fn give_up(
    sql: &OutboxSql,
    tx: &mut Transaction<'_, Postgres>,
    events: &[GivenUp],
) -> Result<u64> {
    let (first_time, redriven): (Vec<_>, Vec<_>) =
        events.iter().partition(|dead| dead.event.origin == Origin::Outbox);
    let mut dead = 0;
    if !first_time.is_empty() {
        let give_up = sqlx::query(sql.give_up.clone())
            .bind(column(&first_time, |dead| dead.event.position))
            .bind(column(&first_time, |dead| dead.kind.as_str()))
            .bind(column(&first_time, |dead| error::storable(&dead.reason)))
            .bind(column(&first_time, attempts))
            .bind(column(&first_time, |dead| dead.event.event_id.as_uuid()));
        dead += give_up.execute(&mut **tx).await.map_err(error::database(SETTLE))?.rows_affected();
    }
    if !redriven.is_empty() {
        let give_up = sqlx::query(sql.give_up_again.clone())
            .bind(column(&redriven, |dead| dead.event.position))
            .bind(column(&redriven, |dead| dead.event.event_id.as_uuid()))
            .bind(column(&redriven, |dead| dead.kind.as_str()))
            .bind(column(&redriven, |dead| error::storable(&dead.reason)))
            .bind(column(&redriven, attempts));
        dead += give_up.execute(&mut **tx).await.map_err(error::database(SETTLE))?.rows_affected();
    }
    Ok(dead)
}

fn of(events: &[EventRef], origin: Origin) -> (Vec<i64>, Vec<Uuid>) {
    let of_origin = events.iter().filter(|event| event.origin == origin);
    of_origin.map(|event| (event.position, event.event_id.as_uuid())).unzip()
}

fn attempts(dead: &GivenUp) -> i32 {
    i32::try_from(dead.attempts).unwrap_or(i32::MAX)
}

fn column<'e, E, T>(events: &[&'e E], value: impl Fn(&'e E) -> T) -> Vec<T> {
    events.iter().map(|event| value(event)).collect()
}
