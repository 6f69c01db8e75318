//! What a reader gives, and when.

use std::time::Duration;

use relaybox_core::{AggregateType, ErrorKind, ReadRequest};

use super::{Fixture, on_store};
use crate::{
    StoreFactory,
    events::{event, event_of, names, published, refs},
    run::same,
    store::fixture::{ok, read, read_up_to},
};

/// What a reader gave, it doesn't give again while nothing became of it.
pub async fn an_event_in_flight_is_not_given_twice<F: StoreFactory>(factory: &F) {
    on_store(factory, async |store: &Fixture<'_, F>| {
        store.enqueue("a", &["1", "2", "3"]).await;
        let mut reader = store.reader().await;
        let first = names(&read_up_to(&mut reader, 2).await);
        same("a page", &first[..], &["1".to_owned(), "2".to_owned()]);
        same("the next page", &names(&read(&mut reader).await)[..], &["3".to_owned()]);
        store.enqueue("a", &["4"]).await;
        same("what is new", &names(&read(&mut reader).await)[..], &["4".to_owned()]);
        same("an event in flight is not given twice", &names(&read(&mut reader).await)[..], &[]);
    })
    .await;
}

/// After a failure the relay starts over: whatever is not settled is given again, lowest first.
pub async fn a_rewound_reader_gives_again_whatever_is_not_settled<F: StoreFactory>(factory: &F) {
    on_store(factory, async |store: &Fixture<'_, F>| {
        store.enqueue("a", &["1", "2", "3", "4"]).await;
        let lease = store.acquire().await;
        let mut reader = store.reader().await;
        let rows = refs(&read_up_to(&mut reader, 3).await);
        store.settle(&lease, &published(&rows[1..2])).await;
        reader.forget(&rows[1..2]);
        reader.rewind();
        let promised = ["1", "3", "4"].map(str::to_owned);
        let promise = "a rewound reader gives again what is not settled, lowest first";
        same(promise, &names(&read(&mut reader).await)[..], &promised);
        reader.rewind();
        let rows = read_up_to(&mut reader, 1).await;
        same("and again, by pages", &names(&rows)[..], &promised[..1]);
        same("and on", &names(&read(&mut reader).await)[..], &promised[1..]);
    })
    .await;
}

/// Settled and forgotten: not given again, not even after a rewind.
pub async fn a_forgotten_event_is_not_given_again<F: StoreFactory>(factory: &F) {
    on_store(factory, async |store: &Fixture<'_, F>| {
        store.enqueue("a", &["1", "2"]).await;
        let lease = store.acquire().await;
        let mut reader = store.reader().await;
        let rows = refs(&read(&mut reader).await);
        store.settle(&lease, &published(&rows[..1])).await;
        reader.forget(&rows[..1]);
        same("settled or in flight", &names(&read(&mut reader).await)[..], &[]);
        reader.rewind();
        let seen = names(&read(&mut reader).await);
        same("what is settled is given no more", &seen[..], &["2".to_owned()]);
        reader.forget(&rows[..1]);
        same("forgetting twice changes nothing", &names(&read(&mut reader).await)[..], &[]);
    })
    .await;
}

/// Nothing is in flight for a new reader, whatever others have.
pub async fn a_new_reader_has_nothing_in_flight<F: StoreFactory>(factory: &F) {
    on_store(factory, async |store: &Fixture<'_, F>| {
        store.enqueue("a", &["1", "2"]).await;
        let mut one = store.reader().await;
        let mut two = store.reader().await;
        let promised = ["1".to_owned(), "2".to_owned()];
        for reader in [&mut one, &mut two] {
            same("each reader is given all", &names(&read(reader).await)[..], &promised);
        }
        drop(one);
        same("a reader after a crash is given all", &names(&store.all().await)[..], &promised);
    })
    .await;
}

/// At most as many events as asked for; none is no error.
pub async fn a_read_gives_at_most_its_limit<F: StoreFactory>(factory: &F) {
    on_store(factory, async |store: &Fixture<'_, F>| {
        let mut reader = store.reader().await;
        same("nothing is there", &read_up_to(&mut reader, 5).await.len(), &0);
        for n in 0..5 {
            store.enqueue("a", &[&format!("{n} first"), &format!("{n} second")]).await;
        }
        let mut seen = Vec::new();
        for (limit, promised) in [(1, 1), (2, 2), (3, 3), (100, 4), (100, 0)] {
            let rows = read_up_to(&mut reader, limit).await;
            same(&format!("a read of at most {limit}"), &rows.len(), &promised);
            seen.extend(refs(&rows));
        }
        assert!(
            seen.is_sorted_by_key(|event| event.position),
            "pages continue\n      seen: {seen:?}"
        );
        reader.rewind();
        same("any limit is allowed", &read_up_to(&mut reader, usize::MAX).await.len(), &10);
    })
    .await;
}

