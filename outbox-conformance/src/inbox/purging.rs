//! Purging: forgetting what is old.

use std::time::Duration;

use relaybox_core::{EventId, GiveUp, GivenUpAt, Mark};

use super::{Fixture, on_inbox};
use crate::{
    InboxFactory, ProcessedEventStore,
    inbox::fixture::{consumer, failure, other_consumer, partition},
    run::{in_the_end, same},
    store::ok,
};

/// At most so many at a time, none that is younger, and what is purged is new again.
pub async fn purging_is_bounded_and_spares_the_young<F: InboxFactory>(factory: &F) {
    on_inbox(factory, async |inbox: &Fixture<'_, F>| {
        let events: Vec<_> = (0..10).map(|_| EventId::new()).collect();
        let mut tx = inbox.begin().await;
        inbox.mark(&mut tx, &events).await;
        inbox.commit(tx).await;
        let purge =
            async |age, limit| ok("purging", inbox.inbox.purge(&consumer(), age, limit).await);
        same("marks of an hour ago", &purge(Duration::from_secs(3_600), 100).await, &0);
        same("marks from before time began", &purge(Duration::MAX, 100).await, &0);
        same("at most none", &purge(Duration::ZERO, 0).await, &0);
        same("all are known still", &inbox.look(events[0]).await, &Mark::Repeat);
        let mut purged = 0;
        in_the_end("all marks are purged", async || {
            let now = purge(Duration::ZERO, 4).await;
            assert!(now <= 4, "a purge of at most 4 removes at most so many\n  seen: {now}");
            purged += now;
            purged >= 10
        })
        .await;
        same("as many as there were", &purged, &10);
        same("what is purged is new again", &inbox.look(events[0]).await, &Mark::First);
    })
    .await;
}

/// Notes would grow without end otherwise.
pub async fn purging_takes_notes_of_what_was_given_up_on_as_well<F: InboxFactory>(factory: &F) {
    on_inbox(factory, async |inbox: &Fixture<'_, F>| {
        for offset in 0..3 {
            inbox.give_up(0, GivenUpAt::new(offset, 0, GiveUp::DeadLettered)).await;
        }
        let young =
            ok("purging", inbox.inbox.purge(&consumer(), Duration::from_secs(3_600), 100).await);
        same("notes of an hour ago", &young, &0);
        same("all are known still", &inbox.given_up(0, 0).await.len(), &3);
        // A clock that goes by milliseconds may call them young for a moment.
        let mut purged = 0;
        in_the_end("notes are purged", async || {
            purged += ok("purging", inbox.inbox.purge(&consumer(), Duration::ZERO, 2).await);
            purged >= 3
        })
        .await;
        same("notes that were purged", &purged, &3);
        same("none is known", &inbox.given_up(0, 0).await.len(), &0);
    })
    .await;
}

/// Consumers keep their marks for different times: none purges another one's.
pub async fn a_consumer_purges_its_own<F: InboxFactory>(factory: &F) {
    on_inbox(factory, async |inbox: &Fixture<'_, F>| {
        let event = EventId::new();
        let at = GivenUpAt::new(7, 1, GiveUp::DeadLettered);
        for by in [&other_consumer(), &consumer()] {
            let mut tx = inbox.begin().await;
            ok("marking", inbox.inbox.mark(&mut tx, by, &[event]).await);
            inbox.commit(tx).await;
            ok("giving up", inbox.inbox.give_up(&partition(0), at, &failure(by)).await);
        }
        let mut purged = 0;
        in_the_end("the consumer's own are purged", async || {
            purged += ok("purging", inbox.inbox.purge(&consumer(), Duration::ZERO, 1).await);
            purged >= 2
        })
        .await;
        let more = ok("purging", inbox.inbox.purge(&consumer(), Duration::ZERO, 10).await);
        same("no others", &(purged + more), &2);
        same("the event is new to the consumer", &inbox.look(event).await, &Mark::First);
        same("its note is gone", &inbox.given_up(0, 0).await.len(), &0);
        let theirs = inbox.inbox.known(&other_consumer(), &[event]).await;
        same("the other's mark", &ok("looking up marks", theirs)[..], &[Mark::Repeat]);
        let theirs = inbox.inbox.given_up(&other_consumer(), &partition(0), 0).await;
        same("the other's note", &ok("looking it up", theirs)[..], &[at]);
    })
    .await;
}
