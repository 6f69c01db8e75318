//! The lease: who may settle.

use std::{fmt, time::Duration};

use uuid::Uuid;

use crate::Label;

/// Who a relay is: a name for people, made unique by chance.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RelayId(String);

impl RelayId {
    /// Makes an id from a name for people (a host's, a pod's) and chance.
    #[must_use]
    pub fn new(name: &Label) -> Self {
        let unique = Uuid::new_v4().simple().to_string();
        Self(format!("{name}-{}", &unique[..12]))
    }

    /// An id as a store keeps it.
    #[must_use]
    pub fn from_stored(id: String) -> Self {
        Self(id)
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RelayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The right to settle, until another epoch begins.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lease {
    /// Who holds it.
    pub relay: RelayId,
    /// Which holding this is; each is higher than all before.
    pub epoch: i64,
}

impl Lease {
    /// Makes a lease. Stores call this.
    #[must_use]
    pub fn new(relay: RelayId, epoch: i64) -> Self {
        Self { relay, epoch }
    }
}

/// What became of an attempt to take the lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acquired {
    /// It is ours.
    Held(Lease),
    /// It is another's.
    Elsewhere {
        /// Whose.
        holder: RelayId,
        /// How long it lasts unless renewed.
        expires_in: Duration,
    },
}
