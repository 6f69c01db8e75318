//! How far the handlers are: a progress bar for people, a count for the tasks that wait for it.

use std::{sync::Arc, time::Duration};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::{sync::watch, task::JoinHandle, time::MissedTickBehavior};

use super::ledger::{Committed, Effects};

const INTERVAL: Duration = Duration::from_millis(50);

/// Counts effects until it is dropped.
pub(crate) struct Progress {
    handled: watch::Receiver<u64>,
    bar: ProgressBar,
    counting: JoinHandle<()>,
}

impl Progress {
    /// Starts counting; `planned` is how many effects to expect, about.
    pub(crate) fn start<D: Effects>(
        database: D,
        ledger: Arc<Committed>,
        planned: u64,
        hidden: bool,
    ) -> Self {
        let bar = progress_bar(planned, hidden);
        let (count, handled) = watch::channel(0);
        let drawn = bar.clone();
        let counting = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(INTERVAL);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                // The next one makes up for a count that failed.
                let Ok(effects) = database.count().await else { continue };
                count.send_replace(effects);
                drawn.set_position(effects);
                drawn.set_prefix(ledger.len().to_string());
            }
        });
        Self { handled, bar, counting }
    }

    /// How many effects there are, for whoever waits for some.
    pub(crate) fn handled(&self) -> watch::Receiver<u64> {
        self.handled.clone()
    }

    /// Says what is happening.
    pub(crate) fn say(&self, what: &'static str) {
        self.bar.set_message(what);
    }

    /// Waits until there are `effects`.
    ///
    /// Gives up, without an error, when nothing new came for as long as `patience`: the checks tell
    /// what is missing.
    pub(crate) async fn reach(&self, effects: u64, patience: Duration) {
        let mut handled = self.handled();
        while *handled.borrow_and_update() < effects {
            let before = *handled.borrow();
            let more = handled.wait_for(|now| *now > before);
            match tokio::time::timeout(patience, more).await {
                Ok(Ok(_)) => {}
                Ok(Err(_)) | Err(_) => break,
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.counting.abort();
        self.bar.finish_and_clear();
    }
}

fn progress_bar(planned: u64, hidden: bool) -> ProgressBar {
    let target = if hidden { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let style = ProgressStyle::with_template(
        "[{elapsed}] {bar:40} {pos}/{len} handled, {prefix} committed  {msg}",
    )
    .expect("the template is a valid one");
    ProgressBar::with_draw_target(Some(planned), target).with_style(style)
}
