//! Chance and faults: what goes wrong, and how long things take.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use relaybox_core::{Error, ErrorKind, Result, Retry};
use tokio::time::sleep;

/// A source of chance, shared by clones; each part forks one of its own, so that who is polled first
/// changes nothing for the others.
#[derive(Clone)]
pub(super) struct Chance(Arc<Mutex<fastrand::Rng>>);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(fastrand::Rng::with_seed(seed))))
    }

    pub(super) fn fork(&self) -> Self {
        Self(Arc::new(Mutex::new(self.with(fastrand::Rng::fork))))
    }

    pub(super) fn with<T>(&self, draw: impl FnOnce(&mut fastrand::Rng) -> T) -> T {
        draw(&mut self.0.lock().expect("drawing doesn't panic"))
    }

    /// One of `0..count`.
    pub(super) fn below(&self, count: usize) -> usize {
        self.with(|rng| rng.usize(..count.max(1)))
    }

    /// Whether something of so many permille happens.
    pub(super) fn permille(&self, permille: u32) -> bool {
        self.with(|rng| rng.u32(..1_000)) < permille
    }

    pub(super) fn millis(&self, most: u64) -> Duration {
        Duration::from_millis(self.with(|rng| rng.u64(..=most)))
    }
}

/// What may go wrong, as long as it is not calm.
#[derive(Clone)]
pub(super) struct Weather {
    calm: Arc<AtomicBool>,
    /// How many calls of a thousand fail.
    faults: u32,
    /// How long a call usually takes at most.
    latency: u64,
}

impl Weather {
    pub(super) fn new(chance: &Chance) -> Self {
        let faults = [0, 5, 20, 80][chance.below(4)];
        let latency = [0, 3, 20][chance.below(3)];
        Self { calm: Arc::default(), faults, latency }
    }

    pub(super) fn calm_down(&self) {
        self.calm.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_calm(&self) -> bool {
        self.calm.load(Ordering::SeqCst)
    }

    /// Whether a call fails now.
    pub(super) fn strikes(&self, chance: &Chance) -> bool {
        chance.permille(self.faults) && !self.is_calm()
    }

    /// Takes its time: mostly little, now and then longer than any lease.
    pub(super) async fn pass(&self, chance: &Chance) {
        let hangs = chance.permille(self.faults / 4);
        let most = if hangs && !self.is_calm() { 2_000 } else { self.latency };
        let time = chance.millis(most);
        if !time.is_zero() {
            sleep(time).await;
        }
    }

    /// Does a piece of work that takes time, and fails before or after it.
    pub(super) async fn call<T>(
        &self,
        chance: &Chance,
        operation: &'static str,
        work: impl AsyncFnOnce() -> Result<T>,
    ) -> Result<T> {
        let lost = |error: Error| error.detail("the simulation's weather");
        self.pass(chance).await;
        if self.strikes(chance) {
            return Err(lost(Error::new(ErrorKind::Unavailable, operation)));
        }
        let result = work().await?;
        self.pass(chance).await;
        if self.strikes(chance) {
            let error = Error::new(ErrorKind::Unavailable, operation);
            return Err(lost(error.with_retry(Retry::OutcomeUnknown)));
        }
        Ok(result)
    }
}
