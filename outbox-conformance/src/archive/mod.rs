//! The promises of an archive of published events: [`ArchiveStore`](relaybox_core::ArchiveStore).
//!
//! They ask the [`StoreFactory`](crate::StoreFactory) for a store that
//! [archives](crate::StoreFactory::archive), and are passed over where it has none.

pub mod finding;
mod fixture;
pub mod moving;
pub mod purging;

use self::fixture::{Archived, on_archive};
