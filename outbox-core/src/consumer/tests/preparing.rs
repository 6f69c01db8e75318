//! What a codec needs from elsewhere is fetched before a transaction begins.

use futures::{FutureExt, future::BoxFuture};
use serde::de::DeserializeOwned;

use super::*;
use crate::{Codec, Encoded, JsonCodec};

/// JSON that asks a registry first, which fails as told.
#[derive(Clone)]
struct Registered {
    failures: Arc<Mutex<Vec<ErrorKind>>>,
    store: MemoryStore,
    /// How many operations the store had done when it was asked last.
    asked_at: Arc<Mutex<Vec<u64>>>,
}

impl Codec for Registered {
    fn encode<T: Serialize>(&self, event_type: &EventType, value: &T) -> crate::Result<Encoded> {
        JsonCodec.encode(event_type, value)
    }

    fn decode<T: DeserializeOwned>(&self, envelope: &Envelope) -> crate::Result<T> {
        JsonCodec.decode(envelope)
    }

    fn prepare(&self, _: &[u8]) -> Option<BoxFuture<'static, crate::Result<()>>> {
        let codec = self.clone();
        Some(
            async move {
                codec.asked_at.lock().unwrap().push(codec.store.faults().steps());
                match codec.failures.lock().unwrap().pop() {
                    Some(kind) => Err(Error::new(kind, "ask the registry")),
                    None => Ok(()),
                }
            }
            .boxed(),
        )
    }
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_is_down_charges_no_attempt_and_keeps_no_transaction_open() {
    let (bus, store) = (MemoryBus::new(), MemoryStore::new());
    let codec = Registered {
        failures: Arc::new(Mutex::new(vec![ErrorKind::Unavailable; 20])),
        store: store.clone(),
        asked_at: Arc::default(),
    };
    send(&bus, &store, "a", 1);
    let consumer = builder(&bus, &store)
        .codec(codec.clone())
        .on::<Counted, _>(Append::default())
        .build()
        .unwrap();
    let consumer = Running::start(consumer);
    until(|| store.get("a").is_some()).await;
    consumer.stop().await;
    assert!(dead_letters(&bus).is_empty());
    let asked_at = codec.asked_at.lock().unwrap().clone();
    assert_eq!(asked_at.len(), 21);
    assert!(asked_at.iter().all(|steps| *steps == asked_at[0]), "nothing was begun: {asked_at:?}");
}

#[tokio::test(start_paused = true)]
async fn an_event_that_the_registry_does_not_know_is_a_dead_letter_and_its_neighbours_are_handled()
{
    let (bus, store) = (MemoryBus::new(), MemoryStore::new());
    let codec = Registered {
        failures: Arc::new(Mutex::new(vec![ErrorKind::Decode; 2])),
        store: store.clone(),
        asked_at: Arc::default(),
    };
    for n in 0..3 {
        send(&bus, &store, "a", n);
    }
    let consumer =
        builder(&bus, &store).codec(codec).on::<Counted, _>(Append::default()).build().unwrap();
    let consumer = Running::start(consumer);
    until(|| store.get("a").is_some_and(|list| list.ends_with("2,"))).await;
    consumer.stop().await;
    // The first answer broke the batch, the second was about its first event alone.
    assert_eq!(store.get("a").unwrap(), "1,2,");
    assert_eq!(dead_letters(&bus)[0].header("dlq-error-kind").unwrap(), b"decode");
}
