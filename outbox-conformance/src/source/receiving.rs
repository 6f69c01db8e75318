//! Receiving: what comes, in which order, and when it doesn't.

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;
use relaybox_core::{Received, memory::StoredRecord};

use super::{
    Fixture,
    fixture::{close, content, drain, name, names, nothing_comes, numbers, take, take_several},
    on_source,
};
use crate::{
    EventSource, SourceFactory,
    run::{in_the_end, same},
    store::ok,
};

/// Key, value and headers, byte for byte.
pub async fn a_delivery_is_the_record_byte_for_byte<F: SourceFactory>(factory: &F) {
    on_source(factory, async |source: &Fixture<'_, F>| {
        let member = source.join().await;
        for record in odd_records(source) {
            source.write(record.clone()).await;
            let delivery = drain(&member, 1).await.remove(0);
            same("the key", &delivery.key, &record.key);
            same("the value", &delivery.value, &record.value);
            same("the headers", &delivery.headers, &record.headers);
            same("how often it failed", &delivery.attempts, &0);
        }
        close(member).await;
    })
    .await;
}

/// Records that a source may stumble over, as far as its broker can have them.
pub(super) fn odd_records<F: SourceFactory>(source: &Fixture<'_, F>) -> Vec<StoredRecord> {
    let capabilities = source.factory.capabilities();
    let header = |name: &str, value: &'static [u8]| (name.into(), Bytes::from_static(value));
    let key = Some(Bytes::from_static(b"Gr\xc3\xbcn / 7"));
    let mut records = vec![
        StoredRecord::new(
            key.clone(),
            Some(Bytes::from_static(&[0, 0xff, b'"', 0])),
            vec![header("a", &[0xff, 0, 0xfe]), header("b", b""), header("c", b"text")],
        ),
        StoredRecord::new(key.clone(), Some(Bytes::new()), Vec::new()),
    ];
    if capabilities.headers_are_a_list {
        let headers = vec![header("b", b"1"), header("a", b"2"), header("b", b"1")];
        records.push(StoredRecord::new(key.clone(), Some(Bytes::from_static(b"x")), headers));
    }
    if capabilities.has_tombstones {
        records.push(StoredRecord::new(key, None, Vec::new()));
        records.push(StoredRecord::new(None, Some(Bytes::from_static(b"x")), Vec::new()));
    }
    records
}

/// A partition's deliveries have ascending offsets, and those of a key the order of their writing.
pub async fn deliveries_come_in_order<F: SourceFactory>(factory: &F) {
    on_source(factory, async |source: &Fixture<'_, F>| {
        let member = source.join().await;
        source.append("before", 0..1).await;
        let mut drained = drain(&member, 1).await;
        for number in 0..150 {
            let key = format!("k{}", number % 5);
            source.append(&key, number..number + 1).await;
        }
        drained.extend(drain(&member, 150).await);
        let mut last = HashMap::new();
        for delivery in &drained {
            let place = (delivery.partition.topic.clone(), delivery.partition.number);
            let before = last.insert(place, delivery.offset);
            assert!(
                before.is_none_or(|before| before < delivery.offset),
                "offsets ascend\n      seen: {} after {before:?}",
                delivery.offset
            );
        }
        for key in 0..5 {
            let of_key = drained
                .iter()
                .filter(|delivery| delivery.key.as_deref() == Some(format!("k{key}").as_bytes()));
            let promised: Vec<_> =
                (0..150).filter(|n| n % 5 == key).map(|n: u32| n.to_string()).collect();
            same("the order of a key", &of_key.map(name).collect::<Vec<_>>(), &promised);
        }
        close(member).await;
    })
    .await;
}

