//! Purging what is kept for a time only.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::{Error, ErrorKind, Result, error_chain};

/// How long one batch may take: a connection that is half open answers nothing, ever.
const BATCH_TIMEOUT: Duration = Duration::from_secs(300);

/// How long something is kept, and the job that removes what is older: bounded batches, again and
/// again, with pauses.
///
/// It serves whatever purges by age: an archive
/// ([`purge_archive`](crate::ArchiveStore::purge_archive)) and a consumer's marks
/// ([`purge`](crate::ProcessedEventStore::purge)). Several may run at once; they share the work.
///
/// ```
/// use std::time::Duration;
/// use relaybox_core::{ArchiveStore, CancellationToken, Retention, memory::MemoryStore};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), relaybox_core::Error> {
/// let store = MemoryStore::new().archive_published();
/// let shutdown = CancellationToken::new();
/// let stop = shutdown.clone(); // cancel it on SIGTERM
/// # stop.cancel();
///
/// Retention::new(Duration::from_secs(30 * 24 * 3600))
///     .run(|age, limit| store.purge_archive(age, limit), shutdown)
///     .await?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Retention {
    age: Duration,
    batch: u32,
    interval: Duration,
}

impl Retention {
    /// Keeps things for so long; removes what is older in batches of 1,000, looking once a minute.
    pub fn new(age: Duration) -> Self {
        Self { age, batch: 1000, interval: Duration::from_secs(60) }
    }

    /// Sets how many rows one transaction removes at most. Default 1,000; at least 1.
    pub fn batch(mut self, rows: u32) -> Self {
        self.batch = rows.max(1);
        self
    }

    /// Sets how long it waits when nothing was left to remove. Default 60 s; at least 10 ms.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval.max(Duration::from_millis(10));
        self
    }

    /// Calls `purge` with the age and the size of a batch until `shutdown` is cancelled.
    ///
    /// After each full batch it rests for as long as that took, so that it never has more than half of
    /// a connection's time. What fails is tried again after the interval, and logged.
    ///
    /// # Errors
    /// [`ErrorKind::Schema`] and [`ErrorKind::Invalid`], which only a person can mend.
    ///
    /// # Cancel safety
    /// Cancel safe: the batch in flight is removed or not.
    pub async fn run<P>(
        &self,
        purge: impl Fn(Duration, u32) -> P,
        shutdown: CancellationToken,
    ) -> Result<()>
    where
        P: Future<Output = Result<u64>>,
    {
        while !shutdown.is_cancelled() {
            let since = Instant::now();
            let batch = tokio::time::timeout(BATCH_TIMEOUT, purge(self.age, self.batch));
            let purged = tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                purged = batch => purged.unwrap_or_else(|_| Err(timed_out())),
            };
            let wait = match purged {
                Ok(purged) => {
                    debug!(purged, "purged what was kept for long enough");
                    let more = purged >= u64::from(self.batch);
                    if more { since.elapsed() } else { self.interval }
                }
                Err(error) if error.is_final() => return Err(error),
                Err(error) => {
                    warn!(error = error_chain(&error), "purging failed and will be tried again");
                    self.interval
                }
            };
            let _ = tokio::time::timeout(wait, shutdown.cancelled()).await;
        }
        Ok(())
    }
}

fn timed_out() -> Error {
    Error::new(ErrorKind::Timeout, "purge")
        .detail(format!("a batch took longer than {BATCH_TIMEOUT:?}"))
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    };

    use super::*;

    /// Purges from so many rows for a time, and says how often it was called.
    async fn calls(retention: Retention, rows: u64, time: Duration) -> u64 {
        let (left, calls) = (AtomicU64::new(rows), AtomicU64::new(0));
        let purge = |_, limit| {
            calls.fetch_add(1, SeqCst);
            let purged = left.load(SeqCst).min(u64::from(limit));
            left.fetch_sub(purged, SeqCst);
            async move { Ok(purged) }
        };
        run_for(&retention, purge, time).await;
        assert_eq!(left.load(SeqCst), 0);
        calls.load(SeqCst)
    }

    async fn run_for<P>(retention: &Retention, purge: impl Fn(Duration, u32) -> P, time: Duration)
    where
        P: Future<Output = Result<u64>>,
    {
        let shutdown = CancellationToken::new();
        let stop = async {
            tokio::time::sleep(time).await;
            shutdown.cancel();
        };
        let (ended, ()) = tokio::join!(retention.run(purge, shutdown.clone()), stop);
        ended.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn it_goes_on_until_nothing_is_left_and_then_waits() {
        let retention = || Retention::new(Duration::ZERO).batch(10);
        // Two full batches, and one that finds three.
        assert_eq!(calls(retention(), 23, Duration::from_secs(59)).await, 3);
        assert_eq!(calls(retention(), 23, Duration::from_secs(61)).await, 4);
        assert_eq!(calls(retention().batch(0), 3, Duration::from_secs(59)).await, 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_tried_again_unless_only_a_person_can_mend_it() {
        let kinds = [ErrorKind::Schema, ErrorKind::Unavailable, ErrorKind::Conflict];
        let kinds = Mutex::new(kinds.to_vec());
        let purge = |_, _| {
            let kind = kinds.lock().unwrap().pop().expect("it ends with the last");
            async move { Err(Error::new(kind, "purge")) }
        };
        let retention = Retention::new(Duration::ZERO);
        let error = retention.run(purge, CancellationToken::new()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Schema);
        assert!(kinds.lock().unwrap().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_purge_that_hangs_is_given_up_on_and_a_shutdown_does_not_wait_for_it() {
        let calls = AtomicU64::new(0);
        let purge = |_, _| {
            calls.fetch_add(1, SeqCst);
            std::future::pending()
        };
        run_for(&Retention::new(Duration::ZERO), purge, BATCH_TIMEOUT * 2).await;
        assert_eq!(calls.load(SeqCst), 2);
    }
}
