//! Bugs, for the tests to find.

use std::{error::Error as StdError, time::Duration};

use relaybox::{
    ConsumerName, Delivery, Error, ErrorKind, EventId, EventSource, Failure, GivenUpAt, Mark,
    Offset, Partition, ProcessedEventStore, Received, SourceStats, async_trait,
};

/// Marks nothing, and says that every event is new.
pub(crate) struct NoMarks<P>(pub(crate) P);

#[async_trait]
impl<P: ProcessedEventStore> ProcessedEventStore for NoMarks<P> {
    type Tx = P::Tx;

    async fn begin(&self, limit: Duration) -> Result<Self::Tx, Error> {
        self.0.begin(limit).await
    }

    async fn mark(
        &self,
        _: &mut Self::Tx,
        _: &ConsumerName,
        events: &[EventId],
    ) -> Result<Vec<Mark>, Error> {
        Ok(vec![Mark::First; events.len()])
    }

    async fn commit(&self, tx: Self::Tx) -> Result<(), Error> {
        self.0.commit(tx).await
    }

    async fn rollback(&self, tx: Self::Tx) -> Result<(), Error> {
        self.0.rollback(tx).await
    }

    async fn given_up(
        &self,
        consumer: &ConsumerName,
        partition: &Partition,
        from: Offset,
    ) -> Result<Vec<GivenUpAt>, Error> {
        self.0.given_up(consumer, partition, from).await
    }

    async fn give_up(
        &self,
        partition: &Partition,
        at: GivenUpAt,
        failure: &Failure,
    ) -> Result<(), Error> {
        self.0.give_up(partition, at, failure).await
    }

    async fn known(&self, _: &ConsumerName, events: &[EventId]) -> Result<Vec<Mark>, Error> {
        Ok(vec![Mark::First; events.len()])
    }

    async fn started(
        &self,
        consumer: &ConsumerName,
        partition: &Partition,
        place: Offset,
    ) -> Result<u32, Error> {
        self.0.started(consumer, partition, place).await
    }

    async fn attempted(
        &self,
        consumer: &ConsumerName,
        partition: &Partition,
        place: Offset,
    ) -> Result<u32, Error> {
        self.0.attempted(consumer, partition, place).await
    }

    async fn survived(
        &self,
        consumer: &ConsumerName,
        partition: &Partition,
        place: Offset,
    ) -> Result<(), Error> {
        self.0.survived(consumer, partition, place).await
    }

    async fn stopped(&self, consumer: &ConsumerName, partition: &Partition) -> Result<(), Error> {
        self.0.stopped(consumer, partition).await
    }

    async fn purge(
        &self,
        consumer: &ConsumerName,
        age: Duration,
        limit: u32,
    ) -> Result<u64, Error> {
        self.0.purge(consumer, age, limit).await
    }

    fn classify(&self, error: &(dyn StdError + 'static)) -> Option<ErrorKind> {
        self.0.classify(error)
    }
}

/// Acknowledges what it delivers, as it delivers it.
pub(crate) struct Hasty<S>(pub(crate) S);

#[async_trait]
impl<S: EventSource> EventSource for Hasty<S> {
    async fn receive(&self) -> Result<Received, Error> {
        let received = self.0.receive().await?;
        if let Received::Batch { partition, deliveries } = &received
            && let Some(last) = deliveries.last()
        {
            self.0.acknowledge(partition, last.offset).await?;
        }
        Ok(received)
    }

    async fn acknowledge(&self, _: &Partition, _: Offset) -> Result<(), Error> {
        Ok(())
    }

    async fn release(&self, partition: &Partition) -> Result<(), Error> {
        self.0.release(partition).await
    }

    async fn dead_letter(&self, delivery: &Delivery, failure: &Failure) -> Result<(), Error> {
        self.0.dead_letter(delivery, failure).await
    }

    async fn stats(&self) -> Result<SourceStats, Error> {
        self.0.stats().await
    }

    async fn close(&self) -> Result<(), Error> {
        self.0.close().await
    }
}

/// Gives every record a key of its own, so that any two may be handled at once.
pub(crate) struct Keyless<S>(pub(crate) S);

#[async_trait]
impl<S: EventSource> EventSource for Keyless<S> {
    async fn receive(&self) -> Result<Received, Error> {
        let mut received = self.0.receive().await?;
        if let Received::Batch { deliveries, .. } = &mut received {
            for delivery in deliveries {
                delivery.key = Some(delivery.offset.to_string().into_bytes().into());
            }
        }
        Ok(received)
    }

    async fn acknowledge(&self, partition: &Partition, through: Offset) -> Result<(), Error> {
        self.0.acknowledge(partition, through).await
    }

    async fn release(&self, partition: &Partition) -> Result<(), Error> {
        self.0.release(partition).await
    }

    async fn dead_letter(&self, delivery: &Delivery, failure: &Failure) -> Result<(), Error> {
        self.0.dead_letter(delivery, failure).await
    }

    async fn stats(&self) -> Result<SourceStats, Error> {
        self.0.stats().await
    }

    async fn close(&self) -> Result<(), Error> {
        self.0.close().await
    }
}
