//! The promises of both databases: each is a function that takes a [`Harness`].
//!
//! The Postgres ones need `RELAYBOX_POSTGRES_URL` (`scripts/services up postgres`).

mod archive;
mod dead_letters;
#[cfg(feature = "postgres")]
mod gaps;
mod inbox;
mod lease;
mod migrations;
mod outbox;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "postgres")]
mod retention;
#[cfg(feature = "postgres")]
mod roles;
mod schemas;
#[cfg(feature = "sqlite")]
mod sqlite;
mod starts;

use std::{panic::AssertUnwindSafe, time::Duration};

use async_trait::async_trait;
use futures::FutureExt;
use relaybox_core::{
    Acquired, AggregateId, AggregateType, ArchiveStore, DeadLetterStore, Envelope, ErrorKind,
    EventRef, EventType, GivenUp, Label, Lease, OutboxReader, OutboxRow, OutboxStore, OutboxWriter,
    ProcessedEventStore, Published, ReadRequest, Receipt, RelayId, Result, SchemaStore, Settled,
    Settlement, TopicName,
};

use crate::Tables;

/// One empty database, and how to get at it behind the library's back.
#[async_trait]
trait Harness: Sized + Send + Sync {
    type Tx: Send + 'static;
    type Outbox: OutboxStore
        + DeadLetterStore
        + ArchiveStore
        + SchemaStore
        + OutboxWriter<Self::Tx>
        + Clone;
    type Inbox: ProcessedEventStore<Tx = Self::Tx> + Clone;

    /// Makes the database, without tables; none when there is no server.
    async fn start() -> Option<Self>;
    /// Drops it.
    async fn stop(self);

    fn outbox(&self, tables: Tables) -> Self::Outbox;
    fn archiving(&self, tables: Tables) -> Self::Outbox;
    fn inbox(&self, tables: Tables) -> Self::Inbox;
    async fn migrate(&self, tables: Tables) -> Result<()>;
    fn script(tables: &Tables) -> String;
    /// Makes a schema that tables can be in, and gives its name.
    async fn schema(&self) -> &'static str;

    async fn begin(&self) -> Self::Tx;
    async fn commit(&self, tx: Self::Tx);
    async fn execute(&self, sql: &str);
    async fn execute_in(&self, tx: &mut Self::Tx, sql: &str);
    async fn number(&self, sql: &str) -> i64;
    /// Sets the times of a column back, as if so many seconds had passed.
    async fn age(&self, table: &str, column: &str, seconds: u32);
}

/// Runs a promise in a database of its own, which is dropped even when the promise is broken.
async fn run<H: Harness>(promise: impl AsyncFnOnce(&H)) {
    let Some(harness) = H::start().await else { return };
    let limited = tokio::time::timeout(LIMIT, promise(&harness));
    let result = AssertUnwindSafe(limited).catch_unwind().await;
    harness.stop().await;
    match result {
        Ok(in_time) => in_time.expect("it hangs"),
        Err(broken) => std::panic::resume_unwind(broken),
    }
}

/// The same, with the tables made.
async fn run_migrated<H: Harness>(promise: impl AsyncFnOnce(&H)) {
    run(async |harness: &H| {
        harness.migrate(Tables::default()).await.unwrap();
        promise(harness).await;
    })
    .await;
}

macro_rules! promises {
    ($harness:ty, $run:ident, $module:ident: $($promise:ident),+ $(,)?) => {
        mod $module {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $promise() {
                    $crate::tests::$run::<$harness>($crate::tests::$module::$promise).await;
                }
            )+
        }
    };
}

/// Instantiates every promise for one database.
macro_rules! all_promises {
    ($harness:ty) => {
        $crate::tests::promises!($harness, run_migrated, outbox:
            a_rolled_back_transaction_leaves_nothing,
            events_come_back_in_order_and_whole,
            what_is_in_flight_is_not_given_again_until_rewound,
            a_read_stops_after_the_event_that_passes_the_bytes,
            held_back_types_stay_where_they_are,
            a_malformed_row_is_given_as_an_error,
            the_backlog_is_measured,
            dead_letters_are_measured_apart_from_what_is_parked,
        );
        $crate::tests::promises!($harness, run_migrated, schemas:
            a_schema_that_was_put_is_found_by_every_process,
            putting_a_schema_again_changes_nothing,
        );
        $crate::tests::promises!($harness, run_migrated, lease:
            one_relay_holds_the_lease_and_epochs_grow,
            a_released_lease_is_free_at_once,
            an_expired_lease_that_nobody_took_still_settles,
            a_late_settle_after_lease_loss_changes_nothing,
            settling_again_changes_nothing_and_counts_fewer,
            a_takeover_does_not_slip_into_a_settlement,
        );
        $crate::tests::promises!($harness, run_migrated, dead_letters:
            redriven_events_are_published_in_the_original_order_and_unpark_the_aggregate,
            an_event_is_parked_while_its_predecessor_is_still_being_parked,
            redriving_an_event_redrives_its_predecessors,
            a_redriven_event_that_fails_again_waits_for_a_person,
            discarding_the_head_releases_its_successors_or_takes_them_along,
            a_malformed_row_is_parked_and_given_up_on_byte_for_byte,
            dead_letters_are_found_by_query,
        );
        $crate::tests::promises!($harness, run_migrated, archive:
            an_archived_event_says_where_it_went_and_when,
            without_the_option_nothing_is_archived,
            a_late_settle_after_lease_loss_archives_nothing,
            settling_again_archives_nothing_again,
            only_what_was_published_is_archived,
            a_malformed_row_is_archived_byte_for_byte,
            archived_events_are_found_by_query,
            purging_the_archive_is_bounded_and_goes_by_age,
            an_archive_that_is_missing_is_named_before_anything_is_published,
        );
        $crate::tests::promises!($harness, run_migrated, inbox:
            a_repeat_inside_a_call_is_a_repeat,
            a_rolled_back_mark_is_no_mark,
            of_eight_concurrent_transactions_one_handles_the_event,
            overlapping_batches_in_any_order_all_commit,
            giving_up_is_remembered_by_place,
            the_same_record_keeps_its_failure_and_another_replaces_it,
            purging_is_bounded_and_spares_the_young,
            a_consumer_purges_its_own,
            what_has_committed_is_known,
        );
        $crate::tests::promises!($harness, run_migrated, starts:
            starts_in_a_row_at_one_place_are_counted,
            attempts_are_counted_apart_from_starts,
            of_eight_starts_at_once_each_is_counted,
        );
        $crate::tests::promises!($harness, run, migrations:
            migrating_twice_is_a_no_op,
            eight_may_migrate_at_once,
            a_newer_schema_is_refused,
            a_database_of_the_first_version_is_upgraded_with_what_is_in_it,
            the_printed_script_applied_by_hand_is_accepted,
            tables_may_have_other_names_and_schemas,
            other_names_under_the_same_migrations_are_refused,
            missing_tables_are_named_with_advice,
        );
    };
}
use {all_promises, promises};

