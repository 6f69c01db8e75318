//! One life of a producer: from its making to its first failure, or to its replacement.
//!
//! librdkafka calls back on the thread that polls it, which is ours: it serves the delivery reports,
//! sweeps the queue after a failure, and closes the producer in the end. Nothing of that blocks an
//! async thread.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, ClientContext, Message,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    error::KafkaError,
    message::{DeliveryResult, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext, PurgeConfig},
    types::RDKafkaErrorCode as Code,
};
use relaybox_core::{Error, ErrorKind, Receipt, Result, Retry};
use tokio::sync::oneshot;

use crate::{
    batch::{Batch, Results},
    client::Monitor,
    error,
    warm_up::{Admission, Probe, WarmUp},
};

/// How long a poll lasts: how late a failure is swept and a stop noticed, at most.
const TICK: Duration = Duration::from_millis(50);
/// The same when nothing has been on its way for long. At the end of each poll the client spins for a
/// millisecond, which is most of what an idle relay costs.
const IDLE_TICK: Duration = Duration::from_secs(1);
/// How long after a failure the broker may still answer for what it has been sent.
const GRACE: Duration = Duration::from_secs(1);
/// How long a closing producer waits for its last delivery reports.
const LAST_REPORTS: Duration = Duration::from_secs(2);
/// How long the broker may take to say how many partitions a topic has, and how long until it is asked
/// again.
const METADATA: Duration = Duration::from_secs(1);

/// A record as it goes out.
pub(crate) struct Outgoing<'a> {
    pub(crate) topic: &'a str,
    /// `None`: where the key belongs.
    pub(crate) partition: Option<i32>,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: OwnedHeaders,
}

/// A record that is held back.
struct Held {
    topic: Box<str>,
    partition: Option<i32>,
    key: Option<Box<[u8]>>,
    value: Option<Box<[u8]>>,
    headers: OwnedHeaders,
    ticket: Box<Ticket>,
}

impl Held {
    fn new(record: Outgoing<'_>, ticket: Box<Ticket>) -> Self {
        let Outgoing { topic, partition, key, value, headers } = record;
        let (key, value) = (key.map(Box::from), value.map(Box::from));
        Self { topic: topic.into(), partition, key, value, headers, ticket }
    }
}

/// How much may be held back: as much as the client takes, together with what that has of it.
struct Room {
    max_records: usize,
    max_bytes: usize,
    /// Changed by whoever has [`Life::warm_up`].
    records: AtomicUsize,
    bytes: AtomicUsize,
}

impl Room {
    fn new(config: &ClientConfig) -> Self {
        let number = |name| config.get(name).and_then(|n| n.parse().ok()).unwrap_or(usize::MAX);
        Self {
            max_records: number("queue.buffering.max.messages"),
            max_bytes: number("queue.buffering.max.kbytes").saturating_mul(1024),
            records: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
        }
    }

    fn has(&self, record: &Outgoing<'_>, client: &Client) -> bool {
        let sent = usize::try_from(client.in_flight_count()).unwrap_or(0);
        let bytes = self.bytes.load(Ordering::Relaxed).saturating_add(size(record.value));
        self.records.load(Ordering::Relaxed) + sent < self.max_records && bytes <= self.max_bytes
    }

    fn take(&self, held: &Held) {
        self.records.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(size(held.value.as_deref()), Ordering::Relaxed);
    }

    fn give_back(&self, held: &Held) {
        self.records.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(size(held.value.as_deref()), Ordering::Relaxed);
    }
}

fn size(value: Option<&[u8]>) -> usize {
    value.map_or(0, <[u8]>::len)
}

type Client = BaseProducer<Reports>;

/// A producer that stops for good at the first failure.
///
/// Hand over from one thread at a time: the order of the calls is the order of the records. Dropping
/// it fails whatever is in flight.
pub(crate) struct Producer {
    /// None once it ends: the last one to let go of the client closes it, which blocks, so that must
    /// be the thread.
    client: Option<Arc<Client>>,
    life: Arc<Life>,
    /// How many records were handed over.
    turns: u64,
    ended: Option<oneshot::Receiver<()>>,
}

