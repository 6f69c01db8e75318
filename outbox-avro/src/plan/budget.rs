//! What making a plan may take: schemas come from elsewhere.

use relaybox_core::{Error, ErrorKind, Result};

/// How many steps a plan may have: pairs of types that meet.
const MAX_STEPS: usize = 50_000;
/// How many fields, symbols, branches and names may be gone over for all pairs: a type that meets many
/// others is gone over for each of them.
const MAX_WORK: usize = 2_000_000;
/// How many bytes the defaults that are put in may have, in all.
pub(super) const MAX_DEFAULTS: usize = 1024 * 1024;
/// How many bytes of text count as one piece of work.
const TEXT: usize = 16;

/// Counts what a plan takes.
#[derive(Default)]
pub(super) struct Budget {
    steps: usize,
    work: usize,
    defaults: usize,
}

impl Budget {
    pub(super) fn step(&mut self) {
        self.steps += 1;
    }

    /// Before so many things are gone over. Once it is too much, no more should be begun.
    #[must_use]
    pub(super) fn work(&mut self, things: usize) -> bool {
        self.work = self.work.saturating_add(things);
        self.check().is_ok()
    }

    /// A text that is made.
    pub(super) fn text(&mut self, bytes: usize) {
        self.work = self.work.saturating_add(bytes / TEXT);
    }

    /// A default that is kept.
    #[must_use]
    pub(super) fn keep_default(&mut self, bytes: usize) -> bool {
        self.defaults += bytes;
        self.check().is_ok()
    }

    /// # Errors
    /// [`ErrorKind::TooLarge`] when it was too much.
    pub(super) fn check(&self) -> Result<()> {
        let what = if self.steps > MAX_STEPS {
            format!("{MAX_STEPS} steps")
        } else if self.work > MAX_WORK {
            format!("{MAX_WORK} comparisons")
        } else if self.defaults > MAX_DEFAULTS {
            format!("{MAX_DEFAULTS} bytes of defaults")
        } else {
            return Ok(());
        };
        Err(Error::new(ErrorKind::TooLarge, "resolve an Avro schema")
            .detail(format!("it takes more than {what}")))
    }
}
