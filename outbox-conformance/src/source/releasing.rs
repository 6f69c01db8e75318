//! Releasing: giving a batch back.

use super::{
    Fixture,
    fixture::{close, drain, names, numbers, take, take_several},
    on_source,
};
use crate::{EventSource, SourceFactory, run::same, store::ok};

/// To the same member, from the first one on that was not acknowledged.
pub async fn what_is_released_comes_again<F: SourceFactory>(factory: &F) {
    on_source(factory, async |source: &Fixture<'_, F>| {
        source.append("a", 0..4).await;
        let member = source.join().await;
        for _ in 0..3 {
            let batch = take(&member).await;
            let first = source.again(batch.names()).remove(0);
            same("the first one", &first.as_str(), &"0");
            ok("releasing", member.release(&batch.partition).await);
        }
        let batch = take_several(&member).await;
        let first = batch.deliveries[0].clone();
        ok("acknowledging", member.acknowledge(&batch.partition, first.offset).await);
        ok("releasing", member.release(&batch.partition).await);
        let mut seen = vec![String::from_utf8_lossy(&first.value.unwrap_or_default()).into_owned()];
        seen.extend(names(&drain(&member, 3).await));
        let seen = source.again(seen);
        same("each again, but for the acknowledged one", &seen, &numbers(0..4));
        close(member).await;
    })
    .await;
}

/// What is given back comes before what was written behind it.
pub async fn what_is_released_stays_before_what_is_behind_it<F: SourceFactory>(factory: &F) {
    on_source(factory, async |source: &Fixture<'_, F>| {
        if !source.factory.capabilities().ordered_when_released {
            return source.passed_over("what is given back goes behind what waits");
        }
        source.append("a", 0..3).await;
        let member = source.join().await;
        let batch = take(&member).await;
        source.append("a", 3..6).await;
        ok("releasing", member.release(&batch.partition).await);
        let seen = names(&drain(&member, 6).await);
        same("the order of writing", &seen, &numbers(0..6));
        close(member).await;
    })
    .await;
}

/// A consumer may release to be sure.
pub async fn releasing_when_no_batch_is_out_does_nothing<F: SourceFactory>(factory: &F) {
    on_source(factory, async |source: &Fixture<'_, F>| {
        source.append("a", 0..3).await;
        let member = source.join().await;
        let batch = take(&member).await;
        ok("acknowledging", member.acknowledge(&batch.partition, batch.last()).await);
        for _ in 0..2 {
            ok("releasing", member.release(&batch.partition).await);
        }
        source.append("a", 3..5).await;
        let taken = batch.deliveries.len();
        let mut seen = batch.names();
        seen.extend(names(&drain(&member, 5 - taken).await));
        same("nothing comes again", &seen, &numbers(0..5));
        close(member).await;
    })
    .await;
}
