//! What is put around payloads, and what becomes of events that can't have it.

use super::*;
use crate::Framing;

/// Puts the topic before the payload. Refuses a payload `bad`, and is down for one type until told.
#[derive(Clone, Default)]
struct Stamp {
    up: Arc<AtomicBool>,
    asked: Arc<AtomicU32>,
}

#[async_trait]
impl Framing for Stamp {
    async fn frame(&self, topic: &TopicName, envelope: &mut Envelope) -> Result<()> {
        if envelope.payload == "bad" {
            return Err(Error::new(ErrorKind::Encode, "frame an event"));
        }
        if envelope.aggregate_type.as_str() == "late" && !self.up.load(Ordering::SeqCst) {
            self.asked.fetch_add(1, Ordering::SeqCst);
            return Err(Error::new(ErrorKind::Unavailable, "ask the registry"));
        }
        let payload = String::from_utf8(envelope.payload.to_vec()).unwrap();
        envelope.payload = format!("{topic}:{payload}").into();
        Ok(())
    }
}

fn of_type(name: &'static str, aggregate: &str, payload: &str) -> Envelope {
    let mut envelope = event(aggregate, payload);
    envelope.aggregate_type = AggregateType::new(name).unwrap();
    envelope
}

#[tokio::test(start_paused = true)]
async fn payloads_are_framed_on_their_way_and_what_is_down_holds_back_its_own_type_alone() {
    let (store, bus, stamp) = (MemoryStore::new(), MemoryBus::new(), Stamp::default());
    let errors = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&errors);
    let relay = builder(&store, &bus).batch(4).framing(stamp.clone()).on_error(move |notice| {
        assert_eq!(notice.error.kind(), ErrorKind::Unavailable);
        seen.fetch_add(1, Ordering::SeqCst);
    });
    for n in 0..10 {
        commit(&store, &[of_type("late", "l", &n.to_string()), event("a", n.to_string())]).await;
    }
    let relay = Running::start(relay);
    bus.wait_for(&topic(), 10).await;
    while stamp.asked.load(Ordering::SeqCst) < 3 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(store.stats().await.unwrap().dead_letters, 0);
    stamp.up.store(true, Ordering::SeqCst);
    settled(&store).await;
    relay.stop().await;
    let late = TopicName::new("late-events.v1").unwrap();
    for (topic, key) in [(topic(), "a"), (late, "l")] {
        let expected: Vec<_> = (0..10).map(|n| format!("{topic}:{n}")).collect();
        assert_eq!(per_key(&bus.records(&topic))[key], expected);
    }
    assert!(errors.load(Ordering::SeqCst) >= 3);
}

#[tokio::test(start_paused = true)]
async fn an_event_that_cannot_be_framed_is_a_dead_letter_as_it_was_stored() {
    let (store, bus) = (MemoryStore::new(), MemoryBus::new());
    commit(&store, &[event("a", "1"), event("a", "bad"), event("a", "3"), event("b", "4")]).await;
    let relay = Running::start(builder(&store, &bus).framing(Stamp::default()));
    settled(&store).await;
    relay.stop().await;
    let published = per_key(&bus.records(&topic()));
    assert_eq!(published["a"], ["thing-events.v1:1"]);
    assert_eq!(published["b"], ["thing-events.v1:4"]);
    let dead = store.dead_letters(&DeadLetterQuery::all()).await.unwrap();
    let states: Vec<_> = dead.iter().map(|dead| dead.state).collect();
    assert_eq!(states, [DeadLetterState::Dead, DeadLetterState::Parked]);
    let payloads: Vec<_> =
        dead.iter().map(|dead| dead.envelope.as_ref().unwrap().payload.clone()).collect();
    assert_eq!(payloads, ["bad", "3"]);
}
