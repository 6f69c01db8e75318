//! The ids that are known, and the searches for those that are not.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use relaybox_core::{Error, ErrorKind, Result, SchemaFingerprint, TopicName, error_chain};
use tokio::sync::watch;

use super::framing::OPERATION;

/// Ids by topic and schema. One search for each at a time, which all wait for; of one that failed
/// nothing is kept.
#[derive(Default)]
pub(super) struct Searches(RwLock<HashMap<TopicName, HashMap<SchemaFingerprint, Search>>>);

/// Nothing until it is over.
type Search = watch::Receiver<Option<Result<u32, Failure>>>;

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// One event waits for a search.
    pub(super) patience: Duration,
    /// A search goes on. Then the next event begins another.
    pub(super) search: Duration,
}

/// How many are kept. Each is of a schema that a service stored, so that more would be a mistake.
const MAX_SEARCHES: usize = 10_000;

impl Searches {
    /// The id, if it is known.
    pub(super) fn known(&self, topic: &TopicName, fingerprint: &SchemaFingerprint) -> Option<u32> {
        let searches = self.0.read().unwrap_or_else(PoisonError::into_inner);
        id_of(searches.get(topic)?.get(fingerprint)?)
    }

    /// Waits for the search, which `begin` makes when there is none. It goes on in a task of its own
    /// when nobody waits any longer.
    pub(super) async fn wait<F>(
        &self,
        topic: &TopicName,
        fingerprint: SchemaFingerprint,
        times: Times,
        begin: impl FnOnce() -> F,
    ) -> Result<u32>
    where
        F: Future<Output = Result<u32>> + Send + 'static,
    {
        let mut search = self.join(topic, fingerprint, times.search, begin);
        let over = tokio::time::timeout(times.patience, search.wait_for(Option::is_some)).await;
        match over {
            Ok(Ok(found)) => match &*found {
                Some(Ok(id)) => Ok(*id),
                Some(Err(failure)) => Err(failure.clone().into()),
                None => Err(unavailable("the search for a schema's id has no result")),
            },
            Ok(Err(_)) => Err(unavailable("the search for a schema's id was broken off")),
            Err(_) => Err(unavailable(
                "the schema registry, or the store of schemas, has not answered yet; others go first",
            )),
        }
    }

    fn join<F>(
        &self,
        topic: &TopicName,
        fingerprint: SchemaFingerprint,
        limit: Duration,
        begin: impl FnOnce() -> F,
    ) -> Search
    where
        F: Future<Output = Result<u32>> + Send + 'static,
    {
        let mut searches = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let running = searches.get(topic).and_then(|of_topic| of_topic.get(&fingerprint));
        if let Some(search) = running.filter(|search| is_of_use(search)) {
            return search.clone();
        }
        if searches.values().map(HashMap::len).sum::<usize>() >= MAX_SEARCHES {
            searches.clear();
        }
        let (result, search) = watch::channel(None);
        let work = begin();
        tokio::spawn(async move {
            let found = tokio::time::timeout(limit, work)
                .await
                .unwrap_or_else(|_| Err(slow(limit)))
                .map_err(|error| Failure::of(&error));
            // Nobody waits: then there is nobody to tell.
            let _ = result.send(Some(found));
        });
        searches.entry(topic.clone()).or_default().insert(fingerprint, search.clone());
        search
    }
}

fn id_of(search: &Search) -> Option<u32> {
    search.borrow().as_ref()?.as_ref().ok().copied()
}

/// Whether it goes on, or has found what it looked for.
fn is_of_use(search: &Search) -> bool {
    match &*search.borrow() {
        Some(found) => found.is_ok(),
        // Its task may have ended with the runtime that it was in.
        None => search.has_changed().is_ok(),
    }
}

fn unavailable(what: &'static str) -> Error {
    Error::new(ErrorKind::Unavailable, OPERATION).detail(what)
}

fn slow(limit: Duration) -> Error {
    Error::new(ErrorKind::Timeout, OPERATION).detail(format!(
        "the schema registry and the store of schemas did not give a schema's id within {limit:?}"
    ))
}

/// An error that several may get.
#[derive(Clone)]
struct Failure {
    kind: ErrorKind,
    why: Arc<str>,
}

impl Failure {
    /// Nothing that registry or store say of a schema makes an event a dead letter, nor ends a relay:
    /// what is wrong is mended there, and the event is as good as before.
    fn of(error: &Error) -> Self {
        let kind = if error.is_infrastructure() || error.kind() == ErrorKind::TopicUnavailable {
            error.kind()
        } else {
            ErrorKind::TopicUnavailable
        };
        Self { kind, why: error_chain(error).into() }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Error::new(failure.kind, OPERATION).detail(failure.why.to_string())
    }
}
