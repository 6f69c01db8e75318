//! The time, replaceable in tests.

use std::fmt;

use chrono::{DateTime, Utc};

/// Says what time it is. Leases go by the database's clock, never by this one.
///
/// # Contract
/// It may jump; nothing that must be correct depends on it.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The time now.
    fn now(&self) -> DateTime<Utc>;
}

/// The system's clock.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }
}
