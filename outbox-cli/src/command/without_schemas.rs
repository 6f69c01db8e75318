//! No schemas: the registry is not compiled in.

use crate::{args::SchemasCheck, config::Config, error::CliError};

pub(super) async fn check(_: &Config, _: &SchemasCheck) -> Result<(), CliError> {
    Err(CliError::Feature { feature: "registry", what: "a schema" })
}
