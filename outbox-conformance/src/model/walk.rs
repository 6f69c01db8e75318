//! Walking through a history with a store and the model side by side.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use relaybox_core::{
    Acquired, ArchiveStore, DeadLetterQuery, DeadLetterState, Error, ErrorKind, EventId, EventRef,
    Lease, Origin, OutboxRow, Settled, Settlement,
};
use tokio::time::Instant;

use super::{
    archive,
    checked::{Checked, done, same},
    history::{AGGREGATES, SLOTS, Step, Which, successors},
    plain::{Event, Given, Number, Place, Plain},
};
use crate::{
    DeadLetterStore, OutboxStore, OutboxWriter, StoreFactory,
    events::{aggregate_id, dead, event, parked, published, relay},
    run::bounded,
    store::{Reader, TTL, read_up_to},
};

/// Longer than any store's clock takes to see that a lease of a millisecond has run out.
const EXPIRY: Duration = Duration::from_secs(10);

/// What is written and not committed.
type Written = Vec<(Number, u8)>;

struct Walk<'a, F: StoreFactory> {
    factory: &'a F,
    database: &'a F::Database,
    store: F::Store,
    archive: Option<Box<dyn ArchiveStore>>,
    lease: Lease,
    reader: Reader,
    open: [Option<(F::Tx, Written)>; SLOTS],
    plain: Plain,
    numbers: HashMap<EventId, Number>,
    refs: HashMap<(Number, Origin), EventRef>,
    aggregates: BTreeMap<Number, u8>,
    rolled_back: BTreeSet<Number>,
    /// What the broker has, in its order.
    topic: Vec<Number>,
}

/// Takes every step, and compares after each.
pub(super) async fn walk<F: StoreFactory>(
    factory: &F,
    steps: &[Step],
    mut before_each: impl FnMut(),
) -> Checked {
    let Some(database) = factory.create().await else { return Ok(()) };
    let mut outcome = Ok(());
    let walking = async {
        outcome = async {
            let mut walk = Walk::begin(factory, &database).await?;
            for step in steps {
                before_each();
                walk.step(step).await?;
                walk.compare().await?;
            }
            walk.drain().await
        }
        .await;
    };
    let ended = bounded(walking).await;
    factory.destroy(database).await;
    match ended {
        Ok(()) => outcome,
        Err(panic) => Err(panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
            .unwrap_or_else(|| "it panics".to_owned())),
    }
}

impl<'a, F: StoreFactory> Walk<'a, F> {
    async fn begin(factory: &'a F, database: &'a F::Database) -> Result<Self, String> {
        let store = factory.store(database);
        let lease = acquire(&store, false).await?;
        let reader = done("open a reader", store.reader().await)?;
        Ok(Self {
            factory,
            database,
            store,
            archive: factory.archive(database),
            lease,
            reader,
            open: std::array::from_fn(|_| None),
            plain: Plain::default(),
            numbers: HashMap::new(),
            refs: HashMap::new(),
            aggregates: BTreeMap::new(),
            rolled_back: BTreeSet::new(),
            topic: Vec::new(),
        })
    }

    async fn step(&mut self, step: &Step) -> Checked {
        match step {
            Step::Write { transaction, aggregates } => self.write(*transaction, aggregates).await,
            Step::Commit(transaction) => {
                if let Some((tx, written)) = self.open[*transaction].take() {
                    self.factory.commit(tx).await;
                    for (number, aggregate) in written {
                        self.plain.events.insert(number, Event { aggregate, place: Place::Outbox });
                    }
                }
                Ok(())
            }
            Step::Rollback(transaction) => {
                if let Some((tx, written)) = self.open[*transaction].take() {
                    self.factory.rollback(tx).await;
                    self.rolled_back.extend(written.iter().map(|(number, _)| *number));
                }
                Ok(())
            }
            Step::Read(limit) => self.read(*limit).await.map(drop),
            Step::Publish(count) => {
                self.publish(*count);
                Ok(())
            }
            Step::Fail => self.fail().await,
            Step::Settle { lost_reply } => self.settle(*lost_reply).await,
            Step::Rewind => {
                self.reader.rewind();
                self.plain.in_flight.clear();
                Ok(())
            }
            Step::Crash => self.start_over().await,
            Step::Takeover { expired } => self.take_over(*expired).await,
            Step::Redrive(which) => {
                let query = self.query(which);
                let seen = done("redrive", self.store.redrive(&query).await)?;
                same("flagged", &seen, &self.plain.redrive(which))
            }
            Step::Discard(which, all) => {
                let query = self.query(which);
                let discarded = self.store.discard(&query, successors(*all)).await;
                let seen = done("discard", discarded)?;
                let gone = self.plain.discard(which, *all);
                same("discarded", &seen, &(gone.len() as u64))
            }
            Step::Purge(limit) => {
                let Some(archive) = &self.archive else { return Ok(()) };
                for id in archive::purge(archive.as_ref(), *limit).await? {
                    self.plain.archive.remove(&self.numbers[&id]);
                }
                Ok(())
            }
        }
    }

