//! Writers that go on whatever happens to their database.

use std::{error::Error, time::Duration};

use relaybox::{CancellationToken, Outbox, postgres::PgOutbox};
use sqlx::PgPool;
use tokio::task::JoinHandle;

use crate::{Changed, Database};

const THINGS: usize = 12;

/// Tasks that change things at random, each in a transaction, until they are stopped.
///
/// They don't know what became of a commit whose reply was lost, and don't guess: the business rows
/// tell, afterwards.
#[derive(Debug)]
pub struct Writers {
    stop: CancellationToken,
    tasks: Vec<JoinHandle<u64>>,
}

impl Writers {
    /// Starts so many, each of which rests after each change.
    #[must_use]
    pub fn start(pool: &PgPool, writers: usize, rest: Duration) -> Self {
        let stop = CancellationToken::new();
        let write = |pool: PgPool, stop: CancellationToken| async move {
            let mut committed = 0;
            while !stop.is_cancelled() {
                let thing = format!("t{}", fastrand::usize(..THINGS));
                committed += u64::from(change(&pool, &thing).await.is_ok());
                tokio::time::sleep(rest).await;
            }
            committed
        };
        let tasks = (0..writers).map(|_| tokio::spawn(write(pool.clone(), stop.clone()))).collect();
        Self { stop, tasks }
    }

    /// Stops them after the change that each is at; gives how many changes they know to be committed.
    pub async fn stop(self) -> u64 {
        self.stop.cancel();
        let mut committed = 0;
        for task in self.tasks {
            committed += task.await.unwrap();
        }
        committed
    }
}

async fn change(pool: &PgPool, thing: &str) -> Result<(), Box<dyn Error + Send + Sync>> {
    let outbox = Outbox::new(PgOutbox::new(pool.clone()));
    let mut tx = pool.begin().await?;
    let changed: Changed = Database::try_change_in(&mut tx, thing).await?;
    outbox.enqueue(&mut tx, &changed).await?;
    Ok(tx.commit().await?)
}
