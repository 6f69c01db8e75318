//! How long to wait before the next try, and how often to try.

use std::time::Duration;

/// Exponential backoff with full jitter, a cap and a limit.
///
/// The delay before retry *n* is uniform between zero and `min(cap, base × 2ⁿ⁻¹)`: the "full jitter"
/// of Brooker, [Exponential Backoff And Jitter](https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/)
/// (AWS, 2015), which spreads a crowd of clients best.
///
/// ```
/// use std::time::Duration;
/// use relaybox_core::RetryPolicy;
///
/// let policy = RetryPolicy::default().base(Duration::from_millis(50)).max_attempts(3);
/// assert!(policy.delay(2, 0.999) < Duration::from_millis(100));
/// assert!(policy.is_exhausted(3));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct RetryPolicy {
    base: Duration,
    cap: Duration,
    max_attempts: u32,
}

impl Default for RetryPolicy {
    /// 100 ms, at most 30 s, five attempts in all.
    fn default() -> Self {
        Self { base: Duration::from_millis(100), cap: Duration::from_secs(30), max_attempts: 5 }
    }
}

impl RetryPolicy {
    /// Sets the bound of the first delay.
    #[must_use]
    pub fn base(mut self, base: Duration) -> Self {
        self.base = base;
        self
    }

    /// Sets the bound of every delay.
    #[must_use]
    pub fn cap(mut self, cap: Duration) -> Self {
        self.cap = cap;
        self
    }

    /// Sets how often in all an event is tried, at least once.
    #[must_use]
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts.max(1);
        self
    }

    /// The delay before the retry that follows failure `failures` (from 1), for a `chance` in 0..1.
    #[must_use]
    pub fn delay(&self, failures: u32, chance: f64) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let bound = self.base.saturating_mul(1 << doublings).min(self.cap);
        bound.mul_f64(chance.clamp(0.0, 1.0))
    }

    /// Whether an event that failed so often is given up on.
    #[must_use]
    pub fn is_exhausted(&self, failures: u32) -> bool {
        failures >= self.max_attempts
    }
}

/// A policy with its own source of chance and a count of failures in a row.
#[derive(Debug)]
pub(crate) struct Backoff {
    policy: RetryPolicy,
    rng: fastrand::Rng,
    failures: u32,
}

impl Backoff {
    pub(crate) fn new(policy: RetryPolicy, rng: fastrand::Rng) -> Self {
        Self { policy, rng, failures: 0 }
    }

    pub(crate) fn fail(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        self.policy.delay(self.failures, self.rng.f64())
    }

    pub(crate) fn succeed(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_the_cap_and_never_overflow() {
        let policy = RetryPolicy::default();
        let bounds: Vec<_> = (1..=40).map(|failures| policy.delay(failures, 1.0)).collect();
        assert_eq!(bounds[0], Duration::from_millis(100));
        assert_eq!(bounds[1], Duration::from_millis(200));
        assert!(bounds.is_sorted());
        assert_eq!(bounds[39], Duration::from_secs(30));
        assert_eq!(policy.delay(u32::MAX, 1.0), Duration::from_secs(30));
        assert_eq!(policy.delay(3, 0.0), Duration::ZERO);
    }
}
