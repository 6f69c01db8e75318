//! [mockall](https://docs.rs/mockall) mocks of the traits, for unit tests of code that uses them.
//!
//! They check what your code asks for, not what a database would do: that is what the
//! [in-memory implementations](crate::memory) are for.
//!
//! ```
//! use relaybox_core::{Mark, ProcessedEventStore, mock::MockProcessedEventStore};
//!
//! let mut inbox = MockProcessedEventStore::<()>::new();
//! inbox.expect_mark().returning(|_, _, ids| Ok(vec![Mark::Repeat; ids.len()]));
//! ```

#![expect(unused_parens, reason = "mockall keeps the parentheses of a reference to a bounded type")]

use std::{error::Error as StdError, time::Duration};

use async_trait::async_trait;
use futures::future::BoxFuture;
use mockall::mock;

use crate::{
    Acquired, ArchiveQuery, ArchiveStore, ArchivedEvent, ConsumerName, Delivery, Envelope,
    ErrorKind, EventBus, EventHandler, EventId, EventRef, EventSource, Failure, GivenUpAt,
    HandlerError, Lease, Mark, Offset, OutboxReader, OutboxRow, OutboxStats, OutboxStore,
    OutboxWriter, Partition, ProcessedEventStore, ReadRequest, Receipt, Received, Record, RelayId,
    Result, Settled, Settlement, SourceStats,
};

mock! {
    #[derive(Debug)]
    pub OutboxWriter<Tx: Send + Sync + 'static> {}

    #[async_trait]
    impl<Tx: Send + Sync + 'static> OutboxWriter<Tx> for OutboxWriter<Tx> {
        async fn write(&self, tx: &mut Tx, events: &[Envelope]) -> Result<()>;
    }
}

mock! {
    #[derive(Debug)]
    pub OutboxStore {}

    #[async_trait]
    impl OutboxStore for OutboxStore {
        async fn acquire(&self, relay: &RelayId, ttl: Duration) -> Result<Acquired>;
        async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<()>;
        async fn release(&self, lease: &Lease) -> Result<()>;
        async fn reader(&self) -> Result<Box<dyn OutboxReader>>;
        async fn settle(&self, lease: &Lease, settlement: &Settlement) -> Result<Settled>;
        async fn stats(&self) -> Result<OutboxStats>;
    }
}

mock! {
    #[derive(Debug)]
    pub ArchiveStore {}

    #[async_trait]
    impl ArchiveStore for ArchiveStore {
        async fn archived(&self, query: &ArchiveQuery) -> Result<Vec<ArchivedEvent>>;
        async fn purge_archive(&self, age: Duration, limit: u32) -> Result<u64>;
    }
}

mock! {
    #[derive(Debug)]
    pub OutboxReader {}

    #[async_trait]
    impl OutboxReader for OutboxReader {
        async fn read(&mut self, request: &ReadRequest) -> Result<Vec<OutboxRow>>;
        fn forget(&mut self, settled: &[EventRef]);
        fn rewind(&mut self);
        fn overlooked(&mut self) -> u64;
    }
}

mock! {
    #[derive(Debug)]
    pub EventBus {}

    impl EventBus for EventBus {
        fn publish(&self, records: Vec<Record>) -> BoxFuture<'static, Vec<Result<Receipt>>>;
        fn recover(&self) -> BoxFuture<'static, Result<()>>;
    }
}

mock! {
    #[derive(Debug)]
    pub EventSource {}

    #[async_trait]
    impl EventSource for EventSource {
        async fn receive(&self) -> Result<Received>;
        async fn acknowledge(&self, partition: &Partition, through: Offset) -> Result<()>;
        async fn release(&self, partition: &Partition) -> Result<()>;
        async fn dead_letter(&self, delivery: &Delivery, failure: &Failure) -> Result<()>;
        async fn stats(&self) -> Result<SourceStats>;
        async fn close(&self) -> Result<()>;
    }
}

mock! {
    #[derive(Debug)]
    pub ProcessedEventStore<Tx: Send + Sync + 'static> {}

    #[async_trait]
    impl<Tx: Send + Sync + 'static> ProcessedEventStore for ProcessedEventStore<Tx> {
        type Tx = Tx;
        async fn begin(&self, limit: Duration) -> Result<Tx>;
        async fn mark(
            &self,
            tx: &mut Tx,
            consumer: &ConsumerName,
            events: &[EventId],
        ) -> Result<Vec<Mark>>;
        async fn commit(&self, tx: Tx) -> Result<()>;
        async fn rollback(&self, tx: Tx) -> Result<()>;
        async fn given_up(
            &self,
            consumer: &ConsumerName,
            partition: &Partition,
            from: Offset,
        ) -> Result<Vec<GivenUpAt>>;
        async fn give_up(
            &self,
            partition: &Partition,
            at: GivenUpAt,
            failure: &Failure,
        ) -> Result<()>;
        async fn known(&self, consumer: &ConsumerName, events: &[EventId]) -> Result<Vec<Mark>>;
        async fn started(
            &self,
            consumer: &ConsumerName,
            partition: &Partition,
            place: Offset,
        ) -> Result<u32>;
        async fn attempted(
            &self,
            consumer: &ConsumerName,
            partition: &Partition,
            place: Offset,
        ) -> Result<u32>;
        async fn survived(
            &self,
            consumer: &ConsumerName,
            partition: &Partition,
            place: Offset,
        ) -> Result<()>;
        async fn stopped(&self, consumer: &ConsumerName, partition: &Partition) -> Result<()>;
        async fn purge(&self, consumer: &ConsumerName, age: Duration, limit: u32) -> Result<u64>;
        fn classify(&self, error: &(dyn StdError + 'static)) -> Option<ErrorKind>;
    }
}

mock! {
    #[derive(Debug)]
    pub EventHandler<E: Send + Sync + 'static, Tx: Send + Sync + 'static> {}

    #[async_trait]
    impl<E: Send + Sync + 'static, Tx: Send + Sync + 'static> EventHandler<E, Tx> for EventHandler<E, Tx> {
        async fn handle(
            &self,
            tx: &mut Tx,
            event: &E,
            envelope: &Envelope,
        ) -> std::result::Result<(), HandlerError>;
    }
}
