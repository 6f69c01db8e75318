//! The promises of an inbox, but for those about its transactions.

use std::{error::Error as StdError, time::Duration};

use mongodb::{
    Database,
    bson::{Document, doc},
};
use relaybox_conformance::{InboxFactory, async_trait, inbox, run};
use relaybox_core::{
    ConsumerName, ErrorKind, EventId, Failure, GivenUpAt, Mark, Offset, Partition,
    ProcessedEventStore, Result,
};

use super::{super::drop_database, create, fill_in};
use crate::{MongoProcessedEvents, document, inbox::testing, unit::Unit};

struct OnCompat;

/// Marks are there at once, and removed by a rollback.
#[derive(Clone)]
struct CompatInbox {
    database: Database,
    inbox: MongoProcessedEvents,
}

#[derive(Default)]
struct Marked(Vec<Document>);

#[async_trait]
impl InboxFactory for OnCompat {
    type Database = Database;
    type Inbox = CompatInbox;
    type Tx = Marked;

    async fn create(&self) -> Option<Database> {
        create().await
    }

    fn inbox(&self, database: &Database) -> CompatInbox {
        let inbox = MongoProcessedEvents::new(database.clone());
        CompatInbox { database: database.clone(), inbox }
    }

    async fn add_effect(&self, _tx: &mut Marked) {}

    async fn effects(&self, _database: &Database) -> u64 {
        0
    }

    async fn destroy(&self, database: Database) {
        drop_database(&database).await;
    }
}

#[async_trait]
impl ProcessedEventStore for CompatInbox {
    type Tx = Marked;

    async fn begin(&self, _limit: Duration) -> Result<Marked> {
        Ok(Marked::default())
    }

    async fn mark(
        &self,
        tx: &mut Marked,
        consumer: &ConsumerName,
        events: &[EventId],
    ) -> Result<Vec<Mark>> {
        let mut unit = Unit::alone(&self.database);
        let marks = testing::mark(&self.inbox, &mut unit, consumer, events).await?;
        fill_in(&self.database, "processed_events", "processed_at").await;
        let first = events.iter().zip(&marks).filter(|(_, mark)| **mark == Mark::First);
        tx.0.extend(first.map(|(event, _)| {
            doc! { "consumer": consumer.as_str(), "event": document::id(*event) }
        }));
        Ok(marks)
    }

    async fn commit(&self, _tx: Marked) -> Result<()> {
        Ok(())
    }

    async fn rollback(&self, tx: Marked) -> Result<()> {
        let marks = self.database.collection::<Document>("processed_events");
        marks.delete_many(doc! { "_id": { "$in": tx.0 } }).await.unwrap();
        Ok(())
    }

    async fn given_up(
        &self,
        consumer: &ConsumerName,
        partition: &Partition,
        from: Offset,
    ) -> Result<Vec<GivenUpAt>> {
        self.inbox.given_up(consumer, partition, from).await
    }

    async fn give_up(&self, partition: &Partition, at: GivenUpAt, failure: &Failure) -> Result<()> {
        self.inbox.give_up(partition, at, failure).await
    }

    async fn known(&self, consumer: &ConsumerName, events: &[EventId]) -> Result<Vec<Mark>> {
        self.inbox.known(consumer, events).await
    }

    async fn started(
        &self,
        consumer: &ConsumerName,
        partition: &Partition,
        place: Offset,
    ) -> Result<u32> {
        self.inbox.started(consumer, partition, place).await
    }

    async fn attempted(
        &self,
        consumer: &ConsumerName,
        partition: &Partition,
        place: Offset,
    ) -> Result<u32> {
        self.inbox.attempted(consumer, partition, place).await
    }

    async fn survived(
        &self,
        consumer: &ConsumerName,
        partition: &Partition,
        place: Offset,
    ) -> Result<()> {
        self.inbox.survived(consumer, partition, place).await
    }

    async fn stopped(&self, consumer: &ConsumerName, partition: &Partition) -> Result<()> {
        self.inbox.stopped(consumer, partition).await
    }

    async fn purge(&self, consumer: &ConsumerName, age: Duration, limit: u32) -> Result<u64> {
        self.inbox.purge(consumer, age, limit).await
    }

    fn classify(&self, error: &(dyn StdError + 'static)) -> Option<ErrorKind> {
        self.inbox.classify(error)
    }
}

// This server does what findAndModify says, and then answers with whatever is there: of starts at once each is
// counted, and two may be told the same.
macro_rules! promises {
    ($($module:ident: $($promise:ident),+;)+) => {
        $($(
            #[test]
            fn $promise() {
                run(inbox::$module::$promise(&OnCompat));
            }
        )+)+
    };
}

promises! {
    marks:
        an_event_is_first_once_for_each_consumer,
        a_repeat_inside_a_call_is_a_repeat,
        marks_are_in_the_order_of_the_events;
    giving_up:
        what_was_given_up_on_is_remembered_by_place,
        progress_and_another_record_at_the_place_replace_what_was_noted,
        what_was_given_up_on_is_not_processed;
    purging:
        purging_is_bounded_and_spares_the_young,
        purging_takes_notes_of_what_was_given_up_on_as_well,
        a_consumer_purges_its_own;
    starts:
        a_start_after_a_crash_is_counted,
        a_start_at_another_place_is_the_first,
        an_orderly_stop_forgets_starts_and_attempts,
        attempts_are_counted_by_place_and_apart_from_starts,
        an_attempt_that_was_survived_is_not_counted;
}