impl Producer {
    /// Makes a producer. Blocks while certificates are read.
    pub(crate) fn start(
        operation: &'static str,
        config: &ClientConfig,
        monitor: Monitor,
    ) -> Result<Self> {
        let life = Arc::new(Life::new(operation, monitor, Room::new(config)));
        let client = BaseProducer::from_config_and_context(config, Reports(Arc::clone(&life)))
            .map_err(|error| error::convert(operation, error))?;
        let client = Arc::new(client);
        // It is empty until now: nothing was handed over.
        drop(life.client.set(Arc::downgrade(&client)));
        let (end, ended) = oneshot::channel();
        let (polled, lived) = (Arc::clone(&client), Arc::clone(&life));
        thread::Builder::new()
            .name("relaybox-producer".to_owned())
            .spawn(move || serve(polled, &lived, end))
            .map_err(|source| Error::new(ErrorKind::Other, operation).caused_by(source))?;
        Ok(Self { client: Some(client), life, turns: 0, ended: Some(ended) })
    }

    /// Hands records over in order. After the first refusal none is handed over any more.
    pub(crate) fn hand_over<'a>(
        &mut self,
        records: impl ExactSizeIterator<Item = Outgoing<'a>>,
    ) -> Results {
        let Life { operation, latch, .. } = &*self.life;
        let (batch, results) = Batch::new(operation, records.len());
        let number = self.life.register(&batch);
        // Held for the whole call, so that what is held back is not passed on its way out.
        let mut warm_up = self.life.warm_up();
        warm_up.look_at_the_clock(Instant::now());
        let mut records = records.enumerate();
        for (index, record) in records.by_ref() {
            let turn = self.turns;
            self.turns += 1;
            let ticket = Ticket { batch: Arc::clone(&batch), number, index, turn, probe: None };
            let refusal = if latch.is_set() {
                Some(halted(operation))
            } else {
                self.send(&mut warm_up, record, Box::new(ticket)).err()
            };
            if let Some(refusal) = refusal {
                latch.set(turn);
                self.life.settle(&batch, number, index, Err(refusal));
                break;
            }
        }
        let must_ask = warm_up.must_ask();
        drop(warm_up);
        if let Some(client) = self.client.as_ref().filter(|_| must_ask) {
            ask_for_partitions(&self.life, client);
        }
        for (index, _) in records {
            self.life.settle(&batch, number, index, Err(halted(operation)));
        }
        results
    }

    /// Sends a record, or holds it back.
    fn send(
        &self,
        warm_up: &mut WarmUp<Held>,
        record: Outgoing<'_>,
        mut ticket: Box<Ticket>,
    ) -> Result<()> {
        let client = self.client.as_ref().ok_or_else(|| halted(self.life.operation))?;
        // Records without a key have no order.
        let Some(key) = record.key else { return self.life.send(client, record, ticket) };
        warm_up.meet(record.topic);
        match warm_up.admit(record.topic, key) {
            Admission::Go => {}
            Admission::First(probe) => ticket.probe = Some(probe),
            Admission::Wait(waiting) => {
                if !self.life.room.has(&record, client) {
                    return Err(delivery_error(self.life.operation, Code::QueueFull, record.topic));
                }
                let held = Held::new(record, ticket);
                self.life.room.take(&held);
                waiting.push_back(held);
                return Ok(());
            }
        }
        self.life.send(client, record, ticket)
    }

    /// Whether it takes no record any more.
    pub(crate) fn is_halted(&self) -> bool {
        self.life.latch.is_set()
    }

    /// Refuses all further records.
    pub(crate) fn halt(&self) {
        self.life.latch.set(self.turns);
    }

    /// The librdkafka client itself, for metadata. Let go of it on a thread that may block: it may be
    /// the last one by then.
    pub(crate) fn client(&self) -> Option<Arc<Client>> {
        self.client.as_ref().map(Arc::clone)
    }

    /// Why the brokers refuse this client, if they do.
    pub(crate) fn monitor(&self) -> &Monitor {
        &self.life.monitor
    }

    /// Fails what is in flight, and waits until all of it has its result.
    pub(crate) async fn stop(mut self) {
        self.end();
        if let Some(ended) = self.ended.take() {
            // An error says that the thread is gone, which is as good.
            drop(ended.await);
        }
    }

    /// Leaves the client to the thread, and then tells it to end: it can't be faster than we are.
    fn end(&mut self) {
        self.client = None;
        self.life.stop.store(true, Ordering::Release);
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.end();
    }
}

