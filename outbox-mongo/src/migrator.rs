//! The collections and their indexes.

use std::fmt;

use mongodb::{
    Database, IndexModel,
    bson::{Document, doc},
    options::{
        DatabaseOptions, IndexOptions, ReadConcern, ReadPreference, SelectionCriteria,
        UpdateModifications, WriteConcern,
    },
};
use relaybox_core::{Error, ErrorKind, Result};

use crate::{CollectionName, Collections, deployment, error};

const RUN: &str = "migrate the database";

/// The version of the documents that this library writes.
pub(crate) const VERSION: i32 = 1;

/// The indexes by which statements go.
pub(crate) const BY_POSITION: &str = "relaybox_position";
pub(crate) const BY_AGGREGATE: &str = "relaybox_aggregate";
pub(crate) const READY: &str = "relaybox_ready";
pub(crate) const BY_STATE: &str = "relaybox_state";
const BY_AGE: &str = "relaybox_age";
const BY_EVENT: &str = "relaybox_event";
const BY_PLACE: &str = "relaybox_place";

/// The documents of the relay's collection.
pub(crate) const LEASE: &str = "lease";
pub(crate) const LETTERS: &str = "dead_letters";
pub(crate) const SCHEMA: &str = "schema";

/// Makes the collections of the outbox and of the inbox, with their indexes.
///
/// Running it again changes nothing, and any number of processes may do so at once. Collections exist
/// before the first transaction then: in an older server a transaction can't make them, and in a newer
/// one it conflicts with others when it does.
///
/// ```no_run
/// # async fn f(database: mongodb::Database) -> Result<(), relaybox_core::Error> {
/// use relaybox_mongo::{Collections, MongoMigrator};
/// MongoMigrator::new(database, Collections::default()).run().await
/// # }
/// ```
#[derive(Clone)]
pub struct MongoMigrator {
    database: Database,
    names: Collections,
}

impl MongoMigrator {
    /// For the collections of these names in this database.
    #[must_use]
    pub fn new(database: Database, names: Collections) -> Self {
        Self { database: strict(&database), names }
    }

    /// Makes what is missing.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when the server has no transactions, with what to do about it;
    /// [`ErrorKind::Schema`] when an index of that name is another one, or the collections are of a newer
    /// version of this library; the database's.
    ///
    /// # Cancel safety
    /// Cancel safe: run it again.
    pub async fn run(&self) -> Result<()> {
        deployment::check(&self.database, RUN).await?;
        self.make().await
    }

    /// The same on a server of any kind.
    pub(crate) async fn make(&self) -> Result<()> {
        for (name, indexes) in self.indexes() {
            self.make_collection(name).await?;
            if !indexes.is_empty() {
                self.make_indexes(name, indexes).await?;
            }
        }
        self.make_notes().await
    }

    async fn make_collection(&self, name: &CollectionName) -> Result<()> {
        let made = self
            .database
            .create_collection(name.as_str())
            .write_concern(WriteConcern::majority())
            .await;
        match made {
            Err(error) if error::is_there_already(&error) => Ok(()),
            made => made.map_err(error::database(RUN)),
        }
    }

    async fn make_indexes(&self, of: &CollectionName, indexes: Vec<Index>) -> Result<()> {
        let models = indexes.into_iter().map(|(name, keys)| {
            let options = IndexOptions::builder().name(name.to_owned()).build();
            IndexModel::builder().keys(keys).options(options).build()
        });
        self.database
            .collection::<Document>(of.as_str())
            .create_indexes(models)
            .write_concern(WriteConcern::majority())
            .await
            .map_err(error::database(RUN))
            .map(drop)
    }

