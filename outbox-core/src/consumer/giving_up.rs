//! Giving up on a delivery: decided, dead-lettered, noted, in this order.

use super::{attempt::read, lane::Abandoned, strand::Strand};
use crate::{
    DeadLetterNotice, Delivery, ErrorKind, EventSource, Failure, GiveUp, GivenUpAt,
    ProcessedEventStore, telemetry,
};

impl<S: EventSource, P: ProcessedEventStore> Strand<'_, S, P> {
    /// Writes the dead letter, so that the offset may move on. Decided before it is written, so that
    /// after a crash in between no handler runs.
    pub(super) async fn give_up(
        &mut self,
        delivery: &Delivery,
        failure: &Failure,
    ) -> Result<(), Abandoned> {
        self.decide(delivery, failure, GiveUp::Decided).await?;
        self.dead_letter(delivery, failure).await?;
        self.patience.succeed();
        self.announce(delivery, failure);
        Ok(())
    }

    /// A delivery that was given up on before a crash: finishes what the crash interrupted.
    pub(super) async fn give_up_again(
        &mut self,
        delivery: &Delivery,
        progress: GiveUp,
    ) -> Result<(), Abandoned> {
        if progress == GiveUp::DeadLettered {
            return Ok(());
        }
        let reason = "given up on before a restart; given_up_events says why";
        let failure = self.failure(ErrorKind::Other, reason.to_owned(), 0);
        self.dead_letter(delivery, &failure).await?;
        self.announce(delivery, &failure);
        Ok(())
    }

    async fn dead_letter(
        &mut self,
        delivery: &Delivery,
        failure: &Failure,
    ) -> Result<(), Abandoned> {
        while let Err(error) = self.shared.source.dead_letter(delivery, failure).await {
            self.pause(error).await?;
        }
        self.decide(delivery, failure, GiveUp::DeadLettered).await
    }

    async fn decide(
        &mut self,
        delivery: &Delivery,
        failure: &Failure,
        progress: GiveUp,
    ) -> Result<(), Abandoned> {
        let at = GivenUpAt::new(delivery.place, delivery.fingerprint(), progress);
        let inbox = &self.shared.inbox;
        while let Err(error) = inbox.give_up(&delivery.partition, at, failure).await {
            self.pause(error).await?;
        }
        self.lane.remember(at);
        Ok(())
    }

    fn announce(&self, delivery: &Delivery, failure: &Failure) {
        let envelope = read(delivery).ok();
        let envelope = envelope.as_ref();
        let settings = &self.shared.settings;
        telemetry::dead_lettered(settings.name.as_str());
        tracing::error!(
            consumer = %settings.name,
            partition = %delivery.partition,
            offset = delivery.offset,
            attempts = failure.attempts,
            reason = failure.reason,
            "event given up on; see the dead letters"
        );
        settings.hooks.dead_letter(&DeadLetterNotice {
            component: settings.name.as_str(),
            event_id: envelope.map(|envelope| envelope.event_id),
            event_type: envelope.map(|envelope| &envelope.event_type),
            aggregate: envelope.map(|envelope| (&envelope.aggregate_type, &envelope.aggregate_id)),
            kind: failure.kind,
            reason: &failure.reason,
            attempts: failure.attempts,
        });
    }
}
