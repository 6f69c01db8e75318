//! Failing on purpose.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use std::sync::Mutex;

use crate::{Error, ErrorKind, Result, Retry};

/// How an operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Nothing was done.
    Before,
    /// It was done, and the reply was lost.
    After,
}

/// Makes chosen operations fail; clones share the plan and the count.
///
/// ```
/// # use relaybox_core::memory::{Fault, MemoryStore};
/// let store = MemoryStore::new();
/// store.faults().fail(3, Fault::After); // the third operation from now loses its reply
/// ```
#[derive(Debug, Clone, Default)]
pub struct Faults {
    step: Arc<AtomicU64>,
    plan: Arc<Mutex<Vec<(u64, Fault)>>>,
}

impl Faults {
    /// Makes the `nth` operation from now (from 1) fail.
    pub fn fail(&self, nth: u64, fault: Fault) {
        let step = self.step.load(Ordering::SeqCst) + nth;
        self.plan.lock().expect("no panic while planning").push((step, fault));
    }

    /// How many operations there were.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.step.load(Ordering::SeqCst)
    }

    /// Runs `work` as one step, unless the plan says otherwise.
    pub(super) fn step<T>(
        &self,
        operation: &'static str,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let step = self.step.fetch_add(1, Ordering::SeqCst) + 1;
        let fault = {
            let mut plan = self.plan.lock().expect("no panic while planning");
            let at = plan.iter().position(|(planned, _)| *planned == step);
            at.map(|at| plan.swap_remove(at).1)
        };
        let error = || Error::new(ErrorKind::Unavailable, operation).detail("told to fail");
        match fault {
            None => work(),
            Some(Fault::Before) => Err(error()),
            Some(Fault::After) => {
                work()?;
                Err(error().with_retry(Retry::OutcomeUnknown))
            }
        }
    }
}
