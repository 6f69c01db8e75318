//! The lease, and settling under it.

use std::time::Duration;

use relaybox_core::{Acquired, ErrorKind, OutboxStore, Settled};

use super::{
    Harness, TTL, acquire, dead, enqueue, expire, names, parked, published, read, refs, relay,
};
use crate::Tables;

pub(super) async fn one_relay_holds_the_lease_and_epochs_grow<H: Harness>(harness: &H) {
    let outbox = harness.outbox(Tables::default());
    let (one, two) = (relay(), relay());
    let Acquired::Held(first) = outbox.acquire(&one, TTL).await.unwrap() else { panic!() };
    for other in [&one, &two] {
        let elsewhere = outbox.acquire(other, TTL).await.unwrap();
        let Acquired::Elsewhere { holder, expires_in } = elsewhere else { panic!() };
        assert_eq!(holder, one);
        assert!(expires_in <= TTL && expires_in > TTL / 2, "{expires_in:?}");
    }
    outbox.renew(&first, TTL).await.unwrap();

    expire(harness).await;
    let candidates = (0..8).map(|_| {
        let outbox = outbox.clone();
        async move { outbox.acquire(&relay(), TTL).await.unwrap() }
    });
    let outcomes = futures::future::join_all(candidates).await;
    let held: Vec<_> = outcomes
        .iter()
        .filter_map(|outcome| match outcome {
            Acquired::Held(lease) => Some(lease),
            Acquired::Elsewhere { .. } => None,
        })
        .collect();
    assert_eq!(held.len(), 1, "{outcomes:?}");
    assert!(held[0].epoch > first.epoch);
    for result in [outbox.renew(&first, TTL).await, outbox.release(&first).await] {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::LeaseLost);
    }
    outbox.renew(held[0], TTL).await.unwrap();
}

pub(super) async fn a_released_lease_is_free_at_once<H: Harness>(harness: &H) {
    let outbox = harness.outbox(Tables::default());
    let first = acquire(&outbox).await;
    outbox.release(&first).await.unwrap();
    assert_eq!(outbox.release(&first).await.unwrap_err().kind(), ErrorKind::LeaseLost);
    assert!(acquire(&outbox).await.epoch > first.epoch);
}

pub(super) async fn an_expired_lease_that_nobody_took_still_settles<H: Harness>(harness: &H) {
    let outbox = harness.outbox(Tables::default());
    enqueue(harness, "s-1", &["a"]).await;
    let Acquired::Held(lease) = outbox.acquire(&relay(), Duration::ZERO).await.unwrap() else {
        panic!()
    };
    let rows = read(&mut outbox.reader().await.unwrap()).await;
    let settled = outbox.settle(&lease, &published(refs(&rows))).await.unwrap();
    assert_eq!(settled, Settled::new(1, 0, 0));
    outbox.renew(&lease, TTL).await.unwrap();
}

pub(super) async fn a_late_settle_after_lease_loss_changes_nothing<H: Harness>(harness: &H) {
    let outbox = harness.outbox(Tables::default());
    enqueue(harness, "s-1", &["a", "b"]).await;
    let late = acquire(&outbox).await;
    let rows = refs(&read(&mut outbox.reader().await.unwrap()).await);
    expire(harness).await;
    acquire(&outbox).await;
    let before = outbox.stats().await.unwrap().backlog;

    for settlement in [published(rows.clone()), parked(rows.clone()), dead(&rows)] {
        let error = outbox.settle(&late, &settlement).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LeaseLost);
        let stats = outbox.stats().await.unwrap();
        assert_eq!((stats.backlog, stats.dead_letters, stats.parked), (before, 0, 0));
    }
    assert_eq!(names(&read(&mut outbox.reader().await.unwrap()).await), ["a", "b"]);
}

pub(super) async fn settling_again_changes_nothing_and_counts_fewer<H: Harness>(harness: &H) {
    let outbox = harness.outbox(Tables::default());
    enqueue(harness, "s-1", &["a", "b", "c", "d"]).await;
    let lease = acquire(&outbox).await;
    let rows = refs(&read(&mut outbox.reader().await.unwrap()).await);
    let mut settlement = dead(&rows[1..2]);
    settlement.published = published(rows[..1].to_vec()).published;
    settlement.parked = rows[2..].to_vec();

    let settled = outbox.settle(&lease, &settlement).await.unwrap();
    assert_eq!(settled, Settled::new(1, 2, 1));
    assert_eq!(outbox.settle(&lease, &settlement).await.unwrap(), Settled::default());
    let again = outbox.settle(&lease, &published(rows[..1].to_vec())).await.unwrap();
    assert_eq!(again, Settled::default());
    let stats = outbox.stats().await.unwrap();
    assert_eq!((stats.backlog, stats.dead_letters, stats.parked), (0, 1, 2));
}

pub(super) async fn a_takeover_does_not_slip_into_a_settlement<H: Harness>(harness: &H) {
    let outbox = harness.outbox(Tables::default());
    for round in 0..40 {
        enqueue(harness, "s-1", &["a", "b"]).await;
        expire(harness).await;
        let late = acquire(&outbox).await;
        let rows = refs(&read(&mut outbox.reader().await.unwrap()).await);
        expire(harness).await;
        let settlement =
            if round % 2 == 0 { published(rows.clone()) } else { parked(rows.clone()) };
        let takeover = async {
            tokio::time::sleep(Duration::from_micros(round * 50)).await;
            acquire(&outbox).await
        };
        let (settled, lease) = tokio::join!(outbox.settle(&late, &settlement), takeover);
        // Whoever comes after the takeover finds all or none of it done.
        let left = read(&mut outbox.reader().await.unwrap()).await;
        match settled {
            Ok(_) => assert!(left.iter().all(|row| row.event.origin != rows[0].origin)),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::LeaseLost, "{error:?}");
                assert_eq!(left.len(), 2);
            }
        }
        outbox.settle(&lease, &published(refs(&left))).await.unwrap();
    }
}
