mod batches;
mod crashes;
mod housekeeping;
mod outside;
mod preparing;
mod redelivery;
mod versions;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use super::*;
use crate::{
    ConsumerName, DomainEvent, Envelope, ErrorKind, EventHandler, EventType, HandlerError, Outbox,
    PermanentExt, RetryPolicy, TopicName, TraceContext,
    memory::{Fault, MemoryBus, MemorySource, MemoryStore, MemoryTx, StoredRecord},
};

#[derive(Debug, Serialize, Deserialize)]
struct Counted {
    key: String,
    n: u32,
}

impl DomainEvent for Counted {
    const EVENT_TYPES: &'static [EventType] = &[EventType::from_static("thing.counted", 1)];

    fn event_type(&self) -> EventType {
        EventType::from_static("thing.counted", 1)
    }

    fn aggregate_type(&self) -> &'static str {
        "thing"
    }

    fn aggregate_id(&self) -> String {
        self.key.clone()
    }

    fn partition_key(&self) -> Option<String> {
        None
    }
}

/// Appends each event's number to its key's list: an effect that shows repeats and order.
#[derive(Clone, Default)]
struct Append {
    calls: Arc<AtomicU32>,
    /// Fails so many calls first.
    failures: u32,
    /// Numbers it never takes.
    poison: Option<u32>,
    panics: bool,
}

#[async_trait]
impl EventHandler<Counted, MemoryTx> for Append {
    async fn handle(
        &self,
        tx: &mut MemoryTx,
        event: &Counted,
        _: &Envelope,
    ) -> Result<(), HandlerError> {
        let list = tx.get(&event.key).unwrap_or_default();
        tx.put(&event.key, format!("{list}{},", event.n));
        if self.poison == Some(event.n) {
            Err("poison").permanent()?;
        }
        if self.calls.fetch_add(1, Ordering::SeqCst) < self.failures {
            assert!(!self.panics, "told to panic");
            return Err(HandlerError::retryable("not yet"));
        }
        Ok(())
    }
}

const TOPIC: &str = "thing-events.v1";

fn topic() -> TopicName {
    TopicName::new(TOPIC).unwrap()
}

fn dead_letters(bus: &MemoryBus) -> Vec<StoredRecord> {
    bus.records(&TopicName::new(format!("{TOPIC}.dlq")).unwrap())
}

fn send(bus: &MemoryBus, store: &MemoryStore, key: &str, n: u32) -> StoredRecord {
    let event = Counted { key: key.to_owned(), n };
    let envelope = Outbox::new(store.clone()).envelope(&event).unwrap();
    let record = record(&envelope);
    bus.append(&topic(), record.clone());
    record
}

fn record(envelope: &Envelope) -> StoredRecord {
    let mut headers = Vec::new();
    crate::cloudevents::headers(envelope, |name, value| {
        headers.push((name.into(), bytes::Bytes::copy_from_slice(value)));
    });
    let key = bytes::Bytes::from(envelope.key().as_str().to_owned());
    StoredRecord::new(Some(key), Some(envelope.payload.clone()), headers)
}

fn builder(bus: &MemoryBus, store: &MemoryStore) -> ConsumerBuilder<MemorySource, MemoryStore> {
    let group = ConsumerName::new("test").unwrap();
    Consumer::builder("test", MemorySource::new(bus, group, vec![topic()]), store.clone())
        .retry(RetryPolicy::default().base(Duration::from_millis(5)).max_attempts(3))
        .seed(7)
}

struct Running {
    shutdown: CancellationToken,
    task: JoinHandle<Result<()>>,
}

impl Running {
    fn start(consumer: Consumer<MemorySource, MemoryStore>) -> Self {
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(consumer.run(shutdown.clone()));
        Self { shutdown, task }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }
}

async fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_redelivered_event_has_its_effect_once() {
    let (bus, store) = (MemoryBus::new(), MemoryStore::new());
    let first = send(&bus, &store, "a", 1);
    bus.append(&topic(), first.clone());
    send(&bus, &store, "a", 2);
    bus.append(&topic(), first);
    let consumer =
        Running::start(builder(&bus, &store).on::<Counted, _>(Append::default()).build().unwrap());
    send(&bus, &store, "a", 3);
    until(|| store.get("a").is_some_and(|list| list.ends_with("3,"))).await;
    consumer.stop().await;
    assert_eq!(store.get("a").unwrap(), "1,2,3,");
}

#[tokio::test(start_paused = true)]
async fn a_failed_handler_leaves_neither_effect_nor_mark_and_is_retried_in_place() {
    for panics in [false, true] {
        let (bus, store) = (MemoryBus::new(), MemoryStore::new());
        let handler = Append { failures: 2, panics, ..Append::default() };
        let consumer = Running::start(
            builder(&bus, &store).on::<Counted, _>(handler.clone()).build().unwrap(),
        );
        for n in 0..5 {
            send(&bus, &store, "a", n);
        }
        until(|| store.get("a").is_some_and(|list| list.ends_with("4,"))).await;
        consumer.stop().await;
        assert_eq!(store.get("a").unwrap(), "0,1,2,3,4,");
        assert_eq!(handler.calls.load(Ordering::SeqCst), 7);
        assert!(dead_letters(&bus).is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_poison_event_goes_to_the_dead_letters_byte_for_byte_and_the_rest_goes_on() {
    let (bus, store) = (MemoryBus::new(), MemoryStore::new());
    let notices = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&notices);
    let consumer = builder(&bus, &store)
        .on::<Counted, _>(Append { poison: Some(2), ..Append::default() })
        .on_dead_letter(move |notice| {
            seen.lock().unwrap().push((notice.event_id, notice.attempts, notice.reason.to_owned()));
        })
        .build()
        .unwrap();
    let records: Vec<_> = (1..=3).map(|n| send(&bus, &store, "a", n)).collect();
    let consumer = Running::start(consumer);
    until(|| store.get("a").is_some_and(|list| list.ends_with("3,"))).await;
    consumer.stop().await;
    assert_eq!(store.get("a").unwrap(), "1,3,");
    let dead = dead_letters(&bus);
    assert_eq!(dead.len(), 1);
    assert_eq!((&dead[0].key, &dead[0].value), (&records[1].key, &records[1].value));
    assert_eq!(dead[0].headers[..records[1].headers.len()], records[1].headers);
    assert_eq!(dead[0].header("dlq-original-topic").unwrap(), TOPIC.as_bytes());
    assert_eq!(dead[0].header("dlq-attempts").unwrap(), b"1");
    assert_eq!(dead[0].header("dlq-error").unwrap(), b"poison");
    assert_eq!(notices.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn attempts_are_limited_but_infrastructure_failures_charge_none() {
    let (bus, store) = (MemoryBus::new(), MemoryStore::new());
    let handler = Append { failures: u32::MAX, ..Append::default() };
    send(&bus, &store, "a", 1);
    // Lookup, then begin, mark and commit of several tries fail: none of them is charged.
    for step in [1, 2, 4, 5, 8] {
        store.faults().fail(step, Fault::Before);
    }
    let consumer =
        Running::start(builder(&bus, &store).on::<Counted, _>(handler.clone()).build().unwrap());
    until(|| dead_letters(&bus).len() == 1).await;
    consumer.stop().await;
    assert_eq!(handler.calls.load(Ordering::SeqCst), 3);
    assert_eq!(dead_letters(&bus)[0].header("dlq-attempts").unwrap(), b"3");
    assert_eq!(store.get("a"), None);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_event_for_us_is_skipped_or_dead_lettered_never_lost_and_never_a_panic() {
    let (bus, store) = (MemoryBus::new(), MemoryStore::new());
    let good = send(&bus, &store, "a", 1);
    let with = |name: &str, value: Option<&str>| {
        let mut record = good.clone();
        record.headers.retain(|(known, _)| known != name);
        if let Some(value) = value {
            record.headers.push((name.into(), value.to_owned().into()));
        }
        record
    };
    let mut malformed = good.clone();
    malformed.value = Some("{\"key\": 7".into());
    let id = |record: &mut StoredRecord| {
        let id = crate::EventId::new().to_string();
        record.headers.retain(|(known, _)| known != "ce_id");
        record.headers.push(("ce_id".into(), id.into()));
    };
    id(&mut malformed);
    let mut newer = with("ce_type", Some("thing.counted.v2"));
    id(&mut newer);
    let mut stranger = with("ce_type", Some("stranger.came.v1"));
    id(&mut stranger);
    let mut tombstone = good.clone();
    tombstone.value = None;
    // With an id that was handled before, they would be repeats, and be read no further.
    let mut untimely = with("ce_time", Some("yesterday"));
    id(&mut untimely);
    let mut excessive = with("tenant", Some(&"x".repeat(5000)));
    id(&mut excessive);
    let bad = [
        malformed,
        newer,
        tombstone,
        with("ce_id", None),
        with("ce_id", Some("no uuid")),
        with("ce_type", Some("no version")),
        untimely,
        excessive,
    ];
    for record in &bad {
        bus.append(&topic(), record.clone());
    }
    bus.append(&topic(), stranger.clone());
    send(&bus, &store, "a", 2);
    let consumer =
        Running::start(builder(&bus, &store).on::<Counted, _>(Append::default()).build().unwrap());
    until(|| store.get("a").is_some_and(|list| list.ends_with("2,"))).await;
    consumer.stop().await;
    assert_eq!(store.get("a").unwrap(), "1,2,");
    let dead = dead_letters(&bus);
    assert_eq!(dead.len(), bad.len());
    assert!(dead.iter().all(|record| record.header("ce_type") != stranger.header("ce_type")));

    let refusing = builder(&bus, &store)
        .unknown_events(UnknownEvents::Refuse)
        .on::<Counted, _>(Append::default())
        .build()
        .unwrap();
    let refusing = Running::start(refusing);
    id(&mut stranger);
    bus.append(&topic(), stranger);
    until(|| dead_letters(&bus).len() == bad.len() + 1).await;
    refusing.stop().await;
}

/// Enqueues an event of its own.
struct Follow(Outbox<MemoryStore>);

#[async_trait]
impl EventHandler<Counted, MemoryTx> for Follow {
    async fn handle(
        &self,
        tx: &mut MemoryTx,
        event: &Counted,
        envelope: &Envelope,
    ) -> Result<(), HandlerError> {
        assert_eq!(crate::EventContext::current().consumer().unwrap().as_str(), "test");
        assert_eq!(envelope.aggregate_id.as_str(), event.key);
        self.0.enqueue(tx, &Counted { key: "follower".to_owned(), n: event.n }).await?;
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn events_raised_by_a_handler_inherit_correlation_trace_and_cause() {
    let (bus, store) = (MemoryBus::new(), MemoryStore::new());
    let outbox = Outbox::builder(store.clone()).source("test").unwrap().build();
    let trace =
        TraceContext::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", None)
            .unwrap();
    let context = crate::EventContext::new()
        .with_correlation_id(crate::Label::new("request-17").unwrap())
        .with_user_id(crate::Label::new("ada").unwrap())
        .with_trace(trace.clone());
    let cause = context
        .scope(async { outbox.envelope(&Counted { key: "a".to_owned(), n: 1 }) })
        .await
        .unwrap();
    bus.append(&topic(), record(&cause));
    let consumer = Running::start(
        builder(&bus, &store).on::<Counted, _>(Follow(outbox.clone())).build().unwrap(),
    );
    let mut reader = crate::OutboxStore::reader(&store).await.unwrap();
    let follower = loop {
        let mut rows = reader.read(&crate::ReadRequest::new(1)).await.unwrap();
        if let Some(row) = rows.pop() {
            break row.envelope.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    consumer.stop().await;
    assert_eq!(follower.metadata.correlation_id.unwrap().as_str(), "request-17");
    assert_eq!(follower.metadata.causation_id, Some(cause.event_id));
    assert_eq!(follower.metadata.user_id.unwrap().as_str(), "ada");
    assert_eq!(follower.metadata.trace, Some(trace));
}

#[tokio::test(start_paused = true)]
async fn several_handlers_of_one_event_succeed_or_fail_together() {
    let (bus, store) = (MemoryBus::new(), MemoryStore::new());
    let second = Append { failures: 1, ..Append::default() };
    let consumer = builder(&bus, &store)
        .on::<Counted, _>(Append::default())
        .on::<Counted, _>(second)
        .build()
        .unwrap();
    send(&bus, &store, "a", 1);
    let consumer = Running::start(consumer);
    until(|| store.get("a").is_some()).await;
    consumer.stop().await;
    assert_eq!(store.get("a").unwrap(), "1,1,");
}

/// Takes for ever.
struct Stuck;

#[async_trait]
impl EventHandler<Counted, MemoryTx> for Stuck {
    async fn handle(
        &self,
        tx: &mut MemoryTx,
        _: &Counted,
        _: &Envelope,
    ) -> Result<(), HandlerError> {
        tx.put("stuck", "committed");
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_takes_too_long_is_rolled_back_and_charged() {
    let (bus, store) = (MemoryBus::new(), MemoryStore::new());
    send(&bus, &store, "a", 1);
    let consumer = builder(&bus, &store)
        .handler_timeout(Duration::from_millis(50))
        .on::<Counted, _>(Stuck)
        .build()
        .unwrap();
    let consumer = Running::start(consumer);
    until(|| dead_letters(&bus).len() == 1).await;
    consumer.stop().await;
    assert_eq!(dead_letters(&bus)[0].header("dlq-error-kind").unwrap(), b"timeout");
    assert_eq!(store.get("stuck"), None);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_waits_for_the_event_under_way_up_to_the_deadline() {
    let (bus, store) = (MemoryBus::new(), MemoryStore::new());
    send(&bus, &store, "a", 1);
    let consumer = builder(&bus, &store)
        .handler_timeout(Duration::from_secs(3600))
        .drain_timeout(Duration::from_secs(2))
        .on::<Counted, _>(Stuck)
        .build()
        .unwrap();
    let consumer = Running::start(consumer);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let since = Instant::now();
    consumer.stop().await;
    assert!((2..3).contains(&since.elapsed().as_secs()), "{:?}", since.elapsed());
    assert_eq!(store.get("stuck"), None);

    // Nothing was acknowledged: the next one gets it.
    let consumer =
        Running::start(builder(&bus, &store).on::<Counted, _>(Append::default()).build().unwrap());
    until(|| store.get("a").is_some()).await;
    consumer.stop().await;
}

/// Every operation of the store fails once, before or after it did its work, in turn.
#[tokio::test(start_paused = true)]
async fn a_fault_at_any_step_makes_no_effect_twice_and_loses_none() {
    let settings = [(1, 1, 60), (100, 1, 30), (100, 3, 40), (3, 2, 40)];
    for (max_batch, concurrency, step) in settings
        .into_iter()
        .flat_map(|(batch, strands, steps)| (1..steps).map(move |step| (batch, strands, step)))
    {
        for fault in [Fault::Before, Fault::After] {
            let (bus, store) = (MemoryBus::new(), MemoryStore::new());
            for n in 0..12 {
                send(&bus, &store, &format!("k{}", n % 2), n);
            }
            store.faults().fail(step, fault);
            let handler = Append { poison: Some(4), ..Append::default() };
            let consumer = builder(&bus, &store)
                .max_batch(max_batch)
                .concurrency(concurrency)
                .on::<Counted, _>(handler)
                .build()
                .unwrap();
            let consumer = Running::start(consumer);
            let (even, odd) = ("0,2,6,8,10,", "1,3,5,7,9,11,");
            until(|| {
                store.get("k0").is_some_and(|list| list.len() >= even.len())
                    && store.get("k1").is_some_and(|list| list.len() >= odd.len())
            })
            .await;
            consumer.stop().await;
            let case = format!("{max_batch} {concurrency} {step} {fault:?}");
            assert_eq!(store.get("k0").unwrap(), even, "{case}");
            assert_eq!(store.get("k1").unwrap(), odd, "{case}");
            assert_eq!(dead_letters(&bus).len(), 1, "{case}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_between_dead_letter_and_acknowledgement_runs_nothing_again() {
    for decided_only in [true, false] {
        let (bus, store) = (MemoryBus::new(), MemoryStore::new());
        send(&bus, &store, "a", 1);
        let deliveries =
            MemorySource::new(&bus, ConsumerName::new("probe").unwrap(), vec![topic()]);
        let Received::Batch { partition, deliveries } = deliveries.receive().await.unwrap() else {
            panic!("a batch");
        };
        let failure = crate::Failure::new(
            ConsumerName::new("test").unwrap(),
            ErrorKind::Other,
            "before the crash".to_owned(),
            3,
            chrono::Utc::now(),
        );
        let progress =
            if decided_only { crate::GiveUp::Decided } else { crate::GiveUp::DeadLettered };
        let at = crate::GivenUpAt::new(deliveries[0].offset, deliveries[0].fingerprint(), progress);
        store.give_up(&partition, at, &failure).await.unwrap();
        let handler = Append::default();
        let consumer = Running::start(
            builder(&bus, &store).on::<Counted, _>(handler.clone()).build().unwrap(),
        );
        send(&bus, &store, "a", 2);
        until(|| store.get("a").is_some()).await;
        consumer.stop().await;
        assert_eq!(store.get("a").unwrap(), "2,");
        assert_eq!(handler.calls.load(Ordering::SeqCst), 1);
        assert_eq!(dead_letters(&bus).len(), usize::from(decided_only));
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_before_the_dead_letter_is_written_writes_it_and_runs_nothing_again() {
    let (bus, store) = (MemoryBus::new(), MemoryStore::new());
    send(&bus, &store, "a", 1);
    (1..10).for_each(|nth| bus.faults().fail(nth, Fault::Before));
    let refused = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&refused);
    let consumer = builder(&bus, &store)
        .on::<Counted, _>(Append { poison: Some(1), ..Append::default() })
        .on_error(move |_| {
            counter.fetch_add(1, Ordering::SeqCst);
        })
        .build()
        .unwrap();
    let crashing = Running::start(consumer);
    until(|| refused.load(Ordering::SeqCst) > 0).await;
    crashing.task.abort();
    assert!(crashing.task.await.unwrap_err().is_cancelled());
    assert!(dead_letters(&bus).is_empty());

    let mended = Append::default();
    let consumer =
        Running::start(builder(&bus, &store).on::<Counted, _>(mended.clone()).build().unwrap());
    until(|| dead_letters(&bus).len() == 1).await;
    consumer.stop().await;
    assert_eq!(mended.calls.load(Ordering::SeqCst), 0);
    assert_eq!(store.get("a"), None);
}

/// Refuses 1 for good, and never ends with any other.
struct RefuseThenHang;

#[async_trait]
impl EventHandler<Counted, MemoryTx> for RefuseThenHang {
    async fn handle(
        &self,
        _: &mut MemoryTx,
        event: &Counted,
        _: &Envelope,
    ) -> Result<(), HandlerError> {
        if event.n == 1 {
            Err("poison").permanent()?;
        }
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_after_the_dead_letter_is_written_writes_no_second_one() {
    let (bus, store) = (MemoryBus::new(), MemoryStore::new());
    send(&bus, &store, "a", 1);
    send(&bus, &store, "a", 2);
    let crashing =
        Running::start(builder(&bus, &store).on::<Counted, _>(RefuseThenHang).build().unwrap());
    until(|| dead_letters(&bus).len() == 1).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    crashing.task.abort();
    assert!(crashing.task.await.unwrap_err().is_cancelled());

    let consumer =
        Running::start(builder(&bus, &store).on::<Counted, _>(Append::default()).build().unwrap());
    until(|| store.get("a").is_some()).await;
    consumer.stop().await;
    assert_eq!(store.get("a").unwrap(), "2,");
    assert_eq!(dead_letters(&bus).len(), 1);
}

/// Fails with an error of the library's own, as its outbox would.
struct Enqueueing(ErrorKind);

#[async_trait]
impl EventHandler<Counted, MemoryTx> for Enqueueing {
    async fn handle(
        &self,
        _: &mut MemoryTx,
        _: &Counted,
        _: &Envelope,
    ) -> Result<(), HandlerError> {
        Err(Error::new(self.0, "write to the outbox"))?;
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_missing_outbox_table_ends_the_consumer_rather_than_dead_lettering_good_events() {
    let (bus, store) = (MemoryBus::new(), MemoryStore::new());
    send(&bus, &store, "a", 1);
    let consumer =
        builder(&bus, &store).on::<Counted, _>(Enqueueing(ErrorKind::Schema)).build().unwrap();
    let error = consumer.run(CancellationToken::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Schema);
    assert!(dead_letters(&bus).is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_the_outbox_refuses_for_good_is_given_up_on_at_once() {
    let (bus, store) = (MemoryBus::new(), MemoryStore::new());
    send(&bus, &store, "a", 1);
    let consumer =
        builder(&bus, &store).on::<Counted, _>(Enqueueing(ErrorKind::TooLarge)).build().unwrap();
    let consumer = Running::start(consumer);
    until(|| dead_letters(&bus).len() == 1).await;
    consumer.stop().await;
    assert_eq!(dead_letters(&bus)[0].header("dlq-attempts").unwrap(), b"1");
    assert_eq!(dead_letters(&bus)[0].header("dlq-error-kind").unwrap(), b"too_large");
}

#[tokio::test(start_paused = true)]
async fn an_event_that_was_redriven_for_another_consumer_is_passed_over() {
    let (bus, store) = (MemoryBus::new(), MemoryStore::new());
    for (n, consumer) in [(1, "another"), (2, "test")] {
        let event = Counted { key: "a".to_owned(), n };
        let mut redriven = record(&Outbox::new(store.clone()).envelope(&event).unwrap());
        redriven.headers.push(("redrive-consumer".into(), consumer.into()));
        bus.append(&topic(), redriven);
    }
    let consumer = builder(&bus, &store).on::<Counted, _>(Append::default()).build().unwrap();
    let consumer = Running::start(consumer);
    until(|| store.get("a").is_some()).await;
    consumer.stop().await;
    assert_eq!(store.get("a").unwrap(), "2,");
}

#[tokio::test(start_paused = true)]
async fn another_record_at_a_place_that_was_given_up_on_is_handled() {
    let (bus, store) = (MemoryBus::new(), MemoryStore::new());
    send(&bus, &store, "a", 1);
    let probe = MemorySource::new(&bus, ConsumerName::new("probe").unwrap(), vec![topic()]);
    let Received::Batch { partition, deliveries } = probe.receive().await.unwrap() else {
        panic!("a batch");
    };
    let consumer = ConsumerName::new("test").unwrap();
    let before = "in the topic of that name before".to_owned();
    let failure = crate::Failure::new(consumer, ErrorKind::Other, before, 3, chrono::Utc::now());
    for progress in [crate::GiveUp::Decided, crate::GiveUp::DeadLettered] {
        let at = crate::GivenUpAt::new(deliveries[0].offset, 42, progress);
        store.give_up(&partition, at, &failure).await.unwrap();
    }
    let consumer =
        Running::start(builder(&bus, &store).on::<Counted, _>(Append::default()).build().unwrap());
    until(|| store.get("a").is_some()).await;
    consumer.stop().await;
    assert_eq!(store.get("a").unwrap(), "1,");
    assert!(dead_letters(&bus).is_empty());
}
