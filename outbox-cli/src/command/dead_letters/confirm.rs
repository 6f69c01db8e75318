//! Asking before something is gone for good.

use std::io::{BufRead, IsTerminal, Write};

use crate::error::CliError;

/// Asks on the terminal whether to go on.
///
/// # Errors
/// [`CliError::Refused`] when the answer is not yes, or nobody is there to ask.
pub(super) fn confirm(question: &str, yes: bool) -> Result<(), CliError> {
    if yes {
        return Ok(());
    }
    let (input, mut prompt) = (std::io::stdin(), std::io::stderr());
    if !input.is_terminal() || !prompt.is_terminal() {
        return Err(CliError::Refused(format!(
            "{question} Nobody is there to ask: say --yes, or look with --dry-run"
        )));
    }
    let mut answer = String::new();
    write!(prompt, "{question} [y/N] ")
        .and_then(|()| prompt.flush())
        .and_then(|()| input.lock().read_line(&mut answer))
        .map_err(CliError::Output)?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(CliError::Refused("nothing was discarded".to_owned())),
    }
}
