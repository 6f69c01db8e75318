//! The consumer's notes of where it began and what it tried.

use relaybox_core::{ConsumerName, Offset, ProcessedEventStore};

use super::{
    Harness,
    inbox::{consumer, partition},
};
use crate::Tables;

pub(super) async fn starts_in_a_row_at_one_place_are_counted<H: Harness>(harness: &H) {
    let (inbox, consumer) = (harness.inbox(Tables::default()), consumer());
    let started = async |number, place: Offset| {
        inbox.started(&consumer, &partition(number), place).await.unwrap()
    };
    for count in 1..=3 {
        assert_eq!(started(0, 7).await, count);
    }
    assert_eq!(started(1, 7).await, 1, "another partition");
    let other = ConsumerName::new("billing").unwrap();
    assert_eq!(inbox.started(&other, &partition(0), 7).await.unwrap(), 1, "another consumer");
    // A source without offsets has places of any sign.
    for place in [8, Offset::MIN, Offset::MAX, 0, 7] {
        assert_eq!(started(0, place).await, 1, "{place}");
    }
    assert_eq!(started(0, 7).await, 2);
    inbox.stopped(&consumer, &partition(0)).await.unwrap();
    assert_eq!(started(0, 7).await, 1);
    assert_eq!(started(1, 7).await, 2, "nobody stopped there");
    inbox.stopped(&consumer, &partition(2)).await.unwrap();
    assert_eq!(harness.number("SELECT count(*) FROM consumer_starts").await, 3);
}

pub(super) async fn attempts_are_counted_apart_from_starts<H: Harness>(harness: &H) {
    let (inbox, consumer) = (harness.inbox(Tables::default()), consumer());
    let attempted = async |place| inbox.attempted(&consumer, &partition(0), place).await.unwrap();
    let started = async |place| inbox.started(&consumer, &partition(0), place).await.unwrap();
    // At the start there is no note of the other kind yet, which is none of place 0.
    assert_eq!(attempted(0).await, 1);
    assert_eq!(started(0).await, 1);
    assert_eq!(attempted(0).await, 2);
    assert_eq!(started(0).await, 2);
    assert_eq!(attempted(1).await, 1);
    assert_eq!(started(0).await, 3);
    assert_eq!(attempted(0).await, 1);
    inbox.stopped(&consumer, &partition(0)).await.unwrap();
    assert_eq!(attempted(0).await, 1);
    assert_eq!(started(0).await, 1);
    // No number of attempts is too many.
    harness.execute("UPDATE consumer_starts SET attempts = 9000000000").await;
    assert_eq!(attempted(0).await, u32::MAX);
}

pub(super) async fn of_eight_starts_at_once_each_is_counted<H: Harness>(harness: &H) {
    let inbox = harness.inbox(Tables::default());
    let (consumer, partition) = (consumer(), partition(0));
    let starts = (0..8).map(|_| inbox.started(&consumer, &partition, 7));
    let mut counts: Vec<_> =
        futures::future::join_all(starts).await.into_iter().map(|count| count.unwrap()).collect();
    counts.sort_unstable();
    assert_eq!(counts, [1, 2, 3, 4, 5, 6, 7, 8]);
}
