//! A batch on its way to the broker.

use tokio::time::Instant;
use tracing::Instrument;

use crate::{
    AggregateId, AggregateType, Envelope, Error, EventBus, EventRef, EventType, Record, Result,
    TopicMap,
};

/// What a dead letter is about, for the person who is told.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    pub(super) event_type: EventType,
    pub(super) aggregate_type: AggregateType,
    pub(super) aggregate_id: AggregateId,
}

impl Subject {
    pub(super) fn of(envelope: &Envelope) -> Self {
        Self {
            event_type: envelope.event_type.clone(),
            aggregate_type: envelope.aggregate_type.clone(),
            aggregate_id: envelope.aggregate_id.clone(),
        }
    }
}

/// Events that are handed over together; the envelopes themselves go to the bus.
#[derive(Debug, Default)]
pub(super) struct Batch {
    events: Vec<EventRef>,
    /// Each event's aggregate type, as an index into `types`: there are few, so none is cloned twice.
    type_of: Vec<usize>,
    types: Vec<AggregateType>,
    records: Vec<Record>,
    first: Option<Subject>,
}

/// A batch whose results are in.
#[derive(Debug)]
pub(super) struct Landed {
    pub(super) acknowledged: Vec<EventRef>,
    pub(super) failed: Vec<Failed>,
    /// The aggregate types of which something was acknowledged.
    pub(super) types: Vec<AggregateType>,
    pub(super) since: Instant,
}

/// An event that was not acknowledged.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) event: EventRef,
    pub(super) aggregate_type: AggregateType,
    pub(super) error: Error,
    /// Known when the event was alone in its batch.
    pub(super) subject: Option<Subject>,
}

impl Batch {
    pub(super) fn push(&mut self, event: EventRef, envelope: Envelope, topics: &TopicMap) {
        let known = self.types.iter().position(|known| *known == envelope.aggregate_type);
        self.type_of.push(known.unwrap_or_else(|| {
            self.types.push(envelope.aggregate_type.clone());
            self.types.len() - 1
        }));
        if self.events.is_empty() {
            self.first = Some(Subject::of(&envelope));
        }
        self.events.push(event);
        self.records.push(Record::new(topics.topic(&envelope.aggregate_type), envelope));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Hands the batch over, now; the future waits for the results.
    pub(super) fn hand_over<B: EventBus>(
        self,
        bus: &B,
        relay: &str,
    ) -> impl Future<Output = Landed> + Send + 'static + use<B> {
        let Self { events, type_of, types, records, first } = self;
        let since = Instant::now();
        let span = tracing::info_span!("relaybox.publish", relay, events = events.len());
        let results = span.in_scope(|| bus.publish(records));
        async move { sort(events, &type_of, types, first, results.await, since) }.instrument(span)
    }
}

fn sort(
    events: Vec<EventRef>,
    type_of: &[usize],
    types: Vec<AggregateType>,
    first: Option<Subject>,
    results: Vec<Result<()>>,
    since: Instant,
) -> Landed {
    let alone = events.len() == 1;
    let mut acknowledged = Vec::with_capacity(events.len());
    let mut failed = Vec::new();
    let mut reached = vec![false; types.len()];
    let mut results = results.into_iter();
    for (event, type_index) in events.into_iter().zip(type_of) {
        // A bus that gives too few results breaks its contract; nothing is lost by calling it failed.
        let result = results.next().unwrap_or_else(|| {
            Err(Error::new(crate::ErrorKind::Other, "publish").detail("the bus gave no result"))
        });
        match result {
            Ok(()) => {
                reached[*type_index] = true;
                acknowledged.push(event);
            }
            Err(error) => failed.push(Failed {
                event,
                aggregate_type: types[*type_index].clone(),
                error,
                subject: first.clone().filter(|_| alone),
            }),
        }
    }
    let types =
        types.into_iter().zip(reached).filter_map(|(name, reached)| reached.then_some(name));
    Landed { acknowledged, failed, types: types.collect(), since }
}
