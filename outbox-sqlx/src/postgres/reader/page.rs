//! What of a read is taken, and how much it says about what is missing.

use relaybox_core::{Origin, ReadRequest};

use super::decode::Line;
use crate::in_flight::Read;

/// What was taken of a read.
#[derive(Default)]
pub(super) struct Page {
    /// To be given, in order.
    pub(super) reads: Vec<Read>,
    /// All positions of the outbox at which something was seen, ascending.
    pub(super) seen: Vec<i64>,
    /// Up to this position, nothing else was there.
    pub(super) covered: i64,
    /// The newest transaction that wrote any of it.
    pub(super) newest: Option<i64>,
}

impl Page {
    /// Takes as many lines as the request wants. `from` is where the statement went on, what is
    /// below came from gaps; `window` is how many rows it looked at, of either.
    ///
    /// A limit that was reached proves nothing about what lies beyond it.
    pub(super) fn take(
        mut lines: Vec<Line>,
        request: &ReadRequest,
        from: i64,
        window: usize,
    ) -> Self {
        lines.sort_unstable_by_key(|line| (line.origin == Origin::Outbox, line.position));
        let mut below = Portion::default();
        let mut above = Portion::default();
        let mut page = Self { covered: i64::MAX, ..Self::default() };
        let mut bytes = 0_usize;
        for line in lines {
            let is_above = line.origin == Origin::Outbox && line.position >= from;
            let is_full = page.reads.len() >= request.limit || bytes >= request.max_bytes;
            if is_full || is_above && below.is_cut(request, window) {
                page.covered = page.last();
                return page;
            }
            let payload = line.read.as_ref().map(|read| read.payload_bytes);
            if line.origin == Origin::Outbox {
                if is_above { &mut above } else { &mut below }.add(payload);
                page.seen.push(line.position);
            }
            if let Some(read) = line.read {
                bytes = bytes.saturating_add(read.payload_bytes);
                page.newest = page.newest.max(Some(line.transaction));
                page.reads.push(read);
            }
        }
        if below.is_cut(request, window) || above.is_cut(request, window) {
            page.covered = page.last();
        }
        page
    }

    /// The last position at which something was seen.
    pub(super) fn last(&self) -> i64 {
        self.seen.last().copied().unwrap_or(i64::MIN)
    }
}

/// How much came from the gaps, or from above them.
#[derive(Default)]
struct Portion {
    rows: usize,
    events: usize,
    bytes: usize,
}

impl Portion {
    fn add(&mut self, payload: Option<usize>) {
        self.rows += 1;
        if let Some(bytes) = payload {
            self.events += 1;
            self.bytes = self.bytes.saturating_add(bytes);
        }
    }

    /// Whether the statement may have left something out.
    fn is_cut(&self, request: &ReadRequest, window: usize) -> bool {
        self.rows >= window || self.events >= request.limit || self.bytes >= request.max_bytes
    }
}
