//! `[relay]`: how the relay works.

use std::time::Duration;

use clap::ValueEnum;
use serde::Deserialize;

use super::span::span;

/// The relay's settings; what is absent has the library's default.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RelaySection {
    pub(crate) name: Option<String>,
    pub(crate) bus: Option<BusKind>,
    #[serde(deserialize_with = "span")]
    pub(crate) lease_ttl: Option<Duration>,
    #[serde(deserialize_with = "span")]
    pub(crate) poll_min: Option<Duration>,
    #[serde(deserialize_with = "span")]
    pub(crate) poll_max: Option<Duration>,
    pub(crate) batch: Option<usize>,
    pub(crate) batch_bytes: Option<usize>,
    pub(crate) max_in_flight: Option<usize>,
    pub(crate) on_dead_letter: Option<ParkOrSkip>,
    #[serde(deserialize_with = "span")]
    pub(crate) drain_timeout: Option<Duration>,
}

/// What a relay publishes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum BusKind {
    Kafka,
    Rabbitmq,
}

/// What becomes of an aggregate's later events after one is given up on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ParkOrSkip {
    Park,
    Skip,
}
