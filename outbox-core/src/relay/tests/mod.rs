mod framing;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures::future::BoxFuture;
use tokio::task::JoinHandle;

use super::*;
use crate::{
    AggregateId, AggregateType, DeadLetterQuery, DeadLetterState, DeadLetterStore, Envelope,
    EventId, EventType, OutboxReader, OutboxStats, OutboxWriter, Published, Receipt, Record,
    RelayId, RetryPolicy, Settled, Settlement, Successors, TopicName,
    memory::{Fault, MemoryBus, MemoryStore, StoredRecord},
};

fn event(aggregate: &str, payload: impl Into<String>) -> Envelope {
    Envelope::new(
        EventType::new("thing.changed", 1).unwrap(),
        AggregateType::new("thing").unwrap(),
        AggregateId::new(aggregate.to_owned()).unwrap(),
        payload.into(),
    )
}

fn topic() -> TopicName {
    TopicName::new("thing-events.v1").unwrap()
}

async fn commit(store: &MemoryStore, events: &[Envelope]) {
    let mut tx = store.begin();
    store.write(&mut tx, events).await.unwrap();
    tx.commit();
}

fn builder<S: OutboxStore + Clone>(store: &S, bus: &MemoryBus) -> RelayBuilder<S, MemoryBus> {
    Relay::builder(store.clone(), bus.clone())
        .lease_ttl(Duration::from_secs(1))
        .retry(RetryPolicy::default().base(Duration::from_millis(5)).cap(Duration::from_millis(20)))
        .seed(7)
}

/// A store that takes its time to settle, fails the first settlement, and at last renews no more.
#[derive(Clone, Default)]
struct Sluggish {
    inner: MemoryStore,
    failures: Arc<AtomicU32>,
    stalled: Arc<AtomicBool>,
}

