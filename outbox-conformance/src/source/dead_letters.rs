//! Dead letters: what was given up on, kept whole.

use relaybox_core::{ConsumerDeadLetter, Delivery, ErrorKind, memory::StoredRecord};

use super::{
    Fixture,
    fixture::{close, content, drain, names, numbers, take},
    on_source,
    receiving::odd_records,
};
use crate::{EventSource, SourceFactory, run::same, store::ok};

/// Key, value and headers, byte for byte, and it is there before `dead_letter` returns.
pub async fn a_dead_letter_keeps_the_record_byte_for_byte<F: SourceFactory>(factory: &F) {
    on_source(factory, async |source: &Fixture<'_, F>| {
        let member = source.join().await;
        for (number, record) in odd_records(source).into_iter().enumerate() {
            source.write(record.clone()).await;
            let batch = take(&member).await;
            let delivery = &batch.deliveries[0];
            ok("giving up", member.dead_letter(delivery, &source.failure()).await);
            let letters = source.dead_letters().await;
            same("dead letters, as soon as that returns", &letters.len(), &(number + 1));
            let found = letters.into_iter().filter_map(|letter| letter_of(delivery, letter));
            let kept = found.filter(|letter| content(&letter.delivery) == record).count();
            // Two of the records may be the same but for their offset.
            assert!(
                kept == 1,
                "a dead letter keeps key, value and headers\n  promised: one of {record:?}\n      \
                 seen: {kept}"
            );
            ok("acknowledging", member.acknowledge(&batch.partition, batch.last()).await);
        }
        close(member).await;
    })
    .await;
}

/// Where it was given up on, by whom, why, and after how many attempts.
pub async fn a_dead_letter_says_what_became_of_it<F: SourceFactory>(factory: &F) {
    on_source(factory, async |source: &Fixture<'_, F>| {
        source.append("a", 0..1).await;
        let member = source.join().await;
        let delivery = drain(&member, 1).await.remove(0);
        let failure = source.failure();
        ok("giving up", member.dead_letter(&delivery, &failure).await);
        let mut letters = source.dead_letters().await;
        same("one letter", &letters.len(), &1);
        let letter = as_delivery(&delivery, letters.remove(0));
        let headers = letter.headers.clone();
        let letter = ConsumerDeadLetter::read(letter);
        let promise = "it has the headers of a dead letter";
        let letter = letter.unwrap_or_else(|| panic!("{promise}\n      seen: {headers:?}"));
        same("the topic", &letter.origin, &delivery.partition.topic);
        let place = (letter.partition, letter.offset);
        same("the place", &place, &(delivery.partition.number, delivery.offset));
        same("the attempts", &letter.attempts, &3);
        same("the consumer", &letter.consumer.as_str(), &source.group.as_str());
        same("the kind", &letter.error_kind.as_str(), &ErrorKind::Rejected.as_str());
        same("the error", &letter.error.as_str(), &failure.reason.as_str());
        let millis = failure.failed_at.timestamp_millis();
        same("the time", &letter.failed_at.timestamp_millis(), &millis);
        close(member).await;
    })
    .await;
}

/// A crash between the two delivers it again, so that it can't be lost.
pub async fn a_dead_letter_is_no_acknowledgement<F: SourceFactory>(factory: &F) {
    on_source(factory, async |source: &Fixture<'_, F>| {
        source.append("a", 0..2).await;
        let member = source.join().await;
        let batch = take(&member).await;
        ok("giving up", member.dead_letter(&batch.deliveries[0], &source.failure()).await);
        close(member).await;
        let member = source.join().await;
        let seen = source.again(names(&drain(&member, 2).await));
        same("it comes again", &seen, &numbers(0..2));
        close(member).await;
    })
    .await;
}

/// The letter of a delivery, if that is what the record is.
fn letter_of(delivery: &Delivery, record: StoredRecord) -> Option<ConsumerDeadLetter> {
    let letter = ConsumerDeadLetter::read(as_delivery(delivery, record))?;
    let place = (delivery.partition.number, delivery.offset);
    ((letter.partition, letter.offset) == place).then_some(letter)
}

fn as_delivery(at: &Delivery, record: StoredRecord) -> Delivery {
    let mut letter = Delivery::new(at.partition.clone(), 0);
    (letter.key, letter.value, letter.headers) = (record.key, record.value, record.headers);
    letter
}
