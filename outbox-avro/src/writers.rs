//! The schemas of writers, by the id that a registry gave them.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use async_trait::async_trait;
use relaybox_core::Result;

use crate::EventSchema;

/// Where the text of a schema is found by its id: a schema registry's client.
///
/// # Contract
/// - An id always names the same text.
/// - The text stands alone: what it refers to is defined in it.
/// - The caller sets no time limit: the source has one.
#[async_trait]
pub trait SchemaSource: Send + Sync + 'static {
    /// The text of the schema with this id.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`](relaybox_core::ErrorKind::Decode) when there is none: it is permanent.
    /// [`Unavailable`](relaybox_core::ErrorKind::Unavailable) and
    /// [`Timeout`](relaybox_core::ErrorKind::Timeout) when it can't be asked: safe to ask again.
    ///
    /// # Cancel safety
    /// The future may be dropped.
    async fn schema_by_id(&self, id: u32) -> Result<String>;
}

/// Writers' schemas by id, kept in memory. Cheap to clone; the clones share it.
///
/// It holds a bounded number, and 32 MiB of text; those that were put first go when it is full.
#[derive(Clone)]
pub struct WriterSchemas {
    inner: Arc<RwLock<Inner>>,
    capacity: usize,
}

#[derive(Default)]
struct Inner {
    by_id: HashMap<u32, EventSchema>,
    order: VecDeque<u32>,
    text: usize,
}

/// How many schemas are kept unless told otherwise.
const CAPACITY: usize = 4096;
/// How much text they may have in all, in bytes.
const MAX_TEXT: usize = 32 << 20;

impl WriterSchemas {
    /// An empty one, for 4096 schemas.
    #[must_use]
    pub fn new() -> Self {
        Self::with_capacity(CAPACITY)
    }

    /// An empty one, for that many schemas; at least one.
    #[must_use]
    pub fn with_capacity(schemas: usize) -> Self {
        Self { inner: Arc::default(), capacity: schemas.max(1) }
    }

    /// The schema with this id, if it is here.
    #[must_use]
    pub fn get(&self, id: u32) -> Option<EventSchema> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner).by_id.get(&id).cloned()
    }

    /// Puts a schema here.
    pub fn insert(&self, id: u32, schema: EventSchema) {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        inner.text += schema.text().len();
        match inner.by_id.insert(id, schema) {
            Some(old) => inner.text -= old.text().len(),
            None => inner.order.push_back(id),
        }
        while inner.order.len() > self.capacity || (inner.text > MAX_TEXT && inner.order.len() > 1)
        {
            let oldest = inner.order.pop_front();
            if let Some(old) = oldest.and_then(|id| inner.by_id.remove(&id)) {
                inner.text -= old.text().len();
            }
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.read().unwrap_or_else(PoisonError::into_inner).by_id.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Default for WriterSchemas {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for WriterSchemas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriterSchemas").field("schemas", &self.len()).finish_non_exhaustive()
    }
}
