//! Printing: tables for people, JSON for programs.

use std::{
    borrow::Cow,
    io::{ErrorKind, Write},
    sync::atomic::{AtomicBool, Ordering},
};

use chrono::{DateTime, SecondsFormat, Utc};
use comfy_table::{Cell, CellAlignment, Table, presets::UTF8_FULL_CONDENSED};
use serde::Serialize;

use crate::error::CliError;

/// Whether whoever read the output has seen enough.
static CLOSED: AtomicBool = AtomicBool::new(false);

/// Prints a line to standard output. That nobody reads it is no error: what a command does, and what it
/// ends with, must not depend on that.
pub(crate) fn line(text: impl AsRef<str>) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{}", text.as_ref()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {
            CLOSED.store(true, Ordering::Relaxed);
            Ok(())
        }
        written => written.map_err(CliError::Output),
    }
}

/// Whether nobody reads the output any more.
pub(crate) fn is_closed() -> bool {
    CLOSED.load(Ordering::Relaxed)
}

/// Prints a value as one line of JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<(), CliError> {
    let text = serde_json::to_string(value).map_err(|error| CliError::Output(error.into()))?;
    line(text)
}

/// Prints rows below their headings. A column whose heading begins with `#` is aligned to the right,
/// without the sign.
pub(crate) fn table<const N: usize>(
    headings: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> Result<(), CliError> {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header(headings.map(|heading| heading.trim_start_matches('#')));
    for row in rows {
        let cells = row.iter().zip(headings).map(|(text, heading)| {
            let cell = Cell::new(printable(text));
            if heading.starts_with('#') { cell.set_alignment(CellAlignment::Right) } else { cell }
        });
        table.add_row(cells);
    }
    line(table.to_string())
}

/// A text without control characters, which could do things to a terminal: a payload's, a broker's.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    let harmless = |c: char| !c.is_control() || c == '\n' || c == '\t';
    if text.chars().all(harmless) {
        return Cow::Borrowed(text);
    }
    let escaped = text.chars().flat_map(|c| {
        let escape = (!harmless(c)).then(|| c.escape_unicode());
        escape.into_iter().flatten().chain(harmless(c).then_some(c))
    });
    Cow::Owned(escaped.collect())
}

/// A text of at most `max` characters, with `…` where it was longer.
pub(crate) fn short(text: &str, max: usize) -> Cow<'_, str> {
    match text.char_indices().nth(max) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

/// A time as tables and JSON have it.
pub(crate) fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown_and_not_obeyed() {
        assert_eq!(printable("a\u{1b}[2Jb"), "a\\u{1b}[2Jb");
        assert_eq!(printable("ä\tb\n"), "ä\tb\n");
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(short("äöü", 2), "äö…");
        assert_eq!(short("äöü", 3), "äöü");
    }
}
