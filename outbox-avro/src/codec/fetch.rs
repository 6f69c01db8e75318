//! Fetching writers' schemas, outside of any transaction.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared, WeakShared},
};
use relaybox_core::{Error, ErrorKind, Result, Retry, error_chain};
use tokio::time::Instant;

use crate::{EventSchema, SchemaSource, WriterSchemas};

/// Where writers' schemas come from, and those that did.
#[derive(Clone)]
pub(super) struct Fetch {
    writers: WriterSchemas,
    source: Option<Arc<dyn SchemaSource>>,
    state: Arc<Mutex<State>>,
}

/// One request, shared by all that wait for it.
type Flight = BoxFuture<'static, Result<(), Failure>>;

#[derive(Default)]
struct State {
    flights: HashMap<u32, WeakShared<Flight>>,
    refused: HashMap<u32, (Instant, Failure)>,
}

/// How long an id stays refused before the registry is asked again: a replica of it may lag, and a
/// thousand events with a wrong id are one question.
const REFUSED_FOR: Duration = Duration::from_secs(10);
/// How many refused ids, or requests, are remembered.
const MAX_REMEMBERED: usize = 1024;
/// The first byte of the Confluent wire format.
const MAGIC: u8 = 0;

const FETCH: &str = "fetch a writer's schema";

/// The id and the datum of a payload in the Confluent wire format.
pub(super) fn split(payload: &[u8]) -> Option<(u32, &[u8])> {
    let (&[magic, a, b, c, d], datum) = payload.split_first_chunk::<5>()?;
    (magic == MAGIC).then_some((u32::from_be_bytes([a, b, c, d]), datum))
}

impl Fetch {
    pub(super) fn new(source: Option<Arc<dyn SchemaSource>>, writers: WriterSchemas) -> Self {
        Self { writers, source, state: Arc::default() }
    }

    /// The schema with this id, which was fetched before.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] when the registry doesn't know it, or there is none;
    /// [`ErrorKind::Unavailable`] when it was not asked yet.
    pub(super) fn fetched(&self, id: u32) -> Result<EventSchema> {
        if let Some(schema) = self.writers.get(id) {
            return Ok(schema);
        }
        if self.source.is_none() {
            return Err(Error::new(ErrorKind::Decode, FETCH).detail(format!(
                "the payload has the schema id {id}, and the codec has no registry; give it one with \
                 AvroCodecBuilder::registry"
            )));
        }
        if let Some((_, failure)) = self.state().refused.get(&id) {
            return Err(failure.clone().into());
        }
        Err(Error::new(ErrorKind::Unavailable, FETCH)
            .detail(format!("the schema with the id {id} was not fetched before it was needed")))
    }

    /// Fetches a schema, unless it is here; one request at a time for each id.
    ///
    /// A refusal is kept, for [`fetched`](Self::fetched) to tell: a payload without a frame may begin
    /// like one.
    pub(super) fn begin(&self, id: u32) -> Option<BoxFuture<'static, Result<()>>> {
        if self.writers.get(id).is_some() {
            return None;
        }
        let source = Arc::clone(self.source.as_ref()?);
        let mut state = self.state();
        if state.refused.get(&id).is_some_and(|(since, _)| since.elapsed() < REFUSED_FOR) {
            return None;
        }
        if let Some(flight) = state.flights.get(&id).and_then(WeakShared::upgrade) {
            return Some(waited(flight));
        }
        if state.flights.len() >= MAX_REMEMBERED {
            state.flights.retain(|_, flight| flight.upgrade().is_some());
        }
        let flight = self.clone().ask(source, id).boxed().shared();
        if let Some(weak) = flight.downgrade() {
            state.flights.insert(id, weak);
        }
        Some(waited(flight))
    }

    async fn ask(self, source: Arc<dyn SchemaSource>, id: u32) -> Result<(), Failure> {
        let answer = source.schema_by_id(id).await.and_then(EventSchema::of_others);
        let mut state = self.state();
        state.flights.remove(&id);
        match answer {
            Ok(schema) => {
                state.refused.remove(&id);
                self.writers.insert(id, schema);
                Ok(())
            }
            Err(error) if error.is_infrastructure() || error.retry() != Retry::Never => {
                Err(Failure::surroundings(&error))
            }
            Err(error) => {
                if state.refused.len() >= MAX_REMEMBERED {
                    state.refused.clear();
                }
                state.refused.insert(id, (Instant::now(), Failure::refused(&error)));
                Ok(())
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn waited(flight: Shared<Flight>) -> BoxFuture<'static, Result<()>> {
    flight.map(|done| done.map_err(Error::from)).boxed()
}

/// An error that several may get.
#[derive(Debug, Clone)]
struct Failure {
    kind: ErrorKind,
    why: Arc<str>,
}

impl Failure {
    /// Of the surroundings: asked again later. What is neither that nor permanent counts as that, so
    /// that nothing is given up on for it.
    fn surroundings(error: &Error) -> Self {
        let kind = if error.is_infrastructure() { error.kind() } else { ErrorKind::Unavailable };
        Self { kind, why: error_chain(error).into() }
    }

    fn refused(error: &Error) -> Self {
        Self { kind: ErrorKind::Decode, why: error_chain(error).into() }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Error::new(failure.kind, FETCH).detail(failure.why.to_string())
    }
}
