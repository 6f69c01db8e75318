//! Many events in one transaction, and what becomes of them when one fails.

use std::collections::BTreeMap;

use super::*;
use crate::memory::partition_of;

#[tokio::test(start_paused = true)]
async fn events_of_a_partition_share_transactions() {
    let (bus, store) = (MemoryBus::new(), MemoryStore::new());
    for n in 0..100 {
        send(&bus, &store, "a", n);
    }
    let before = store.faults().steps();
    let consumer = builder(&bus, &store).on::<Counted, _>(Append::default()).build().unwrap();
    let consumer = Running::start(consumer);
    until(|| store.get("a").is_some_and(|list| list.ends_with("99,"))).await;
    consumer.stop().await;
    // Two for the past of the partition, then begin, mark and commit for 16, 32 and 52 events, and one
    // for the orderly stop.
    assert_eq!(store.faults().steps() - before, 2 + 3 * 3 + 1);
    let expected: String = (0..100).map(|n| format!("{n},")).collect();
    assert_eq!(store.get("a").unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_repeat_inside_a_batch_has_no_second_effect() {
    let (bus, store) = (MemoryBus::new(), MemoryStore::new());
    let records: Vec<_> = (0..4).map(|n| send(&bus, &store, "a", n)).collect();
    for record in records {
        bus.append(&topic(), record);
    }
    send(&bus, &store, "a", 4);
    let consumer = builder(&bus, &store).on::<Counted, _>(Append::default()).build().unwrap();
    let consumer = Running::start(consumer);
    until(|| store.get("a").is_some()).await;
    consumer.stop().await;
    assert_eq!(store.get("a").unwrap(), "0,1,2,3,4,");
}

#[tokio::test(start_paused = true)]
async fn one_bad_event_costs_its_neighbours_one_retry_and_nothing_else() {
    let (bus, store) = (MemoryBus::new(), MemoryStore::new());
    for n in 0..16 {
        send(&bus, &store, "a", n);
    }
    let handler = Append { poison: Some(15), ..Append::default() };
    let consumer = builder(&bus, &store).on::<Counted, _>(handler.clone()).build().unwrap();
    let consumer = Running::start(consumer);
    until(|| !dead_letters(&bus).is_empty()).await;
    consumer.stop().await;
    assert_eq!(handler.calls.load(Ordering::SeqCst), 2 * 15, "each good one ran twice");
    let expected: String = (0..15).map(|n| format!("{n},")).collect();
    assert_eq!(store.get("a").unwrap(), expected);
    assert_eq!(dead_letters(&bus)[0].header("dlq-attempts").unwrap(), b"1");
}

/// Writes down when it begins and ends, and takes its time.
#[derive(Clone, Default)]
struct Slow {
    log: Arc<Mutex<Vec<String>>>,
}

#[async_trait]
impl EventHandler<Counted, MemoryTx> for Slow {
    async fn handle(
        &self,
        tx: &mut MemoryTx,
        event: &Counted,
        _: &Envelope,
    ) -> Result<(), HandlerError> {
        let line = format!("{}{}", event.key, event.n);
        self.log.lock().unwrap().push(format!("+{line}"));
        tokio::time::sleep(Duration::from_millis(100)).await;
        self.log.lock().unwrap().push(format!("-{line}"));
        tx.put(line, "done");
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn keys_of_a_partition_are_handled_at_once_and_each_in_order() {
    let (bus, store) = (MemoryBus::new(), MemoryStore::new());
    // Keys of one partition of the in-memory broker, enough to fall into different strands.
    let mut keys: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for key in (0..200).map(|n| format!("key-{n}-")) {
        let partition = partition_of(Some(key.as_bytes()));
        keys.entry(partition).or_default().push(key);
    }
    let keys = &keys.values().next().unwrap()[..8];
    for n in 0..5 {
        for key in keys {
            send(&bus, &store, key, n);
        }
    }
    let handler = Slow::default();
    let consumer = builder(&bus, &store)
        .concurrency(8)
        .max_batch(1)
        .on::<Counted, _>(handler.clone())
        .build()
        .unwrap();
    let since = Instant::now();
    let consumer = Running::start(consumer);
    until(|| store.values().len() == 5 * keys.len()).await;
    let took = since.elapsed();
    consumer.stop().await;
    assert!(took < Duration::from_millis(40 * 100), "one after the other it takes 4 s: {took:?}");
    let log = handler.log.lock().unwrap();
    for key in keys {
        let own: Vec<_> = log.iter().filter(|line| line[1..].starts_with(key)).cloned().collect();
        let expected: Vec<_> =
            (0..5).flat_map(|n| [format!("+{key}{n}"), format!("-{key}{n}")]).collect();
        assert_eq!(own, expected);
    }
}

/// A key that hangs must not let the offset pass it.
#[tokio::test(start_paused = true)]
async fn the_offset_moves_on_only_as_far_as_everything_before_it_is_done() {
    let (bus, store) = (MemoryBus::new(), MemoryStore::new());
    let mut keys = (0..).map(|n| format!("key-{n}"));
    let partition = partition_of(Some(b"stuck"));
    let others: Vec<_> = keys
        .by_ref()
        .filter(|key| partition_of(Some(key.as_bytes())) == partition)
        .take(20)
        .collect();
    send(&bus, &store, &others[0], 0);
    send(&bus, &store, "stuck", 1);
    for key in &others {
        send(&bus, &store, key, 2);
    }
    let hangs = HangsAt { n: 1, inner: Append::default() };
    let crashing = builder(&bus, &store).concurrency(4).on::<Counted, _>(hangs).build().unwrap();
    let crashing = Running::start(crashing);
    // What shares the stuck one's strand waits behind it.
    until(|| store.values().len() >= 10).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    crashing.task.abort();
    assert!(crashing.task.await.unwrap_err().is_cancelled());

    let consumer = builder(&bus, &store).on::<Counted, _>(Append::default()).build().unwrap();
    let consumer = Running::start(consumer);
    until(|| store.get("stuck").is_some() && store.values().len() == 21).await;
    consumer.stop().await;
    assert_eq!(store.get("stuck").unwrap(), "1,");
    assert_eq!(store.get(&others[0]).unwrap(), "0,2,");
    assert!(others[1..].iter().all(|key| store.get(key).unwrap() == "2,"));
}

/// Never ends with one number.
struct HangsAt {
    n: u32,
    inner: Append,
}

#[async_trait]
impl EventHandler<Counted, MemoryTx> for HangsAt {
    async fn handle(
        &self,
        tx: &mut MemoryTx,
        event: &Counted,
        envelope: &Envelope,
    ) -> Result<(), HandlerError> {
        if event.n == self.n {
            std::future::pending::<()>().await;
        }
        self.inner.handle(tx, event, envelope).await
    }
}

#[tokio::test(start_paused = true)]
async fn slow_handlers_make_small_transactions() {
    let (bus, store) = (MemoryBus::new(), MemoryStore::new());
    for n in 0..60 {
        send(&bus, &store, "a", n);
    }
    let handler = Slow::default();
    let consumer = builder(&bus, &store).on::<Counted, _>(handler).build().unwrap();
    let consumer = Running::start(consumer);
    let mut commits = vec![0];
    until(|| {
        let done = store.values().len();
        if commits.last() != Some(&done) {
            commits.push(done);
        }
        done == 60
    })
    .await;
    consumer.stop().await;
    // 16 events took 1.6 s; half a second is aimed at.
    let sizes: Vec<_> = commits.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(sizes[0], 16);
    assert!(sizes[1..].iter().all(|size| *size <= 5), "{sizes:?}");
}
