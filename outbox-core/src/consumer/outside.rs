//! Events whose handlers have no transaction: handled first, marked after.

use std::mem;

use tokio::time::Instant;

use super::{attempt::Work, lane::Abandoned, strand::Strand};
use crate::{EventId, EventSource, Mark, ProcessedEventStore, telemetry};

impl<'a, S: EventSource, P: ProcessedEventStore> Strand<'a, S, P> {
    /// Handles events whose handlers have no transaction, one after the other, and marks them after.
    pub(super) async fn outside(&mut self, works: Vec<Work<'a, P::Tx>>) -> Result<(), Abandoned> {
        let ids: Vec<EventId> = works.iter().map(|work| work.event_id).collect();
        let known = loop {
            self.go_on()?;
            match self.shared.inbox.known(&self.shared.settings.name, &ids).await {
                Ok(known) => break known,
                Err(error) => self.pause(error).await?,
            }
        };
        let since = Instant::now();
        let mut handled: Vec<&Work<'a, P::Tx>> = Vec::new();
        for (work, mark) in works.iter().zip(known) {
            let again = handled.iter().any(|before| before.event_id == work.event_id);
            if mark == Mark::Repeat || again {
                telemetry::duplicates(self.shared.settings.name.as_str(), 1);
                handled.push(work);
                continue;
            }
            match self.outside_alone(work, &mut handled).await {
                Ok(true) => handled.push(work),
                Ok(false) => self.done([work.index]).await?,
                Err(why) => {
                    // What was done is done: it must not be done again for a stop's sake.
                    self.mark_handled(&mut handled).await?;
                    return Err(why);
                }
            }
        }
        let count = handled.len();
        self.mark_handled(&mut handled).await?;
        self.lane.pace.committed(count, since.elapsed());
        Ok(())
    }

    /// Whether it was handled; if not, it was put off or given up on. What was handled before it is
    /// marked before a failure is waited for.
    async fn outside_alone(
        &mut self,
        work: &Work<'a, P::Tx>,
        handled: &mut Vec<&Work<'a, P::Tx>>,
    ) -> Result<bool, Abandoned> {
        let mut charged = work.delivery.attempts;
        loop {
            self.go_on()?;
            let since = Instant::now();
            let attempt = self.shared.handle_outside(work);
            match self.in_turn(work.delivery, attempt).await? {
                Ok(()) => {
                    self.patience.succeed();
                    self.count(std::slice::from_ref(work), &[Mark::First], since);
                    return Ok(true);
                }
                Err(failed) => {
                    self.mark_handled(handled).await?;
                    if self.failed(work, failed, &mut charged).await? {
                        return Ok(false);
                    }
                }
            }
        }
    }

    async fn mark_handled(&mut self, handled: &mut Vec<&Work<'a, P::Tx>>) -> Result<(), Abandoned> {
        if handled.is_empty() {
            return Ok(());
        }
        let works = mem::take(handled);
        let ids: Vec<EventId> = works.iter().map(|work| work.event_id).collect();
        while let Err(error) = self.shared.mark_handled(&ids).await {
            self.pause(error).await?;
        }
        self.done(works.iter().map(|work| work.index)).await
    }
}
