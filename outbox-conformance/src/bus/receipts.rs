//! Receipts: where the broker put a record.

use std::collections::HashMap;

use relaybox_core::{EventId, Receipt};

use super::{Fixture, on_bus};
use crate::{BusFactory, EventBus, run::same};

/// The record at the partition and offset of a receipt is the event that it was given for.
pub async fn a_receipt_says_where_the_record_is<F: BusFactory>(factory: &F) {
    on_bus(factory, async |bus: &Fixture<'_, F>| {
        if !bus.factory.capabilities().numbers_records {
            return bus.passed_over("the broker numbers no records");
        }
        let calls: Vec<_> = (0..5)
            .map(|call| {
                let records: Vec<_> = (0..20)
                    .map(|n| bus.record(&format!("k{}", n % 7), &format!("{call} {n}")))
                    .collect();
                let ids: Vec<_> = records.iter().map(|record| record.envelope.event_id).collect();
                (ids, bus.bus.publish(records))
            })
            .collect();
        let mut receipts: Vec<(EventId, Receipt)> = Vec::new();
        for (ids, call) in calls {
            let results = call.await.into_iter();
            let given = results.map(|result| crate::store::ok("publishing", result));
            receipts.extend(ids.into_iter().zip(given));
        }
        let places: HashMap<Receipt, EventId> = bus
            .records()
            .await
            .into_iter()
            .map(|(place, record)| {
                (place, crate::store::ok("reading a record", record.envelope()).event_id)
            })
            .collect();
        same("all records are on the topic", &places.len(), &receipts.len());
        for (id, receipt) in &receipts {
            let promise = "the record at the place that a receipt names is the event's";
            same(promise, &places.get(receipt), &Some(id));
        }
    })
    .await;
}

/// A receipt has a partition and an offset where the broker numbers its records, and none elsewhere.
pub async fn a_receipt_says_as_much_as_the_broker_knows<F: BusFactory>(factory: &F) {
    on_bus(factory, async |bus: &Fixture<'_, F>| {
        let numbered = bus.factory.capabilities().numbers_records;
        for receipt in bus.publish_all(bus.numbers("a", 0..3)).await {
            let seen = (receipt.partition.is_some(), receipt.offset.is_some());
            same("partition, offset", &seen, &(numbered, numbered));
        }
    })
    .await;
}
