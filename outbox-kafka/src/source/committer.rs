//! The thread that commits offsets.
//!
//! A commit is waited for, because nobody else tells whether it failed: rdkafka gives librdkafka no
//! callback for asynchronous ones. A list of which the broker refused a part fails as a whole
//! (`rd_kafka_handle_OffsetCommit` keeps the last partition's error; which it was isn't told), and is
//! committed again as a whole. And waiting must not keep the poller from its work, because without a
//! coordinator a commit waits for long.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, Sender},
    },
    thread,
};

use rdkafka::{
    TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer},
    error::KafkaError,
    types::RDKafkaErrorCode as Code,
};
use relaybox_core::{Error, ErrorKind, Result};

use super::{context::Context, shared::Shared};
use crate::error;

/// Commits one list of offsets at a time. Dropping it ends the thread, after the commit under way.
pub(super) struct Committer {
    work: Sender<TopicPartitionList>,
    is_busy: Arc<AtomicBool>,
}

impl Committer {
    pub(super) fn start(consumer: Arc<BaseConsumer<Context>>, shared: Arc<Shared>) -> Result<Self> {
        let (work, lists) = mpsc::channel();
        let is_busy = Arc::new(AtomicBool::new(false));
        let busy = Arc::clone(&is_busy);
        thread::Builder::new()
            .name("relaybox-commits".to_owned())
            .spawn(move || commit_all(&consumer, &shared, &lists, &busy))
            .map_err(|source| Error::new(ErrorKind::Other, "join the group").caused_by(source))?;
        Ok(Self { work, is_busy })
    }

    /// Whether a commit is under way.
    pub(super) fn is_busy(&self) -> bool {
        self.is_busy.load(Ordering::Acquire)
    }

    /// Begins to commit. When it failed, the shared state is told.
    pub(super) fn commit(&self, offsets: TopicPartitionList) {
        self.is_busy.store(true, Ordering::Release);
        // The thread lives as long as we do.
        drop(self.work.send(offsets));
    }
}

fn commit_all(
    consumer: &BaseConsumer<Context>,
    shared: &Shared,
    lists: &Receiver<TopicPartitionList>,
    is_busy: &AtomicBool,
) {
    for offsets in lists {
        if let Err(failure) = consumer.commit(&offsets, CommitMode::Sync) {
            failed(shared, &offsets, failure);
        }
        is_busy.store(false, Ordering::Release);
        // More may have been acknowledged meanwhile.
        shared.bell.ring();
    }
}

fn failed(shared: &Shared, offsets: &TopicPartitionList, failure: KafkaError) {
    let code = failure.rdkafka_error_code();
    if code == Some(Code::NoOffset) {
        return;
    }
    tracing::warn!(error = %failure, "could not commit offsets; trying again");
    shared.lock().commit_failed(offsets);
    if error::kind(code.unwrap_or(Code::Unknown)) == ErrorKind::TopicUnavailable {
        shared.report(error::convert("commit offsets", failure));
    }
}
