//! From librdkafka's message to a delivery.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use chrono::DateTime;
use rdkafka::{
    Message,
    message::{BorrowedMessage, Headers},
};
use relaybox_core::{Delivery, HeaderName, Partition};

/// What stands for a header whose name is not UTF-8: rdkafka can't read it, nor its value.
const UNREADABLE: &str = "\u{fffd}";

/// Room for the values of the usual headers.
const HEADER_BYTES: usize = 512;

/// Copies a message, all its bytes into one buffer; gives their number, too.
pub(crate) fn delivery(partition: Partition, message: &BorrowedMessage<'_>) -> (Delivery, usize) {
    let mut delivery = Delivery::new(partition, message.offset());
    let mut buffer = Vec::with_capacity(message.key_len() + message.payload_len() + HEADER_BYTES);
    let mut copy = |bytes: &[u8]| {
        let start = buffer.len();
        buffer.extend_from_slice(bytes);
        start..buffer.len()
    };
    let key = message.key().map(&mut copy);
    let value = message.payload().map(&mut copy);
    let mut headers = Vec::new();
    if let Some(borrowed) = message.headers() {
        headers.reserve_exact(borrowed.count());
        for index in 0..borrowed.count() {
            // rdkafka panics over a name that is not UTF-8; that must not cost the partition.
            let header = catch_unwind(AssertUnwindSafe(|| borrowed.get(index)));
            headers.push(match header {
                Ok(header) => {
                    (HeaderName::from(header.key), copy(header.value.unwrap_or_default()))
                }
                Err(_) => (HeaderName::from(UNREADABLE), 0..0),
            });
        }
    }
    let bytes = Bytes::from(buffer);
    delivery.key = key.map(|range| bytes.slice(range));
    delivery.value = value.map(|range| bytes.slice(range));
    delivery.headers =
        headers.into_iter().map(|(name, range)| (name, bytes.slice(range))).collect();
    delivery.timestamp = message.timestamp().to_millis().and_then(DateTime::from_timestamp_millis);
    (delivery, bytes.len())
}
