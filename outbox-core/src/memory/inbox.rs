//! The consumer's side of the in-memory database.

use std::{error::Error as StdError, time::Duration};

use async_trait::async_trait;
use tokio::time::Instant;

use super::{
    MemoryStore, MemoryTx,
    store::{MarkRow, State},
};
use crate::{
    ConsumerName, Error, ErrorKind, EventId, Failure, GivenUpAt, Mark, Offset, Partition,
    ProcessedEventStore, Result, TopicName,
};

#[async_trait]
impl ProcessedEventStore for MemoryStore {
    type Tx = MemoryTx;

    async fn begin(&self, _limit: Duration) -> Result<MemoryTx> {
        self.shared.faults.step("begin a transaction", || Ok(Self::begin(self)))
    }

    async fn mark(
        &self,
        tx: &mut MemoryTx,
        consumer: &ConsumerName,
        events: &[EventId],
    ) -> Result<Vec<Mark>> {
        self.shared.faults.step("mark events", || Ok(()))?;
        let mut marks = Vec::with_capacity(events.len());
        for event in events {
            let key = (consumer.clone(), *event);
            loop {
                // Registered before looking, so that no end of a transaction is missed.
                let ended = self.shared.ended.notified();
                tokio::pin!(ended);
                ended.as_mut().enable();
                if let Some(mark) = self.shared.lock().try_mark(&key, tx.id) {
                    if mark == Mark::First {
                        tx.marks.push(key);
                    }
                    marks.push(mark);
                    break;
                }
                ended.await;
            }
        }
        Ok(marks)
    }

    async fn commit(&self, tx: MemoryTx) -> Result<()> {
        self.shared.faults.step("commit", || {
            tx.commit();
            Ok(())
        })
    }

    async fn rollback(&self, tx: MemoryTx) -> Result<()> {
        tx.rollback();
        Ok(())
    }

    async fn given_up(
        &self,
        consumer: &ConsumerName,
        partition: &Partition,
        from: Offset,
    ) -> Result<Vec<GivenUpAt>> {
        self.shared.faults.step("look up what was given up on", || {
            let state = self.shared.lock();
            let here = state.given_up.iter().filter(|((by, topic, number, offset), _)| {
                by == consumer
                    && *topic == partition.topic
                    && *number == partition.number
                    && *offset >= from
            });
            Ok(here.map(|(_, (at, _))| *at).collect())
        })
    }

    async fn give_up(&self, partition: &Partition, at: GivenUpAt, failure: &Failure) -> Result<()> {
        let consumer = failure.consumer.clone();
        let place = (consumer, partition.topic.clone(), partition.number, at.offset);
        self.shared.faults.step("give up on an event", || {
            self.shared.lock().given_up.insert(place, (at, Instant::now()));
            Ok(())
        })
    }

    async fn known(&self, consumer: &ConsumerName, events: &[EventId]) -> Result<Vec<Mark>> {
        self.shared.faults.step("look up marks", || {
            let state = self.shared.lock();
            let mark = |event: &EventId| match state.marks.get(&(consumer.clone(), *event)) {
                Some(MarkRow::Committed(_)) => Mark::Repeat,
                Some(MarkRow::Open(_)) | None => Mark::First,
            };
            Ok(events.iter().map(mark).collect())
        })
    }

    async fn started(
        &self,
        consumer: &ConsumerName,
        partition: &Partition,
        place: Offset,
    ) -> Result<u32> {
        self.shared.faults.step("note a start", || {
            let mut state = self.shared.lock();
            let row = state.starts.entry(whose(consumer, partition)).or_default();
            let known = row.place == Some(place) || row.attempt_place == Some(place);
            row.starts = if known { row.starts + 1 } else { 1 };
            row.place = Some(place);
            Ok(row.starts)
        })
    }

    async fn attempted(
        &self,
        consumer: &ConsumerName,
        partition: &Partition,
        place: Offset,
    ) -> Result<u32> {
        self.shared.faults.step("note an attempt", || {
            let mut state = self.shared.lock();
            let row = state.starts.entry(whose(consumer, partition)).or_default();
            row.attempts = if row.attempt_place == Some(place) { row.attempts + 1 } else { 1 };
            row.attempt_place = Some(place);
            Ok(row.attempts)
        })
    }

    async fn survived(
        &self,
        consumer: &ConsumerName,
        partition: &Partition,
        place: Offset,
    ) -> Result<()> {
        self.shared.faults.step("note that an attempt was survived", || {
            let mut state = self.shared.lock();
            let row = state.starts.get_mut(&whose(consumer, partition));
            if let Some(row) = row.filter(|row| row.attempt_place == Some(place)) {
                row.attempts = 0;
            }
            Ok(())
        })
    }

    async fn stopped(&self, consumer: &ConsumerName, partition: &Partition) -> Result<()> {
        self.shared.faults.step("note an orderly stop", || {
            self.shared.lock().starts.remove(&whose(consumer, partition));
            Ok(())
        })
    }

    async fn purge(&self, consumer: &ConsumerName, age: Duration, limit: u32) -> Result<u64> {
        let mut state = self.shared.lock();
        let now = Instant::now();
        let mut old: Vec<_> = state
            .marks
            .iter()
            .filter(|((by, _), _)| by == consumer)
            .filter_map(|(key, mark)| match mark {
                MarkRow::Committed(at) if now - *at >= age => Some((*at, key.clone())),
                _ => None,
            })
            .collect();
        old.sort_by_key(|(at, _)| *at);
        old.truncate(limit as usize);
        for (_, key) in &old {
            state.marks.remove(key);
        }
        let left = limit as usize - old.len();
        let notes: Vec<_> = state
            .given_up
            .iter()
            .filter(|((by, ..), (_, noted))| by == consumer && now - *noted >= age)
            .map(|(place, _)| place.clone())
            .take(left)
            .collect();
        for place in &notes {
            state.given_up.remove(place);
        }
        Ok((old.len() + notes.len()) as u64)
    }

    fn classify(&self, error: &(dyn StdError + 'static)) -> Option<ErrorKind> {
        let error = error.downcast_ref::<Error>()?;
        error.is_infrastructure().then(|| error.kind())
    }
}

impl State {
    /// Marks an event for a transaction; `None` when another transaction's end must be awaited.
    fn try_mark(&mut self, key: &(ConsumerName, EventId), tx: u64) -> Option<Mark> {
        match self.marks.get(key) {
            None => {
                self.marks.insert(key.clone(), MarkRow::Open(tx));
                Some(Mark::First)
            }
            Some(MarkRow::Open(other)) if *other != tx => None,
            Some(_) => Some(Mark::Repeat),
        }
    }
}

fn whose(consumer: &ConsumerName, partition: &Partition) -> (ConsumerName, TopicName, i32) {
    (consumer.clone(), partition.topic.clone(), partition.number)
}
