//! The commands.

mod dead_letters;
mod migrate;
mod purge;
mod relay;
#[cfg_attr(not(feature = "registry"), path = "without_schemas.rs")]
mod schemas;
mod status;
mod topics;

use crate::{
    args::{Command, RelayCommand, SchemasCommand, TopicsCommand},
    config::Config,
    error::CliError,
};

/// Does what the command line asks for.
///
/// # Errors
/// [`CliError`] has the exit code.
pub(crate) async fn run(command: Command, config: &Config) -> Result<(), CliError> {
    match command {
        Command::Topics(TopicsCommand::Plan(args)) => topics::plan(config, &args).await,
        Command::Topics(TopicsCommand::Apply(args)) => topics::apply(config, &args).await,
        Command::Schemas(SchemasCommand::Check(args)) => schemas::check(config, &args).await,
        Command::Migrate(args) => migrate::run(config, &args).await,
        Command::Status(args) => status::run(config, &args).await,
        Command::DeadLetters(command) => dead_letters::run(config, command).await,
        Command::Purge(command) => purge::run(config, &command).await,
        Command::Relay(RelayCommand::Run(args)) => relay::run(config, &args).await,
    }
}
