//! `relaybox purge`.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use relaybox::{Result as CoreResult, Retry};
use serde_json::json;
use tokio::time::Instant;

use crate::{
    args::{Pace, PurgeCommand},
    config::Config,
    error::CliError,
    output,
    store::{Open, Store},
};

/// How often a batch is tried that the database was too busy for.
const TRIES: u32 = 5;

pub(super) async fn run(config: &Config, command: &PurgeCommand) -> Result<(), CliError> {
    let store = Store::open(config.store.as_ref(), Open::Now).await?;
    let (outbox, marks) = (&store.outbox, &store.marks);
    match command {
        PurgeCommand::Archive { pace } => {
            let batch = || outbox.purge_archive(pace.older_than, pace.batch);
            purge(*pace, "events", batch).await
        }
        PurgeCommand::Marks { consumer, pace } => {
            let batch = || marks.purge(consumer, pace.older_than, pace.batch);
            purge(*pace, "marks", batch).await
        }
    }
}

/// Removes batches until one finds fewer rows than it may remove.
async fn purge<B>(
    pace: Pace,
    what: &str,
    batch: impl Fn() -> B + Send + Sync,
) -> Result<(), CliError>
where
    B: Future<Output = CoreResult<u64>> + Send,
{
    // Hidden by itself where standard error is no terminal.
    let progress = ProgressBar::new_spinner().with_style(
        ProgressStyle::with_template("{spinner} {human_pos} {msg} removed, {per_sec}, {elapsed}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner()),
    );
    progress.set_message(what.to_owned());
    progress.enable_steady_tick(Duration::from_millis(200));
    let mut total = 0;
    let ended = loop {
        let since = Instant::now();
        match tried(&batch).await {
            Ok(removed) => {
                total += removed;
                progress.set_position(total);
                if removed < u64::from(pace.batch) {
                    break Ok(());
                }
            }
            Err(error) => break Err(error),
        }
        if !pace.no_rest {
            // So that it never has more than half of a connection's time.
            tokio::time::sleep(since.elapsed()).await;
        }
    };
    progress.finish_and_clear();
    // What was removed stays removed, whatever came then.
    if pace.json {
        output::json(&json!({ "removed": total, "what": what, "complete": ended.is_ok() }))?;
    } else {
        output::line(format!("{total} {what} removed"))?;
    }
    ended.map_err(CliError::from)
}

async fn tried<B>(batch: &(impl Fn() -> B + Sync)) -> CoreResult<u64>
where
    B: Future<Output = CoreResult<u64>> + Send,
{
    let mut failures = 0;
    loop {
        match batch().await {
            // Removing again what may be removed is removing the next.
            Err(error) if error.retry() != Retry::Never && failures < TRIES => {
                failures += 1;
                tokio::time::sleep(Duration::from_millis(100) * (1 << failures)).await;
            }
            result => return result,
        }
    }
}
