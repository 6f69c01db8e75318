//! The lease: who may settle.

use std::time::Duration;

use relaybox_core::{Acquired, ErrorKind, Result};

use super::{Fixture, on_store};
use crate::{
    OutboxStore, StoreFactory,
    events::{dead, names, parked, published, refs, relay},
    run::same,
    store::fixture::{TTL, ok},
};

/// The kind of an error; none where there is none.
pub(super) fn kind<T>(result: &Result<T>) -> Option<ErrorKind> {
    result.as_ref().err().map(relaybox_core::Error::kind)
}

/// Of many that ask at once, one gets it; the others learn who, and for how long.
pub async fn one_relay_holds_the_lease_at_a_time<F: StoreFactory>(factory: &F) {
    on_store(factory, async |store: &Fixture<'_, F>| {
        let relays: Vec<_> = (0..8).map(|_| relay()).collect();
        let asked = relays.iter().map(|relay| store.store.acquire(relay, TTL));
        let outcomes: Vec<_> = futures::future::join_all(asked)
            .await
            .into_iter()
            .map(|outcome| ok("acquiring the lease", outcome))
            .collect();
        let held: Vec<_> = outcomes
            .iter()
            .filter_map(|outcome| match outcome {
                Acquired::Held(lease) => Some(lease),
                Acquired::Elsewhere { .. } => None,
            })
            .collect();
        same("of eight relays that ask at once, so many hold the lease", &held.len(), &1);
        let lease = held[0];
        let holder = relays.iter().position(|relay| *relay == lease.relay);
        assert!(holder.is_some(), "the lease names its relay\n      seen: {lease:?}");
        for relay in &relays {
            match ok("acquiring the lease", store.store.acquire(relay, TTL).await) {
                Acquired::Elsewhere { holder, expires_in } => {
                    same("who holds it", &holder, &lease.relay);
                    assert!(
                        expires_in <= TTL && expires_in > TTL / 2,
                        "the others learn for how long\n  promised: nearly {TTL:?}\n      seen: {expires_in:?}"
                    );
                }
                Acquired::Held(second) => {
                    panic!("one relay holds the lease at a time\n  seen: {lease:?} and {second:?}")
                }
            }
        }
        ok("renewing a lease that is held", store.store.renew(lease, TTL).await);
    })
    .await;
}

/// However the last one ended, the next has a higher epoch.
pub async fn each_acquisition_has_a_higher_epoch<F: StoreFactory>(factory: &F) {
    on_store(factory, async |store: &Fixture<'_, F>| {
        let mut last = store.acquire().await;
        for expires in [false, true, true, false] {
            if expires {
                ok("renewing", store.store.renew(&last, Duration::from_millis(1)).await);
            } else {
                ok("releasing", store.store.release(&last).await);
            }
            let next = store.take_over().await;
            assert!(
                next.epoch > last.epoch,
                "each acquisition has a higher epoch\n  promised: above {}\n      seen: {}",
                last.epoch,
                next.epoch
            );
            last = next;
        }
    })
    .await;
}

/// A clean stop costs a standby no waiting.
pub async fn a_released_lease_is_free_at_once<F: StoreFactory>(factory: &F) {
    on_store(factory, async |store: &Fixture<'_, F>| {
        let lease = store.acquire().await;
        ok("releasing a lease that is held", store.store.release(&lease).await);
        let promise = "a lease that was released can't be released again";
        same(promise, &kind(&store.store.release(&lease).await), &Some(ErrorKind::LeaseLost));
        let next = ok("acquiring the lease", store.store.acquire(&relay(), TTL).await);
        let is_held = matches!(next, Acquired::Held(_));
        assert!(is_held, "a released lease is free at once\n      seen: {next:?}");
    })
    .await;
}

/// A crashed relay's lease goes to another when its time is over.
pub async fn an_expired_lease_is_taken_over<F: StoreFactory>(factory: &F) {
    on_store(factory, async |store: &Fixture<'_, F>| {
        let ttl = Duration::from_millis(100);
        let since = std::time::Instant::now();
        let crashed = store.acquire_for(ttl).await;
        let successor = store.take_over().await;
        let same_one = crashed.relay == successor.relay;
        same("the same relay holds it", &same_one, &false);
        // The store may round; a clock that differs by half is none.
        let lasted = since.elapsed();
        let promise = "a lease lasts";
        assert!(lasted >= ttl / 2, "{promise}\n  promised: {ttl:?}\n      seen: {lasted:?}");
    })
    .await;
}

/// Renewing replaces what was left of the lease, and changes no epoch.
pub async fn a_renewed_lease_lasts<F: StoreFactory>(factory: &F) {
    on_store(factory, async |store: &Fixture<'_, F>| {
        let lease = store.acquire_for(Duration::from_secs(20)).await;
        ok("renewing", store.store.renew(&lease, TTL).await);
        match ok("acquiring the lease", store.store.acquire(&relay(), TTL).await) {
            Acquired::Held(other) => {
                panic!("a renewed lease is its holder's\n      seen: {other:?}")
            }
            Acquired::Elsewhere { expires_in, .. } => assert!(
                expires_in > TTL / 2,
                "a renewed lease lasts\n  promised: nearly {TTL:?}\n      seen: {expires_in:?}"
            ),
        }
        ok("renewing again: the epoch is the same", store.store.renew(&lease, TTL).await);
    })
    .await;
}