    async fn write(&mut self, transaction: usize, aggregates: &[u8]) -> Checked {
        let (tx, written) = match &mut self.open[transaction] {
            Some(open) => open,
            none => none.insert((self.factory.begin(self.database).await, Vec::new())),
        };
        let first = self.aggregates.len();
        let events: Vec<_> = aggregates
            .iter()
            .enumerate()
            .map(|(at, aggregate)| event(&format!("a{aggregate}"), &(first + at).to_string()))
            .collect();
        for (at, (event, aggregate)) in events.iter().zip(aggregates).enumerate() {
            self.numbers.insert(event.event_id, first + at);
            self.aggregates.insert(first + at, *aggregate);
            written.push((first + at, *aggregate));
        }
        done("write", self.store.write(tx, &events).await)
    }

    /// Reads, and compares with what the model would give.
    async fn read(&mut self, limit: usize) -> Result<usize, String> {
        let readable =
            [Origin::DeadLetter, Origin::Outbox].map(|origin| self.plain.readable(origin));
        let count: usize = readable.iter().map(Vec::len).sum();
        let mut rows = read_up_to(&mut self.reader, limit).await;
        // A reader may look for some of it now and then only.
        let deadline = Instant::now() + Duration::from_secs(10);
        while rows.is_empty() && count > 0 && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
            rows = read_up_to(&mut self.reader, limit).await;
        }
        if rows.is_empty() && count > 0 {
            return Err(format!("a read\n  promised: some of {readable:?}\n      seen: nothing"));
        }
        if rows.len() > limit {
            return Err(format!("a read of at most {limit}\n      seen: {}", rows.len()));
        }
        for (origin, readable) in [Origin::DeadLetter, Origin::Outbox].iter().zip(&readable) {
            let given: Vec<_> = rows
                .iter()
                .filter(|row| row.event.origin == *origin)
                .map(|row| self.numbers.get(&row.event.event_id).copied())
                .collect();
            let promised: Vec<_> =
                readable.iter().take(given.len()).map(|number| Some(*number)).collect();
            same(&format!("read from {origin:?}, lowest first"), &given, &promised)?;
        }
        for row in &rows {
            self.take(row)?;
        }
        Ok(rows.len())
    }

    fn take(&mut self, row: &OutboxRow) -> Checked {
        let number = self.numbers[&row.event.event_id];
        let origin = row.event.origin;
        let parked = origin == Origin::Outbox && self.plain.is_parked(number);
        same(&format!("event {number} is parked"), &row.parked, &parked)?;
        let given = Given { number, origin, parked, acknowledged: false };
        self.plain.in_flight.push(given);
        self.refs.insert((number, origin), row.event);
        Ok(())
    }

    fn publish(&mut self, count: usize) {
        let waiting = self.plain.in_flight.iter_mut();
        let waiting = waiting.filter(|given| !given.acknowledged && !given.parked);
        for given in waiting.take(count) {
            given.acknowledged = true;
            self.topic.push(given.number);
        }
    }

    /// What became of what is in flight, as far as it is decided.
    fn settlement(&self, given_up: Option<Number>) -> Settlement {
        let refs = |wanted: &dyn Fn(&Given) -> bool| {
            let given = self.plain.in_flight.iter().filter(|given| wanted(given));
            given.map(|given| self.refs[&(given.number, given.origin)]).collect::<Vec<_>>()
        };
        let mut settlement = published(&refs(&|given| given.acknowledged));
        settlement.append(parked(&refs(&|given| given.parked)));
        settlement.append(dead(&refs(&|given| Some(given.number) == given_up)));
        settlement
    }

    async fn settle(&mut self, lost_reply: bool) -> Checked {
        let settlement = self.settlement(None);
        let seen = done("settle", self.store.settle(&self.lease, &settlement).await)?;
        same("settled", &seen, &self.plain.settle(None))?;
        if lost_reply {
            let seen = done("settle", self.store.settle(&self.lease, &settlement).await)?;
            same("settled again", &seen, &Settled::default())?;
        }
        self.reader.forget(&settlement.events().collect::<Vec<_>>());
        self.plain.in_flight.retain(|given| !given.acknowledged && !given.parked);
        Ok(())
    }

    async fn fail(&mut self) -> Checked {
        let next = self.plain.in_flight.iter().find(|given| !given.acknowledged && !given.parked);
        let Some(next) = next.map(|given| given.number) else { return Ok(()) };
        let settlement = self.settlement(Some(next));
        let seen = done("settle", self.store.settle(&self.lease, &settlement).await)?;
        same("settled", &seen, &self.plain.settle(Some(next)))?;
        self.reader.rewind();
        self.plain.in_flight.clear();
        Ok(())
    }

    async fn start_over(&mut self) -> Checked {
        self.reader = done("open a reader", self.store.reader().await)?;
        self.plain.in_flight.clear();
        Ok(())
    }

    async fn take_over(&mut self, expired: bool) -> Checked {
        let settlement = self.settlement(None);
        if expired {
            done("renew", self.store.renew(&self.lease, Duration::from_millis(1)).await)?;
        } else {
            done("release", self.store.release(&self.lease).await)?;
        }
        let loser = std::mem::replace(&mut self.lease, acquire(&self.store, expired).await?);
        if self.lease.epoch <= loser.epoch {
            return Err(format!(
                "epochs grow\n      seen: {} after {}",
                self.lease.epoch, loser.epoch
            ));
        }
        let kinds = [
            self.store.settle(&loser, &settlement).await.err().as_ref().map(Error::kind),
            self.store.renew(&loser, TTL).await.err().as_ref().map(Error::kind),
            self.store.release(&loser).await.err().as_ref().map(Error::kind),
        ];
        let promised = [Some(ErrorKind::LeaseLost); 3];
        same("the loser settles, renews, releases", &kinds, &promised)?;
        self.start_over().await
    }

    fn query(&self, which: &Which) -> DeadLetterQuery {
        match which {
            Which::All => DeadLetterQuery::all(),
            Which::First(limit) => DeadLetterQuery::all().limit(*limit),
            Which::Of(aggregate) => {
                let mut query = DeadLetterQuery::all();
                query.aggregate_id = Some(aggregate_id(&format!("a{aggregate}")));
                query
            }
            Which::Nth(nth) => {
                let letters = self.plain.letters();
                let chosen = (!letters.is_empty()).then(|| letters[nth % letters.len()]);
                let id = self.numbers.iter().find(|(_, number)| Some(**number) == chosen);
                DeadLetterQuery::event(id.map_or_else(EventId::new, |(id, _)| *id))
            }
        }
    }

    async fn compare(&self) -> Checked {
        let stats = done("measure", self.store.stats().await)?;
        let seen = (stats.backlog, stats.dead_letters, stats.parked);
        same("backlog, dead letters, parked", &seen, &self.plain.counts())?;
        let letters = done("list", self.store.dead_letters(&DeadLetterQuery::all()).await)?;
        let seen: Vec<_> = letters
            .iter()
            .map(|letter| (self.numbers.get(&letter.event_id).copied(), letter.state))
            .collect();
        let promised: Vec<_> = self
            .plain
            .letters()
            .into_iter()
            .map(|number| {
                let state = match self.plain.events[&number].place {
                    Place::Dead => DeadLetterState::Dead,
                    Place::Redriving => DeadLetterState::Redriving,
                    Place::Parked | Place::Outbox => DeadLetterState::Parked,
                };
                (Some(number), state)
            })
            .collect();
        same("the dead letters", &seen, &promised)?;
        self.compare_archive().await
    }

    /// What was settled as published is in the archive until it is purged, and nowhere else.
    async fn compare_archive(&self) -> Checked {
        let Some(archive) = &self.archive else { return Ok(()) };
        let events = archive::events(archive.as_ref()).await?;
        let mut seen: Vec<_> = events.iter().map(|(id, _)| self.numbers.get(id)).collect();
        seen.sort_unstable();
        same("archived", &seen, &self.plain.archive.iter().map(Some).collect())
    }

    /// Lets everything heal: whatever was committed must be on the topic, in order, or discarded.
    async fn drain(mut self) -> Checked {
        for transaction in 0..SLOTS {
            self.step(&Step::Rollback(transaction)).await?;
        }
        self.start_over().await?;
        self.step(&Step::Redrive(Which::All)).await?;
        // Each round publishes something, or moves it behind what is before it.
        for _ in 0..3 * self.plain.events.len() {
            self.read(3).await?;
            self.publish(usize::MAX);
            self.settle(false).await?;
        }
        let stats = done("measure", self.store.stats().await)?;
        same("left in the end", &(stats.backlog, stats.dead_letters, stats.parked), &(0, 0, 0))?;
        for aggregate in 0..AGGREGATES {
            let mut seen = Vec::new();
            for number in &self.topic {
                if self.aggregates[number] == aggregate && !seen.contains(number) {
                    seen.push(*number);
                }
            }
            if !seen.is_sorted() {
                return Err(format!("a{aggregate} is published in order\n      seen: {seen:?}"));
            }
        }
        // What left the store was acknowledged or discarded: the counts have told after each step.
        match self.topic.iter().find(|number| self.rolled_back.contains(number)) {
            Some(number) => Err(format!(
                "what was rolled back is gone\n      seen: event {number} is published"
            )),
            None => Ok(()),
        }
    }
}

/// Takes a lease that is free, or will be as soon as the store's clock says so.
async fn acquire(store: &impl OutboxStore, expires: bool) -> Result<Lease, String> {
    let deadline = Instant::now() + EXPIRY;
    loop {
        match done("acquire the lease", store.acquire(&relay(), TTL).await)? {
            Acquired::Held(lease) => return Ok(lease),
            Acquired::Elsewhere { .. } if expires && Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            elsewhere @ Acquired::Elsewhere { .. } => {
                return Err(format!("a lease that is free is given\n      seen: {elsewhere:?}"));
            }
        }
    }
}
