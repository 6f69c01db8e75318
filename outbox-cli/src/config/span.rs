//! A span of time in the file.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de::Error as _};

use crate::args::duration;

/// A span as the command line takes it: `10s`.
pub(super) fn span<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    duration(&text).map(Some).map_err(D::Error::custom)
}
