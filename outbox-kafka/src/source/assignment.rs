//! Which partitions this member holds, and what is out of each.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rdkafka::{
    Message, TopicPartitionList, consumer::base_consumer::PartitionQueue, error::KafkaError,
};
use relaybox_core::{Delivery, Error, ErrorKind, Offset, Partition, Received, Result, TopicName};

use super::{context::Context, record};
use crate::error;

/// A topic's partition, whatever the assignment.
pub(super) type Place = (TopicName, i32);

/// How large a batch may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) records: usize,
    pub(super) bytes: usize,
}

/// Which records of a partition wait: those that are not acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waiting {
    /// From here on.
    From(Offset),
    /// Nothing was given out yet.
    Unknown,
}

/// The partitions of this member.
#[derive(Default)]
pub(super) struct Assignment {
    held: BTreeMap<Place, Held>,
    generations: u64,
    /// Whose batch came last: the next one is another's turn.
    last: Option<Place>,
    /// Partitions that are being taken away while a batch of theirs is out.
    revoked: VecDeque<Partition>,
    error: Option<Error>,
    /// Whether somebody must find out where a partition begins before it gives anything.
    begins_are_looked_up: bool,
}

/// A partition since one assignment.
struct Held {
    partition: Partition,
    queue: PartitionQueue<Context>,
    /// Whether the queue may have something. Set by librdkafka's threads.
    ready: Arc<AtomicBool>,
    /// First and last offset of the batch that is out.
    out: Option<(Offset, Offset)>,
    /// The first offset that is to be given out, or the first that was.
    begin: Option<Offset>,
    /// The first offset that was not given out yet, once something was.
    position: Option<Offset>,
    /// The first offset that was not acknowledged, once something was.
    acknowledged: Option<Offset>,
    /// Whether the broker doesn't know of that yet.
    uncommitted: bool,
    /// Nobody knows yet where to begin, so nothing is given out.
    unplaced: bool,
    /// Nothing before is to be given out. librdkafka, when it learns late that the group has no offset,
    /// begins by its own rule, whatever it was told meanwhile.
    floor: Option<Offset>,
    /// Where to go back to before anything is given out again.
    rewind: Option<Offset>,
    /// Being taken away: nothing is given out any more.
    leaving: bool,
}

impl Assignment {
    pub(super) fn new(begins_are_looked_up: bool) -> Self {
        Self { begins_are_looked_up, ..Self::default() }
    }

    /// What a caller of `receive` gets now.
    pub(super) fn next(&mut self, limits: Limits) -> Option<Result<Received>> {
        if let Some(partition) = self.revoked.pop_front() {
            return Some(Ok(Received::Revoked(partition)));
        }
        if let Some(error) = self.error.take() {
            return Some(Err(error));
        }
        let after = match &self.last {
            Some(last) => (Bound::Excluded(last.clone()), Bound::Unbounded),
            None => (Bound::Unbounded, Bound::Unbounded),
        };
        let places: Vec<_> = self
            .held
            .range(after)
            .chain(&self.held)
            .filter(|(_, held)| held.may_give())
            .map(|(place, _)| place.clone())
            .collect();
        for place in places {
            let held = self.held.get_mut(&place)?;
            let (deliveries, failed) = held.take(limits);
            if let Some(failed) = failed {
                self.report(failed);
            }
            if !deliveries.is_empty() {
                let partition = self.held.get(&place)?.partition.clone();
                self.last = Some(place);
                return Some(Ok(Received::Batch { partition, deliveries }));
            }
        }
        self.error.take().map(Err)
    }

    /// Takes note of an error, unless it passes by itself.
    pub(super) fn report(&mut self, error: Error) {
        match error.kind() {
            ErrorKind::Unavailable | ErrorKind::Revoked => {
                tracing::warn!(%error, "the consumer goes on by itself");
            }
            _ => self.error = Some(error),
        }
    }

