//! A session that is in a transaction.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    time::Duration,
};

use mongodb::{
    ClientSession, Database,
    bson::doc,
    options::{ReadConcern, ReadPreference, SelectionCriteria, WriteConcern},
};
use relaybox_core::{Error, ErrorKind, Result, Retry, RetryPolicy};
use tokio::time::Instant;

use crate::{error, unit::Unit};

const BEGIN: &str = "begin a transaction";
const COMMIT: &str = "commit a transaction";
const ABORT: &str = "roll a transaction back";

const PRESENT: &str = "only commit and drop take the session, and both end the transaction";

/// How often a commit is sent whose outcome is unknown, each a round trip or more.
const COMMITS: u32 = 10;
/// For how long it is sent again.
const COMMIT_PATIENCE: Duration = Duration::from_secs(20);

/// A session in a transaction: the proof that whatever is written with it commits as one.
///
/// The driver's session doesn't say whether it is in a transaction, so a plain one is no argument for
/// [`Outbox::enqueue`](relaybox_core::Outbox::enqueue); this one is. It is a [`ClientSession`] for your
/// own operations:
///
/// ```no_run
/// # use relaybox_core::Outbox;
/// # use relaybox_mongo::{MongoOutbox, MongoTx};
/// # use mongodb::bson::doc;
/// # async fn create(store: MongoOutbox, sessions: mongodb::Collection<mongodb::bson::Document>)
/// # -> Result<(), Box<dyn std::error::Error>> {
/// let mut tx: MongoTx = store.begin().await?;
/// sessions.insert_one(doc! { "_id": "s-1" }).session(&mut *tx).await?;
/// // outbox.enqueue(&mut tx, &SessionCreated { … }).await?;
/// tx.commit().await?;
/// # Ok(()) }
/// ```
///
/// A plain session does not compile:
///
/// ```compile_fail,E0277
/// # async fn create<E: relaybox_core::DomainEvent + serde::Serialize + Sync>(
/// #     outbox: relaybox_core::Outbox<relaybox_mongo::MongoOutbox>,
/// #     mut session: mongodb::ClientSession,
/// #     event: E,
/// # ) {
/// outbox.enqueue(&mut session, &event).await;
/// # }
/// ```
///
/// **After a failed statement the transaction is over.** The server ends it for most errors and not for
/// all, so never commit after one, nor after one whose future you dropped (a timeout): return the error (`?`), and dropping the transaction rolls it back. The
/// library's own statements see to that themselves; [`checked`](Self::checked) does so for yours, if an
/// error must not be returned at once. In MongoDB a transaction that touches what another one has changed
/// fails at once rather than waits, so run the whole unit of work again:
/// [`MongoTransactions::run`](crate::MongoTransactions::run) does.
///
/// Reads see one snapshot of the majority's data, and writes are committed by a majority. The server ends a
/// transaction after its `transactionLifetimeLimitSeconds`, 60 s by default.
#[must_use = "a transaction that is dropped is rolled back"]
pub struct MongoTx {
    /// There until the end.
    session: Option<ClientSession>,
    max_commit_time: Duration,
    /// Until when marks are waited for.
    deadline: Instant,
    /// Something may have been done in it.
    used: bool,
    /// A statement was answered, so the driver knows that the server may have begun it.
    answered: bool,
    /// A statement of the library's own is under way, or its future was dropped.
    pending: bool,
    /// A statement failed, with an error of this kind.
    failed: Option<ErrorKind>,
}

impl MongoTx {
    pub(crate) async fn begin(
        mut session: ClientSession,
        max_commit_time: Duration,
        limit: Duration,
    ) -> Result<Self> {
        start(&mut session, max_commit_time).await?;
        let deadline = Instant::now() + limit.min(Duration::from_secs(24 * 3600));
        Ok(Self {
            session: Some(session),
            max_commit_time,
            deadline,
            used: false,
            answered: false,
            pending: false,
            failed: None,
        })
    }

    /// Commits.
    ///
    /// When the answer is lost, the commit is sent again, for at most 20 s: it takes effect once.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] when the server had ended the transaction: begin anew. With
    /// [`Retry::OutcomeUnknown`](relaybox_core::Retry::OutcomeUnknown) when no answer came in time. The
    /// kind of the first failure when a statement had failed; it is rolled back then.
    ///
    /// # Cancel safety
    /// Not cancel safe: it goes on, and nobody is told whether it was committed.
    pub async fn commit(mut self) -> Result<()> {
        if let Some(kind) = self.failed {
            self.roll_back().await?;
            return Err(Error::new(kind, COMMIT)
                .detail("one of its statements had failed, so it was rolled back"));
        }
        if self.pending {
            self.roll_back().await?;
            return Err(Error::new(ErrorKind::Other, COMMIT)
                .detail("one of its statements was given up on, so it was rolled back"));
        }
        let Some(session) = self.session.take() else { return Ok(()) };
        // The driver calls it committed before it has sent anything. Were this future dropped in between,
        // nobody would end the transaction; in a task of its own it is seen through.
        tokio::spawn(send_commit(session)).await.unwrap_or_else(|lost| {
            Err(Error::new(ErrorKind::Other, COMMIT)
                .caused_by(lost)
                .with_retry(Retry::OutcomeUnknown))
        })
    }

