//! The consumer of session events, wired by hand.

use relaybox::{Consumer, EventSource, Result};

use crate::{
    scenario::ledger::{Effects, Record},
    session::{
        ReadModel, SessionCodec, SessionCreated, SessionRefreshed, SessionRevoked,
        handlers::Projection,
    },
};

/// What its marks go by: two consumers of this name never both handle an event.
const NAME: &str = "session-views";

/// Keeps the read model and the ledger of effects, both in the transaction of the event's mark.
pub(crate) fn session_consumer<D, S>(
    database: &D,
    source: S,
    codec: SessionCodec,
) -> Result<Consumer<S, D::Inbox>>
where
    D: ReadModel + Effects,
    S: EventSource,
{
    Consumer::builder(NAME, source, database.inbox())
        .codec(codec)
        .on::<SessionCreated, _>(Projection::<D>::new())
        .on::<SessionRefreshed, _>(Projection::<D>::new())
        .on::<SessionRevoked, _>(Projection::<D>::new())
        .on::<SessionCreated, _>(Record::<D>::new())
        .on::<SessionRefreshed, _>(Record::<D>::new())
        .on::<SessionRevoked, _>(Record::<D>::new())
        .on_dead_letter(|notice| {
            tracing::warn!(event_id = ?notice.event_id, reason = notice.reason, "given up on");
        })
        .build()
}
