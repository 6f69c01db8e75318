//! Starts and attempts: what the next process is told of the one that died.
//!
//! Each call is made in an assignment of its own.

use relaybox_core::{ConsumerName, Offset};

use super::{Fixture, on_inbox};
use crate::{
    InboxFactory, ProcessedEventStore,
    inbox::fixture::{consumer, other_consumer, partition},
    run::same,
    store::ok,
};

/// Starts in a row at one place are counted, whatever the process and the assignment.
pub async fn a_start_after_a_crash_is_counted<F: InboxFactory>(factory: &F) {
    on_inbox(factory, async |inbox: &Fixture<'_, F>| {
        for promised in 1..=4 {
            // Another process, and another assignment of the same partition.
            let process = inbox.factory.inbox(&inbox.database);
            let seen = process.started(&consumer(), &partition(2), 7).await;
            same("how often it began there", &ok("noting a start", seen), &promised);
        }
        let other = inbox.inbox.started(&other_consumer(), &partition(2), 7).await;
        same("another consumer", &ok("noting a start", other), &1);
        same("another partition", &inbox.started(3, 7).await, &1);
    })
    .await;
}

/// A consumer that got further and died there is not one that died at the same place again.
pub async fn a_start_at_another_place_is_the_first<F: InboxFactory>(factory: &F) {
    on_inbox(factory, async |inbox: &Fixture<'_, F>| {
        same("a start", &inbox.started(0, 7).await, &1);
        same("the next one", &inbox.started(0, 7).await, &2);
        // Where the broker numbers nothing, a place is any number, negative ones included.
        for place in [8, Offset::MIN, Offset::MAX, 0, 7] {
            same(&format!("a start at {place}"), &inbox.started(0, place).await, &1);
        }
        same("the next one", &inbox.started(0, 7).await, &2);
    })
    .await;
}

/// Leaving a partition in an orderly way is no crash, and says nothing of other partitions.
pub async fn an_orderly_stop_forgets_starts_and_attempts<F: InboxFactory>(factory: &F) {
    on_inbox(factory, async |inbox: &Fixture<'_, F>| {
        for number in [0, 1] {
            for promised in [1, 2] {
                same("a start", &inbox.started(number, 7).await, &promised);
                same("an attempt", &inbox.attempted(number, 7).await, &promised);
            }
        }
        let stop = async |by: ConsumerName, number| {
            let stopped = inbox.inbox.stopped(&by, &partition(number)).await;
            ok("noting an orderly stop", stopped);
        };
        stop(other_consumer(), 1).await;
        stop(consumer(), 0).await;
        stop(consumer(), 0).await;
        same("a start after it", &inbox.started(0, 7).await, &1);
        same("an attempt after it", &inbox.attempted(0, 7).await, &1);
        same("a start elsewhere", &inbox.started(1, 7).await, &3);
        same("an attempt elsewhere", &inbox.attempted(1, 7).await, &3);
    })
    .await;
}

/// Attempts have a place of their own: the record that is tried, not where its batch began.
pub async fn attempts_are_counted_by_place_and_apart_from_starts<F: InboxFactory>(factory: &F) {
    on_inbox(factory, async |inbox: &Fixture<'_, F>| {
        same("an attempt without a start", &inbox.attempted(0, 0).await, &1);
        same("a start", &inbox.started(0, 0).await, &1);
        for (place, promised) in [(0, 2), (1, 1), (1, 2), (2, 1), (0, 1), (0, 2)] {
            let seen = inbox.attempted(0, place).await;
            same(&format!("attempts in a row at {place}"), &seen, &promised);
        }
        same("starts go on by themselves", &inbox.started(0, 0).await, &2);
        same("attempts go on by themselves", &inbox.attempted(0, 0).await, &3);
    })
    .await;
}

/// What the process lived through is not held against the record, whatever else it is noted for.
pub async fn an_attempt_that_was_survived_is_not_counted<F: InboxFactory>(factory: &F) {
    on_inbox(factory, async |inbox: &Fixture<'_, F>| {
        let survived = async |place| {
            let noted = inbox.inbox.survived(&consumer(), &partition(0), place).await;
            ok("noting that an attempt was survived", noted);
        };
        survived(7).await;
        same("a start", &inbox.started(0, 5).await, &1);
        same("an attempt", &inbox.attempted(0, 7).await, &1);
        same("the next one", &inbox.attempted(0, 7).await, &2);
        survived(8).await;
        same("another place was survived", &inbox.attempted(0, 7).await, &3);
        survived(7).await;
        same("the next one after it", &inbox.attempted(0, 7).await, &1);
        survived(7).await;
        same("a start where one was attempted", &inbox.started(0, 7).await, &2);
    })
    .await;
}

/// Each note is one step: of several at once none is lost.
pub async fn starts_at_once_are_all_counted<F: InboxFactory>(factory: &F) {
    on_inbox(factory, async |inbox: &Fixture<'_, F>| {
        let starts = (0..6).map(|_| inbox.started(0, 7));
        let mut seen = futures::future::join_all(starts).await;
        seen.sort_unstable();
        same("the counts", &seen[..], &[1, 2, 3, 4, 5, 6]);
    })
    .await;
}
