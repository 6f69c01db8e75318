//! Handlers that have no transaction.

use super::*;
use crate::{AtLeastOnceHandler, IdempotencyKey};

/// Sends mail; the post office knows what it has sent by key.
#[derive(Clone, Default)]
struct Mail {
    sent: Arc<Mutex<Vec<(u32, IdempotencyKey)>>>,
    /// Fails with this number so many times, after it was sent.
    fails: Option<(u32, u32)>,
    poison: Option<u32>,
}

#[async_trait]
impl AtLeastOnceHandler<Counted> for Mail {
    async fn handle(
        &self,
        event: &Counted,
        envelope: &Envelope,
        key: IdempotencyKey,
    ) -> Result<(), HandlerError> {
        assert_eq!(key.event_id(), envelope.event_id);
        assert_eq!(key.to_string(), envelope.event_id.to_string());
        let mut sent = self.sent.lock().unwrap();
        if self.poison == Some(event.n) {
            Err("no such address").permanent()?;
        }
        sent.push((event.n, key));
        let times = sent.iter().filter(|(n, _)| *n == event.n).count();
        match self.fails {
            Some((n, limit)) if n == event.n && times <= limit as usize => {
                Err(HandlerError::retryable("the reply was lost"))
            }
            _ => Ok(()),
        }
    }
}

impl Mail {
    fn numbers(&self) -> Vec<u32> {
        self.sent.lock().unwrap().iter().map(|(n, _)| *n).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_without_a_transaction_runs_once_when_nothing_fails_and_is_marked_after() {
    let (bus, store) = (MemoryBus::new(), MemoryStore::new());
    let records: Vec<_> = (0..5).map(|n| send(&bus, &store, "a", n)).collect();
    records.iter().for_each(|record| bus.append(&topic(), record.clone()));
    let mail = Mail::default();
    let start = || {
        let consumer =
            builder(&bus, &store).on_at_least_once::<Counted, _>(mail.clone()).build().unwrap();
        Running::start(consumer)
    };
    let consumer = start();
    until(|| mail.numbers().len() >= 5).await;
    consumer.stop().await;
    assert_eq!(mail.numbers(), [0, 1, 2, 3, 4]);

    // Read again by a group that begins at the beginning: all known.
    records.iter().for_each(|record| bus.append(&topic(), record.clone()));
    send(&bus, &store, "a", 5);
    let consumer = start();
    until(|| mail.numbers().contains(&5)).await;
    consumer.stop().await;
    assert_eq!(mail.numbers(), [0, 1, 2, 3, 4, 5]);
}

#[tokio::test(start_paused = true)]
async fn after_a_failure_it_runs_again_with_the_same_key_and_its_neighbours_do_not() {
    let (bus, store) = (MemoryBus::new(), MemoryStore::new());
    for n in 0..4 {
        send(&bus, &store, "a", n);
    }
    let mail = Mail { fails: Some((2, 2)), ..Mail::default() };
    let consumer =
        builder(&bus, &store).on_at_least_once::<Counted, _>(mail.clone()).build().unwrap();
    let consumer = Running::start(consumer);
    until(|| mail.numbers().contains(&3)).await;
    consumer.stop().await;
    assert_eq!(mail.numbers(), [0, 1, 2, 2, 2, 3]);
    let sent = mail.sent.lock().unwrap();
    assert!(sent[2].1 == sent[3].1 && sent[3].1 == sent[4].1);
    assert!(dead_letters(&bus).is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_it_refuses_for_good_is_dead_lettered_in_its_turn() {
    let (bus, store) = (MemoryBus::new(), MemoryStore::new());
    for n in 0..4 {
        send(&bus, &store, "a", n);
    }
    let mail = Mail { poison: Some(1), ..Mail::default() };
    let consumer =
        builder(&bus, &store).on_at_least_once::<Counted, _>(mail.clone()).build().unwrap();
    let consumer = Running::start(consumer);
    until(|| mail.numbers().contains(&3)).await;
    consumer.stop().await;
    assert_eq!(mail.numbers(), [0, 2, 3]);
    assert_eq!(dead_letters(&bus).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_fault_at_any_step_loses_no_call_and_marks_every_event() {
    for step in 1..25 {
        for fault in [Fault::Before, Fault::After] {
            let (bus, store) = (MemoryBus::new(), MemoryStore::new());
            for n in 0..6 {
                send(&bus, &store, "a", n);
            }
            store.faults().fail(step, fault);
            let mail = Mail { fails: Some((3, 1)), ..Mail::default() };
            let consumer =
                builder(&bus, &store).on_at_least_once::<Counted, _>(mail.clone()).build().unwrap();
            let consumer = Running::start(consumer);
            until(|| mail.numbers().contains(&5)).await;
            consumer.stop().await;
            assert_eq!(mail.numbers(), [0, 1, 2, 3, 3, 4, 5], "{step} {fault:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_in_the_middle_marks_what_was_sent() {
    let (bus, store) = (MemoryBus::new(), MemoryStore::new());
    for n in 0..6 {
        send(&bus, &store, "a", n);
    }
    let mail = Mail { fails: Some((3, u32::MAX)), ..Mail::default() };
    let consumer = builder(&bus, &store)
        .retry(RetryPolicy::default().base(Duration::from_secs(60)).cap(Duration::from_secs(60)))
        .on_at_least_once::<Counted, _>(mail.clone())
        .build()
        .unwrap();
    let consumer = Running::start(consumer);
    until(|| mail.numbers().contains(&3)).await;
    consumer.stop().await;
    let before = mail.numbers();
    assert_eq!(before, [0, 1, 2, 3]);

    let again = Mail::default();
    let consumer =
        builder(&bus, &store).on_at_least_once::<Counted, _>(again.clone()).build().unwrap();
    let consumer = Running::start(consumer);
    until(|| again.numbers().contains(&5)).await;
    consumer.stop().await;
    assert_eq!(again.numbers(), [3, 4, 5]);
}

#[test]
fn an_event_type_has_handlers_of_one_kind() {
    let (bus, store) = (MemoryBus::new(), MemoryStore::new());
    let error = builder(&bus, &store)
        .on::<Counted, _>(Append::default())
        .on_at_least_once::<Counted, _>(Mail::default())
        .build()
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("thing.counted.v1"), "{error}");
}
