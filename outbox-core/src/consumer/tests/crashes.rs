//! Events that the process dies of.

use super::*;

/// Dies with one number: its consumer is aborted where it stands, as by a signal.
struct Deadly {
    n: u32,
    inner: Append,
    died: Arc<AtomicU32>,
}

#[async_trait]
impl EventHandler<Counted, MemoryTx> for Deadly {
    async fn handle(
        &self,
        tx: &mut MemoryTx,
        event: &Counted,
        envelope: &Envelope,
    ) -> Result<(), HandlerError> {
        if event.n == self.n {
            self.died.fetch_add(1, Ordering::SeqCst);
            std::future::pending::<()>().await;
        }
        self.inner.handle(tx, event, envelope).await
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_that_kills_the_process_is_found_and_dead_lettered_after_its_limit() {
    let (bus, store) = (MemoryBus::new(), MemoryStore::new());
    let poison = 7;
    for n in 0..12 {
        send(&bus, &store, &format!("k{}", n % 3), n);
    }
    let died = run_until_it_lives(&bus, &store, poison, || {
        (0..3).map(|k| count(&store, &format!("k{k}"))).sum::<usize>() == 11
    })
    .await;
    // Twice in a batch, three times alone, and no sixth time.
    assert_eq!(died, 5);
    let dead = dead_letters(&bus);
    assert_eq!(dead.len(), 1, "its neighbours and the other partitions are innocent");
    assert_eq!(dead[0].header("dlq-error-kind").unwrap(), b"crashed");
    assert_eq!(dead[0].header("dlq-attempts").unwrap(), b"3");
    assert_eq!(store.get("k0").unwrap(), "0,3,6,9,");
    assert_eq!(store.get("k1").unwrap(), "1,4,10,");
    assert_eq!(store.get("k2").unwrap(), "2,5,8,11,");
}

/// Starts a consumer again each time one died, until one handles all; gives how many died.
async fn run_until_it_lives(
    bus: &MemoryBus,
    store: &MemoryStore,
    poison: u32,
    all: impl Fn() -> bool + Send + Sync,
) -> u32 {
    let died = Arc::new(AtomicU32::new(0));
    for _ in 0..20 {
        let before = died.load(Ordering::SeqCst);
        let handler = Deadly { n: poison, inner: Append::default(), died: Arc::clone(&died) };
        let consumer =
            Running::start(builder(bus, store).on::<Counted, _>(handler).build().unwrap());
        until(|| died.load(Ordering::SeqCst) > before || all()).await;
        if died.load(Ordering::SeqCst) == before {
            consumer.stop().await;
            return before;
        }
        consumer.task.abort();
        assert!(consumer.task.await.unwrap_err().is_cancelled());
    }
    panic!("it goes on for ever");
}

#[tokio::test(start_paused = true)]
async fn it_is_found_far_behind_the_place_where_the_process_began() {
    let (bus, store) = (MemoryBus::new(), MemoryStore::new());
    for n in 0..200 {
        send(&bus, &store, "a", n);
    }
    let died = run_until_it_lives(&bus, &store, 163, || count(&store, "a") == 199).await;
    // The first two deaths left their successors nearer to it; then twice together and three times alone.
    assert_eq!(died, 7);
    assert_eq!(dead_letters(&bus).len(), 1);
}

fn count(store: &MemoryStore, key: &str) -> usize {
    store.get(key).unwrap_or_default().matches(',').count()
}

#[tokio::test(start_paused = true)]
async fn orderly_stops_are_no_crashes() {
    let (bus, store) = (MemoryBus::new(), MemoryStore::new());
    for n in 0..3 {
        send(&bus, &store, "a", n);
    }
    let died = Arc::new(AtomicU32::new(0));
    for _ in 0..5 {
        let before = died.load(Ordering::SeqCst);
        let handler = Deadly { n: 0, inner: Append::default(), died: Arc::clone(&died) };
        let consumer = builder(&bus, &store)
            .drain_timeout(Duration::from_millis(10))
            .handler_timeout(Duration::from_secs(3600))
            .on::<Counted, _>(handler)
            .build()
            .unwrap();
        let consumer = Running::start(consumer);
        until(|| died.load(Ordering::SeqCst) > before).await;
        consumer.stop().await;
    }
    let steps = store.faults().steps();
    let consumer = builder(&bus, &store).on::<Counted, _>(Append::default()).build().unwrap();
    let consumer = Running::start(consumer);
    until(|| store.get("a").is_some()).await;
    consumer.stop().await;
    assert_eq!(store.get("a").unwrap(), "0,1,2,");
    // The past, one transaction, and the stop.
    assert_eq!(store.faults().steps() - steps, 2 + 3 + 1, "nobody was careful");
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_is_read_again_from_its_beginning_is_no_crash() {
    let (bus, store) = (MemoryBus::new(), MemoryStore::new());
    for n in 0..20 {
        send(&bus, &store, "a", n);
    }
    for reading in 0..5 {
        let group = ConsumerName::new(format!("reading-{reading}")).unwrap();
        let source = MemorySource::new(&bus, group, vec![topic()]);
        let steps = store.faults().steps();
        let consumer = Consumer::builder("test", source, store.clone())
            .on::<Counted, _>(Append::default())
            .build()
            .unwrap();
        let consumer = Running::start(consumer);
        tokio::time::sleep(Duration::from_secs(1)).await;
        consumer.stop().await;
        // The past of the partition, two transactions, and that it stopped: nobody was careful.
        assert!(store.faults().steps() - steps <= 2 + 2 * 3 + 1, "reading {reading}");
    }
    assert_eq!(count(&store, "a"), 20);
}