/// What the thread, the callbacks and the producer share.
struct Life {
    operation: &'static str,
    monitor: Monitor,
    client: OnceLock<Weak<Client>>,
    latch: Latch,
    warm_up: Mutex<WarmUp<Held>>,
    room: Room,
    stop: AtomicBool,
    /// Batches with a result missing, in case librdkafka never reports it.
    outstanding: Mutex<HashMap<u64, Weak<Batch>>>,
    batches: AtomicU64,
}

impl Life {
    fn new(operation: &'static str, monitor: Monitor, room: Room) -> Self {
        Self {
            operation,
            monitor,
            client: OnceLock::new(),
            latch: Latch::default(),
            warm_up: Mutex::new(WarmUp::new()),
            room,
            stop: AtomicBool::new(false),
            outstanding: Mutex::default(),
            batches: AtomicU64::new(0),
        }
    }

    fn outstanding(&self) -> MutexGuard<'_, HashMap<u64, Weak<Batch>>> {
        self.outstanding.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn warm_up(&self) -> MutexGuard<'_, WarmUp<Held>> {
        self.warm_up.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn client(&self) -> Option<Arc<Client>> {
        self.client.get().and_then(Weak::upgrade)
    }

    fn send(&self, client: &Client, record: Outgoing<'_>, ticket: Box<Ticket>) -> Result<()> {
        let Outgoing { topic, partition, key, value, headers } = record;
        let mut out = BaseRecord::with_opaque_to(topic, ticket).headers(headers);
        (out.partition, out.key, out.payload) = (partition, key, value);
        client.send(out).map_err(|(error, _)| match error.rdkafka_error_code() {
            Some(code) => delivery_error(self.operation, code, topic),
            None => error::convert(self.operation, error),
        })
    }

    /// Sends what waited for the first record of its key.
    fn send_held(&self, waiting: VecDeque<Held>) {
        let client = self.client();
        for held in waiting {
            self.room.give_back(&held);
            let Held { topic, partition, key, value, headers, ticket } = held;
            let (batch, number, index) = (Arc::clone(&ticket.batch), ticket.number, ticket.index);
            let turn = ticket.turn;
            let (key, value) = (key.as_deref(), value.as_deref());
            let record = Outgoing { topic: &topic, partition, key, value, headers };
            let sent = match &client {
                Some(client) if !self.latch.is_set() => self.send(client, record, ticket),
                _ => Err(halted(self.operation)),
            };
            if let Err(refusal) = sent {
                self.latch.set(turn);
                self.settle(&batch, number, index, Err(refusal));
            }
        }
    }

    fn fail_held(&self, waiting: VecDeque<Held>) {
        for held in waiting {
            self.room.give_back(&held);
            let Ticket { batch, number, index, .. } = *held.ticket;
            self.settle(&batch, number, index, Err(halted(self.operation)));
        }
    }

    fn register(&self, batch: &Arc<Batch>) -> u64 {
        let number = self.batches.fetch_add(1, Ordering::Relaxed);
        self.outstanding().insert(number, Arc::downgrade(batch));
        number
    }

    fn settle(&self, batch: &Batch, number: u64, index: usize, result: Result<Receipt>) {
        if batch.settle(index, result) {
            self.outstanding().remove(&number);
        }
    }

