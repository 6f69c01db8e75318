//! The inbox's unit of work, for tests on a server that has no transaction for it.

use relaybox_core::{ConsumerName, EventId, Mark, Result};

use super::{MongoProcessedEvents, marks};
use crate::unit::Unit;

pub(crate) async fn mark(
    inbox: &MongoProcessedEvents,
    unit: &mut Unit<'_>,
    consumer: &ConsumerName,
    events: &[EventId],
) -> Result<Vec<Mark>> {
    marks::insert(inbox, unit, consumer, events).await
}
