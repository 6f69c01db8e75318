//! Writing in the caller's transaction.

use relaybox_core::{EventId, Label, PartitionKey, TraceContext};

use super::{Fixture, on_store};
use crate::{
    OutboxWriter, StoreFactory,
    events::{event, name, names},
    run::same,
    store::fixture::{ok, read, read_up_to},
};

/// Neither a rollback nor a dropped transaction leaves anything, for a new reader or an old one.
pub async fn a_rolled_back_event_is_never_given<F: StoreFactory>(factory: &F) {
    on_store(factory, async |store: &Fixture<'_, F>| {
        let mut reader = store.reader().await;
        for drops in [false, true] {
            let mut tx = store.begin().await;
            store.write(&mut tx, &[event("a", "rolled back")]).await;
            store.write(&mut tx, &[event("a", "too"), event("b", "and these")]).await;
            let seen = names(&read(&mut reader).await);
            same("what is not committed is not given", &seen[..], &[]);
            if drops {
                drop(tx);
            } else {
                store.rollback(tx).await;
            }
            let seen = names(&read(&mut reader).await);
            same("what was rolled back is not given", &seen[..], &[]);
        }
        store.enqueue("a", &["committed"]).await;
        let committed = ["committed".to_owned()];
        same("only what is committed is given", &names(&read(&mut reader).await)[..], &committed);
        same("only what is committed is given", &names(&store.all().await)[..], &committed);
        same("what was rolled back is no backlog", &store.counts().await, &(1, 0, 0));
    })
    .await;
}

/// Each reader gets a committed event, however many there were before, until one settles it.
pub async fn a_committed_event_is_given_until_it_is_settled<F: StoreFactory>(factory: &F) {
    on_store(factory, async |store: &Fixture<'_, F>| {
        store.enqueue("a", &["1"]).await;
        let promise = "a committed event is given to each new reader until it is settled";
        for _ in 0..3 {
            same(promise, &names(&store.all().await)[..], &["1".to_owned()]);
        }
        let lease = store.acquire().await;
        let rows = store.all().await;
        same(promise, &names(&rows)[..], &["1".to_owned()]);
        store.settle(&lease, &crate::events::published(&crate::events::refs(&rows))).await;
        same("a settled event is given no more", &names(&store.all().await)[..], &[]);
    })
    .await;
}

/// What was enqueued is what is read, all of it, in every field.
pub async fn an_event_comes_back_whole<F: StoreFactory>(factory: &F) {
    on_store(factory, async |store: &Fixture<'_, F>| {
        let valid = "valid";
        let mut full = event("Grün / 7", "full");
        full.content_type = "application/avro".into();
        full.payload = vec![0, 1, 0xff, b'\'', b'"', b'\\', 0].into();
        full.partition_key = Some(PartitionKey::new("tenant-1").expect(valid));
        full.metadata.source = Label::new("accounts").expect(valid);
        full.metadata.correlation_id = Some(Label::new("request-1").expect(valid));
        full.metadata.causation_id = Some(EventId::new());
        full.metadata.user_id = Some(Label::new("u-1").expect(valid));
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        full.metadata.trace = Some(TraceContext::parse(parent, Some("vendor=1")).expect(valid));
        full.metadata.headers.insert("tenant", "\"acme\" 'ü'").expect(valid);
        full.metadata.headers.insert("empty", "").expect(valid);
        let events = [full, event("a", "")];
        // Alone and among others: a store may have a statement for each.
        store.enqueue_all(&events[..1]).await;
        let rows = store.all().await;
        same("one event was committed", &rows.len(), &1);
        let alone = rows[0].envelope.as_ref().ok();
        same("an event comes back as it was written", &alone, &Some(&events[0]));

        let twice = [event("b", "x"), events[1].clone(), event("c", "y")];
        store.enqueue_all(&twice).await;
        let rows = store.all().await;
        same("four events were committed", &rows.len(), &4);
        let seen: Vec<_> = rows[1..].iter().filter_map(|row| row.envelope.as_ref().ok()).collect();
        same(
            "events come back as they were written",
            &seen[..],
            &[&twice[0], &twice[1], &twice[2]],
        );
    })
    .await;
}

/// Large slices, small ones, and empty ones: the order of the calls and of the slices is the order.
pub async fn events_of_a_transaction_keep_the_order_in_which_they_were_written<F: StoreFactory>(
    factory: &F,
) {
    on_store(factory, async |store: &Fixture<'_, F>| {
        // More than most databases take in one statement.
        let events: Vec<_> = (0..2_600).map(|n| event("a", &n.to_string())).collect();
        let mut tx = store.begin().await;
        store.write(&mut tx, &events[..1]).await;
        store.write(&mut tx, &events[1..2_500]).await;
        ok("writing nothing", store.store.write(&mut tx, &[]).await);
        for event in &events[2_500..] {
            store.write(&mut tx, std::slice::from_ref(event)).await;
        }
        store.commit(tx).await;

        let mut reader = store.reader().await;
        let mut seen = Vec::new();
        loop {
            let rows = read_up_to(&mut reader, 700).await;
            if rows.is_empty() {
                break;
            }
            seen.extend(rows.iter().map(|row| name(&row.envelope)));
        }
        let promised: Vec<_> = (0..2_600).map(|n| n.to_string()).collect();
        let wrong = seen.iter().zip(&promised).position(|(seen, promised)| seen != promised);
        let promise = "events of a transaction keep their order (first difference, and how many)";
        same(promise, &(wrong, seen.len()), &(None, promised.len()));
    })
    .await;
}
