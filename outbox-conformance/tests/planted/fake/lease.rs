//! The lease.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use relaybox_core::{Acquired, Lease, RelayId};

#[derive(Default)]
pub(super) struct LeaseRow {
    holder: Option<(RelayId, Instant)>,
    epoch: i64,
}

impl LeaseRow {
    pub(super) fn acquire(&mut self, relay: &RelayId, ttl: Duration) -> Acquired {
        let now = Instant::now();
        if let Some((holder, until)) = &self.holder
            && *until > now
        {
            return Acquired::Elsewhere { holder: holder.clone(), expires_in: *until - now };
        }
        self.epoch += 1;
        self.holder = Some((relay.clone(), now + ttl));
        Acquired::Held(Lease::new(relay.clone(), self.epoch))
    }

    pub(super) fn is(&self, lease: &Lease) -> bool {
        self.epoch == lease.epoch && self.is_named(lease)
    }

    pub(super) fn is_named(&self, lease: &Lease) -> bool {
        self.holder.as_ref().is_some_and(|(holder, _)| *holder == lease.relay)
    }

    pub(super) fn prolong(&mut self, lease: &Lease, ttl: Duration) {
        self.holder = Some((lease.relay.clone(), Instant::now() + ttl));
    }

    pub(super) fn free(&mut self) {
        self.holder = None;
    }

    pub(super) fn holder(&self) -> Option<(RelayId, DateTime<Utc>)> {
        let now = Instant::now();
        let (holder, until) = self.holder.clone().filter(|(_, until)| *until > now)?;
        Some((holder, Utc::now() + (until - now)))
    }
}
