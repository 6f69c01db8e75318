//! Acknowledging: what is done with, and what comes again.

use super::{
    Fixture,
    fixture::{close, drain, names, nothing_comes, numbers, take, take_several},
    on_source,
};
use crate::{EventSource, SourceFactory, run::same, store::ok};

/// To the next member, whether the one before left or was dropped.
pub async fn what_was_not_acknowledged_comes_to_the_next_member<F: SourceFactory>(factory: &F) {
    on_source(factory, async |source: &Fixture<'_, F>| {
        source.append("a", 0..3).await;
        let member = source.join().await;
        take(&member).await;
        close(member).await;
        let member = source.join().await;
        take(&member).await;
        drop(member);
        let member = source.join().await;
        let seen = source.again(names(&drain(&member, 3).await));
        same("after one that left and one that was dropped", &seen, &numbers(0..3));
        close(member).await;
    })
    .await;
}

/// An acknowledgement is kept by the time the source is closed.
pub async fn what_was_acknowledged_is_done_with<F: SourceFactory>(factory: &F) {
    on_source(factory, async |source: &Fixture<'_, F>| {
        source.append("a", 0..3).await;
        let member = source.join().await;
        same("all of them", &names(&drain(&member, 3).await), &numbers(0..3));
        nothing_comes("all is acknowledged", &member).await;
        close(member).await;
        source.append("a", 3..5).await;
        let member = source.join().await;
        let seen = names(&drain(&member, 2).await);
        same("the next member gets what is new", &seen, &numbers(3..5));
        close(member).await;
    })
    .await;
}

/// A batch may be acknowledged step by step; what is behind comes again.
pub async fn a_partial_acknowledgement_counts<F: SourceFactory>(factory: &F) {
    on_source(factory, async |source: &Fixture<'_, F>| {
        source.append("a", 0..5).await;
        let member = source.join().await;
        let batch = take_several(&member).await;
        let first = batch.deliveries[0].offset;
        ok("acknowledging", member.acknowledge(&batch.partition, first).await);
        close(member).await;
        let member = source.join().await;
        let seen = source.again(names(&drain(&member, 4).await));
        same("from the second one on", &seen, &numbers(1..5));
        close(member).await;
    })
    .await;
}