/// A promise that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(60);
const TTL: Duration = Duration::from_secs(60);

/// An event of an aggregate, with its name as payload.
fn event(aggregate: &str, name: &str) -> Envelope {
    Envelope::new(
        EventType::new("session.created", 1).unwrap(),
        AggregateType::new("session").unwrap(),
        AggregateId::new(aggregate.to_owned()).unwrap(),
        name.as_bytes().to_vec(),
    )
}

/// Commits events of one aggregate, given by name.
async fn enqueue<H: Harness>(harness: &H, aggregate: &str, names: &[&str]) -> Vec<Envelope> {
    let events: Vec<_> = names.iter().map(|name| event(aggregate, name)).collect();
    let mut tx = harness.begin().await;
    harness.outbox(Tables::default()).write(&mut tx, &events).await.unwrap();
    harness.commit(tx).await;
    events
}

async fn read(reader: &mut Box<dyn OutboxReader>) -> Vec<OutboxRow> {
    reader.read(&ReadRequest::new(100)).await.unwrap()
}

/// The payloads of rows, and whether they are parked.
fn names(rows: &[OutboxRow]) -> Vec<String> {
    let name = |row: &OutboxRow| {
        let name = String::from_utf8(row.envelope.as_ref().unwrap().payload.to_vec()).unwrap();
        if row.parked { format!("{name} parked") } else { name }
    };
    rows.iter().map(name).collect()
}

fn refs(rows: &[OutboxRow]) -> Vec<EventRef> {
    rows.iter().map(|row| row.event).collect()
}

fn relay() -> RelayId {
    RelayId::new(&Label::new("test").unwrap())
}

async fn acquire(outbox: &impl OutboxStore) -> Lease {
    match outbox.acquire(&relay(), TTL).await.unwrap() {
        Acquired::Held(lease) => lease,
        Acquired::Elsewhere { .. } => panic!("the lease is not free"),
    }
}

/// As if the lease had run out.
async fn expire<H: Harness>(harness: &H) {
    harness.execute("UPDATE outbox_relay SET lease_until = NULL").await;
}

fn published(events: Vec<EventRef>) -> Settlement {
    let mut settlement = Settlement::default();
    let topic = TopicName::new("thing-events.v1").unwrap();
    settlement.published = events
        .into_iter()
        .map(|event| Published::new(event, topic.clone(), Receipt::unnumbered()))
        .collect();
    settlement
}

fn parked(events: Vec<EventRef>) -> Settlement {
    let mut settlement = Settlement::default();
    settlement.parked = events;
    settlement
}

fn dead(events: &[EventRef]) -> Settlement {
    let mut settlement = Settlement::default();
    settlement.dead = events
        .iter()
        .map(|event| GivenUp::new(*event, ErrorKind::Rejected, "too\0odd".into(), 3))
        .collect();
    settlement
}

/// Gives up on the first event of an aggregate and parks the others; gives their rows.
async fn one_dead_rest_parked<H: Harness>(
    harness: &H,
    aggregate: &str,
    events: &[&str],
) -> Vec<OutboxRow> {
    enqueue(harness, aggregate, events).await;
    let outbox = harness.outbox(Tables::default());
    expire(harness).await;
    let lease = acquire(&outbox).await;
    let rows = read(&mut outbox.reader().await.unwrap()).await;
    let mut settlement = dead(&refs(&rows)[..1]);
    settlement.parked = refs(&rows)[1..].to_vec();
    let settled = outbox.settle(&lease, &settlement).await.unwrap();
    assert_eq!(settled, Settled::new(0, events.len() as u64 - 1, 1));
    rows
}