    pub(super) fn acknowledge(&mut self, partition: &Partition, through: Offset) -> Result<()> {
        let held = self
            .find(partition)
            .ok_or_else(|| Error::new(ErrorKind::Revoked, "acknowledge deliveries"))?;
        let through = held.position.map_or(through, |position| through.min(position - 1));
        if held.acknowledged.is_none_or(|known| known <= through) {
            held.acknowledged = Some(through + 1);
            held.uncommitted = true;
        }
        // What is left of the batch stays out until it is acknowledged, too, or released.
        held.out = held
            .out
            .filter(|(_, last)| through < *last)
            .map(|(first, last)| (first.max(through + 1), last));
        Ok(())
    }

    pub(super) fn release(&mut self, partition: &Partition) {
        if let Some(held) = self.find(partition)
            && let Some((first, _)) = held.out.take()
        {
            held.rewind = Some(first);
        }
    }

    fn find(&mut self, partition: &Partition) -> Option<&mut Held> {
        self.held
            .get_mut(&(partition.topic.clone(), partition.number))
            .filter(|held| held.partition.generation == partition.generation)
    }

    /// Takes a partition on. Its queue is empty: nothing is fetched before the assignment.
    pub(super) fn add(
        &mut self,
        (topic, number): Place,
        queue: PartitionQueue<Context>,
        ready: Arc<AtomicBool>,
    ) {
        self.generations += 1;
        let held = Held {
            partition: Partition::new(topic.clone(), number, self.generations),
            queue,
            ready,
            out: None,
            begin: None,
            position: None,
            acknowledged: None,
            uncommitted: false,
            unplaced: self.begins_are_looked_up,
            floor: None,
            rewind: None,
            leaving: false,
        };
        if let Some(before) = self.held.insert((topic, number), held)
            && before.out.is_some()
        {
            self.revoked.push_back(before.partition);
        }
    }

    /// Gives out nothing of these any more, and tells whoever has a batch of theirs.
    pub(super) fn begin_leaving(&mut self, places: &[Place]) {
        for place in places {
            if let Some(held) = self.held.get_mut(place) {
                held.leaving = true;
                if held.out.is_some() {
                    self.revoked.push_back(held.partition.clone());
                }
            }
        }
    }

    pub(super) fn any_out(&self, places: &[Place]) -> bool {
        places.iter().any(|place| self.held.get(place).is_some_and(|held| held.out.is_some()))
    }

    /// Lets go of these; gives what was acknowledged, even if a commit of it is under way: that may
    /// fail yet.
    pub(super) fn remove(&mut self, places: &[Place]) -> TopicPartitionList {
        let mut offsets = TopicPartitionList::new();
        for place in places {
            if let Some(held) = self.held.remove(place) {
                held.add_acknowledged(&mut offsets);
            }
        }
        offsets
    }

    /// What of each partition waits.
    pub(super) fn waiting(&self) -> Vec<(Place, Waiting)> {
        let from = |held: &Held| held.acknowledged.or(held.begin);
        self.held
            .iter()
            .map(|(place, held)| {
                (place.clone(), from(held).map_or(Waiting::Unknown, Waiting::From))
            })
            .collect()
    }

    /// All places, to let go of.
    pub(super) fn places(&self) -> Vec<Place> {
        self.held.keys().cloned().collect()
    }

    /// What is to be committed now; taken as committed until told otherwise.
    pub(super) fn take_uncommitted(&mut self) -> TopicPartitionList {
        let mut offsets = TopicPartitionList::new();
        for held in self.held.values_mut().filter(|held| held.uncommitted) {
            held.add_acknowledged(&mut offsets);
            held.uncommitted = false;
        }
        offsets
    }

    pub(super) fn has_uncommitted(&self) -> bool {
        self.held.values().any(|held| held.uncommitted)
    }

    /// Says that a commit failed.
    pub(super) fn commit_failed(&mut self, offsets: &TopicPartitionList) {
        for element in offsets.elements() {
            if let Ok(topic) = TopicName::new(element.topic().to_owned())
                && let Some(held) = self.held.get_mut(&(topic, element.partition()))
            {
                held.uncommitted = held.acknowledged.is_some();
            }
        }
    }