    fn abandon(&self) {
        let outstanding = std::mem::take(&mut *self.outstanding());
        outstanding.values().filter_map(Weak::upgrade).for_each(|batch| batch.abandon());
    }
}

/// Shut by the first failure, for good.
#[derive(Debug)]
struct Latch {
    /// The turn of the earliest record that failed.
    first_failed: AtomicU64,
    /// Whether what was handed over is given up, too. It is not when the client refuses a record
    /// itself: those before it are on their way, and nothing is wrong with them.
    sweep: AtomicBool,
    /// Why everything in flight was given up, when no single record is the cause.
    cause: Mutex<Option<String>>,
}

impl Default for Latch {
    fn default() -> Self {
        let first_failed = AtomicU64::new(u64::MAX);
        Self { first_failed, sweep: AtomicBool::new(false), cause: Mutex::default() }
    }
}

impl Latch {
    fn is_set(&self) -> bool {
        self.first_failed.load(Ordering::Acquire) != u64::MAX
    }

    fn is_behind_failure(&self, turn: u64) -> bool {
        turn > self.first_failed.load(Ordering::Acquire)
    }

    fn set(&self, turn: u64) {
        self.first_failed.fetch_min(turn, Ordering::AcqRel);
    }

    fn set_and_sweep(&self, turn: u64) {
        self.set(turn);
        self.sweep.store(true, Ordering::Release);
    }

    fn cause(&self) -> MutexGuard<'_, Option<String>> {
        self.cause.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whose delivery report it is.
pub(crate) struct Ticket {
    batch: Arc<Batch>,
    number: u64,
    index: usize,
    turn: u64,
    /// Set when others wait for it.
    probe: Option<Probe>,
}

/// Takes librdkafka's callbacks.
pub(crate) struct Reports(Arc<Life>);

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.0.monitor.forward(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let Some(refusal) = self.0.monitor.note(&error, reason) else { return };
        // Records don't expire, so they would wait for a new password without anybody knowing why.
        if !self.0.outstanding().is_empty() {
            *self.0.latch.cause() = Some(refusal);
            self.0.latch.set_and_sweep(0);
        }
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<Ticket>;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: Box<Ticket>) {
        let Life { operation, latch, .. } = &*self.0;
        let Ticket { batch, number, index, turn, probe } = *ticket;
        let topic = match result {
            Ok(message) | Err((_, message)) => message.topic(),
        };
        let result = match result {
            // The client believes that the broker has it, because it has what came behind.
            Ok(message) if message.offset() < 0 => {
                latch.set_and_sweep(turn);
                Err(Error::new(ErrorKind::Unavailable, operation)
                    .detail("the broker has a later record and not necessarily this one")
                    .with_retry(Retry::OutcomeUnknown))
            }
            Ok(_) if latch.is_behind_failure(turn) => {
                // The broker has it, but nothing behind a failed record counts as published.
                Err(halted(operation).with_retry(Retry::OutcomeUnknown))
            }
            Ok(message) => Ok(Receipt::at(message.partition(), message.offset())),
            Err((error, _)) => {
                latch.set_and_sweep(turn);
                let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
                Err(match &*latch.cause() {
                    Some(refusal) => Error::new(ErrorKind::Authentication, operation)
                        .detail(refusal.clone())
                        .with_retry(Retry::OutcomeUnknown),
                    None => delivery_error(operation, code, topic),
                })
            }
        };
        if let Some(probe) = probe {
            // Held until they are sent: nobody is to pass them.
            let mut warm_up = self.0.warm_up();
            match &result {
                Ok(Receipt { partition: Some(partition), .. }) => {
                    let waiting = warm_up.answered(topic, probe, *partition);
                    self.0.send_held(waiting);
                }
                _ => self.0.fail_held(warm_up.failed(topic, probe)),
            }
        }
        self.0.settle(&batch, number, index, result);
    }
}

