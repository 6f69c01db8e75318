//! A relay in this process, as a user sets it up.

use std::time::Instant;

use relaybox::{CancellationToken, EventBus, OutboxStore, Relay, TopicMap};

use crate::observed::{ObservedStore, Seen};

/// Drains an outbox of so many events; gives the seconds until all is settled.
pub(crate) async fn drain<S: OutboxStore, B: EventBus>(
    store: S,
    bus: B,
    topics: TopicMap,
    events: u64,
) -> f64 {
    let (seen, shutdown) = (Seen::new(), CancellationToken::new());
    let store = ObservedStore { inner: store, seen: seen.clone() };
    let since = Instant::now();
    let relay = Relay::builder(store, bus).topics(topics).build();
    let mut relay = tokio::spawn(relay.run(shutdown.clone()));
    tokio::select! {
        () = seen.settled(events) => {}
        ended = &mut relay => panic!("the relay ended: {ended:?}"),
    }
    let took = since.elapsed().as_secs_f64();
    shutdown.cancel();
    relay.await.unwrap().unwrap();
    took
}
