//! What a command ends with when it doesn't end well.

use relaybox::{Error, ErrorKind, error_chain};

/// Why a command failed. Its text never has a secret, a URL or a payload in it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// A check failed, or what was asked for is refused.
    #[error("{0}")]
    Refused(String),
    /// The command line or the configuration is wrong.
    #[error("{0}")]
    Config(String),
    /// The relaybox that was built can't do it.
    #[cfg_attr(
        all(
            feature = "postgres",
            feature = "sqlite",
            feature = "mongodb",
            feature = "kafka",
            feature = "rabbitmq",
            feature = "registry"
        ),
        expect(dead_code, reason = "nothing is missing")
    )]
    #[error("this relaybox was built without {feature}: {what} needs the feature \"{feature}\"")]
    Feature {
        /// Which feature.
        feature: &'static str,
        /// What needs it.
        what: &'static str,
    },
    /// The library's.
    #[error("{}", describe(.0))]
    Library(#[from] Error),
    /// Several things could not be asked.
    #[error("{}", .0.iter().map(describe).collect::<Vec<_>>().join("\nrelaybox: "))]
    Several(Vec<Error>),
    /// Writing the output failed.
    #[error("could not write the output: {0}")]
    Output(#[source] std::io::Error),
}

impl CliError {
    /// The exit code, as `relaybox --help` documents them.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Refused(_) => 1,
            Self::Config(_) | Self::Feature { .. } => 2,
            Self::Library(error) => of_library(error),
            // Trying again helps as long as one of them can't be reached.
            Self::Several(errors) => {
                let codes = || errors.iter().map(of_library);
                codes().find(|code| *code == 3).or_else(|| codes().next()).unwrap_or(4)
            }
            Self::Output(_) => 4,
        }
    }
}

fn of_library(error: &Error) -> u8 {
    match error.kind() {
        ErrorKind::Invalid => 2,
        ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Conflict => 3,
        _ => 4,
    }
}

/// An error with its causes and, where there is one, what to do about it.
fn describe(error: &Error) -> String {
    let mut text = error_chain(error);
    if error.kind() == ErrorKind::Schema && !text.contains("relaybox migrate") {
        text.push_str(" (`relaybox migrate` makes and updates the tables)");
    }
    text
}