    /// Where to go back to.
    pub(super) fn rewinds(&self) -> Vec<(Place, u64, Offset)> {
        self.held
            .iter()
            .filter(|(_, held)| !held.leaving)
            .filter_map(|(place, held)| {
                Some((place.clone(), held.partition.generation, held.rewind?))
            })
            .collect()
    }

    /// Says that a partition went back to `offset`.
    pub(super) fn rewound(&mut self, place: &Place, generation: u64, offset: Offset) {
        if let Some(held) = self.held.get_mut(place)
            && held.partition.generation == generation
            && held.rewind == Some(offset)
        {
            held.rewind = None;
            held.begin.get_or_insert(offset);
            held.position = Some(offset);
            held.ready.store(true, Ordering::Release);
        }
    }

    /// Partitions that wait for somebody to find out where they begin.
    pub(super) fn unplaced(&self) -> Vec<(Place, u64)> {
        self.held
            .iter()
            .filter(|(_, held)| held.unplaced && !held.leaving)
            .map(|(place, held)| (place.clone(), held.partition.generation))
            .collect()
    }

    /// Says where a partition begins; `None`: where librdkafka begins by itself.
    pub(super) fn place(&mut self, place: &Place, generation: u64, begin: Option<Offset>) {
        if let Some(held) = self.held.get_mut(place)
            && held.partition.generation == generation
        {
            held.unplaced = false;
            (held.floor, held.rewind) = (begin, begin);
        }
    }

    /// A message that came past its partition's queue: it must come again, in its order.
    pub(super) fn stray(&mut self, place: &Place, offset: Offset) {
        if let Some(held) = self.held.get_mut(place) {
            let again = held.position.unwrap_or(offset);
            held.rewind = Some(held.rewind.map_or(again, |rewind| rewind.min(again)));
        }
    }
}

impl Held {
    fn may_give(&self) -> bool {
        self.out.is_none()
            && self.rewind.is_none()
            && !self.unplaced
            && !self.leaving
            && self.ready.load(Ordering::Acquire)
    }

    /// Takes a batch from the queue, or as much as is there.
    fn take(&mut self, limits: Limits) -> (Vec<Delivery>, Option<Error>) {
        let (mut deliveries, mut bytes) = (Vec::new(), 0);
        // Before looking: what comes while we look sets it again.
        self.ready.store(false, Ordering::Release);
        let mut failed = None;
        while deliveries.len() < limits.records && bytes < limits.bytes {
            match self.queue.poll(Duration::ZERO) {
                Some(Ok(message)) if self.floor.is_some_and(|floor| message.offset() < floor) => {
                    self.rewind = self.floor;
                    break;
                }
                Some(Ok(message)) => {
                    self.floor = None;
                    let (delivery, size) = record::delivery(self.partition.clone(), &message);
                    bytes += size;
                    deliveries.push(delivery);
                }
                Some(Err(KafkaError::PartitionEOF(_))) => {}
                Some(Err(error)) => {
                    failed = Some(error::convert("receive from Kafka", error));
                    self.ready.store(true, Ordering::Release);
                    break;
                }
                None => break,
            }
        }
        if deliveries.len() >= limits.records || bytes >= limits.bytes {
            self.ready.store(true, Ordering::Release);
        }
        if let [first, .., last] | [first @ last] = &deliveries[..] {
            self.begin.get_or_insert(first.offset);
            self.out = Some((first.offset, last.offset));
            self.position = Some(last.offset + 1);
        }
        (deliveries, failed)
    }

    fn add_acknowledged(&self, offsets: &mut TopicPartitionList) {
        if let Some(offset) = self.acknowledged {
            let Partition { topic, number, .. } = &self.partition;
            // Fails for offsets below zero only, and ours come from the broker.
            let offset = rdkafka::Offset::Offset(offset);
            drop(offsets.add_partition_offset(topic.as_str(), *number, offset));
        }
    }
}
