//! The in-memory broker.

use std::{
    collections::{BTreeMap, HashMap, hash_map::DefaultHasher},
    fmt,
    hash::{Hash, Hasher},
    sync::{Arc, Mutex, MutexGuard},
};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use tokio::sync::Notify;

use super::Faults;
use crate::{
    ConsumerName, Envelope, Error, ErrorKind, EventBus, HeaderName, Offset, Receipt, Record,
    Result, TopicName, cloudevents,
};

const PARTITIONS: usize = 4;

/// A broker in memory: topics of four partitions that appear when they are written to; clones share
/// them.
#[derive(Debug, Clone, Default)]
pub struct MemoryBus {
    pub(super) broker: Arc<Broker>,
}

#[derive(Debug, Default)]
pub(super) struct Broker {
    state: Mutex<State>,
    /// Told when a record was written, or an offset or a group changed.
    pub(super) changed: Notify,
    pub(super) faults: Faults,
}

#[derive(Debug)]
pub(super) struct State {
    topics: BTreeMap<TopicName, Vec<Vec<StoredRecord>>>,
    pub(super) groups: HashMap<ConsumerName, Group>,
    available: bool,
    latched: bool,
    max_payload: usize,
}

#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) generation: u64,
    pub(super) committed: HashMap<(TopicName, usize), usize>,
}

/// A record as a topic has it.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredRecord {
    /// The record key.
    pub key: Option<Bytes>,
    /// The value.
    pub value: Option<Bytes>,
    /// Names and values, in order.
    pub headers: Vec<(HeaderName, Bytes)>,
}

impl StoredRecord {
    /// A record of any content, as a stranger may write it.
    #[must_use]
    pub fn new(
        key: Option<Bytes>,
        value: Option<Bytes>,
        headers: Vec<(HeaderName, Bytes)>,
    ) -> Self {
        Self { key, value, headers }
    }

    /// The event in it.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] when it is none.
    pub fn envelope(&self) -> Result<Envelope> {
        let headers = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_ref()));
        cloudevents::parse(self.key.as_deref(), headers, self.value.clone().unwrap_or_default())
    }

    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_ref())
    }
}

/// Sizes only: keys, values and headers are the user's data.
impl fmt::Debug for StoredRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredRecord")
            .field("key_bytes", &self.key.as_ref().map(Bytes::len))
            .field("value_bytes", &self.value.as_ref().map(Bytes::len))
            .field("headers", &self.headers.len())
            .finish()
    }
}

impl MemoryBus {
    /// An empty broker.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the broker refuse everything, or accept again.
    pub fn set_available(&self, available: bool) {
        self.broker.lock().available = available;
    }

    /// Makes the broker refuse payloads of more than so many bytes.
    pub fn set_max_payload(&self, bytes: usize) {
        self.broker.lock().max_payload = bytes;
    }

    /// Makes chosen publications and dead letters fail.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.broker.faults
    }

    /// All records of a topic, partition by partition.
    #[must_use]
    pub fn records(&self, topic: &TopicName) -> Vec<StoredRecord> {
        self.broker.lock().topics.get(topic).into_iter().flatten().flatten().cloned().collect()
    }

    /// Waits until a topic has at least `count` records, and gives them all.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn wait_for(&self, topic: &TopicName, count: usize) -> Vec<StoredRecord> {
        loop {
            let changed = self.broker.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let records = self.records(topic);
            if records.len() >= count {
                return records;
            }
            changed.await;
        }
    }

    /// Writes any record, as a stranger would.
    pub fn append(&self, topic: &TopicName, record: StoredRecord) {
        self.broker.lock().append(topic, record);
        self.broker.changed.notify_waiters();
    }
}

impl EventBus for MemoryBus {
    fn publish(&self, records: Vec<Record>) -> BoxFuture<'static, Vec<Result<Receipt>>> {
        let mut state = self.broker.lock();
        let mut results = Vec::with_capacity(records.len());
        let outcome = self.broker.faults.step("publish", || {
            results.extend(records.iter().map(|record| state.publish(record)));
            Ok(())
        });
        if outcome.is_err() {
            state.latched = true;
            results = records
                .iter()
                .map(|_| Err(Error::new(ErrorKind::Unavailable, "publish").detail("told to fail")))
                .collect();
        }
        drop(state);
        self.broker.changed.notify_waiters();
        futures::future::ready(results).boxed()
    }

    fn recover(&self) -> BoxFuture<'_, Result<()>> {
        self.broker.lock().latched = false;
        futures::future::ready(Ok(())).boxed()
    }
}

impl Broker {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no operation panics while it holds the state")
    }
}

impl State {
    fn publish(&mut self, record: &Record) -> Result<Receipt> {
        if self.latched {
            return Err(Error::new(ErrorKind::Halted, "publish").detail("an earlier record failed"));
        }
        let payload = &record.envelope.payload;
        let refusal = if !self.available {
            Some((ErrorKind::Unavailable, "the broker was made unavailable".to_owned()))
        } else if payload.len() > self.max_payload {
            Some((ErrorKind::TooLarge, format!("{} bytes are over the limit", payload.len())))
        } else {
            None
        };
        if let Some((kind, detail)) = refusal {
            self.latched = true;
            return Err(Error::new(kind, "publish").detail(detail));
        }
        let mut headers = Vec::new();
        cloudevents::headers(&record.envelope, |name, value| {
            headers.push((name.into(), Bytes::copy_from_slice(value)));
        });
        let key = Bytes::copy_from_slice(record.envelope.key().as_str().as_bytes());
        let record_as_stored = StoredRecord::new(Some(key), Some(payload.clone()), headers);
        Ok(self.append(&record.topic, record_as_stored))
    }

    pub(super) fn append(&mut self, topic: &TopicName, record: StoredRecord) -> Receipt {
        let at = partition_of(record.key.as_deref());
        let partitions =
            self.topics.entry(topic.clone()).or_insert_with(|| vec![Vec::new(); PARTITIONS]);
        partitions[at].push(record);
        let offset = Offset::try_from(partitions[at].len() - 1).expect("fits in memory");
        Receipt::at(i32::try_from(at).expect("a small number"), offset)
    }

    /// Records of a partition from `offset` on, at most `limit`.
    pub(super) fn read(
        &self,
        topic: &TopicName,
        partition: usize,
        offset: usize,
        limit: usize,
    ) -> impl Iterator<Item = (Offset, &StoredRecord)> {
        let records = self.topics.get(topic).map_or(&[][..], |partitions| &partitions[partition]);
        let numbers = offset..;
        numbers
            .zip(records.iter().skip(offset))
            .take(limit)
            .map(|(at, record)| (Offset::try_from(at).expect("fits in memory"), record))
    }

    pub(super) fn partitions() -> std::ops::Range<usize> {
        0..PARTITIONS
    }
}

/// Which partition the records of a key go to.
pub(crate) fn partition_of(key: Option<&[u8]>) -> usize {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    usize::try_from(hasher.finish() % PARTITIONS as u64).expect("a small number")
}

impl Default for State {
    fn default() -> Self {
        Self {
            topics: BTreeMap::new(),
            groups: HashMap::new(),
            available: true,
            latched: false,
            max_payload: usize::MAX,
        }
    }
}
