//! The statements of a unit of work, in a session or without one.

use std::ops::ControlFlow;

use futures::TryStreamExt;
use mongodb::{
    ClientSession, Collection, Database,
    bson::{Bson, Document, doc},
    error::Result,
    options::{FindOptions, Hint},
    results::UpdateResult,
};

use crate::CollectionName;

/// Where statements run: in a transaction or a snapshot, as the session has one, or each on its own.
pub(crate) struct Unit<'a> {
    database: &'a Database,
    session: Option<&'a mut ClientSession>,
    /// Set when a statement was answered.
    answered: Option<&'a mut bool>,
}

/// How to find.
#[derive(Default)]
pub(crate) struct Wanted {
    pub(crate) sort: Option<Document>,
    pub(crate) projection: Option<Document>,
    /// The name of the index to go by.
    pub(crate) hint: Option<&'static str>,
    /// At most so many; all otherwise.
    pub(crate) limit: Option<usize>,
    /// How many come with one answer of the server.
    pub(crate) batch: Option<u32>,
}

impl Wanted {
    /// Only these fields.
    pub(crate) fn fields(fields: &[&str]) -> Self {
        let projection = fields.iter().map(|field| ((*field).to_owned(), Bson::Int32(1))).collect();
        Self { projection: Some(projection), ..Self::default() }
    }

    fn options(self) -> FindOptions {
        let limit = self.limit.map(|limit| i64::try_from(limit).unwrap_or(i64::MAX));
        let mut options = FindOptions::default();
        options.sort = self.sort;
        options.projection = self.projection;
        options.hint = self.hint.map(|name| Hint::Name(name.to_owned()));
        options.limit = limit;
        options.batch_size = self.batch;
        options
    }
}

impl<'a> Unit<'a> {
    /// In the snapshot of this session.
    pub(crate) fn in_snapshot(database: &'a Database, session: &'a mut ClientSession) -> Self {
        Self { database, session: Some(session), answered: None }
    }

    /// In the transaction of this session; says when a first statement was answered.
    pub(crate) fn in_transaction(
        database: &'a Database,
        session: &'a mut ClientSession,
        answered: &'a mut bool,
    ) -> Self {
        Self { database, session: Some(session), answered: Some(answered) }
    }

    /// Each statement on its own.
    pub(crate) fn alone(database: &'a Database) -> Self {
        Self { database, session: None, answered: None }
    }

    /// Gives each document that matches, until told to stop.
    pub(crate) async fn each(
        &mut self,
        from: &CollectionName,
        filter: Document,
        wanted: Wanted,
        mut take: impl FnMut(Document) -> ControlFlow<()>,
    ) -> Result<()> {
        let collection = self.collection(from);
        let find = collection.find(filter).with_options(wanted.options());
        match &mut self.session {
            Some(session) => {
                let cursor = find.session(&mut **session).await;
                answer(&mut self.answered);
                let mut cursor = cursor?;
                while let Some(found) = cursor.next(session).await {
                    if take(found?).is_break() {
                        break;
                    }
                }
            }
            None => {
                let mut cursor = find.await?;
                while let Some(found) = cursor.try_next().await? {
                    if take(found).is_break() {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// All documents that match.
    pub(crate) async fn find(
        &mut self,
        from: &CollectionName,
        filter: Document,
        wanted: Wanted,
    ) -> Result<Vec<Document>> {
        let mut found = Vec::new();
        let take = |document| {
            found.push(document);
            ControlFlow::Continue(())
        };
        self.each(from, filter, wanted, take).await?;
        Ok(found)
    }

    /// The first document that matches.
    pub(crate) async fn find_one(
        &mut self,
        from: &CollectionName,
        filter: Document,
        mut wanted: Wanted,
    ) -> Result<Option<Document>> {
        wanted.limit = Some(1);
        Ok(self.find(from, filter, wanted).await?.pop())
    }

    pub(crate) async fn aggregate(
        &mut self,
        over: &CollectionName,
        pipeline: Vec<Document>,
    ) -> Result<Vec<Document>> {
        let collection = self.collection(over);
        let aggregate = collection.aggregate(pipeline);
        match &mut self.session {
            Some(session) => {
                let cursor = aggregate.session(&mut **session).await;
                answer(&mut self.answered);
                let mut cursor = cursor?;
                let mut found = Vec::new();
                while let Some(document) = cursor.next(session).await {
                    found.push(document?);
                }
                Ok(found)
            }
            None => aggregate.await?.try_collect().await,
        }
    }

    /// How many documents match, counted in an index where `hint` names one.
    pub(crate) async fn count(
        &mut self,
        of: &CollectionName,
        filter: Document,
        hint: &'static str,
    ) -> Result<u64> {
        let collection = self.collection(of);
        let count = collection.count_documents(filter).hint(Hint::Name(hint.to_owned()));
        let counted = match &mut self.session {
            Some(session) => count.session(&mut **session).await,
            None => count.await,
        };
        answer(&mut self.answered);
        counted
    }

    /// The different values of a field.
    pub(crate) async fn distinct(
        &mut self,
        of: &CollectionName,
        field: &str,
        filter: Document,
    ) -> Result<Vec<Bson>> {
        let collection = self.collection(of);
        let distinct = collection.distinct(field, filter);
        let found = match &mut self.session {
            Some(session) => distinct.session(&mut **session).await,
            None => distinct.await,
        };
        answer(&mut self.answered);
        found
    }

    /// Inserts documents in their order; none is no statement.
    pub(crate) async fn insert(
        &mut self,
        into: &CollectionName,
        documents: Vec<Document>,
    ) -> Result<()> {
        if documents.is_empty() {
            return Ok(());
        }
        let collection = self.collection(into);
        let insert = collection.insert_many(documents);
        let inserted = match &mut self.session {
            Some(session) => insert.session(&mut **session).await,
            None => insert.await,
        };
        answer(&mut self.answered);
        inserted.map(drop)
    }

    pub(crate) async fn update(
        &mut self,
        of: &CollectionName,
        filter: Document,
        update: Document,
    ) -> Result<UpdateResult> {
        let collection = self.collection(of);
        let update = collection.update_many(filter, update);
        let updated = match &mut self.session {
            Some(session) => update.session(&mut **session).await,
            None => update.await,
        };
        answer(&mut self.answered);
        updated
    }

    /// Deletes what matches; gives how many.
    pub(crate) async fn delete(&mut self, from: &CollectionName, filter: Document) -> Result<u64> {
        let collection = self.collection(from);
        let delete = collection.delete_many(filter);
        let deleted = match &mut self.session {
            Some(session) => delete.session(&mut **session).await,
            None => delete.await,
        };
        answer(&mut self.answered);
        Ok(deleted?.deleted_count)
    }

    fn collection(&self, name: &CollectionName) -> Collection<Document> {
        self.database.collection(name.as_str())
    }
}

fn answer(answered: &mut Option<&mut bool>) {
    if let Some(answered) = answered {
        **answered = true;
    }
}

/// `{field: {$in: values}}`.
pub(crate) fn one_of<T: Into<Bson>>(field: &str, values: impl IntoIterator<Item = T>) -> Document {
    let values: Vec<Bson> = values.into_iter().map(Into::into).collect();
    doc! { field: { "$in": values } }
}
