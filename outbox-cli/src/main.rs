//! The `relaybox` command: topics, schemas, migrations, dead letters, and a relay of its own.
//!
//! `args` is what the user types, `config` the file, `store` the database behind the outbox, and
//! `command` has a module for each command.

// A file is read the same whatever was compiled in; what is not, is said when it is used.
#![cfg_attr(
    not(all(
        feature = "postgres",
        feature = "sqlite",
        feature = "mongodb",
        feature = "kafka",
        feature = "rabbitmq",
        feature = "registry"
    )),
    allow(
        dead_code,
        unreachable_code,
        unused_imports,
        unused_mut,
        unused_variables,
        reason = "what other features use"
    )
)]

mod args;
mod command;
mod config;
mod error;
mod log;
mod output;
mod store;

use std::process::ExitCode;

use crate::{args::Args, config::Config, error::CliError};

#[tokio::main]
async fn main() -> ExitCode {
    match run(Args::of_process()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("relaybox: {}", output::printable(&error.to_string()));
            ExitCode::from(error.exit_code())
        }
    }
}

async fn run(args: Args) -> Result<(), CliError> {
    log::init(&args)?;
    let config = Config::load(&args.global)?;
    command::run(args.command, &config).await
}