/// Whoever lost the lease can neither renew nor release the successor's.
pub async fn a_lost_lease_is_neither_renewed_nor_released<F: StoreFactory>(factory: &F) {
    on_store(factory, async |store: &Fixture<'_, F>| {
        let (lost, held) = store.lost_lease().await;
        let promise = "a lost lease is not renewed";
        same(promise, &kind(&store.store.renew(&lost, TTL).await), &Some(ErrorKind::LeaseLost));
        let promise = "a lost lease is not released";
        same(promise, &kind(&store.store.release(&lost).await), &Some(ErrorKind::LeaseLost));
        match ok("acquiring the lease", store.store.acquire(&relay(), TTL).await) {
            Acquired::Held(other) => {
                panic!("the loser's calls leave the lease its successor's\n      seen: {other:?}")
            }
            Acquired::Elsewhere { holder, .. } => same("the holder", &holder, &held.relay),
        }
        ok("renewing a lease that is held", store.store.renew(&held, TTL).await);
    })
    .await;
}

/// A relay that was paused, and settles after another took over, changes nothing and is told so.
pub async fn a_late_settle_after_lease_loss_changes_nothing<F: StoreFactory>(factory: &F) {
    on_store(factory, async |store: &Fixture<'_, F>| {
        store.enqueue("a", &["1", "2"]).await;
        let (late, held) = store.lost_lease().await;
        let rows = refs(&store.all().await);
        for settlement in [published(&rows), parked(&rows), dead(&rows)] {
            let result = store.store.settle(&late, &settlement).await;
            let promise = "a settlement under a lost lease fails as such";
            same(promise, &kind(&result), &Some(ErrorKind::LeaseLost));
            let promise = "a settlement under a lost lease changes nothing: backlog, dead, parked";
            same(promise, &store.counts().await, &(2, 0, 0));
        }
        let left = names(&store.all().await);
        same("all is still there", &left[..], &["1".to_owned(), "2".to_owned()]);
        same("the holder settles", &store.settle(&held, &published(&rows)).await.published, &2);
    })
    .await;
}

/// The epoch decides, not the name: an older lease of the same relay is lost as well.
pub async fn an_older_lease_of_the_same_relay_is_lost<F: StoreFactory>(factory: &F) {
    on_store(factory, async |store: &Fixture<'_, F>| {
        store.enqueue("a", &["1"]).await;
        let older = store.acquire().await;
        ok("releasing", store.store.release(&older).await);
        let again = ok("acquiring", store.store.acquire(&older.relay, TTL).await);
        let is_held = matches!(again, Acquired::Held(_));
        assert!(is_held, "a released lease is free\n      seen: {again:?}");
        let rows = refs(&store.all().await);
        let lost = Some(ErrorKind::LeaseLost);
        let settled = store.store.settle(&older, &published(&rows)).await;
        same("an older epoch does not settle", &kind(&settled), &lost);
        same("an older epoch does not renew", &kind(&store.store.renew(&older, TTL).await), &lost);
        same("an older epoch does not release", &kind(&store.store.release(&older).await), &lost);
        same("nothing has changed", &store.counts().await, &(1, 0, 0));
    })
    .await;
}

/// A settlement and a takeover at the same moment: the successor finds all or none of it done, and
/// what it finds stays so.
pub async fn a_takeover_does_not_slip_into_a_settlement<F: StoreFactory>(factory: &F) {
    on_store(factory, async |store: &Fixture<'_, F>| {
        for round in 0..30 {
            store.enqueue("a", &["1", "2"]).await;
            let late = store.acquire_for(Duration::from_millis(1)).await;
            let rows = refs(&store.all().await);
            let settlement = if round % 2 == 0 { published(&rows) } else { parked(&rows) };
            let takeover = async {
                tokio::time::sleep(Duration::from_micros(round * 50)).await;
                let lease = store.take_over().await;
                (lease, store.all().await)
            };
            let (settled, (lease, found)) =
                tokio::join!(store.store.settle(&late, &settlement), takeover);
            // Parked behind nothing, they come again, as dead letters.
            let untouched = found.iter().filter(|row| row.event.origin == rows[0].origin).count();
            let promise = "the successor finds all of the settlement done, or none, for good";
            match settled {
                Ok(_) => same(promise, &untouched, &0),
                Err(error) => {
                    same("the settlement failed as", &error.kind(), &ErrorKind::LeaseLost);
                    same(promise, &untouched, &2);
                }
            }
            let left = store.all().await;
            same(promise, &refs(&left), &refs(&found));
            store.settle(&lease, &published(&refs(&left))).await;
            ok("releasing", store.store.release(&lease).await);
        }
    })
    .await;
}
