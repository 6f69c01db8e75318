//! Everything at once, by chance.

use std::{sync::Arc, time::Duration};

use relaybox::Outbox;
use relaybox_tests::Database;
use sqlx::{Acquire, PgConnection, Postgres, Transaction};
use tokio::{sync::Semaphore, time::Instant};
use uuid::Uuid;

use crate::{Relaying, commits::copy, database, prepared};

const WRITERS: u64 = 16;
const THINGS: usize = 10;

/// A writer that does whatever a transaction can do, chosen by its seed.
struct Writer {
    database: Arc<Database>,
    rng: fastrand::Rng,
    /// The server has room for a few only, and other tests want some.
    prepared: Arc<Semaphore>,
    number: u64,
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_that_do_everything_at_once_lose_nothing_and_keep_their_order() {
    let Some(database) = database().await else { return };
    let database = Arc::new(database);
    let long = std::env::var_os("RELAYBOX_LONG").is_some();
    let seconds = if long { 60 } else { 6 };
    let seed = std::env::var("RELAYBOX_SEED")
        .map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("RELAYBOX_SEED={seed}");

    let prepared = Arc::new(Semaphore::new(4));
    let until = Instant::now() + Duration::from_secs(seconds);
    let writers: Vec<_> = (0..WRITERS)
        .map(|number| Writer {
            database: Arc::clone(&database),
            rng: fastrand::Rng::with_seed(seed.wrapping_add(number)),
            prepared: Arc::clone(&prepared),
            number,
        })
        .map(|writer| tokio::spawn(writer.run(until)))
        .collect();
    // A relay that is broken off in the middle, and its successor.
    let first = Relaying::start(&database);
    tokio::time::sleep(Duration::from_secs(seconds) / 2).await;
    let second = Relaying::after(&database, first.abort().await);
    for writer in writers {
        writer.await.unwrap();
    }
    second.complete(&database).await;
    let changes = database.changes().await;
    println!("{} changes of {} things", changes.values().sum::<i64>(), changes.len());
    assert!(changes.len() >= THINGS, "some were never changed: this has shown little");
    Arc::into_inner(database).unwrap().drop().await;
}

impl Writer {
    async fn run(mut self, until: Instant) {
        while Instant::now() < until {
            self.transaction().await;
        }
    }

    async fn transaction(&mut self) {
        let database = Arc::clone(&self.database);
        let mut tx = database.pool.begin().await.unwrap();
        // Always in the same order, or they would lock each other out.
        let mut things: Vec<usize> =
            (0..self.rng.usize(1..4)).map(|_| self.rng.usize(..THINGS)).collect();
        things.sort_unstable();
        for thing in things {
            self.change(&mut tx, &format!("t{thing}")).await;
        }
        if self.rng.u8(..) < 10 {
            // A long one, with what nobody else wants.
            self.change(&mut tx, &format!("z{}", self.number)).await;
        }
        match self.rng.u8(..20) {
            0..12 => tx.commit().await.unwrap(),
            12..15 => tx.rollback().await.unwrap(),
            15 => drop(tx),
            _ => self.two_phases(tx).await,
        }
    }

    async fn change(&mut self, tx: &mut Transaction<'_, Postgres>, thing: &str) {
        match self.rng.u8(..10) {
            0..4 => self.database.raise_in(tx, thing).await,
            4 => {
                let mut savepoint = tx.begin().await.unwrap();
                self.database.raise_in(&mut savepoint, thing).await;
                savepoint.rollback().await.unwrap();
            }
            5 => {
                let mut savepoint = tx.begin().await.unwrap();
                self.database.raise_in(&mut savepoint, thing).await;
                savepoint.commit().await.unwrap();
                self.database.raise_in(tx, thing).await;
            }
            6 => copy(tx, thing, self.rng.i64(1..60)).await,
            7 => {
                let mut changed = Vec::new();
                for _ in 0..self.rng.usize(1..5) {
                    changed.push(Database::change_in(tx, thing).await);
                }
                let outbox: Outbox<_> = self.database.outbox();
                outbox.enqueue_all(tx, &changed).await.unwrap();
            }
            8 => {
                self.database.raise_in(tx, thing).await;
                self.rest(30).await;
            }
            _ => {
                taken_early(tx).await;
                self.rest(3).await;
                self.database.raise_in(tx, thing).await;
            }
        }
    }

    async fn two_phases(&mut self, mut tx: Transaction<'_, Postgres>) {
        let Ok(_permit) = Arc::clone(&self.prepared).try_acquire_owned() else {
            return tx.commit().await.unwrap();
        };
        taken_early(&mut tx).await;
        let name = Uuid::new_v4().to_string();
        prepared::prepare(tx, &name).await;
        self.rest(40).await;
        let how = if self.rng.u8(..3) == 0 { "ROLLBACK" } else { "COMMIT" };
        prepared::end(&self.database, &name, how).await;
    }

    /// Time passes in the transaction: its events are late.
    async fn rest(&mut self, most: u64) {
        tokio::time::sleep(Duration::from_millis(self.rng.u64(..most))).await;
    }
}

/// Takes a transaction id without writing anything.
async fn taken_early(tx: &mut PgConnection) {
    sqlx::query("SELECT pg_current_xact_id()::text").execute(tx).await.unwrap();
}