    /// The documents of the relay's collection, which nothing removes.
    async fn make_notes(&self) -> Result<()> {
        let relay = self.database.collection::<Document>(self.names.outbox_relay.as_str());
        let notes = [
            (LEASE, doc! { "owner": null, "epoch": 0_i64, "until": null, "settlements": 0_i64 }),
            (LETTERS, doc! { "changes": 0_i64 }),
            (SCHEMA, doc! { "version": VERSION }),
        ];
        for (id, note) in notes {
            let update = UpdateModifications::Document(doc! { "$setOnInsert": note });
            let made = relay.update_one(doc! { "_id": id }, update).upsert(true).await;
            match made {
                // Somebody else made it at this moment.
                Err(error) if error::is_duplicate_key(&error) => {}
                made => drop(made.map_err(error::database(RUN))?),
            }
        }
        let schema = relay.find_one(doc! { "_id": SCHEMA }).await.map_err(error::database(RUN))?;
        is_known(schema.as_ref(), RUN)
    }

    fn indexes(&self) -> [(&CollectionName, Vec<Index>); 8] {
        let names = &self.names;
        let aggregate = doc! { "aggregate.type": 1, "aggregate.id": 1, "position": 1 };
        // With what a read looks at, so that what it passes over is not fetched.
        let by_position = doc! { "position": 1, "_id": 1, "aggregate.type": 1 };
        let by_state = doc! {
            "state": 1, "redrive": 1, "aggregate.type": 1, "aggregate.id": 1, "position": 1,
        };
        let by_place = doc! {
            "_id.consumer": 1, "_id.topic": 1, "_id.partition": 1, "_id.offset": 1,
        };
        [
            (&names.outbox_events, vec![(BY_POSITION, by_position)]),
            (&names.outbox_relay, vec![]),
            (
                &names.outbox_dead_letters,
                vec![
                    (BY_AGGREGATE, aggregate.clone()),
                    (READY, doc! { "ready": 1, "position": 1, "_id": 1, "aggregate.type": 1 }),
                    (BY_STATE, by_state),
                ],
            ),
            (
                &names.outbox_archive,
                vec![
                    (BY_EVENT, doc! { "event_id": 1 }),
                    (BY_AGGREGATE, aggregate),
                    (BY_AGE, doc! { "published_at": 1 }),
                ],
            ),
            (&names.outbox_schemas, vec![]),
            (
                &names.processed_events,
                vec![(BY_AGE, doc! { "_id.consumer": 1, "processed_at": 1 })],
            ),
            (
                &names.given_up_events,
                vec![(BY_PLACE, by_place), (BY_AGE, doc! { "_id.consumer": 1, "decided_at": 1 })],
            ),
            (&names.consumer_starts, vec![]),
        ]
    }
}

impl fmt::Debug for MongoMigrator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MongoMigrator").field("names", &self.names).finish_non_exhaustive()
    }
}

type Index = (&'static str, Document);

/// Refuses what a newer version of the library has made.
pub(crate) fn is_known(schema: Option<&Document>, operation: &'static str) -> Result<()> {
    let refused = |detail: String| Err(Error::new(ErrorKind::Schema, operation).detail(detail));
    match schema.and_then(|schema| schema.get_i32("version").ok()) {
        Some(version) if version <= VERSION => Ok(()),
        Some(version) => refused(format!(
            "the collections are of version {version}, this relaybox knows versions up to {VERSION}; \
             update relaybox"
        )),
        None => refused("the collections are not there; run MongoMigrator".to_owned()),
    }
}

/// The same database, read from the primary as the majority has it, and written to the majority.
pub(crate) fn strict(database: &Database) -> Database {
    concerned(database, ReadConcern::majority())
}

/// The same with another read concern.
///
/// The driver's snapshot sessions keep a concern that a collection inherits from its database or its client,
/// and would read no snapshot with it; so those have to say "snapshot" themselves.
pub(crate) fn concerned(database: &Database, reads: ReadConcern) -> Database {
    let options = DatabaseOptions::builder()
        .read_concern(reads)
        .write_concern(WriteConcern::majority())
        .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary))
        .build();
    database.client().database_with_options(database.name(), options)
}