/// However much waits: memory is bounded by the batches that are out.
pub async fn a_partition_has_one_batch_out<F: SourceFactory>(factory: &F) {
    on_source(factory, async |source: &Fixture<'_, F>| {
        source.append("a", 0..5).await;
        let member = source.join().await;
        let batch = take_several(&member).await;
        source.append("a", 5..8).await;
        nothing_comes("a batch is out", &member).await;
        let first = batch.deliveries[0].offset;
        ok("acknowledging", member.acknowledge(&batch.partition, first).await);
        nothing_comes("a part of a batch is out", &member).await;
        ok("acknowledging", member.acknowledge(&batch.partition, batch.last()).await);
        let taken = batch.deliveries.len();
        let mut seen = batch.names();
        seen.extend(names(&drain(&member, 8 - taken).await));
        same("what follows comes next", &seen, &numbers(0..8));
        close(member).await;
    })
    .await;
}

/// A batch of one partition holds back no other.
pub async fn another_partition_goes_on<F: SourceFactory>(factory: &F) {
    on_source(factory, async |source: &Fixture<'_, F>| {
        if !source.factory.capabilities().several_partitions {
            return source.passed_over("a topic has one partition");
        }
        for key in 0..20 {
            source.append(&format!("k{key}"), 0..1).await;
        }
        let member = source.join().await;
        let first = take(&member).await;
        let second = take(&member).await;
        let same_one = second.is_of(&first.partition);
        same("both are of one partition", &same_one, &false);
        close(member).await;
    })
    .await;
}

/// Whenever a `receive` is dropped, what it would have given comes from the next one.
pub async fn a_dropped_receive_loses_nothing<F: SourceFactory>(factory: &F) {
    on_source(factory, async |source: &Fixture<'_, F>| {
        let member = source.join().await;
        source.append("a", 0..1).await;
        let mut seen = names(&drain(&member, 1).await);
        let (mut written, mut turn) = (1, 0_u64);
        in_the_end("all is given", async || {
            if written < 60 {
                source.append("a", written..written + 1).await;
                written += 1;
            }
            // From "polled once" to "about when the record comes".
            turn += 1;
            let patience = Duration::from_micros(turn % 16 * 100);
            if let Ok(received) = tokio::time::timeout(patience, member.receive()).await {
                let Received::Batch { partition, deliveries } = ok("receiving", received) else {
                    panic!("nobody else is in the group\n      seen: a partition was revoked")
                };
                let last = deliveries.last().expect("a batch has a delivery").offset;
                seen.extend(names(&deliveries));
                ok("acknowledging", member.acknowledge(&partition, last).await);
            }
            seen.len() >= 60
        })
        .await;
        same("each once, in order", &seen, &numbers(0..60));
        close(member).await;
    })
    .await;
}

/// Whoever gets a delivery again finds the notes about it.
pub async fn a_place_is_the_same_when_it_is_delivered_again<F: SourceFactory>(factory: &F) {
    on_source(factory, async |source: &Fixture<'_, F>| {
        source.append("a", 0..3).await;
        let places = async |member: &F::Source| {
            let mut places = HashMap::new();
            let mut rounds = 0;
            while places.len() < 3 || rounds < 2 {
                let batch = take(member).await;
                for delivery in &batch.deliveries {
                    if source.factory.capabilities().places_are_offsets {
                        same("the place is the offset", &delivery.place, &delivery.offset);
                    }
                    let note = (delivery.place, delivery.fingerprint(), content(delivery));
                    let before = places.insert(name(delivery), note.clone());
                    same("the place after a release", &before.unwrap_or(note.clone()), &note);
                }
                ok("releasing", member.release(&batch.partition).await);
                rounds += 1;
            }
            places
        };
        let member = source.join().await;
        let first = places(&member).await;
        close(member).await;
        let member = source.join().await;
        same("the places to the next member", &places(&member).await, &first);
        close(member).await;
        let mut different: Vec<_> = first.values().map(|(place, ..)| place).collect();
        different.sort_unstable();
        different.dedup();
        same("places of three records", &different.len(), &3);
    })
    .await;
}
