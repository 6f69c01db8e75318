//! The lease: one row, compared with the server's clock.

use std::time::Duration;

use relaybox_core::{Acquired, Lease, RelayId, Result};
use sqlx::SqlStr;

use super::PgOutbox;
use crate::{
    error, lease,
    time::{micros, span},
};

const ACQUIRE: &str = "take the relay's lease";
/// How often a lease may become free between trying to take it and asking whose it is.
const TRIES: usize = 3;

pub(super) async fn acquire(outbox: &PgOutbox, relay: &RelayId, ttl: Duration) -> Result<Acquired> {
    for _ in 0..TRIES {
        let epoch: Option<i64> = sqlx::query_scalar(outbox.sql.acquire.clone())
            .bind(relay.as_str())
            .bind(micros(ttl))
            .fetch_optional(&outbox.pool)
            .await
            .map_err(error::commit(ACQUIRE))?;
        if let Some(epoch) = epoch {
            return Ok(Acquired::Held(Lease::new(relay.clone(), epoch)));
        }
        let holder: Option<(Option<String>, Option<i64>)> =
            sqlx::query_as(outbox.sql.holder.clone())
                .fetch_optional(&outbox.pool)
                .await
                .map_err(error::database(ACQUIRE))?;
        match holder {
            Some((Some(holder), left)) => {
                let holder = RelayId::from_stored(holder);
                return Ok(Acquired::Elsewhere { holder, expires_in: span(left.unwrap_or(0)) });
            }
            Some((None, _)) => {}
            None => return Err(lease::no_row(ACQUIRE)),
        }
    }
    Err(lease::restless(ACQUIRE))
}

pub(super) async fn renew(outbox: &PgOutbox, held: &Lease, ttl: Duration) -> Result<()> {
    change(outbox, outbox.sql.renew.clone(), held, Some(ttl), "renew the relay's lease").await
}

pub(super) async fn release(outbox: &PgOutbox, held: &Lease) -> Result<()> {
    change(outbox, outbox.sql.release.clone(), held, None, "release the relay's lease").await
}

async fn change(
    outbox: &PgOutbox,
    statement: SqlStr,
    held: &Lease,
    ttl: Option<Duration>,
    operation: &'static str,
) -> Result<()> {
    let mut query = sqlx::query(statement).bind(held.relay.as_str()).bind(held.epoch);
    if let Some(ttl) = ttl {
        query = query.bind(micros(ttl));
    }
    let done = query.execute(&outbox.pool).await.map_err(error::commit(operation))?;
    if done.rows_affected() == 0 { Err(lease::lost(operation, held)) } else { Ok(()) }
}
