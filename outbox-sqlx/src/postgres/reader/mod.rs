//! The reader: what is in the table is the state, what it remembers is only a hint.
//!
//! It remembers how far it came, what is missing below ([`gaps`]) and what is in flight, so that a read
//! costs what it gives, however long the table is and whatever was deleted before. Each read is one
//! statement with one snapshot, gaps and new rows together: in two, a row that commits late and its
//! successor could change places. Now and then, and at first, it looks from the lowest row again (a
//! sweep), and so finds what a wrong hint has missed: a number that somebody made by hand, a sequence
//! that was set back. Such an event is late, and counted, but never lost.

mod decode;
mod durable;
mod gaps;
mod page;
mod plan;
mod status;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use futures::TryStreamExt;
use relaybox_core::{
    AggregateType, EventRef, Origin, OutboxReader, OutboxRow, ReadRequest, Result,
};
use sqlx::{Connection, PgConnection, SqlStr};
use uuid::Uuid;

pub(super) use self::decode::envelope;
use self::{decode::Line, durable::Durable, gaps::Gaps, page::Page, plan::Plan, status::Status};
use super::sql::OutboxSql;
use crate::{error, in_flight::InFlight};

const READ: &str = "read the outbox";
/// How often dead letters are looked through when they are many and none is redriven.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How often it sweeps, at most.
const SWEEP_EVERY: Duration = Duration::from_secs(3);
/// A sweep takes one part in so many of the time at most: behind a transaction that keeps dead rows
/// from being removed, it walks them all.
const SWEEP_SHARE: u32 = 50;
/// After so many empty reads it asks first whether there is anything.
const IDLE: u32 = 5;
/// How many rows it looks at when some of them are held back.
const WINDOW: usize = 10_000;

/// Reads the committed events of one table, in the order of their positions.
pub(crate) struct PgReader {
    /// Its own for life, and none of the pool's: a break is an error, and the checks are made again
    /// for the next reader.
    connection: PgConnection,
    sql: Arc<OutboxSql>,
    in_flight: InFlight,
    /// The lowest position that was not read yet, but for the gaps below it.
    next: i64,
    gaps: Gaps,
    durable: Durable,
    /// The aggregate types that the last read left where they are.
    held_back: Vec<AggregateType>,
    next_sweep: Instant,
    /// What the last one took.
    last_sweep: Duration,
    /// When to look through many dead letters again. A poison event with a long tail must not make
    /// every read of the outbox slow.
    next_look: Instant,
    plan: Plan,
    /// How many reads in a row have found nothing.
    empty_reads: u32,
    /// There were some when it last looked.
    has_dead_letters: bool,
    /// Events that only a sweep has found, since somebody asked.
    overlooked: u64,
    /// The statement of the last read, and what it was made for.
    statement: Option<(Form, SqlStr)>,
}

/// What decides about the text of a reading statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Form {
    limit: usize,
    /// How many rows it looks at.
    window: usize,
    /// New rows are all there is to look for.
    brief: bool,
}

impl PgReader {
    /// How many ranges of missing positions it remembers.
    #[cfg(test)]
    pub(crate) fn gaps(&self) -> usize {
        self.gaps.ranges().len()
    }

    pub(super) fn new(connection: PgConnection, sql: Arc<OutboxSql>) -> Self {
        let now = Instant::now();
        Self {
            connection,
            sql,
            in_flight: InFlight::default(),
            next: i64::MIN,
            gaps: Gaps::default(),
            durable: Durable::default(),
            held_back: Vec::new(),
            next_sweep: now,
            last_sweep: Duration::ZERO,
            next_look: now,
            plan: Plan::new(now),
            empty_reads: 0,
            has_dead_letters: true,
            overlooked: 0,
            statement: None,
        }
    }

    /// Goes on from the lowest row.
    fn start_over(&mut self) {
        self.next = i64::MIN;
        self.gaps.clear();
        self.next_look = Instant::now();
        self.empty_reads = 0;
    }

    /// What is held back no longer lies below, where nobody looks any more.
    fn hold_back(&mut self, request: &ReadRequest) {
        if self.held_back.iter().any(|held| !request.held_back.contains(held)) {
            self.start_over();
        }
        self.held_back.clone_from(&request.held_back);
    }

    /// Asks with a cheap statement whether there is anything at all.
    async fn finds_nothing(&mut self) -> Result<bool> {
        let found: bool = sqlx::query_scalar(self.sql.peek.clone())
            .bind(self.next)
            .fetch_one(&mut self.connection)
            .await
            .map_err(error::database(READ))?;
        Ok(!found)
    }