/// A read stops after the event that passes the limit of bytes, so that a large one gets through, too.
pub async fn a_read_stops_after_the_event_that_passes_the_bytes<F: StoreFactory>(factory: &F) {
    on_store(factory, async |store: &Fixture<'_, F>| {
        store.enqueue("a", &["aaaa", "bbbb", "cccc", "dddd"]).await;
        let mut reader = store.reader().await;
        let mut request = ReadRequest::new(100);
        for (max_bytes, promised) in [(1, 1), (5, 2), (4, 1), (4, 0)] {
            request.max_bytes = max_bytes;
            let seen = ok("reading the outbox", reader.read(&request).await).len();
            same(&format!("a read of at most {max_bytes} bytes, by fours"), &seen, &promised);
        }
        reader.rewind();
        same("it is given after a rewind", &read(&mut reader).await.len(), &4);
    })
    .await;
}

/// Types that are held back stay where they are, take no place on the page, and come when they may.
pub async fn held_back_types_stay_where_they_are<F: StoreFactory>(factory: &F) {
    on_store(factory, async |store: &Fixture<'_, F>| {
        let other = AggregateType::new("other").expect("valid");
        let mut events: Vec<_> =
            (0..20).map(|n| event_of(other.clone(), "a", &format!("other {n}"))).collect();
        events.push(event("a", "1"));
        events.push(event_of(other.clone(), "a", "other 20"));
        events.push(event("a", "2"));
        store.enqueue_all(&events).await;
        let mut reader = store.reader().await;
        let mut request = ReadRequest::new(10);
        request.held_back = vec![other];
        let rows = ok("reading the outbox", reader.read(&request).await);
        let promised = ["1".to_owned(), "2".to_owned()];
        same("what is held back takes no place on the page", &names(&rows)[..], &promised);
        let promised: Vec<_> = (0..=20).map(|n| format!("other {n}")).collect();
        let rows = read(&mut reader).await;
        same("what is held back no more is given, in order", &names(&rows), &promised);
    })
    .await;
}

/// A row that is no event holds back nobody, and is given to be given up on.
///
/// Not tested unless the factory can [spoil](StoreFactory::spoil) one.
pub async fn a_row_that_is_no_event_is_given_as_an_error<F: StoreFactory>(factory: &F) {
    on_store(factory, async |store: &Fixture<'_, F>| {
        let events = [event("a", "1"), event("a", "secret"), event("b", "2")];
        store.enqueue_all(&events).await;
        if !store.factory.spoil(&store.database, events[1].event_id).await {
            return store.passed_over("the factory spoils no row");
        }
        let rows = store.all().await;
        let promised = ["1", "no event", "2"].map(str::to_owned);
        same("a row that is no event is in its place", &names(&rows)[..], &promised);
        same("it has its identity", &rows[1].event.event_id, &events[1].event_id);
        let error = rows[1].envelope.as_ref().expect_err("it is no event");
        same("it can't be decoded", &error.kind(), &ErrorKind::Decode);
        let said = format!("{error:?} {}", relaybox_core::error_chain(error));
        assert!(!said.contains("secret"), "an error shows no payload\n      seen: {said}");
    })
    .await;
}

/// A read that was dropped in the middle may have taken events as given: a rewind finds them all.
pub async fn a_rewind_after_a_dropped_read_loses_nothing<F: StoreFactory>(factory: &F) {
    on_store(factory, async |store: &Fixture<'_, F>| {
        store.enqueue("a", &["1", "2", "3"]).await;
        let promised = ["1", "2", "3"].map(str::to_owned);
        let mut reader = store.reader().await;
        for micros in [0, 50, 200, 1_000, 5_000] {
            let request = ReadRequest::new(2);
            // With no time at all it is polled once.
            let limit = Duration::from_micros(micros);
            let _ = tokio::time::timeout(limit, reader.read(&request)).await;
            reader.rewind();
            let rows = read(&mut reader).await;
            let promise = "a reader that was rewound after a dropped read gives all";
            same(promise, &names(&rows)[..], &promised);
            reader.rewind();
        }
    })
    .await;
}
