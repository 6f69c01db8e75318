//! Beginning transactions, and running units of work in them.

use std::{error::Error as StdError, fmt, time::Duration};

use mongodb::Client;
use relaybox_core::{Error, Result, RetryPolicy};
use tracing::debug;

use crate::{MongoTx, error};

const BEGIN: &str = "begin a transaction";

/// Begins transactions, and runs units of work in them, again where they conflict.
///
/// Cheap to clone.
#[derive(Clone)]
#[must_use]
pub struct MongoTransactions {
    client: Client,
    retry: RetryPolicy,
    max_commit_time: Duration,
}

impl MongoTransactions {
    /// Transactions of this client; all that takes part in one must come from the same client.
    pub fn new(client: Client) -> Self {
        let retry = RetryPolicy::default()
            .base(Duration::from_millis(5))
            .cap(Duration::from_millis(500))
            .max_attempts(20);
        Self { client, retry, max_commit_time: Duration::from_secs(10) }
    }

    /// Sets how often [`run`](Self::run) tries in all, and how long it waits in between. Default: 20
    /// times, with waits of up to 5 ms that double up to 500 ms.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }

    /// Sets how long the server may take for one try to commit (`maxTimeMS`). Default 10 s; at least
    /// 1 ms.
    pub fn max_commit_time(mut self, limit: Duration) -> Self {
        self.max_commit_time = limit.max(Duration::from_millis(1));
        self
    }

    /// Begins a transaction. The server hears of it with its first statement.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`](relaybox_core::ErrorKind::Unavailable) when no server can be reached,
    /// [`ErrorKind::Invalid`](relaybox_core::ErrorKind::Invalid) when it has no sessions.
    pub async fn begin(&self) -> Result<MongoTx> {
        self.begin_within(Duration::from_secs(60)).await
    }

    pub(crate) async fn begin_within(&self, limit: Duration) -> Result<MongoTx> {
        let session = self.client.start_session().await.map_err(error::database(BEGIN))?;
        let max_commit_time = self.max_commit_time.min(limit).max(Duration::from_millis(1));
        MongoTx::begin(session, max_commit_time, limit).await
    }

    /// Runs a unit of work in a transaction and commits it; runs the whole unit again, in a new
    /// transaction, when it conflicted with another one or the connection broke before the commit.
    ///
    /// The unit is given the transaction and gives it back with its value; on an error it keeps it, and that
    /// rolls it back. It must be fit to run again: everything that it does goes through its transaction. An
    /// error that is neither of these is returned at once.
    ///
    /// A conflict is told by the driver's label `TransientTransactionError` or the server's code, with or
    /// without the label, anywhere among the error and its sources; keep the driver's error among them.
    ///
    /// ```no_run
    /// # use mongodb::bson::doc;
    /// # use relaybox_mongo::MongoTransactions;
    /// # async fn f(transactions: MongoTransactions, users: mongodb::Collection<mongodb::bson::Document>)
    /// # -> Result<(), relaybox_core::Error> {
    /// let users = &users;
    /// transactions
    ///     .run(|mut tx| async move {
    ///         let login = doc! { "$inc": { "logins": 1 } };
    ///         let counted = users.update_one(doc! { "_id": 7 }, login).session(&mut *tx).await;
    ///         tx.checked(counted)?;
    ///         // outbox.enqueue(&mut tx, &UserLoggedIn { … }).await?;
    ///         Ok::<_, relaybox_core::Error>((tx, ()))
    ///     })
    ///     .await
    /// # }
    /// ```
    ///
    /// # Errors
    /// The unit's own; the last one when it was tried [often enough](Self::retry); the commit's, of which
    /// those with an unknown outcome are not retried.
    ///
    /// # Cancel safety
    /// Dropping it rolls back, unless the commit was under way.
    pub async fn run<T, E, F>(&self, mut work: impl FnMut(MongoTx) -> F + Send) -> Result<T, E>
    where
        T: Send,
        E: StdError + From<Error> + Send + 'static,
        F: Future<Output = Result<(MongoTx, T), E>> + Send,
    {
        let mut failures = 0;
        loop {
            let tx = self.begin().await?;
            let outcome = match work(tx).await {
                Ok((tx, value)) => tx.commit().await.map(|()| value).map_err(E::from),
                Err(error) => Err(error),
            };
            match outcome {
                Err(error) if error::is_transient(&error) => {
                    failures += 1;
                    if self.retry.is_exhausted(failures) {
                        return Err(error);
                    }
                    debug!(failures, "a transaction conflicted and is run again");
                    tokio::time::sleep(self.retry.delay(failures, fastrand::f64())).await;
                }
                outcome => return outcome,
            }
        }
    }
}

impl fmt::Debug for MongoTransactions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MongoTransactions")
            .field("retry", &self.retry)
            .field("max_commit_time", &self.max_commit_time)
            .finish_non_exhaustive()
    }
}