/// The producer's thread.
fn serve(client: Arc<BaseProducer<Reports>>, life: &Life, ended: oneshot::Sender<()>) {
    let mut failed_at = None;
    let mut tick = TICK;
    while !life.stop.load(Ordering::Acquire) {
        // It calls back for each report as it comes, and lasts as long.
        client.poll(tick);
        // Once it has failed, somebody is about to stop it.
        let is_idle = client.in_flight_count() == 0 && !life.latch.is_set();
        tick = if is_idle { (tick * 2).min(IDLE_TICK) } else { TICK };
        if !life.latch.sweep.load(Ordering::Acquire) || client.in_flight_count() == 0 {
            continue;
        }
        // Again and again: after a fatal error, librdkafka puts what the broker refuses for its
        // sequence number back into the queue, where it would wait forever.
        let since: &mut Instant = failed_at.get_or_insert_with(Instant::now);
        let queue = PurgeConfig::default().queue().non_blocking();
        client.purge(if since.elapsed() < GRACE { queue } else { queue.inflight() });
    }
    life.latch.set(u64::MAX - 1);
    let deadline = Instant::now() + LAST_REPORTS;
    while client.in_flight_count() > 0 && Instant::now() < deadline {
        client.purge(PurgeConfig::default().queue().inflight().non_blocking());
        client.poll(TICK);
    }
    life.abandon();
    // Says that it is over; closing the client may take longer.
    drop(ended);
}

/// Asks how many partitions the topics have, on a thread of its own, until all are known.
fn ask_for_partitions(life: &Arc<Life>, client: &Arc<Client>) {
    let (life, client) = (Arc::clone(life), Arc::downgrade(client));
    let ask = move || {
        loop {
            let topics = life.warm_up().unknown();
            // After a failure another producer follows, which asks again.
            if topics.is_empty() || life.latch.is_set() {
                return;
            }
            let mut answered = false;
            for topic in topics {
                let Some(client) = client.upgrade() else { return };
                let Some(partitions) = partitions(&client, &topic) else { continue };
                life.warm_up().learn(&topic, partitions);
                answered = true;
            }
            if !answered {
                thread::sleep(METADATA);
            }
        }
    };
    // Without it more is held back for longer, no more than that.
    drop(thread::Builder::new().name("relaybox-partitions".to_owned()).spawn(ask));
}

/// How many partitions a topic has, if somebody says so soon.
fn partitions(client: &Client, topic: &str) -> Option<i32> {
    let metadata = client.client().fetch_metadata(Some(topic), METADATA).ok()?;
    let found = metadata.topics().iter().find(|found| found.name() == topic)?;
    i32::try_from(found.partitions().len()).ok().filter(|partitions| *partitions > 0)
}

fn halted(operation: &'static str) -> Error {
    Error::new(ErrorKind::Halted, operation).detail("an earlier record failed")
}

fn delivery_error(operation: &'static str, code: Code, topic: &str) -> Error {
    let error = error::from_code(operation, code);
    match code {
        Code::PurgeQueue | Code::PurgeInflight => {
            error.detail("it was dropped because an earlier record failed, or the producer closed")
        }
        Code::Fatal => error.detail("an earlier record failed"),
        Code::UnknownTopic | Code::UnknownTopicOrPartition => {
            error.detail(format!("the topic {topic} doesn't exist"))
        }
        Code::TopicAuthorizationFailed => {
            error.detail(format!("not authorised to write to the topic {topic}"))
        }
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge => error.detail(format!(
            "larger than the client (message.max.bytes) or the topic {topic} (max.message.bytes) takes"
        )),
        Code::QueueFull => error.detail("the producer's queue is full (KafkaConfig::queue)"),
        _ => error.detail(format!("the topic {topic} refused it: {code}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_acknowledged_behind_a_failed_record_does_not_count() {
        let latch = Latch::default();
        assert!(!latch.is_set() && !latch.is_behind_failure(7));
        latch.set(5);
        latch.set(9);
        assert!(latch.is_set());
        assert!(!latch.is_behind_failure(4), "it was before the failure");
        assert!(latch.is_behind_failure(6));
    }
}
