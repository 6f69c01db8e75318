//! Effect and mark: together, and once.

use std::time::Duration;

use relaybox_core::{EventId, Mark};

use super::{Fixture, on_inbox};
use crate::{InboxFactory, ProcessedEventStore, run::same, store::ok};

/// Neither a rollback nor a dropped transaction leaves a mark: the event is handled when it comes again.
pub async fn a_mark_that_was_rolled_back_is_none<F: InboxFactory>(factory: &F) {
    on_inbox(factory, async |inbox: &Fixture<'_, F>| {
        let event = EventId::new();
        for drops in [false, true, false] {
            let mut tx = inbox.begin().await;
            let seen = inbox.mark(&mut tx, &[event]).await;
            same("a mark that was rolled back is none", &seen[..], &[Mark::First]);
            if drops {
                drop(tx);
            } else {
                inbox.rollback(tx).await;
            }
        }
        let mut tx = inbox.begin().await;
        same("it is first still", &inbox.mark(&mut tx, &[event]).await[..], &[Mark::First]);
        inbox.commit(tx).await;
        same("once it is committed, no more", &inbox.look(event).await, &Mark::Repeat);
    })
    .await;
}

/// Both or neither.
pub async fn mark_and_effect_commit_as_one<F: InboxFactory>(factory: &F) {
    on_inbox(factory, async |inbox: &Fixture<'_, F>| {
        let event = EventId::new();
        for (commits, promised) in [(false, (0, Mark::First)), (true, (1, Mark::Repeat))] {
            let mut tx = inbox.begin().await;
            inbox.mark(&mut tx, &[event]).await;
            inbox.factory.add_effect(&mut tx).await;
            if commits {
                inbox.commit(tx).await;
            } else {
                inbox.rollback(tx).await;
            }
            let seen = (inbox.effects().await, inbox.look(event).await);
            same("effect and mark are one", &seen, &promised);
        }
        // Dropped: a crash in the middle.
        let crashed = EventId::new();
        let mut tx = inbox.begin().await;
        inbox.mark(&mut tx, &[crashed]).await;
        inbox.factory.add_effect(&mut tx).await;
        drop(tx);
        let seen = (inbox.look(crashed).await, inbox.effects().await);
        same("a crash leaves neither", &seen, &(Mark::First, 1));
    })
    .await;
}

/// Eight at once, of which the first one fails at the end: one has its effect.
pub async fn of_concurrent_deliveries_one_has_its_effect<F: InboxFactory>(factory: &F) {
    on_inbox(factory, async |inbox: &Fixture<'_, F>| {
        let event = EventId::new();
        let failed = std::sync::atomic::AtomicBool::new(false);
        let delivery = async || {
            let mut tx = inbox.begin().await;
            let mark = inbox.mark(&mut tx, &[event]).await[0];
            if mark == Mark::First {
                inbox.factory.add_effect(&mut tx).await;
                if !failed.swap(true, std::sync::atomic::Ordering::SeqCst) {
                    inbox.rollback(tx).await;
                    return 0;
                }
            }
            inbox.commit(tx).await;
            usize::from(mark == Mark::First)
        };
        let handled: usize =
            futures::future::join_all((0..8).map(|_| delivery())).await.iter().sum();
        same("one delivery handles the event", &handled, &1);
        same("one effect is committed", &inbox.effects().await, &1);
    })
    .await;
}

/// A transaction that marks what another one has marked, and not ended, waits for that one's end.
pub async fn a_second_mark_waits_for_the_first_ones_end<F: InboxFactory>(factory: &F) {
    on_inbox(factory, async |inbox: &Fixture<'_, F>| {
        for commits in [false, true] {
            let event = EventId::new();
            let mut first = inbox.begin().await;
            inbox.mark(&mut first, &[event]).await;
            let mut second = Box::pin(inbox.look(event));
            let early = tokio::time::timeout(Duration::from_millis(50), &mut second).await;
            let promise = "a second mark waits for the first one's end";
            assert!(early.is_err(), "{promise}\n      seen: {early:?}");
            if commits {
                inbox.commit(first).await;
            } else {
                inbox.rollback(first).await;
            }
            let promised = if commits { Mark::Repeat } else { Mark::First };
            same("and then is told", &second.await, &promised);
        }
    })
    .await;
}

/// The same events in one order and in the other, several times at once: no deadlock, and each event
/// is first once.
pub async fn overlapping_batches_all_commit<F: InboxFactory>(factory: &F) {
    on_inbox(factory, async |inbox: &Fixture<'_, F>| {
        let events: Vec<_> = (0..1_000).map(|_| EventId::new()).collect();
        let batch = async |reversed: bool| {
            let mut batch = events.clone();
            if reversed {
                batch.reverse();
            }
            let mut tx = inbox.begin().await;
            let marks = inbox.mark(&mut tx, &batch).await;
            inbox.commit(tx).await;
            marks.iter().filter(|mark| **mark == Mark::First).count()
        };
        let batches = (0..6).map(|n| batch(n % 2 == 0));
        let firsts: usize = futures::future::join_all(batches).await.iter().sum();
        same("each event is first once", &firsts, &events.len());
    })
    .await;
}

/// A paused process's open transaction must not block its successor's mark for ever.
///
/// Not tested unless the inbox [claims it](crate::InboxCapabilities::ends_idle_transactions).
pub async fn an_idle_transaction_is_ended_within_its_limit<F: InboxFactory>(factory: &F) {
    on_inbox(factory, async |inbox: &Fixture<'_, F>| {
        if !inbox.factory.capabilities().ends_idle_transactions {
            return inbox.passed_over("its database ends no idle transaction");
        }
        let event = EventId::new();
        let limit = Duration::from_secs(3);
        let mut idle = ok("beginning", inbox.inbox.begin(limit).await);
        inbox.mark(&mut idle, &[event]).await;
        inbox.factory.add_effect(&mut idle).await;
        // Waits until the first one was ended; the suite's own limit tells when it isn't.
        same("its mark is none", &inbox.look(event).await, &Mark::First);
        let late = inbox.inbox.commit(idle).await;
        let promise = "a transaction that was ended does not commit";
        assert!(late.is_err(), "{promise}\n      seen: {late:?}");
        same("nor does its effect", &inbox.effects().await, &0);
    })
    .await;
}
