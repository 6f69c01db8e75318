//! Sources whose broker delivers again later.

use super::*;
use crate::{Delivery, Failure, Offset, Partition, Redelivery, SourceStats};

/// An in-memory source that can put deliveries off: they come again at the end of their topic.
struct Delaying {
    inner: MemorySource,
    bus: MemoryBus,
    attempts: Arc<Mutex<HashMap<i64, u32>>>,
    put_off: Arc<Mutex<Vec<(Offset, u32)>>>,
}

#[async_trait]
impl EventSource for Delaying {
    async fn receive(&self) -> Result<Received> {
        let mut received = self.inner.receive().await?;
        if let Received::Batch { deliveries, .. } = &mut received {
            let attempts = self.attempts.lock().unwrap();
            for delivery in deliveries {
                delivery.attempts =
                    attempts.get(&delivery.fingerprint()).copied().unwrap_or_default();
            }
        }
        Ok(received)
    }

    async fn acknowledge(&self, partition: &Partition, through: Offset) -> Result<()> {
        self.inner.acknowledge(partition, through).await
    }

    async fn release(&self, partition: &Partition) -> Result<()> {
        self.inner.release(partition).await
    }

    async fn dead_letter(&self, delivery: &Delivery, failure: &Failure) -> Result<()> {
        self.inner.dead_letter(delivery, failure).await
    }

    fn redelivery(&self) -> Option<&dyn Redelivery> {
        Some(self)
    }

    async fn stats(&self) -> Result<SourceStats> {
        self.inner.stats().await
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}

#[async_trait]
impl Redelivery for Delaying {
    async fn deliver_later(
        &self,
        delivery: &Delivery,
        failure: &Failure,
        _delay: Duration,
    ) -> Result<()> {
        self.put_off.lock().unwrap().push((delivery.offset, failure.attempts));
        *self.attempts.lock().unwrap().entry(delivery.fingerprint()).or_default() += 1;
        let record = StoredRecord::new(
            delivery.key.clone(),
            delivery.value.clone(),
            delivery.headers.clone(),
        );
        self.bus.append(&delivery.partition.topic, record);
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_event_is_put_off_with_its_attempts_counted_until_it_is_given_up_on() {
    let (bus, store) = (MemoryBus::new(), MemoryStore::new());
    for n in 0..3 {
        send(&bus, &store, "a", n);
    }
    let group = ConsumerName::new("test").unwrap();
    let put_off = Arc::new(Mutex::new(Vec::new()));
    let source = Delaying {
        inner: MemorySource::new(&bus, group, vec![topic()]),
        bus: bus.clone(),
        attempts: Arc::default(),
        put_off: Arc::clone(&put_off),
    };
    let handler = FailsAt(1, Append::default());
    let consumer = Consumer::builder("test", source, store.clone())
        .retry(RetryPolicy::default().base(Duration::from_millis(5)).max_attempts(3))
        .on::<Counted, _>(handler)
        .build()
        .unwrap();
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(consumer.run(shutdown.clone()));
    until(|| dead_letters(&bus).len() == 1).await;
    shutdown.cancel();
    task.await.unwrap().unwrap();
    assert_eq!(store.get("a").unwrap(), "0,2,", "the next one did not wait for it");
    let attempts: Vec<_> = put_off.lock().unwrap().iter().map(|(_, attempts)| *attempts).collect();
    assert_eq!(attempts, [1, 2]);
    assert_eq!(dead_letters(&bus)[0].header("dlq-attempts").unwrap(), b"3");
}

/// Fails with one number each time, and would take it later.
struct FailsAt(u32, Append);

#[async_trait]
impl EventHandler<Counted, MemoryTx> for FailsAt {
    async fn handle(
        &self,
        tx: &mut MemoryTx,
        event: &Counted,
        envelope: &Envelope,
    ) -> Result<(), HandlerError> {
        if event.n == self.0 {
            return Err(HandlerError::retryable("not now"));
        }
        self.1.handle(tx, event, envelope).await
    }
}
