//! Making the broker unreachable.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::future::{BoxFuture, FutureExt};
use relaybox::{Error, ErrorKind, EventBus, Receipt, Record, Result};

/// How long the broker is away.
pub(crate) const OUTAGE: Duration = Duration::from_secs(2);

/// A bus with a switch in front: for real brokers, which are not ours to stop.
///
/// It keeps the contract of [`EventBus`]: once it failed a record, nothing behind it gets through
/// until it was recovered.
pub(crate) struct OutageBus<B> {
    bus: B,
    switch: Switch,
    /// Locked from the look at it until the records are handed over, so that none slips past another.
    halted: Mutex<bool>,
}

/// Cuts the line, and mends it.
#[derive(Clone, Default)]
pub(crate) struct Switch(Arc<AtomicBool>);

impl Switch {
    pub(crate) fn cut(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    pub(crate) fn mend(&self) {
        self.0.store(false, Ordering::SeqCst);
    }

    fn is_cut(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

impl<B: EventBus> OutageBus<B> {
    pub(crate) fn new(bus: B, switch: Switch) -> Self {
        Self { bus, switch, halted: Mutex::new(false) }
    }
}

impl<B: EventBus> EventBus for OutageBus<B> {
    fn publish(&self, records: Vec<Record>) -> BoxFuture<'static, Vec<Result<Receipt>>> {
        let mut halted = self.halted.lock().unwrap_or_else(PoisonError::into_inner);
        let first = match (*halted, self.switch.is_cut()) {
            (true, _) => ErrorKind::Halted,
            (false, true) => ErrorKind::Unavailable,
            (false, false) => return self.bus.publish(records),
        };
        *halted |= !records.is_empty();
        let kinds = std::iter::once(first).chain(std::iter::repeat(ErrorKind::Halted));
        let results = records.iter().zip(kinds).map(|(_, kind)| Err(failure(kind))).collect();
        std::future::ready(results).boxed()
    }

    fn recover(&self) -> BoxFuture<'_, Result<()>> {
        async {
            if self.switch.is_cut() {
                return Err(failure(ErrorKind::Unavailable));
            }
            self.bus.recover().await?;
            *self.halted.lock().unwrap_or_else(PoisonError::into_inner) = false;
            Ok(())
        }
        .boxed()
    }
}

fn failure(kind: ErrorKind) -> Error {
    Error::new(kind, "reach the broker").detail("the demo has cut the line")
}
