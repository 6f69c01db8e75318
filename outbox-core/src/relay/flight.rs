//! A batch on its way to the broker.

use std::ops::{AddAssign, SubAssign};

use tokio::time::Instant;
use tracing::Instrument;

use crate::{
    AggregateId, AggregateType, Envelope, Error, EventBus, EventRef, EventType, Published, Receipt,
    Record, Result, TopicMap, TopicName,
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

/// How much is on its way.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Load {
    pub(super) events: usize,
    /// Of payload.
    pub(super) bytes: usize,
}

impl AddAssign for Load {
    fn add_assign(&mut self, other: Self) {
        self.events += other.events;
        self.bytes += other.bytes;
    }
}

impl SubAssign for Load {
    fn sub_assign(&mut self, other: Self) {
        self.events -= other.events;
        self.bytes -= other.bytes;
    }
}

/// Events that are handed over together; the envelopes themselves go to the bus.
#[derive(Debug, Default)]
pub(super) struct Batch {
    events: Vec<EventRef>,
    /// Each event's aggregate type, as an index into `routes`.
    route_of: Vec<usize>,
    /// The aggregate types in the batch, and where they go: few, so each is looked up once.
    routes: Vec<(AggregateType, TopicName)>,
    records: Vec<Record>,
    bytes: usize,
    first: Option<Subject>,
}

/// A batch whose results are in.
#[derive(Debug)]
pub(super) struct Landed {
    pub(super) load: Load,
    pub(super) acknowledged: Vec<Published>,
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
        let known = self.routes.iter().position(|(known, _)| *known == envelope.aggregate_type);
        let route = known.unwrap_or_else(|| {
            let aggregate_type = envelope.aggregate_type.clone();
            let topic = topics.topic(&aggregate_type);
            self.routes.push((aggregate_type, topic));
            self.routes.len() - 1
        });
        self.route_of.push(route);
        if self.events.is_empty() {
            self.first = Some(Subject::of(&envelope));
        }
        self.events.push(event);
        self.bytes += envelope.payload.len();
        self.records.push(Record::new(self.routes[route].1.clone(), envelope));
    }

    pub(super) fn load(&self) -> Load {
        Load { events: self.events.len(), bytes: self.bytes }
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
        let load = self.load();
        let Self { events, route_of, routes, records, first, .. } = self;
        let since = Instant::now();
        let span = tracing::info_span!("relaybox.publish", relay, events = events.len());
        let results = span.in_scope(|| bus.publish(records));
        async move { sort(load, events, &route_of, routes, first, results.await, since) }
            .instrument(span)
    }
}

fn sort(
    load: Load,
    events: Vec<EventRef>,
    route_of: &[usize],
    routes: Vec<(AggregateType, TopicName)>,
    first: Option<Subject>,
    results: Vec<Result<Receipt>>,
    since: Instant,
) -> Landed {
    let alone = events.len() == 1;
    let mut acknowledged = Vec::with_capacity(events.len());
    let mut failed = Vec::new();
    let mut reached = vec![false; routes.len()];
    let mut results = results.into_iter();
    for (event, route) in events.into_iter().zip(route_of) {
        // A bus that gives too few results breaks its contract; nothing is lost by calling it failed.
        let result = results.next().unwrap_or_else(|| {
            Err(Error::new(crate::ErrorKind::Other, "publish").detail("the bus gave no result"))
        });
        match result {
            Ok(receipt) => {
                reached[*route] = true;
                acknowledged.push(Published::new(event, routes[*route].1.clone(), receipt));
            }
            Err(error) => failed.push(Failed {
                event,
                aggregate_type: routes[*route].0.clone(),
                error,
                subject: first.clone().filter(|_| alone),
            }),
        }
    }
    let types = routes
        .into_iter()
        .zip(reached)
        .filter_map(|((aggregate_type, _), reached)| reached.then_some(aggregate_type));
    Landed { load, acknowledged, failed, types: types.collect(), since }
}
