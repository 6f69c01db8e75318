//! Services that commit one event after another at a given rate.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use chrono::SubsecRound;
use relaybox::{Outbox, postgres::PgOutbox};
use sqlx::PgPool;
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    client::Client,
    event::{AGGREGATE, Changed, Columns, NAME, SOURCE},
    support::{figures::float, topic::Topic},
};

/// How many connections commit side by side.
pub(crate) const WRITERS: u32 = 8;
const PER_SECOND: u64 = 1000;

/// What becomes of an event.
#[derive(Clone)]
pub(crate) enum Send<'a> {
    /// It goes into the outbox, in the transaction.
    Outbox(Outbox<PgOutbox>),
    /// It is sent right after the commit, and lost if that fails: the unsafe dual write.
    AfterCommit(Client, &'a Topic),
}

/// What a load committed: event ids, and when the commit had returned, in microseconds of the epoch.
/// In the order in which they were due.
pub(crate) struct Committed(Vec<(Uuid, i64)>);

/// How long acknowledgements took after their commits, in milliseconds.
#[derive(Clone, Copy)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

/// Commits so many transactions of a business row and an event, a thousand a second.
///
/// Each transaction has its own due time: a slow one delays no other, unless all writers are busy.
pub(crate) async fn commit(pool: &PgPool, events: u64, send: &Send<'_>) -> Committed {
    let start = Instant::now();
    let writers = (0..u64::from(WRITERS)).map(|writer| async move {
        let mut committed = Vec::new();
        for number in (writer..events).step_by(WRITERS as usize) {
            tokio::time::sleep_until(start + Duration::from_secs(number) / 1000).await;
            committed.push((number, commit_one(pool, number, send).await));
        }
        committed
    });
    let committed = futures::future::join_all(writers).await;
    let mut committed: Vec<_> = committed.into_iter().flatten().collect();
    committed.sort_unstable_by_key(|(number, _)| *number);
    Committed(committed.into_iter().map(|(_, committed)| committed).collect())
}

/// Commits a business row and an event; gives the event's id and when the commit had returned.
async fn commit_one(pool: &PgPool, number: u64, send: &Send<'_>) -> (Uuid, i64) {
    let changed = Changed::new(Uuid::now_v7());
    let mut tx = pool.begin().await.unwrap();
    sqlx::query("INSERT INTO things (id, n) VALUES ($1, 1)")
        .bind(changed.id)
        .execute(&mut *tx)
        .await
        .unwrap();
    match send {
        Send::Outbox(outbox) => {
            let event_id = outbox.enqueue(&mut tx, &changed).await.unwrap();
            tx.commit().await.unwrap();
            (event_id.as_uuid(), now_micros())
        }
        Send::AfterCommit(client, topic) => {
            let event = ByHand::new(&changed);
            tx.commit().await.unwrap();
            let committed = now_micros();
            client.send(topic.name(), &event.columns(), usize::try_from(number).unwrap());
            (event.event_id, committed)
        }
    }
}

impl Committed {
    /// The rate that was reached.
    pub(crate) fn events_per_s(&self) -> f64 {
        let times = self.0.iter().map(|(_, at)| *at);
        let took = times.clone().max().unwrap() - times.min().unwrap();
        (float(self.0.len() as u64) - 1.0) / (micros(took) / 1e6)
    }

    /// How long these took that the relay's process says.
    pub(crate) fn until(&self, acknowledged: &[(Uuid, i64)]) -> Latency {
        let mut first: HashMap<Uuid, i64> = HashMap::with_capacity(acknowledged.len());
        for (event_id, at) in acknowledged {
            first.entry(*event_id).and_modify(|first| *first = *at.min(first)).or_insert(*at);
        }
        self.latency(self.0.iter().map(|(event_id, _)| first[event_id]))
    }

    /// How long these took that the client says, by the number of the event.
    pub(crate) fn until_each(&self, acknowledged_at: &[i64]) -> Latency {
        assert_eq!(self.0.len(), acknowledged_at.len());
        self.latency(acknowledged_at.iter().copied())
    }

    fn latency(&self, acknowledged: impl Iterator<Item = i64>) -> Latency {
        let committed = self.0.iter().map(|(_, at)| *at);
        let took = committed.zip(acknowledged).map(|(from, to)| micros(to - from) / 1e3);
        // The first tenth warms connections, caches and the relay up.
        let mut took: Vec<f64> = took.skip(self.0.len() / 10).collect();
        took.sort_by(f64::total_cmp);
        Latency { p50: percentile(&took, 50), p99: percentile(&took, 99) }
    }

    /// Says so when the machine didn't keep up: the latency is that of another load then.
    pub(crate) fn check_rate(&self, row: &str) {
        let reached = self.events_per_s();
        if reached < 0.95 * float(PER_SECOND) {
            eprintln!("{row}: only {reached:.0} of {PER_SECOND} events/s were committed");
        }
    }
}

/// An event as a service without this library makes it.
pub(crate) struct ByHand {
    pub(crate) event_id: Uuid,
    pub(crate) correlation_id: String,
    pub(crate) aggregate_id: String,
    pub(crate) occurred_at: chrono::DateTime<chrono::Utc>,
    pub(crate) payload: Vec<u8>,
}

impl ByHand {
    pub(crate) fn new(changed: &Changed) -> Self {
        let event_id = Uuid::now_v7();
        Self {
            event_id,
            correlation_id: event_id.to_string(),
            aggregate_id: changed.id.to_string(),
            occurred_at: chrono::Utc::now().trunc_subsecs(6),
            payload: serde_json::to_vec(changed).unwrap(),
        }
    }

    pub(crate) fn columns(&self) -> Columns<'_> {
        Columns {
            event_id: self.event_id,
            aggregate_type: AGGREGATE,
            aggregate_id: &self.aggregate_id,
            event_name: NAME,
            event_version: 1,
            occurred_at: self.occurred_at,
            content_type: "application/json",
            partition_key: None,
            source: SOURCE,
            correlation_id: Some(&self.correlation_id),
            causation_id: None,
            user_id: None,
            traceparent: None,
            tracestate: None,
            headers: None,
            payload: &self.payload,
        }
    }
}

/// The wall clock, which all processes of a machine share, in microseconds of the epoch.
pub(crate) fn now_micros() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(now.as_micros()).unwrap()
}

#[expect(clippy::cast_precision_loss, reason = "a difference of times is far below 2^52 µs")]
fn micros(difference: i64) -> f64 {
    difference as f64
}

/// The smallest figure that so many per cent of them don't exceed.
fn percentile(sorted: &[f64], percent: usize) -> f64 {
    sorted[(sorted.len() * percent).div_ceil(100).saturating_sub(1)]
}
