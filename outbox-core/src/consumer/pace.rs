//! How many events share a transaction.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

/// What a transaction may take, so that neither its locks nor a rebalance wait for long.
const TARGET: Duration = Duration::from_millis(500);
/// How many events the first transaction has.
const START: usize = 16;

/// Grows while transactions are quick, and shrinks when they are slow or fail.
#[derive(Debug)]
pub(super) struct Pace {
    size: AtomicUsize,
    max: usize,
}

impl Pace {
    pub(super) fn new(max: usize) -> Self {
        Self { size: AtomicUsize::new(START.min(max)), max }
    }

    /// How many events the next transaction may have.
    pub(super) fn size(&self) -> usize {
        self.size.load(Ordering::Relaxed)
    }

    /// After a transaction of `events` took so long and was committed.
    pub(super) fn committed(&self, events: usize, took: Duration) {
        let size = self.size();
        if took > TARGET {
            let share = TARGET.as_secs_f64() / took.as_secs_f64();
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "it is between 0 and the size"
            )]
            let fits = (events as f64 * share) as usize;
            self.set(fits);
        } else if took < TARGET / 2 && events >= size {
            self.set(size.saturating_mul(2));
        }
    }

    /// After a transaction of several events was rolled back for one of them.
    pub(super) fn failed(&self) {
        self.set(self.size() / 4);
    }

    fn set(&self, size: usize) {
        self.size.store(size.clamp(1, self.max), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_to_its_limit_while_transactions_are_quick_and_shrinks_when_they_are_slow_or_fail() {
        let pace = Pace::new(100);
        for _ in 0..4 {
            pace.committed(pace.size(), Duration::from_millis(10));
        }
        assert_eq!(pace.size(), 100);
        pace.committed(100, Duration::from_secs(5));
        assert_eq!(pace.size(), 10);
        pace.failed();
        assert_eq!(pace.size(), 2);
        pace.committed(1, Duration::from_millis(1));
        assert_eq!(pace.size(), 2, "a transaction that was not full says nothing");
        pace.committed(2, Duration::from_secs(60));
        assert_eq!(pace.size(), 1);
    }
}
