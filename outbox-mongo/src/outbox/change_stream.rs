//! Waking the relay when something was committed.

use std::time::Duration;

use futures::TryStreamExt;
use mongodb::bson::{Document, Timestamp, doc};
use relaybox_core::{CancellationToken, RetryPolicy, WakeUp};
use tracing::debug;

use super::MongoOutbox;
use crate::error;

const WATCH: &str = "watch the outbox";

impl MongoOutbox {
    /// Wakes a relay whenever events were committed, by a change stream of the outbox's collection, until
    /// `shutdown` is cancelled. Run it in a task of its own, beside the relay:
    ///
    /// ```no_run
    /// # use relaybox_core::{CancellationToken, EventBus, Relay};
    /// # use relaybox_mongo::MongoOutbox;
    /// # async fn f<B: EventBus>(outbox: MongoOutbox, bus: B) -> Result<(), relaybox_core::Error> {
    /// let shutdown = CancellationToken::new();
    /// let relay = Relay::builder(outbox.clone(), bus).build();
    /// let wake_up = relay.wake_up();
    /// tokio::spawn({
    ///     let shutdown = shutdown.clone();
    ///     async move { outbox.wake_on_commit(wake_up, shutdown).await }
    /// });
    /// relay.run(shutdown).await
    /// # }
    /// ```
    ///
    /// It is a hint and no more: the relay polls as well, so where the stream breaks, or the user may not
    /// open one, events come a little later. It opens the stream again, with waits of up to 30 s.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn wake_on_commit(&self, wake_up: WakeUp, shutdown: CancellationToken) {
        let backoff = RetryPolicy::default();
        let mut failures = 0;
        while !shutdown.is_cancelled() {
            let watched = tokio::select! {
                () = shutdown.cancelled() => return,
                watched = self.watch(&wake_up, &mut failures) => watched,
            };
            failures += 1;
            if let Err(error) = watched {
                let error = relaybox_core::error_chain(&error::database(WATCH)(error));
                debug!(error, "no change stream of the outbox: the relay polls");
            }
            let wait = backoff.delay(failures, fastrand::f64()).max(Duration::from_millis(10));
            let _ = tokio::time::timeout(wait, shutdown.cancelled()).await;
        }
    }

    /// Watches until the stream breaks. It is never asked for its place: what it misses is in the
    /// collection.
    async fn watch(&self, wake_up: &WakeUp, failures: &mut u32) -> mongodb::error::Result<()> {
        let events = self.database.collection::<Document>(self.names.outbox_events.as_str());
        let since = self.majority_has().await?;
        let watch = events.watch().pipeline([
            doc! { "$match": { "operationType": "insert" } },
            doc! { "$project": { "_id": 1 } },
        ]);
        let watch = match since {
            Some(since) => watch.start_at_operation_time(since),
            None => watch,
        };
        let mut stream = watch.await?.with_type::<Document>();
        // What was committed before it was open.
        wake_up.wake();
        while stream.try_next().await?.is_some() {
            *failures = 0;
            wake_up.wake();
        }
        Ok(())
    }

    /// Up to when a read sees what was committed. A stream that began at the server's present time would miss
    /// what was applied by then and is not the majority's yet. A router doesn't say.
    async fn majority_has(&self) -> mongodb::error::Result<Option<Timestamp>> {
        let admin = self.database.client().database("admin");
        let hello = admin.run_command(doc! { "hello": 1 }).await?;
        let last_write = hello.get_document("lastWrite").ok();
        let majority = last_write.and_then(|write| write.get_document("majorityOpTime").ok());
        Ok(majority.and_then(|at| at.get_timestamp("ts").ok()))
    }
}