#[async_trait]
impl OutboxStore for Sluggish {
    async fn acquire(&self, relay: &RelayId, ttl: Duration) -> Result<Acquired> {
        self.inner.acquire(relay, ttl).await
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<()> {
        if self.stalled.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        self.inner.renew(lease, ttl).await
    }

    async fn release(&self, lease: &Lease) -> Result<()> {
        self.inner.release(lease).await
    }

    async fn reader(&self) -> Result<Box<dyn OutboxReader>> {
        OutboxStore::reader(&self.inner).await
    }

    async fn settle(&self, lease: &Lease, settlement: &Settlement) -> Result<Settled> {
        tokio::time::sleep(Duration::from_millis(50)).await;
        if self
            .failures
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
            .is_ok()
        {
            return Err(Error::new(ErrorKind::Conflict, "settle events"));
        }
        self.inner.settle(lease, settlement).await
    }

    async fn stats(&self) -> Result<OutboxStats> {
        self.inner.stats().await
    }
}

struct Running {
    shutdown: CancellationToken,
    task: JoinHandle<Result<()>>,
}

impl Running {
    fn start<S: OutboxStore, B: EventBus>(builder: RelayBuilder<S, B>) -> Self {
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(builder.build().run(shutdown.clone()));
        Self { shutdown, task }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }
}

async fn settled(store: &MemoryStore) {
    while store.stats().await.unwrap().backlog > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// First sightings per key, in topic order.
fn per_key(records: &[StoredRecord]) -> HashMap<String, Vec<String>> {
    let mut seen = std::collections::HashSet::new();
    let mut per_key: HashMap<String, Vec<String>> = HashMap::new();
    for record in records {
        let envelope = record.envelope().unwrap();
        if seen.insert(envelope.event_id) {
            let payload = String::from_utf8(envelope.payload.to_vec()).unwrap();
            per_key.entry(envelope.aggregate_id.to_string()).or_default().push(payload);
        }
    }
    per_key
}

#[tokio::test(start_paused = true)]
async fn committed_events_are_published_in_order_and_rolled_back_ones_never() {
    let (store, bus) = (MemoryStore::new(), MemoryBus::new());
    let relay = Running::start(builder(&store, &bus).batch(7));
    for n in 0..50 {
        commit(&store, &[event(&format!("a{}", n % 3), n.to_string())]).await;
        let mut tx = store.begin();
        store.write(&mut tx, &[event("a0", "rolled back")]).await.unwrap();
        drop(tx);
    }
    settled(&store).await;
    relay.stop().await;
    let records = bus.records(&topic());
    assert_eq!(records.len(), 50);
    for (key, payloads) in per_key(&records) {
        let numbers: Vec<u32> = payloads.iter().map(|text| text.parse().unwrap()).collect();
        assert!(numbers.is_sorted(), "{key}: {numbers:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_commit_is_published_late_and_holds_back_nothing() {
    let (store, bus) = (MemoryStore::new(), MemoryBus::new());
    let relay = Running::start(builder(&store, &bus));
    let mut late = store.begin();
    store.write(&mut late, &[event("late", "0")]).await.unwrap();
    commit(&store, &[event("early", "1")]).await;
    bus.wait_for(&topic(), 1).await;
    settled(&store).await;
    late.commit();
    bus.wait_for(&topic(), 2).await;
    relay.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_broker_charges_nobody_and_loses_nothing() {
    let (store, bus) = (MemoryStore::new(), MemoryBus::new());
    let errors = Arc::new(Mutex::new(0));
    let counter = Arc::clone(&errors);
    bus.set_available(false);
    let relay = Running::start(
        builder(&store, &bus)
            .retry(RetryPolicy::default().max_attempts(2).base(Duration::from_millis(1)))
            .on_error(move |notice| {
                assert_eq!(notice.error.kind(), ErrorKind::Unavailable);
                *counter.lock().unwrap() += 1;
            }),
    );
    for n in 0..20 {
        commit(&store, &[event("a", n.to_string())]).await;
    }
    while *errors.lock().unwrap() < 10 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(store.stats().await.unwrap().backlog, 20);
    bus.set_available(true);
    settled(&store).await;
    relay.stop().await;
    assert_eq!(store.stats().await.unwrap().dead_letters, 0);
    assert_eq!(per_key(&bus.records(&topic()))["a"].len(), 20);
}

#[tokio::test(start_paused = true)]
async fn a_poison_event_parks_its_own_aggregate_only_and_redrive_keeps_the_order() {
    let (store, bus) = (MemoryStore::new(), MemoryBus::new());
    bus.set_max_payload(10);
    let dead: Arc<Mutex<Vec<EventId>>> = Arc::default();
    let notices = Arc::clone(&dead);
    let poison = event("p", "far too long a payload");
    let poison_id = poison.event_id;
    let mut events = vec![event("p", "0"), poison, event("p", "2"), event("p", "3")];
    events.extend((0..20).map(|n| event("other", n.to_string())));
    let relay = Running::start(builder(&store, &bus).batch(5).on_dead_letter(move |notice| {
        assert_eq!(notice.kind, ErrorKind::TooLarge);
        assert_eq!(notice.aggregate.unwrap().1.as_str(), "p");
        notices.lock().unwrap().push(notice.event_id.unwrap());
    }));
    commit(&store, &events).await;
    settled(&store).await;
    assert_eq!(*dead.lock().unwrap(), [poison_id]);
    let published = per_key(&bus.records(&topic()));
    assert_eq!(published["p"], ["0"]);
    assert_eq!(published["other"].len(), 20);
    let states: Vec<_> = store
        .dead_letters(&DeadLetterQuery::all())
        .await
        .unwrap()
        .iter()
        .map(|letter| letter.state)
        .collect();
    assert_eq!(states, [DeadLetterState::Dead, DeadLetterState::Parked, DeadLetterState::Parked]);

    bus.set_max_payload(usize::MAX);
    assert_eq!(store.redrive(&DeadLetterQuery::event(poison_id)).await.unwrap(), 1);
    commit(&store, &[event("p", "4")]).await;
    bus.wait_for(&topic(), 25).await;
    settled(&store).await;
    relay.stop().await;
    assert_eq!(
        per_key(&bus.records(&topic()))["p"],
        ["0", "far too long a payload", "2", "3", "4"]
    );
    assert_eq!(store.stats().await.unwrap().parked, 0);
}

/// Whatever it publishes is answered by one more event of the same aggregate, before it is settled.
#[derive(Clone)]
struct Echoing {
    inner: MemoryBus,
    store: MemoryStore,
    echoes: Arc<AtomicU32>,
}

impl EventBus for Echoing {
    fn publish(&self, records: Vec<Record>) -> BoxFuture<'static, Vec<Result<Receipt>>> {
        let aggregate = records[0].envelope.aggregate_id.clone();
        let (published, store) = (self.inner.publish(records), self.store.clone());
        let echoes = Arc::clone(&self.echoes);
        Box::pin(async move {
            let results = published.await;
            let n = echoes.fetch_add(1, Ordering::SeqCst);
            commit(&store, &[event(aggregate.as_str(), n.to_string())]).await;
            tokio::time::sleep(Duration::from_millis(1)).await;
            results
        })
    }

    fn recover(&self) -> BoxFuture<'_, Result<()>> {
        self.inner.recover()
    }
}

#[tokio::test(start_paused = true)]
async fn a_redriven_aggregate_gets_out_of_its_park_while_it_is_written_to() {
    let (store, inner) = (MemoryStore::new(), MemoryBus::new());
    inner.set_max_payload(10);
    let poison = event("p", "far too long a payload");
    let poison_id = poison.event_id;
    let mut events = vec![poison];
    events.extend((0..20).map(|n| event("p", format!("parked {n}"))));
    let bus = Echoing { inner: inner.clone(), store: store.clone(), echoes: Arc::default() };
    let echoes = Arc::clone(&bus.echoes);
    let relay = Relay::builder(store.clone(), bus).batch(5).seed(7);
    let relay = Running::start(relay);
    commit(&store, &events).await;
    settled(&store).await;
    inner.set_max_payload(usize::MAX);
    assert_eq!(store.redrive(&DeadLetterQuery::event(poison_id)).await.unwrap(), 1);
    let parked = || async { store.stats().await.unwrap().parked };
    while parked().await > 0 {
        assert!(echoes.load(Ordering::SeqCst) < 100, "each new event is parked behind the last");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let before = echoes.load(Ordering::SeqCst);
    while echoes.load(Ordering::SeqCst) < before + 50 {
        assert_eq!(parked().await, 0);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    relay.stop().await;
    let published = per_key(&inner.records(&topic()));
    let expected = ["far too long a payload".to_owned()].into_iter();
    let expected = expected.chain((0..20).map(|n| format!("parked {n}")));
    let expected = expected.chain((0..).map(|n| n.to_string()));
    assert!(published["p"].iter().cloned().eq(expected.take(published["p"].len())));
}

#[tokio::test(start_paused = true)]
async fn discarding_a_dead_letter_says_what_becomes_of_its_successors() {
    let (store, bus) = (MemoryStore::new(), MemoryBus::new());
    bus.set_max_payload(4);
    let relay = Running::start(builder(&store, &bus));
    for key in ["released", "discarded"] {
        commit(&store, &[event(key, "poison"), event(key, "next")]).await;
    }
    settled(&store).await;
    let query = |key: &str| {
        let mut query = DeadLetterQuery::all().limit(1);
        query.aggregate_id = Some(AggregateId::new(key.to_owned()).unwrap());
        query
    };
    assert_eq!(store.discard(&query("released"), Successors::Release).await.unwrap(), 1);
    assert_eq!(store.discard(&query("discarded"), Successors::Discard).await.unwrap(), 2);
    bus.wait_for(&topic(), 1).await;
    relay.stop().await;
    assert_eq!(
        per_key(&bus.records(&topic())),
        [("released".to_owned(), vec!["next".to_owned()])].into()
    );
    assert_eq!(store.dead_letters(&DeadLetterQuery::all()).await.unwrap().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn skipping_a_dead_letter_lets_its_aggregate_go_on() {
    let (store, bus) = (MemoryStore::new(), MemoryBus::new());
    bus.set_max_payload(4);
    let relay = Running::start(builder(&store, &bus).dead_letters(OnDeadLetter::Skip));
    commit(&store, &[event("a", "poison"), event("a", "next")]).await;
    bus.wait_for(&topic(), 1).await;
    settled(&store).await;
    relay.stop().await;
    let stats = store.stats().await.unwrap();
    assert_eq!((stats.dead_letters, stats.parked), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_standby_takes_over_after_a_crash_and_at_once_after_a_clean_stop() {
    let (store, bus) = (MemoryStore::new(), MemoryBus::new());
    let first = Running::start(builder(&store, &bus));
    commit(&store, &[event("a", "0")]).await;
    settled(&store).await;
    let second = Running::start(builder(&store, &bus));
    tokio::time::sleep(Duration::from_secs(5)).await;
    first.task.abort(); // a crash: the lease is not released
    commit(&store, &[event("a", "1")]).await;
    let crashed = Instant::now();
    bus.wait_for(&topic(), 2).await;
    assert!(crashed.elapsed() <= Duration::from_secs(2), "{:?}", crashed.elapsed());

    let third = Running::start(builder(&store, &bus));
    tokio::time::sleep(Duration::from_secs(5)).await;
    second.stop().await;
    commit(&store, &[event("a", "2")]).await;
    let stopped = Instant::now();
    bus.wait_for(&topic(), 3).await;
    assert!(stopped.elapsed() <= Duration::from_millis(200), "{:?}", stopped.elapsed());
    third.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_lost_its_lease_settles_nothing_and_stands_by() {
    let (store, bus) = (MemoryStore::new(), MemoryBus::new());
    let label = crate::Label::new("thief").unwrap();
    let thief = RelayId::new(&label);
    let lease = match store.acquire(&thief, Duration::from_millis(1)).await.unwrap() {
        Acquired::Held(lease) => lease,
        Acquired::Elsewhere { .. } => panic!("it is free"),
    };
    tokio::time::sleep(Duration::from_millis(2)).await;
    let relay = Running::start(builder(&store, &bus));
    commit(&store, &[event("a", "0")]).await;
    bus.wait_for(&topic(), 1).await;
    settled(&store).await;
    commit(&store, &[event("b", "0")]).await;
    let mut reader = store.reader().await.unwrap();
    let rows = reader.read(&crate::ReadRequest::new(10)).await.unwrap();
    let mut settlement = Settlement::default();
    settlement
        .published
        .extend(rows.iter().map(|row| Published::new(row.event, topic(), Receipt::unnumbered())));
    let error = store.settle(&lease, &settlement).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LeaseLost);
    bus.wait_for(&topic(), 2).await;
    relay.stop().await;
}

/// Every operation of store and bus fails once, before or after it did its work, in turn.
#[tokio::test(start_paused = true)]
async fn a_fault_at_any_step_loses_nothing_and_keeps_the_order() {
    for step in 1..60 {
        for fault in [Fault::Before, Fault::After] {
            let (store, bus) = (MemoryStore::new(), MemoryBus::new());
            bus.set_max_payload(20);
            let mut events: Vec<_> =
                (0..30).map(|n| event(&format!("a{}", n % 3), n.to_string())).collect();
            events.push(event("a0", "a payload that is too long"));
            commit(&store, &events).await;
            store.faults().fail(step, fault);
            bus.faults().fail(step, fault);
            let relay = Running::start(builder(&store, &bus).batch(4).max_in_flight(3));
            settled(&store).await;
            relay.stop().await;
            let published = per_key(&bus.records(&topic()));
            assert_eq!(published.values().map(Vec::len).sum::<usize>(), 30, "{step} {fault:?}");
            for payloads in published.values() {
                let numbers: Vec<u32> = payloads.iter().map(|text| text.parse().unwrap()).collect();
                assert!(numbers.is_sorted(), "{step} {fault:?}: {numbers:?}");
            }
            assert_eq!(store.stats().await.unwrap().dead_letters, 1, "{step} {fault:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn while_settling_lags_behind_a_failure_no_event_is_read_or_published_twice() {
    let (store, bus) = (Sluggish::default(), MemoryBus::new());
    bus.faults().fail(3, Fault::Before);
    bus.set_max_payload(20);
    let mut events: Vec<_> =
        (0..40).map(|n| event(&format!("a{}", n % 4), n.to_string())).collect();
    events.insert(25, event("a9", "a payload that is too long"));
    commit(&store.inner, &events).await;
    let relay = Running::start(builder(&store, &bus).batch(4).max_in_flight(3));
    settled(&store.inner).await;
    relay.stop().await;
    assert_eq!(bus.records(&topic()).len(), 40, "no failure left an outcome unknown");
    assert_eq!(store.inner.stats().await.unwrap().dead_letters, 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_acknowledged_while_a_settlement_fails_is_settled_with_it() {
    let (store, bus) = (Sluggish::default(), MemoryBus::new());
    store.failures.store(2, Ordering::SeqCst);
    let relay = Running::start(builder(&store, &bus).batch(2));
    for n in 0..30 {
        commit(&store.inner, &[event("a", n.to_string())]).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let all = tokio::time::timeout(Duration::from_secs(60), settled(&store.inner)).await;
    assert!(all.is_ok(), "{:?}", store.inner.stats().await);
    relay.stop().await;
    assert_eq!(bus.records(&topic()).len(), 30);
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_cannot_renew_publishes_nothing_once_its_lease_may_be_anothers() {
    let (store, bus) = (Sluggish::default(), MemoryBus::new());
    let relay = Running::start(builder(&store, &bus));
    commit(&store.inner, &[event("a", "in time")]).await;
    settled(&store.inner).await;
    store.stalled.store(true, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(3)).await;
    // Another takes the lease, and holds it without working.
    let thief = RelayId::new(&crate::Label::new("thief").unwrap());
    let taken = loop {
        match store.acquire(&thief, Duration::from_secs(3600)).await.unwrap() {
            Acquired::Held(lease) => break lease,
            Acquired::Elsewhere { expires_in, .. } => tokio::time::sleep(expires_in).await,
        }
    };
    commit(&store.inner, &[event("a", "too late")]).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(bus.records(&topic()).len(), 1, "epoch {} works", taken.epoch);
    relay.stop().await;
}

/// Takes everything and answers for nothing, as a client does whose broker is gone.
struct Mute;

impl EventBus for Mute {
    fn publish(&self, _: Vec<Record>) -> BoxFuture<'static, Vec<Result<Receipt>>> {
        Box::pin(std::future::pending())
    }

    fn recover(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async { Ok(()) })
    }
}

#[tokio::test(start_paused = true)]
async fn a_person_is_told_when_the_broker_answers_for_nothing() {
    let store = MemoryStore::new();
    commit(&store, &[event("a", "0")]).await;
    let told = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&told);
    let relay = Relay::builder(store.clone(), Mute).drain_timeout(Duration::from_secs(1)).on_error(
        move |notice| {
            assert_eq!(notice.error.kind(), ErrorKind::Unavailable);
            counter.fetch_add(1, Ordering::SeqCst);
        },
    );
    let relay = Running::start(relay);
    tokio::time::sleep(Duration::from_secs(65)).await;
    relay.stop().await;
    assert_eq!(told.load(Ordering::SeqCst), 6);
    let stats = store.stats().await.unwrap();
    assert_eq!((stats.backlog, stats.dead_letters), (1, 0));
}

/// Fails for one aggregate type with an error that nobody can place.
#[derive(Clone)]
struct Picky {
    inner: MemoryBus,
    halted: Arc<AtomicBool>,
}

impl EventBus for Picky {
    fn publish(&self, mut records: Vec<Record>) -> BoxFuture<'static, Vec<Result<Receipt>>> {
        let refused = |record: &Record| record.envelope.aggregate_type.as_str() == "cursed";
        let count = records.len();
        let taken = if self.halted.load(Ordering::SeqCst) {
            0
        } else {
            records.iter().position(refused).unwrap_or(count)
        };
        if taken < count {
            self.halted.store(true, Ordering::SeqCst);
        }
        records.truncate(taken);
        let first = self.inner.publish(records);
        Box::pin(async move {
            let mut results = first.await;
            for at in taken..count {
                let kind = if at == taken { ErrorKind::Other } else { ErrorKind::Halted };
                results.push(Err(Error::new(kind, "publish")));
            }
            results
        })
    }

    fn recover(&self) -> BoxFuture<'_, Result<()>> {
        self.halted.store(false, Ordering::SeqCst);
        Box::pin(async { Ok(()) })
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_that_nobody_can_place_holds_back_its_aggregate_type_only() {
    let (store, inner) = (MemoryStore::new(), MemoryBus::new());
    let bus = Picky { inner: inner.clone(), halted: Arc::default() };
    let cursed = Envelope::new(
        EventType::new("cursed.happened", 1).unwrap(),
        AggregateType::new("cursed").unwrap(),
        AggregateId::new("c").unwrap(),
        "x",
    );
    commit(&store, &[cursed]).await;
    for n in 0..20 {
        commit(&store, &[event("a", n.to_string())]).await;
    }
    let relay = Running::start(Relay::builder(store.clone(), bus).batch(3).seed(7));
    inner.wait_for(&topic(), 20).await;
    relay.stop().await;
    assert_eq!(per_key(&inner.records(&topic()))["a"].len(), 20);
    let stats = store.stats().await.unwrap();
    assert_eq!((stats.backlog, stats.dead_letters), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_is_woken_looks_at_once_however_long_it_would_wait() {
    let (store, bus) = (MemoryStore::new(), MemoryBus::new());
    let hour = Duration::from_secs(3600);
    let relay = builder(&store, &bus).lease_ttl(hour).poll_interval(hour, hour).build();
    let (wake_up, shutdown) = (relay.wake_up(), CancellationToken::new());
    let relay = tokio::spawn(relay.run(shutdown.clone()));
    for n in 1..=5 {
        tokio::time::sleep(Duration::from_secs(10)).await;
        commit(&store, &[event("a", n.to_string())]).await;
        wake_up.wake();
        let waited = tokio::time::timeout(Duration::from_secs(1), bus.wait_for(&topic(), n)).await;
        assert!(waited.is_ok(), "event {n} waited for the poll");
    }
    shutdown.cancel();
    relay.await.unwrap().unwrap();
}