    async fn fetch(
        &mut self,
        request: &ReadRequest,
        from: i64,
        looks: bool,
    ) -> Result<(Status, Vec<Line>)> {
        let ranges = if from == self.next { self.gaps.ranges() } else { Vec::new() };
        let mut in_the_way: Vec<i64> = self.in_flight.outbox(from..).collect();
        in_the_way.extend(
            ranges.iter().flat_map(|range| self.in_flight.outbox(range.first..=range.last)),
        );
        let (letters, ids): (Vec<i64>, Vec<Uuid>) =
            self.in_flight.dead_letters().map(|(seq, id)| (seq, id.as_uuid())).unzip();
        let held_back: Vec<&str> = request.held_back.iter().map(AggregateType::as_str).collect();
        let keeps_parked = self.in_flight.keeps_parked();
        let statement = self.statement(request.limit);
        let mut rows = sqlx::query(statement)
            .bind(from)
            .bind(ranges.iter().map(|range| range.first).collect::<Vec<_>>())
            .bind(ranges.iter().map(|range| range.last).collect::<Vec<_>>())
            .bind(in_the_way)
            .bind(letters)
            .bind(ids)
            .bind(held_back)
            .bind(i64::try_from(request.max_bytes).unwrap_or(i64::MAX))
            .bind(looks)
            .bind(!self.gaps.is_empty())
            .bind(ranges.iter().map(|range| range.asleep).collect::<Vec<_>>())
            .bind(self.gaps.sleepers())
            .fetch(&mut self.connection);
        let mut status = Status::default();
        let mut lines = Vec::new();
        while let Some(row) = rows.try_next().await.map_err(error::database(READ))? {
            if lines.is_empty() {
                status = Status::decode(&row).map_err(error::database(READ))?;
            }
            lines.extend(decode::line(&row, &status, keeps_parked).map_err(error::database(READ))?);
        }
        Ok((status, lines))
    }

    fn statement(&mut self, limit: usize) -> SqlStr {
        let form = Form { limit, window: self.window(limit), brief: self.is_brief() };
        match &self.statement {
            Some((known, statement)) if *known == form => statement.clone(),
            _ => {
                let statement = if form.brief {
                    self.sql.read_new(limit)
                } else {
                    self.sql.read(limit, (form.window > limit).then_some(form.window))
                };
                self.statement = Some((form, statement.clone()));
                statement
            }
        }
    }

    /// Whether new rows are all there is to look for.
    fn is_brief(&self) -> bool {
        self.gaps.is_empty() && self.held_back.is_empty() && !self.has_dead_letters
    }

    /// How many rows a statement looks at.
    fn window(&self, limit: usize) -> usize {
        if self.held_back.is_empty() { limit } else { limit.saturating_add(WINDOW) }
    }

    /// Moves on behind what was seen, and remembers what is missing before it.
    fn advance(&mut self, page: &Page, status: &Status, is_sweep: bool) {
        let known = page.seen.partition_point(|position| *position < self.next);
        let (below, above) = page.seen.split_at(known);
        let mut last_missed = None;
        for position in below {
            if self.gaps.contains(*position) {
                self.gaps.fill(*position);
            } else {
                self.overlooked += 1;
                last_missed = Some(*position);
            }
        }
        self.gaps.looked(page.covered, is_sweep || status.woken, &status.holders);
        if let Some(missed) = last_missed {
            // From there on all is read again: a sequence that was set back goes on behind it.
            self.gaps.truncate(missed);
            self.next = missed.saturating_add(1);
        } else if let Some(last) = above.last() {
            self.gaps.find(self.next, above.iter().copied());
            self.next = last.saturating_add(1);
        }
    }
}

#[async_trait]
impl OutboxReader for PgReader {
    async fn read(&mut self, request: &ReadRequest) -> Result<Vec<OutboxRow>> {
        self.hold_back(request);
        let began = Instant::now();
        let sweeps = began >= self.next_sweep || self.next == i64::MIN;
        if self.empty_reads >= IDLE
            && !sweeps
            && self.gaps.is_empty()
            && self.finds_nothing().await?
        {
            return Ok(Vec::new());
        }
        if self.plan.is_old(began) {
            self.connection.clear_cached_statements().await.map_err(error::database(READ))?;
            self.plan = Plan::new(began);
        }
        let from = if sweeps { i64::MIN } else { self.next };
        let looks = began >= self.next_look;
        let was_brief = self.is_brief();
        let (mut status, mut lines) = self.fetch(request, from, looks).await?;
        self.plan.saw(status.table_size);
        self.has_dead_letters = status.has_dead_letters;
        if was_brief && status.has_dead_letters {
            // What is there may have to be parked.
            (status, lines) = self.fetch(request, from, looks).await?;
        }
        let page = Page::take(lines, request, from, self.window(request.limit));
        self.durable.wait(&status, page.newest, &self.sql, &mut self.connection).await?;

        if looks && !page.reads.iter().any(|read| read.event.origin == Origin::DeadLetter) {
            self.next_look = began + LOOK_EVERY;
        }
        if sweeps && page.covered.saturating_add(1) >= self.next {
            // One that was slow by chance says nothing of the next.
            let took = began.elapsed();
            let usual = took.min(std::mem::replace(&mut self.last_sweep, took));
            self.next_sweep = began + SWEEP_EVERY.max(usual * SWEEP_SHARE);
        }
        self.advance(&page, &status, sweeps);
        let is_empty = page.seen.is_empty() && page.reads.is_empty();
        self.empty_reads = if is_empty { self.empty_reads.saturating_add(1) } else { 0 };
        Ok(self.in_flight.give(page.reads))
    }

    fn forget(&mut self, settled: &[EventRef]) {
        self.in_flight.forget(settled);
    }

    fn rewind(&mut self) {
        self.in_flight.clear();
        self.start_over();
    }

    fn overlooked(&mut self) -> u64 {
        std::mem::take(&mut self.overlooked)
    }
}
