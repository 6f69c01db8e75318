//! What the command says about itself, to standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::args::{Args, Command, LogFormat};

/// Sends the library's log to standard error: `RUST_LOG` says what of it, `--log` in which form.
pub(crate) fn init(args: &Args) {
    // A relay lives on; any other command says in its error what went wrong.
    let usual = if matches!(args.command, Command::Relay(_)) { "info" } else { "error" };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(usual));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match args.global.log {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
}
