//! What was given up on, apart from what was processed.

use relaybox_core::{EventId, GiveUp, GivenUpAt, Mark};

use super::{Fixture, on_inbox};
use crate::{
    InboxFactory, ProcessedEventStore,
    inbox::fixture::{consumer, failure, other_consumer, partition},
    run::same,
    store::ok,
};

/// By consumer, partition and offset, from an offset on.
pub async fn what_was_given_up_on_is_remembered_by_place<F: InboxFactory>(factory: &F) {
    on_inbox(factory, async |inbox: &Fixture<'_, F>| {
        let six = GivenUpAt::new(6, i64::MIN, GiveUp::Decided);
        let seven = GivenUpAt::new(7, i64::MAX, GiveUp::DeadLettered);
        inbox.give_up(2, seven).await;
        inbox.give_up(2, six).await;
        same("all of the partition", &inbox.given_up(2, 0).await[..], &[six, seven]);
        same("from an offset on", &inbox.given_up(2, 7).await[..], &[seven]);
        same("behind it", &inbox.given_up(2, 8).await[..], &[]);
        same("another partition", &inbox.given_up(3, 0).await[..], &[]);
        let other = inbox.inbox.given_up(&other_consumer(), &partition(2), 0).await;
        same("another consumer", &ok("looking it up", other)[..], &[]);
        // A later assignment of the same partition is the same place.
        let again = relaybox_core::Partition::new(partition(2).topic, 2, 9);
        let known = ok("looking it up", inbox.inbox.given_up(&consumer(), &again, 7).await);
        same("another generation of the partition", &known[..], &[seven]);
    })
    .await;
}

/// The same record's progress is brought up to date; another record at the place has its own.
pub async fn progress_and_another_record_at_the_place_replace_what_was_noted<F: InboxFactory>(
    factory: &F,
) {
    on_inbox(factory, async |inbox: &Fixture<'_, F>| {
        let decided = GivenUpAt::new(7, 1, GiveUp::Decided);
        let written = GivenUpAt::new(7, 1, GiveUp::DeadLettered);
        let another = GivenUpAt::new(7, 2, GiveUp::Decided);
        for at in [decided, written, another] {
            inbox.give_up(0, at).await;
            same("the last note counts", &inbox.given_up(0, 0).await[..], &[at]);
        }
        let theirs = failure(&other_consumer());
        ok("giving up", inbox.inbox.give_up(&partition(0), written, &theirs).await);
        same("another consumer's note is its own", &inbox.given_up(0, 0).await[..], &[another]);
    })
    .await;
}

/// An event that is redriven from the dead letters comes at another place, and is handled.
pub async fn what_was_given_up_on_is_not_processed<F: InboxFactory>(factory: &F) {
    on_inbox(factory, async |inbox: &Fixture<'_, F>| {
        let event = EventId::new();
        for progress in [GiveUp::Decided, GiveUp::DeadLettered] {
            inbox.give_up(0, GivenUpAt::new(1, 1, progress)).await;
            same("no event is marked", &inbox.look(event).await, &Mark::First);
        }
        same("no effect is there", &inbox.effects().await, &0);
    })
    .await;
}
