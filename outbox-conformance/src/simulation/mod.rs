//! A seeded simulation of the whole pipeline on the in-memory parts.
//!
//! Writers commit late, roll back and crash; several relays read, publish, are paused, cut off, killed
//! and started again, over a store and a bus of which any call may fail before or after it did its
//! work; the clock jumps; topics come and go; poison is refused, mended and redriven; a consumer has its
//! effects and crashes in between. In the end, everything heals, and what the guarantees say is checked:
//!
//! - nothing is on a topic that was not committed, and everything that was is there, or among the dead
//!   letters;
//! - the events of an aggregate are on their topic in the order of their commits, repeats aside;
//! - only poison is given up on;
//! - each event has its effect once, in order, or is in the dead-letter topic of the consumer.
//!
//! One seed decides all of it. Time is tokio's paused clock, so an hour costs nothing.
//!
//! ```
//! use relaybox_conformance::simulation::Simulation;
//!
//! Simulation::new().run(7).expect("the guarantees hold");
//! ```

mod bus;
mod checks;
mod consumer;
mod event;
mod pause;
mod relays;
mod store;
mod weather;
mod world;
mod writers;

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use futures::future::BoxFuture;
use relaybox_core::{
    Acquired, Lease, OutboxReader, OutboxStats, Receipt, Record, RelayId, Result, Settled,
    Settlement,
};

use self::world::World;
use crate::{EventBus, OutboxStore};

type Wrap<T> = Arc<dyn Fn(Arc<T>) -> Arc<T> + Send + Sync>;

/// The pipeline, with parts that may be put between a relay and its store or bus.
///
/// The parts are how the simulation itself is proved: with a bug between, it must fail.
#[derive(Clone)]
pub struct Simulation {
    wrap_store: Wrap<dyn OutboxStore>,
    wrap_bus: Wrap<dyn EventBus>,
}

impl Simulation {
    /// The pipeline as it is.
    #[must_use]
    pub fn new() -> Self {
        Self { wrap_store: Arc::new(|store| store), wrap_bus: Arc::new(|bus| bus) }
    }

    /// Puts something between each relay and the store.
    #[must_use]
    pub fn wrap_store(
        mut self,
        wrap: impl Fn(Arc<dyn OutboxStore>) -> Arc<dyn OutboxStore> + Send + Sync + 'static,
    ) -> Self {
        self.wrap_store = Arc::new(wrap);
        self
    }

    /// Puts something between each relay and its bus.
    #[must_use]
    pub fn wrap_bus(
        mut self,
        wrap: impl Fn(Arc<dyn EventBus>) -> Arc<dyn EventBus> + Send + Sync + 'static,
    ) -> Self {
        self.wrap_bus = Arc::new(wrap);
        self
    }

    /// Runs one history.
    ///
    /// # Errors
    /// [`Broken`], which names the seed, the guarantee and what happened.
    ///
    /// # Panics
    /// In an asynchronous runtime: it has one of its own.
    pub fn run(&self, seed: u64) -> Result<(), Broken> {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build();
        let runtime = runtime.expect("a runtime without threads or I/O");
        let world = World::new(seed, self.clone());
        let outcome = runtime.block_on(world.run());
        outcome.map_err(|what| Broken { seed, what, history: world.history() })
    }

    /// Runs the histories of many seeds, in turn.
    ///
    /// `RELAYBOX_SEED=n` in the environment runs that one alone; `RELAYBOX_SEEDS=n` runs so many,
    /// and `RELAYBOX_LONG=1` runs fifty times as many. `part` of `parts` is for tests side by side.
    ///
    /// # Errors
    /// The first that is [`Broken`].
    pub fn run_many(&self, seeds: u64, part: u64, parts: u64) -> Result<(), Broken> {
        let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
        if let Some(seed) = number("RELAYBOX_SEED") {
            return if seed % parts == part { self.run(seed) } else { Ok(()) };
        }
        let long = std::env::var_os("RELAYBOX_LONG").map_or(1, |_| 50);
        let seeds = number("RELAYBOX_SEEDS").unwrap_or(seeds * long);
        (0..seeds).filter(|seed| seed % parts == part).try_for_each(|seed| self.run(seed))
    }
}

impl Default for Simulation {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Simulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulation").finish_non_exhaustive()
    }
}

/// A guarantee that did not hold.
#[derive(Clone)]
pub struct Broken {
    /// The history that broke it.
    pub seed: u64,
    /// What was promised, and what was seen.
    pub what: String,
    history: Vec<String>,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}: {}", self.seed, self.what)?;
        let skipped = self.history.len().saturating_sub(80);
        writeln!(f, "what happened before (the last 80 of {}):", self.history.len())?;
        for line in &self.history[skipped..] {
            writeln!(f, "  {line}")?;
        }
        write!(
            f,
            "again: RELAYBOX_SEED={} cargo test -p relaybox-conformance --test conformance simulation",
            self.seed
        )
    }
}

impl fmt::Debug for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Broken {}

/// Any store, for a relay.
#[derive(Clone)]
struct AnyStore(Arc<dyn OutboxStore>);

#[async_trait]
impl OutboxStore for AnyStore {
    async fn acquire(&self, relay: &RelayId, ttl: std::time::Duration) -> Result<Acquired> {
        self.0.acquire(relay, ttl).await
    }

    async fn renew(&self, lease: &Lease, ttl: std::time::Duration) -> Result<()> {
        self.0.renew(lease, ttl).await
    }

    async fn release(&self, lease: &Lease) -> Result<()> {
        self.0.release(lease).await
    }

    async fn reader(&self) -> Result<Box<dyn OutboxReader>> {
        self.0.reader().await
    }

    async fn settle(&self, lease: &Lease, settlement: &Settlement) -> Result<Settled> {
        self.0.settle(lease, settlement).await
    }

    async fn stats(&self) -> Result<OutboxStats> {
        self.0.stats().await
    }
}

/// Any bus, for a relay.
struct AnyBus(Arc<dyn EventBus>);

impl EventBus for AnyBus {
    fn publish(&self, records: Vec<Record>) -> BoxFuture<'static, Vec<Result<Receipt>>> {
        self.0.publish(records)
    }

    fn recover(&self) -> BoxFuture<'_, Result<()>> {
        self.0.recover()
    }
}

#[cfg(test)]
mod tests {
    use super::{Simulation, World};

    #[test]
    fn a_seed_replays_its_history() {
        let history = |seed| {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = runtime.enable_time().start_paused(true).build().unwrap();
            let world = World::new(seed, Simulation::new());
            runtime.block_on(world.run()).unwrap();
            world.history()
        };
        let differs: Vec<_> = (0..100).filter(|seed| history(*seed) != history(*seed)).collect();
        assert!(differs.is_empty(), "seeds that do not replay: {differs:?}");
    }
}
