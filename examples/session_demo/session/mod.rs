//! A session module, as a service would have it: people log in, stay, and are logged out.
//!
//! [`Sessions`] changes sessions and raises events, in one transaction each; handlers fill the read
//! model from the events.

pub(crate) mod aggregate;
pub(crate) mod codec;
pub(crate) mod error;
pub(crate) mod events;
pub(crate) mod handlers;
pub(crate) mod read_model;
pub(crate) mod repository;
pub(crate) mod service;

pub(crate) use self::{
    aggregate::Session,
    codec::SessionCodec,
    error::SessionError,
    events::{SessionCreated, SessionEvent, SessionRefreshed, SessionRevoked},
    read_model::{ReadModel, SessionView},
    repository::SessionRepository,
    service::{Change, Sessions},
};
