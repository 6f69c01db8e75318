//! What the command says about itself, to standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::{
    args::{Args, Command, LogFormat},
    error::CliError,
};

/// Sends the library's log to standard error: `RUST_LOG` says what of it, `--log` in which form.
///
/// # Errors
/// [`CliError::Config`] when `RUST_LOG` makes no sense.
pub(crate) fn init(args: &Args) -> Result<(), CliError> {
    // A relay lives on; any other command says in its error what went wrong.
    let usual = if matches!(args.command, Command::Relay(_)) { "info" } else { "error" };
    let wanted = std::env::var_os(EnvFilter::DEFAULT_ENV).filter(|text| !text.is_empty());
    let filter = match wanted.as_ref().map(|text| text.to_str()) {
        None => EnvFilter::new(usual),
        Some(Some(text)) => EnvFilter::try_new(text)
            .map_err(|error| CliError::Config(format!("RUST_LOG: {error}")))?,
        Some(None) => return Err(CliError::Config("RUST_LOG: it is not UTF-8".to_owned())),
    };
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match args.global.log {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}
