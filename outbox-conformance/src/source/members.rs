//! Several members of a group: who has a partition, and what becomes of it when it moves.

use std::{collections::HashSet, sync::Mutex, time::Duration};

use relaybox_core::{ErrorKind, Partition, Received};

use super::{
    Fixture,
    fixture::{Batch, close, drain, name, names, next, nothing_comes, numbers, take},
    on_source,
};
use crate::{EventSource, SourceFactory, run::same, store::ok};

/// Keys enough for every partition to have one.
const KEYS: u32 = 16;

/// Only a source that is [exclusive](crate::SourceCapabilities::exclusive) promises it.
pub async fn a_partition_has_one_member_at_a_time<F: SourceFactory>(factory: &F) {
    on_source(factory, async |source: &Fixture<'_, F>| {
        let capabilities = source.factory.capabilities();
        if !capabilities.exclusive || capabilities.reassigns {
            return source.passed_over("members share what waits, or take it over");
        }
        source.append("a", 0..3).await;
        let holder = source.join().await;
        let batch = take(&holder).await;
        let other = source.join().await;
        nothing_comes("another member has the partition", &other).await;
        ok("acknowledging", holder.acknowledge(&batch.partition, batch.last()).await);
        let rest = 3 - batch.deliveries.len();
        let mut seen = batch.names();
        seen.extend(names(&drain(&holder, rest).await));
        same("the holder goes on", &seen, &numbers(0..3));
        source.append("a", 3..5).await;
        close(holder).await;
        same("then it is the other's", &names(&drain(&other, 2).await), &numbers(3..5));
        close(other).await;
    })
    .await;
}

/// Whoever had it is told, and can't acknowledge any more; whoever has it now is undisturbed.
pub async fn a_revoked_partition_takes_no_acknowledgement<F: SourceFactory>(factory: &F) {
    on_source(factory, async |source: &Fixture<'_, F>| {
        if !source.factory.capabilities().reassigns {
            return source.passed_over("a member that joins takes nothing over");
        }
        for number in 0..3 * KEYS {
            source.append(&format!("k{}", number % KEYS), number..number + 1).await;
        }
        let before = source.join().await;
        let mut batches = vec![take(&before).await];
        let after = source.join().await;
        let revoked = loop {
            match next(&before).await {
                Received::Batch { partition, deliveries } => {
                    batches.push(Batch { partition, deliveries });
                }
                Received::Revoked(partition) => break partition,
            }
        };
        let batch = batches.iter().find(|batch| batch.partition == revoked);
        let promise = "what is revoked has the generation of its batch";
        let batch = batch.unwrap_or_else(|| panic!("{promise}\n      seen: {revoked}"));
        let first = batch.deliveries[0].offset;
        // While it is being taken away it may be finished, or not.
        let mut promised = batch.names();
        match before.acknowledge(&revoked, first).await {
            Ok(()) => drop(promised.remove(0)),
            Err(error) => {
                same("why it can't be acknowledged", &error.kind(), &ErrorKind::Revoked);
            }
        }
        ok("releasing", before.release(&revoked).await);
        let theirs = take_of(&after, &revoked).await;
        let begins = promised.first().cloned().unwrap_or_else(|| theirs.names().remove(0));
        same("what its new member begins with", &theirs.names()[0], &begins);
        let late = before.acknowledge(&revoked, batch.last()).await;
        let late = late.err().map(|error| error.kind());
        same("acknowledging it later", &late, &Some(ErrorKind::Revoked));
        ok("releasing it again", before.release(&revoked).await);
        ok("releasing", after.release(&theirs.partition).await);
        let again = take_of(&after, &revoked).await;
        same("that changed nothing", &again.names()[0], &begins);
        leave(before).await;
        leave(after).await;
    })
    .await;
}

/// Closes, which may fail while the group settles who has what: then something comes again.
async fn leave(member: impl EventSource) {
    drop(member.close().await);
}

/// A batch of a partition, with what comes of others released on the way.
async fn take_of(member: &impl EventSource, partition: &Partition) -> Batch {
    loop {
        if let Received::Batch { partition: of, deliveries } = next(member).await {
            let batch = Batch { partition: of, deliveries };
            if batch.is_of(partition) {
                return batch;
            }
        }
    }
}

/// Nothing is lost, and a key's order holds, repeats aside, when a member joins in the middle and when
/// one leaves.
pub async fn members_come_and_go_and_nothing_is_lost<F: SourceFactory>(factory: &F) {
    on_source(factory, async |source: &Fixture<'_, F>| {
        let capabilities = source.factory.capabilities();
        if !capabilities.exclusive {
            return source.passed_over("members share what waits");
        }
        const EACH: u32 = 20;
        let seen = Mutex::new(Vec::new());
        let all = || distinct(&seen) == (KEYS * EACH) as usize;
        let member = source.join().await;
        let write = async {
            for number in 0..EACH {
                for key in 0..KEYS {
                    source.append(&format!("k{key}"), number..number + 1).await;
                }
            }
        };
        let come = async {
            while distinct(&seen) < KEYS as usize {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let other = source.join().await;
            work(&other, &seen, all).await;
            other
        };
        let go = async {
            work(&member, &seen, || distinct(&seen) >= (KEYS * EACH / 2) as usize).await;
            leave(member).await;
        };
        let (_, other, ()) = futures::join!(write, come, go);
        leave(other).await;
        let seen = seen.into_inner().expect("no promise panics while it holds it");
        for key in 0..KEYS {
            let key = format!("k{key}");
            let mut known = HashSet::new();
            let of_key = seen.iter().filter(|(of, _)| *of == key).map(|(_, name)| name);
            let first: Vec<_> = of_key.filter(|name| known.insert(*name)).cloned().collect();
            same("the order of a key, repeats aside", &first, &numbers(0..EACH));
        }
    })
    .await;
}

type Seen = Mutex<Vec<(String, String)>>;

fn distinct(seen: &Seen) -> usize {
    let seen = seen.lock().expect("no promise panics while it holds it");
    seen.iter().collect::<HashSet<_>>().len()
}

/// Notes and acknowledges whatever comes, until it is enough.
async fn work(member: &impl EventSource, seen: &Seen, enough: impl Fn() -> bool) {
    while !enough() {
        let received = tokio::time::timeout(Duration::from_millis(20), member.receive()).await;
        match received {
            Ok(Ok(Received::Batch { partition, deliveries })) => {
                let noted = deliveries.iter().map(|delivery| {
                    let key = delivery.key.as_deref().unwrap_or_default();
                    (String::from_utf8_lossy(key).into_owned(), name(delivery))
                });
                seen.lock().expect("no promise panics while it holds it").extend(noted);
                let last = deliveries.last().expect("a batch has a delivery").offset;
                match member.acknowledge(&partition, last).await {
                    Err(error) if error.kind() == ErrorKind::Revoked => {}
                    result => ok("acknowledging", result),
                }
                ok("releasing", member.release(&partition).await);
            }
            Ok(Ok(Received::Revoked(partition))) => {
                ok("releasing", member.release(&partition).await);
            }
            // It may fail in between, and be asked again.
            Ok(Err(_)) | Err(_) => {}
        }
    }
}
