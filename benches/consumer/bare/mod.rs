//! The limit: a loop without this library. Read what is there of a partition, mark it, handle what is
//! new, commit, store the offset; all partitions side by side.

mod postgres;
mod sqlite;

use std::{collections::HashSet, sync::Arc};

use futures::{FutureExt, StreamExt};
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{
        Consumer, DefaultConsumerContext, StreamConsumer, stream_consumer::StreamPartitionQueue,
    },
    message::{BorrowedMessage, Headers},
};
use tokio::task::JoinSet;
use uuid::Uuid;

pub(crate) use self::{
    postgres::{InBatches, OneByOne},
    sqlite::InSqlite,
};
use crate::{
    event::{Counted, TYPE},
    progress::Progress,
    support::{PARTITIONS, topic::Topic},
};

/// What a loop does with what it has read of a partition, all at once.
pub(crate) trait Transact: Clone + Send + Sync + 'static {
    /// As many records at once, at most.
    const BATCH: usize;

    /// Handles them and commits.
    fn transact(&self, records: &[BorrowedMessage<'_>]) -> impl Future<Output = ()> + Send;
}

/// Handles so many events of a topic; gives the seconds from the first record until the last commit.
pub(crate) async fn consume(topic: &Topic, transact: impl Transact, events: u64) -> f64 {
    let consumer: StreamConsumer = settings(topic.brokers()).create().unwrap();
    let (consumer, progress) = (Arc::new(consumer), Progress::default());
    let mut partitions = TopicPartitionList::new();
    for number in 0..PARTITIONS {
        let from = Offset::Beginning;
        partitions.add_partition_offset(topic.name().as_str(), number, from).unwrap();
    }
    consumer.assign(&partitions).unwrap();
    let mut tasks = JoinSet::new();
    for number in 0..PARTITIONS {
        let queue = consumer.split_partition_queue(topic.name().as_str(), number).unwrap();
        let (transact, progress) = (transact.clone(), progress.clone());
        let (consumer, name) = (Arc::clone(&consumer), topic.name().to_string());
        tasks.spawn(async move {
            let store = |through| consumer.store_offset(&name, number, through).unwrap();
            read(queue, store, transact, number, &progress).await;
        });
    }
    let took = tokio::select! {
        took = progress.done(events) => took,
        // Only callbacks are served there: a record would have come past its partition's queue.
        other = consumer.recv() => panic!("{other:?}"),
        ended = tasks.join_next() => panic!("a partition ended: {ended:?}"),
    };
    tasks.shutdown().await;
    took
}

/// Reads a partition for ever.
async fn read<T: Transact>(
    queue: StreamPartitionQueue<DefaultConsumerContext>,
    store: impl Fn(i64),
    transact: T,
    partition: i32,
    progress: &Progress,
) {
    let mut records = queue.stream();
    while let Some(record) = records.next().await {
        progress.begin();
        let mut batch = vec![record.unwrap()];
        while batch.len() < T::BATCH
            && let Some(Some(record)) = records.next().now_or_never()
        {
            batch.push(record.unwrap());
        }
        transact.transact(&batch).await;
        let through = batch[batch.len() - 1].offset();
        store(through);
        progress.acknowledge(partition, through);
    }
}

/// The ids of the events, in order.
fn ids(records: &[BorrowedMessage<'_>]) -> Vec<Uuid> {
    records.iter().map(|record| id(record)).collect()
}

fn id(record: &BorrowedMessage<'_>) -> Uuid {
    let value = header(record, "ce_id");
    Uuid::try_parse_ascii(value).unwrap()
}

/// The events that are new, once each.
fn new<'a>(
    records: &'a [BorrowedMessage<'_>],
    ids: &'a [Uuid],
    marked: Vec<Uuid>,
) -> impl Iterator<Item = Counted> + 'a {
    let mut marked: HashSet<_> = marked.into_iter().collect();
    records
        .iter()
        .zip(ids)
        .filter(move |(_, id)| marked.remove(*id))
        .map(|(record, _)| decode(record))
}

fn decode(record: &BorrowedMessage<'_>) -> Counted {
    assert_eq!(header(record, "ce_type"), TYPE.as_bytes());
    serde_json::from_slice(record.payload().unwrap()).unwrap()
}

fn header<'a>(record: &'a BorrowedMessage<'_>, name: &str) -> &'a [u8] {
    let headers = record.headers().unwrap();
    headers.iter().find(|header| header.key == name).and_then(|header| header.value).unwrap()
}

/// What `KafkaSource` sets (outbox-kafka/src/config and source), but that librdkafka commits by itself
/// what is stored, as often as the source does.
fn settings(brokers: &str) -> ClientConfig {
    let mut settings = ClientConfig::new();
    settings
        .set("bootstrap.servers", brokers)
        .set("client.id", "relaybox-bench")
        .set("group.id", format!("bare-{}", Uuid::new_v4().simple()))
        .set("enable.auto.commit", "true")
        .set("auto.commit.interval.ms", "100")
        .set("enable.auto.offset.store", "false")
        .set("enable.partition.eof", "false")
        .set("isolation.level", "read_committed")
        .set("queued.min.messages", "2000")
        .set("queued.max.messages.kbytes", "1024")
        .set("fetch.queue.backoff.ms", "5")
        .set("fetch.message.max.bytes", "32768")
        .set("fetch.max.bytes", "131072")
        .set("message.max.bytes", "1000");
    settings
}