    /// Rolls back, and waits until that is done. Dropping it does so as well, a moment later.
    ///
    /// # Errors
    /// The driver's; the transaction will not commit in any case.
    ///
    /// # Cancel safety
    /// Cancel safe: it is rolled back a moment later.
    pub async fn abort(mut self) -> Result<()> {
        let in_doubt = self.in_doubt();
        let Some(mut session) = self.session.take() else { return Ok(()) };
        // In a task of its own, as a commit is.
        let aborted = tokio::spawn(async move {
            if in_doubt {
                learn(&mut session).await;
            }
            session.abort_transaction().await
        });
        aborted.await.map_or(Ok(()), |aborted| aborted.map_err(error::database(ABORT)))
    }

    /// Looks at the result of a statement of your own: after an error this transaction refuses to commit.
    ///
    /// # Errors
    /// The same, classified.
    ///
    /// ```no_run
    /// # use mongodb::bson::doc;
    /// # async fn f(mut tx: relaybox_mongo::MongoTx, users: mongodb::Collection<mongodb::bson::Document>)
    /// # -> Result<(), relaybox_core::Error> {
    /// let logins = doc! { "$inc": { "logins": 1 } };
    /// let counted = users.update_one(doc! { "_id": 7 }, logins).session(&mut *tx).await;
    /// tx.checked(counted)?;
    /// # Ok(()) }
    /// ```
    pub fn checked<T>(&mut self, result: mongodb::error::Result<T>) -> Result<T> {
        self.answered = true;
        self.watch(result.map_err(error::database("run a statement in a transaction")))
    }

    /// The same for an error that is classified already.
    pub(crate) fn watch<T>(&mut self, result: Result<T>) -> Result<T> {
        self.pending = false;
        if let Err(error) = &result {
            self.failed.get_or_insert(error.kind());
        }
        result
    }

    /// Statements in it; [`watch`](Self::watch) what comes of them.
    pub(crate) fn unit<'a>(&'a mut self, database: &'a Database) -> Unit<'a> {
        (self.used, self.pending) = (true, true);
        let session = self.session.as_mut().expect(PRESENT);
        Unit::in_transaction(database, session, &mut self.answered)
    }

    /// Whether nothing was done in it yet.
    pub(crate) fn is_fresh(&self) -> bool {
        !self.used && self.failed.is_none()
    }

    /// Until when marks are waited for.
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Ends it and begins anew, with a new snapshot: only for one in which nothing was done but what is
    /// done again.
    pub(crate) async fn begin_anew(&mut self) -> Result<()> {
        self.roll_back().await?;
        start(self.session.as_mut().expect(PRESENT), self.max_commit_time).await?;
        (self.used, self.answered, self.pending, self.failed) = (false, false, false, None);
        Ok(())
    }

    async fn roll_back(&mut self) -> Result<()> {
        let in_doubt = self.in_doubt();
        let session = self.session.as_mut().expect(PRESENT);
        if in_doubt {
            learn(session).await;
        }
        // It is over for the driver from here on, even if this future is dropped.
        (self.used, self.answered) = (true, true);
        session.abort_transaction().await.map_err(error::database(ABORT))
    }

    /// Whether the server may have begun it and the driver not know.
    fn in_doubt(&self) -> bool {
        self.used && !self.answered
    }
}

/// When the future of a transaction's first statement is dropped before it is answered, the driver goes on
/// to believe that the transaction has not begun, and would end it without a word to the server; which
/// keeps the locks of what it may have begun for as long as a transaction may live. A statement that is
/// answered puts that right, whatever the answer is.
impl Drop for MongoTx {
    fn drop(&mut self) {
        let in_doubt = self.in_doubt();
        let Some(mut session) = self.session.take().filter(|_| in_doubt) else { return };
        // Without a runtime nothing can be sent, and the server ends it in time.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                learn(&mut session).await;
                let _ = session.abort_transaction().await;
            });
        }
    }
}

/// Sends a commit, again as long as its outcome is unknown.
async fn send_commit(mut session: ClientSession) -> Result<()> {
    let deadline = Instant::now() + COMMIT_PATIENCE;
    let backoff =
        RetryPolicy::default().base(Duration::from_millis(20)).cap(Duration::from_secs(1));
    let mut failures = 0;
    loop {
        let Err(error) = session.commit_transaction().await else { return Ok(()) };
        failures += 1;
        let unknown = error::is_unknown_commit(&error);
        if !unknown || failures == COMMITS || Instant::now() >= deadline {
            return Err(error::commit(COMMIT)(error));
        }
        tokio::time::sleep(backoff.delay(failures, fastrand::f64())).await;
    }
}

/// Asks for something that is not there. Should it come before the statement that nobody waits for, then that
/// one finds its transaction ended.
async fn learn(session: &mut ClientSession) {
    let client = session.client();
    let database = client.default_database().unwrap_or_else(|| client.database("relaybox"));
    let nothing = doc! { "find": "relaybox", "limit": 1, "singleBatch": true };
    let _ = database.run_command(nothing).session(session).await;
}

impl Deref for MongoTx {
    type Target = ClientSession;

    fn deref(&self) -> &ClientSession {
        self.session.as_ref().expect(PRESENT)
    }
}

/// For your own operations: `collection.insert_one(document).session(&mut *tx)`.
impl DerefMut for MongoTx {
    fn deref_mut(&mut self) -> &mut ClientSession {
        self.used = true;
        self.session.as_mut().expect(PRESENT)
    }
}

impl fmt::Debug for MongoTx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MongoTx").field("failed", &self.failed).finish_non_exhaustive()
    }
}

async fn start(session: &mut ClientSession, max_commit_time: Duration) -> Result<()> {
    session
        .start_transaction()
        .read_concern(ReadConcern::snapshot())
        .write_concern(WriteConcern::majority())
        .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary))
        .max_commit_time(max_commit_time)
        .await
        .map_err(error::database(BEGIN))
}
