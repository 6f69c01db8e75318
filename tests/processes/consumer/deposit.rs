//! The handler: an effect, and then perhaps a misfortune.

use std::{collections::HashMap, sync::Mutex, time::Duration};

use relaybox::{Envelope, EventHandler, EventId, HandlerError, async_trait};
use relaybox_tests::{DEPOSIT, Deposited, Poison};
use sqlx::{Postgres, Transaction};

use crate::say;

/// Writes the ledger; fails after that, if at all, so that a lost rollback would be seen.
pub(crate) struct Deposit {
    process: String,
    failures: u8,
    rest: Duration,
    poison: Poison,
    tries: Mutex<HashMap<EventId, u64>>,
}

impl Deposit {
    pub(crate) fn new(process: String, failures: u8, rest: Duration, poison: Poison) -> Self {
        Self { process, failures, rest, poison, tries: Mutex::default() }
    }

    /// Whether this try fails, by chance that depends on nothing but the event and the try.
    fn fails(&self, event: EventId) -> bool {
        if self.failures == 0 {
            return false;
        }
        let mut tries = self.tries.lock().expect("no panic");
        let tries = tries.entry(event).or_default();
        *tries += 1;
        let (high, low) = event.as_uuid().as_u64_pair();
        fastrand::Rng::with_seed(high ^ low ^ *tries).u8(..100) < self.failures
    }
}

#[async_trait]
impl EventHandler<Deposited, Transaction<'static, Postgres>> for Deposit {
    async fn handle(
        &self,
        tx: &mut Transaction<'static, Postgres>,
        event: &Deposited,
        envelope: &Envelope,
    ) -> Result<(), HandlerError> {
        sqlx::query(DEPOSIT)
            .bind(envelope.event_id.as_uuid())
            .bind(&event.account)
            .bind(event.n)
            .bind(event.amount)
            .bind(&self.process)
            .execute(&mut **tx)
            .await?;
        if event.poison && self.poison != Poison::None {
            say("POISON");
            match self.poison {
                Poison::None => {}
                Poison::Abort => std::process::abort(),
                Poison::Sleep(long) => tokio::time::sleep(long).await,
                Poison::Query(long) => {
                    let query = sqlx::query("SELECT pg_sleep($1)").bind(long.as_secs_f64());
                    query.execute(&mut **tx).await?;
                }
            }
        }
        if !self.rest.is_zero() {
            tokio::time::sleep(self.rest).await;
        }
        if self.fails(envelope.event_id) {
            return Err(HandlerError::retryable("fails now and then"));
        }
        Ok(())
    }
}
