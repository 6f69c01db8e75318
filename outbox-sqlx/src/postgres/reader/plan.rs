//! When the server should plan the reading statements anew.

use std::time::{Duration, Instant};

/// A plan is no older than this, whatever the table says of itself: one in parts says nothing.
const PLAN_FOR: Duration = Duration::from_secs(60);
/// How large a table may be that a plan walks.
const SMALL: i64 = 1 << 20;

/// What the plans in use were made for.
///
/// The server plans a statement that is used again and again once. For a table that is empty, the best is
/// to walk it, and that must not be done for ever: a backlog may come. But planning takes milliseconds, in
/// which events wait.
#[derive(Debug)]
pub(super) struct Plan {
    made: Instant,
    /// The size of the table then, and when last seen, in bytes.
    sizes: Option<(i64, i64)>,
}

impl Plan {
    pub(super) fn new(made: Instant) -> Self {
        Self { made, sizes: None }
    }

    pub(super) fn saw(&mut self, size: i64) {
        let then = self.sizes.map_or(size, |(then, _)| then);
        self.sizes = Some((then, size));
    }

    pub(super) fn is_old(&self, now: Instant) -> bool {
        let outgrown = |(then, size): (i64, i64)| size > SMALL && size / 4 > then;
        now >= self.made + PLAN_FOR || self.sizes.is_some_and(outgrown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_old_when_the_table_has_outgrown_it_or_after_a_while() {
        let now = Instant::now();
        let mut plan = Plan::new(now);
        assert!(!plan.is_old(now));
        plan.saw(8192);
        plan.saw(SMALL);
        assert!(!plan.is_old(now));
        plan.saw(2 * SMALL);
        assert!(plan.is_old(now));

        let mut plan = Plan::new(now);
        plan.saw(8 * SMALL);
        plan.saw(16 * SMALL);
        assert!(!plan.is_old(now));
        assert!(plan.is_old(now + PLAN_FOR));
    }
}
