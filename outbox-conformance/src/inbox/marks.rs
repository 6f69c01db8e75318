//! Marks: whether an event is new to a consumer.

use relaybox_core::{EventId, Mark};

use super::{Fixture, on_inbox};
use crate::{
    InboxFactory, ProcessedEventStore, inbox::fixture::other_consumer, run::same, store::ok,
};

/// Once committed, an event is a repeat for this consumer, and first for another one.
pub async fn an_event_is_first_once_for_each_consumer<F: InboxFactory>(factory: &F) {
    on_inbox(factory, async |inbox: &Fixture<'_, F>| {
        let event = EventId::new();
        for promised in [Mark::First, Mark::Repeat, Mark::Repeat] {
            let mut tx = inbox.begin().await;
            let seen = inbox.mark(&mut tx, &[event]).await;
            inbox.commit(tx).await;
            same("an event is first once", &seen[..], &[promised]);
        }
        for promised in [Mark::First, Mark::Repeat] {
            let mut tx = inbox.begin().await;
            let marked = inbox.inbox.mark(&mut tx, &other_consumer(), &[event]).await;
            inbox.commit(tx).await;
            same("another consumer knows nothing of it", &ok("marking", marked)[..], &[promised]);
        }
        same("another event is first", &inbox.look(EventId::new()).await, &Mark::First);
    })
    .await;
}

/// Of ids 1, 2, 2 the second 2 is a repeat, and so is what an earlier call of the transaction marked.
pub async fn a_repeat_inside_a_call_is_a_repeat<F: InboxFactory>(factory: &F) {
    on_inbox(factory, async |inbox: &Fixture<'_, F>| {
        let [one, two, three] = std::array::from_fn(|_| EventId::new());
        let mut tx = inbox.begin().await;
        let seen = inbox.mark(&mut tx, &[three, one, one, two, one]).await;
        let promised = [Mark::First, Mark::First, Mark::Repeat, Mark::First, Mark::Repeat];
        same("a repeat inside a call is a repeat", &seen[..], &promised);
        let seen = inbox.mark(&mut tx, &[two]).await;
        same("a repeat in the transaction, too", &seen[..], &[Mark::Repeat]);
        inbox.commit(tx).await;
        let mut tx = inbox.begin().await;
        let seen = inbox.mark(&mut tx, &[two, two]).await;
        same("marked before, both are repeats", &seen[..], &[Mark::Repeat, Mark::Repeat]);
        inbox.rollback(tx).await;
    })
    .await;
}

/// One mark for each event, at the same index, whatever the order of the ids.
pub async fn marks_are_in_the_order_of_the_events<F: InboxFactory>(factory: &F) {
    on_inbox(factory, async |inbox: &Fixture<'_, F>| {
        let events: Vec<_> = (0..200).map(|_| EventId::new()).collect();
        let known: Vec<_> = events.iter().copied().step_by(3).collect();
        let mut tx = inbox.begin().await;
        same("no event, no mark", &inbox.mark(&mut tx, &[]).await.len(), &0);
        inbox.mark(&mut tx, &known).await;
        inbox.commit(tx).await;
        let mut tx = inbox.begin().await;
        let reversed: Vec<_> = events.iter().rev().copied().collect();
        let seen = inbox.mark(&mut tx, &reversed).await;
        inbox.rollback(tx).await;
        let promised: Vec<_> = reversed
            .iter()
            .map(|event| if known.contains(event) { Mark::Repeat } else { Mark::First })
            .collect();
        same("marks are in the order of the events", &seen, &promised);
    })
    .await;
}

/// Outside any transaction, one answer for each event, at the same index; nobody is waited for.
pub async fn what_is_known_has_committed<F: InboxFactory>(factory: &F) {
    on_inbox(factory, async |inbox: &Fixture<'_, F>| {
        let [one, two, three] = std::array::from_fn(|_| EventId::new());
        let mut tx = inbox.begin().await;
        inbox.mark(&mut tx, &[one]).await;
        same("its transaction is open", &inbox.known(&[one]).await[..], &[Mark::First]);
        inbox.commit(tx).await;
        let mut tx = inbox.begin().await;
        inbox.mark(&mut tx, &[two]).await;
        inbox.rollback(tx).await;
        let promised = [Mark::First, Mark::Repeat, Mark::First, Mark::Repeat];
        same("committed or not", &inbox.known(&[three, one, two, one]).await[..], &promised);
        same("no event, no mark", &inbox.known(&[]).await.len(), &0);
        same("looking is no mark", &inbox.look(three).await, &Mark::First);
        let other = inbox.inbox.known(&other_consumer(), &[one]).await;
        same("another consumer", &ok("looking up marks", other)[..], &[Mark::First]);
    })
    .await;
}
