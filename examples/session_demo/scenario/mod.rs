//! What the demo does to the service, and how it finds out whether the promises were kept.

mod checks;
pub(crate) mod counters;
pub(crate) mod ledger;
mod load;
pub(crate) mod outage;
mod poison;
mod progress;
mod redelivery;
pub(crate) mod report;
mod run_source;

use std::{sync::Arc, time::Duration};

use relaybox::{EventSource, OutboxStore};
use tokio::time::{Instant, sleep};

use self::{
    checks::Evidence,
    counters::Counters,
    ledger::{Committed, Effects},
    outage::OUTAGE,
    progress::Progress,
};
pub(crate) use self::{
    report::Summary,
    run_source::{Delivered, RunSource},
};
use crate::{
    broker::Broker,
    consumer::session_consumer,
    error::DemoError,
    session::{ReadModel, SessionCodec, SessionRepository, Sessions},
};

/// How long nothing may happen before the demo stops waiting for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// A run: the service under load, and everything that is done to it.
pub(crate) struct Scenario<'a, D: SessionRepository, B> {
    pub(crate) database: &'a D,
    pub(crate) broker: &'a B,
    pub(crate) sessions: &'a Sessions<D>,
    pub(crate) codec: &'a SessionCodec,
    pub(crate) counters: &'a Counters,
    /// How many records the consumers were given.
    pub(crate) delivered: &'a Delivered,
    pub(crate) size: usize,
    pub(crate) seed: u64,
    /// Shows no progress bar.
    pub(crate) quiet: bool,
}

impl<D, B> Scenario<'_, D, B>
where
    D: SessionRepository + ReadModel + Effects,
    B: Broker,
{
    /// Runs it, and compares the ledgers.
    pub(crate) async fn run(&self) -> Result<(Summary, Vec<String>), DemoError> {
        // They join their groups, which takes seconds, while the load runs.
        let dead_letters = self.broker.dead_letters()?;
        let second_source = self.broker.second_source(self.delivered.clone())?;

        let users = Arc::new(load::plan(self.size, self.seed));
        let ledger = Arc::new(Committed::default());
        let planned = load::planned_events(&users);
        let progress =
            Progress::start(self.database.clone(), Arc::clone(&ledger), planned + 1, self.quiet);

        progress.say("the poison");
        let poison = poison::feed(self.sessions, &ledger).await?;
        // Its refresh is handled once the poison is in the dead letters: the order of a partition.
        progress.reach(1, PATIENCE).await;

        progress.say("the load");
        let driving =
            load::drive(self.sessions.clone(), users, Arc::clone(&ledger), progress.handled());
        let troubling = self.trouble(&progress, planned, second_source);
        tokio::try_join!(driving, troubling)?;

        progress.say("the rest");
        progress.reach(ledger.len() - 1, PATIENCE).await;
        self.until_published().await?;

        let evidence = Evidence {
            committed: ledger.events(),
            effects: self.database.effects().await?,
            origin: self.broker.origin(),
            dead_letters: poison::dead_letters(&dead_letters, poison).await?,
            poison,
            outbox: self.database.outbox().stats().await?,
            stale_views: self.database.stale_views().await?,
            published: self.counters.published(),
            duplicates: self.counters.duplicates(),
            expected_duplicates: repeats(planned),
        };
        let violations = checks::violations(&evidence);
        let summary = Summary {
            committed: evidence.committed.len() as u64,
            rolled_back: ledger.rolled_back(),
            published: evidence.published,
            delivered: self.delivered.count(),
            duplicates: evidence.duplicates,
            effects: evidence.effects.len() as u64,
            dead_lettered: evidence.dead_letters.len() as u64,
            violations: violations.len() as u64,
        };
        Ok((summary, violations))
    }

    /// Goes on beside the load: the broker away in the middle, then part of the topic a second time.
    async fn trouble(
        &self,
        progress: &Progress,
        planned: u64,
        again: impl EventSource,
    ) -> Result<(), DemoError> {
        progress.reach(planned / 3, PATIENCE).await;
        progress.say("the broker is away");
        self.broker.cut()?;
        sleep(OUTAGE).await;
        self.broker.mend()?;

        progress.reach(planned / 2, PATIENCE).await;
        progress.say("part of the topic is delivered twice");
        let consumer = session_consumer(self.database, again, self.codec.clone())?;
        redelivery::deliver_again(consumer, self.counters, repeats(planned)).await
    }

    /// Waits until nothing is in the outbox any more.
    async fn until_published(&self) -> Result<(), DemoError> {
        let outbox = self.database.outbox();
        let deadline = Instant::now() + PATIENCE;
        while outbox.stats().await?.backlog > 0 && Instant::now() < deadline {
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

/// How much of the topic is delivered twice: a quarter, but not more than an embedded broker keeps.
fn repeats(planned: u64) -> u64 {
    (planned / 4 + 1).min(10_000)
}
