//! Asking brokers for offsets: one request to each of them, whatever the number of partitions.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use rdkafka::{
    Offset as At, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    topic_partition_list::TopicPartitionListElem,
};
use relaybox_core::{Offset, Result, TopicName};

use super::{assignment::Place, context::Context};
use crate::error;

/// What is asked until a deadline. All of it blocks.
pub(super) struct Question<'a> {
    pub(super) consumer: &'a BaseConsumer<Context>,
    operation: &'static str,
    deadline: Instant,
}

impl<'a> Question<'a> {
    pub(super) fn new(
        operation: &'static str,
        consumer: &'a BaseConsumer<Context>,
        deadline: Instant,
    ) -> Self {
        Self { consumer, operation, deadline }
    }

    /// Where partitions begin, or end, or the first record is that is as new as a time
    /// (`At::Offset(ms since the epoch)`), `None` when there is no such record. Without the partitions
    /// whose broker refused to say.
    pub(super) fn at(&self, places: &[Place], at: At) -> Result<BTreeMap<Place, Option<Offset>>> {
        if places.is_empty() {
            return Ok(BTreeMap::new());
        }
        // A list's offsets are times here, and the edges stand for themselves.
        let found = self.consumer.offsets_for_times(self.list(places, at)?, self.left());
        let found = found.map_err(|error| error::convert(self.operation, error))?;
        let elements = found.elements().into_iter();
        Ok(elements.filter(|element| element.error().is_ok()).filter_map(known).collect())
    }

    /// The group's offsets; `None` for partitions that it has none for.
    pub(super) fn committed(&self, places: &[Place]) -> Result<BTreeMap<Place, Option<Offset>>> {
        if places.is_empty() {
            return Ok(BTreeMap::new());
        }
        let asked = self.list(places, At::Invalid)?;
        let found = self.consumer.committed_offsets(asked, self.left());
        let found = found.map_err(|error| error::convert(self.operation, error))?;
        let elements = found.elements();
        for element in &elements {
            element.error().map_err(|error| error::convert(self.operation, error))?;
        }
        Ok(elements.into_iter().filter_map(known).collect())
    }

    pub(super) fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    fn list(&self, places: &[Place], at: At) -> Result<TopicPartitionList> {
        let mut list = TopicPartitionList::with_capacity(places.len());
        for (topic, number) in places {
            list.add_partition_offset(topic.as_str(), *number, at)
                .map_err(|error| error::convert(self.operation, error))?;
        }
        Ok(list)
    }
}

fn known(element: TopicPartitionListElem<'_>) -> Option<(Place, Option<Offset>)> {
    let topic = TopicName::new(element.topic().to_owned()).ok()?;
    let offset = match element.offset() {
        At::Offset(offset) => Some(offset),
        _ => None,
    };
    Some(((topic, element.partition()), offset))
}
