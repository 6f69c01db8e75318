//! One topic and one database, on which both sides work in turn.

use relaybox::postgres::PgProcessedEvents;
use sqlx::PgPool;

use crate::{
    bare::{self, InBatches, OneByOne},
    event::sum,
    handler::{AddUp, Insert},
    library::{self, NAME},
    support::{
        PARTITIONS,
        bench::Bench,
        database::{Database, sync},
        figures::{median, rate},
        topic::Topic,
    },
};

/// A topic that is full, and a database with the tables of both sides.
pub(crate) struct Contest {
    pub(crate) database: Database,
    pub(crate) topic: Topic,
    pub(crate) events: u64,
    rounds: usize,
}

/// What is done about an event.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// A statement.
    Insert,
    /// Nothing in the database but the mark.
    AddUp,
    /// Nothing, because it is known as a repeat.
    None,
}

/// Who does it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Library,
    Bare,
    /// The usual way.
    OneByOne,
}

impl Contest {
    pub(crate) async fn new(bench: &Bench, events: u64) -> Self {
        let servers = bench.servers();
        let database = Database::create(&servers.postgres).await;
        database
            .execute(
                "CREATE TABLE effects (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, \
                 thing uuid NOT NULL, n bigint NOT NULL)",
            )
            .await;
        let topic = Topic::create(&servers.kafka).await;
        topic.fill(events).await;
        Self { database, topic, events, rounds: bench.options.rounds() }
    }

    /// The median rates of the library and of another side, in turns.
    pub(crate) async fn rates(&self, effect: Effect, other: Side) -> (f64, f64) {
        let (mut ours, mut others) = (Vec::new(), Vec::new());
        for round in 0..self.rounds {
            let mut order = [(other, &mut others), (Side::Library, &mut ours)];
            if round % 2 == 1 {
                order.reverse();
            }
            for (side, rates) in order {
                rates.push(self.rate(effect, side).await);
            }
        }
        (median(ours), median(others))
    }

    /// Events a second of one side, which must be the only one at work.
    pub(crate) async fn rate(&self, effect: Effect, side: Side) -> f64 {
        self.database.execute("TRUNCATE effects").await;
        if effect != Effect::None {
            self.database.execute("TRUNCATE processed_events").await;
        }
        self.database.execute("CHECKPOINT").await;
        sync();
        // As many as can be of use, made beforehand.
        let pool = self.database.connections(PARTITIONS.unsigned_abs()).await;
        let add_up = AddUp::default();
        let took = self.consume(pool, effect, side, &add_up).await;
        self.check(effect, &add_up).await;
        rate(self.events, took)
    }

    async fn consume(&self, pool: PgPool, effect: Effect, side: Side, add_up: &AddUp) -> f64 {
        let (topic, events, add_up) = (&self.topic, self.events, add_up.clone());
        match side {
            Side::Library => {
                let source = library::source(topic.brokers(), topic.name(), library::new_group());
                let inbox = PgProcessedEvents::new(pool);
                if effect == Effect::AddUp {
                    library::consume(source, inbox, add_up, events).await
                } else {
                    library::consume(source, inbox, Insert, events).await
                }
            }
            Side::Bare => {
                let add_up = (effect == Effect::AddUp).then_some(add_up);
                bare::consume(topic, InBatches { pool, add_up }, events).await
            }
            Side::OneByOne => bare::consume(topic, OneByOne(pool), events).await,
        }
    }

    /// Panics unless exactly all effects and marks are there.
    async fn check(&self, effect: Effect, add_up: &AddUp) {
        add_up.check(if effect == Effect::AddUp { self.events } else { 0 });
        self.check_rows(if effect == Effect::Insert { self.events } else { 0 }).await;
    }

    /// Panics unless each of so many events has one row, and each event of the topic one mark.
    pub(crate) async fn check_rows(&self, effects: u64) {
        let number = async |query| self.database.number(query).await;
        let rows = number("SELECT count(*) FROM effects").await;
        let distinct = number("SELECT count(DISTINCT n) FROM effects").await;
        let total = number("SELECT coalesce(sum(n), 0)::bigint FROM effects").await;
        let expected = (effects.cast_signed(), effects.cast_signed(), sum(effects));
        assert_eq!((rows, distinct, total), expected, "each event has one effect");
        let marks = number("SELECT count(*) FROM processed_events").await;
        assert_eq!(marks, self.events.cast_signed(), "each event has one mark of {NAME}");
    }
}
