//! What other parts of the service do about session events.

use std::marker::PhantomData;

use relaybox::{Envelope, EventHandler, HandlerError, PermanentExt, async_trait};

use super::{ReadModel, SessionCreated, SessionRefreshed, SessionRevoked};

/// Keeps the read model.
pub(crate) struct Projection<D>(PhantomData<fn() -> D>);

impl<D> Projection<D> {
    pub(crate) fn new() -> Self {
        Self(PhantomData)
    }
}

/// The event's device is not `browser/version`.
#[derive(Debug, thiserror::Error)]
#[error("the device is not of the form browser/version")]
struct UnknownDevice;

#[async_trait]
impl<D: ReadModel> EventHandler<SessionCreated, D::Tx> for Projection<D> {
    async fn handle(
        &self,
        tx: &mut D::Tx,
        event: &SessionCreated,
        _envelope: &Envelope,
    ) -> Result<(), HandlerError> {
        // No later attempt would understand it: the event goes to the dead letters at once.
        let (browser, _version) = event.device.split_once('/').ok_or(UnknownDevice).permanent()?;
        Ok(D::created(tx, event, browser).await?)
    }
}

#[async_trait]
impl<D: ReadModel> EventHandler<SessionRefreshed, D::Tx> for Projection<D> {
    async fn handle(
        &self,
        tx: &mut D::Tx,
        event: &SessionRefreshed,
        _envelope: &Envelope,
    ) -> Result<(), HandlerError> {
        Ok(D::refreshed(tx, event).await?)
    }
}

#[async_trait]
impl<D: ReadModel> EventHandler<SessionRevoked, D::Tx> for Projection<D> {
    async fn handle(
        &self,
        tx: &mut D::Tx,
        event: &SessionRevoked,
        _envelope: &Envelope,
    ) -> Result<(), HandlerError> {
        Ok(D::revoked(tx, event).await?)
    }
}
