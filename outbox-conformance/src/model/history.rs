//! What may happen, and in which order.

use proptest::{
    collection::vec,
    prelude::{BoxedStrategy, Just, Strategy, any, prop_oneof},
};
use proptest_state_machine::ReferenceStateMachine;
use relaybox_core::Successors;

/// How many transactions may be open at once.
pub(super) const SLOTS: usize = 3;
/// How many aggregates there are.
pub(super) const AGGREGATES: u8 = 3;

/// Something that happens to a store.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Step {
    /// A transaction, begun now if it isn't open, writes an event of each of these aggregates.
    Write {
        /// Which transaction.
        transaction: usize,
        /// Whose events, in order.
        aggregates: Vec<u8>,
    },
    /// It commits.
    Commit(usize),
    /// It rolls back.
    Rollback(usize),
    /// The relay reads at most so many events.
    Read(usize),
    /// The broker acknowledges the first so many of what is in flight.
    Publish(usize),
    /// The broker refuses the next one: it is given up on, with what was acknowledged settled, and the
    /// relay starts over.
    Fail,
    /// What was acknowledged, or came as parked, is settled.
    Settle {
        /// The reply is lost, so it is settled again.
        lost_reply: bool,
    },
    /// The reader forgets what is in flight.
    Rewind,
    /// The relay dies, and starts anew under the same lease.
    Crash,
    /// The lease goes to another relay; the loser tries to settle, to renew and to release.
    Takeover {
        /// It was let run out, not released.
        expired: bool,
    },
    /// An operator redrives dead letters.
    Redrive(Which),
    /// An operator discards dead letters, and their successors or not.
    Discard(Which, bool),
    /// At most so many events are purged from the archive, if the store keeps one.
    Purge(u32),
}

/// Which dead letters.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Which {
    /// All of them.
    All,
    /// So many, by aggregate and original order.
    First(u32),
    /// An aggregate's.
    Of(u8),
    /// One of them: this one, of as many as there are, around and around.
    Nth(usize),
}

/// The successors' fate.
pub(super) fn successors(discarded: bool) -> Successors {
    if discarded { Successors::Discard } else { Successors::Release }
}

/// The histories of a store, with a single writer or not.
pub(super) struct Histories<const SINGLE_WRITER: bool>;

/// Which aggregates each open transaction holds the row locks of; what makes a step possible.
pub(super) type Open = [Option<Vec<u8>>; SLOTS];

impl<const SINGLE_WRITER: bool> ReferenceStateMachine for Histories<SINGLE_WRITER> {
    type State = Open;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Open> {
        Just(Open::default()).boxed()
    }

    fn transitions(state: &Open) -> BoxedStrategy<Step> {
        let open: Vec<_> = (0..SLOTS).filter(|slot| state[*slot].is_some()).collect();
        let possible = possible_writes::<SINGLE_WRITER>(state);
        let mut steps = vec![
            (6, (1..5_usize).prop_map(Step::Read).boxed()),
            (5, (1..4_usize).prop_map(Step::Publish).boxed()),
            (1, Just(Step::Rewind).boxed()),
            (1, Just(Step::Crash).boxed()),
        ];
        if !SINGLE_WRITER || open.is_empty() {
            steps.extend([
                (3, Just(Step::Fail).boxed()),
                (4, any::<bool>().prop_map(|lost_reply| Step::Settle { lost_reply }).boxed()),
                (1, any::<bool>().prop_map(|expired| Step::Takeover { expired }).boxed()),
                (2, which().prop_map(Step::Redrive).boxed()),
                (1, (which(), any::<bool>()).prop_map(|(w, all)| Step::Discard(w, all)).boxed()),
                (1, (1..5_u32).prop_map(Step::Purge).boxed()),
            ]);
        }
        if !possible.is_empty() {
            let write = proptest::sample::select(possible).prop_flat_map(|(transaction, free)| {
                vec(proptest::sample::select(free), 1..4)
                    .prop_map(move |aggregates| Step::Write { transaction, aggregates })
            });
            steps.push((8, write.boxed()));
        }
        if !open.is_empty() {
            steps.push((6, proptest::sample::select(open.clone()).prop_map(Step::Commit).boxed()));
            steps.push((2, proptest::sample::select(open).prop_map(Step::Rollback).boxed()));
        }
        proptest::strategy::Union::new_weighted(steps).boxed()
    }

    fn apply(mut state: Open, step: &Step) -> Open {
        match step {
            Step::Write { transaction, aggregates } => {
                state[*transaction].get_or_insert_default().extend(aggregates);
            }
            Step::Commit(transaction) | Step::Rollback(transaction) => state[*transaction] = None,
            _ => {}
        }
        state
    }

    fn preconditions(state: &Open, step: &Step) -> bool {
        match step {
            Step::Write { transaction, aggregates } => {
                possible_writes::<SINGLE_WRITER>(state).iter().any(|(slot, free)| {
                    slot == transaction && aggregates.iter().all(|a| free.contains(a))
                })
            }
            Step::Commit(transaction) | Step::Rollback(transaction) => {
                state[*transaction].is_some()
            }
            Step::Read(_) | Step::Publish(_) | Step::Rewind | Step::Crash => true,
            // They write: a single writer's transaction must end first.
            _ => !SINGLE_WRITER || state.iter().all(Option::is_none),
        }
    }
}

/// Transactions that may write, and for which aggregates: those that no other one has locked.
fn possible_writes<const SINGLE_WRITER: bool>(state: &Open) -> Vec<(usize, Vec<u8>)> {
    let others = |slot: usize| (0..SLOTS).filter(move |other| *other != slot);
    (0..SLOTS)
        .filter(|slot| !SINGLE_WRITER || others(*slot).all(|other| state[other].is_none()))
        .map(|slot| {
            let locked: Vec<_> =
                others(slot).flat_map(|other| state[other].iter().flatten()).collect();
            (slot, (0..AGGREGATES).filter(|aggregate| !locked.contains(&aggregate)).collect())
        })
        .filter(|(_, free): &(usize, Vec<u8>)| !free.is_empty())
        .collect()
}

fn which() -> impl Strategy<Value = Which> {
    prop_oneof![
        2 => Just(Which::All),
        1 => (1..3_u32).prop_map(Which::First),
        1 => (0..AGGREGATES).prop_map(Which::Of),
        2 => (0..6_usize).prop_map(Which::Nth),
    ]
}
