//! How what one schema wrote becomes what another reads: bytes to bytes.
//!
//! A [`Plan`] is made once for a pair of schemas. Running it goes over a payload once: it checks every
//! byte and every limit, leaves out what the reader doesn't know, and puts in what the writer didn't.
//! What comes out is a datum of the reader's schema, within the limits, that apache-avro can read into a
//! value without a second thought.

mod budget;
mod compile;
mod default;
mod issue;
mod matching;
mod place;
mod record;
mod run;
mod skip;

use std::borrow::Cow;

pub(crate) use compile::compile;
pub(crate) use default::check_defaults;
pub(crate) use issue::{Issue, Problem};
pub(crate) use run::run;

/// The steps of reading.
pub(crate) struct Plan {
    steps: Vec<Step>,
    defaults: Vec<Encoded>,
    root: StepId,
    /// Whether a payload comes out as it went in, if it comes out.
    same: bool,
}

impl Plan {
    /// How much there is of it: steps with their parts, each a few dozen bytes.
    pub(crate) fn weight(&self) -> usize {
        let parts = self.steps.iter().map(|step| match step {
            Step::Enum(symbols) => symbols.len(),
            Step::Union(branches) => branches.len(),
            Step::Record(members) => members.len(),
            Step::Reordered { read, put } => read.len() + put.len(),
            Step::Fail(why) => why.len() / 16,
            _ => 0,
        });
        let defaults = self.defaults.iter().map(|default| default.datum.len() / 16);
        self.steps.len() + parts.chain(defaults).sum::<usize>()
    }
}

type StepId = usize;

enum Step {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Fixed(usize),
    IntToFloat,
    IntToDouble,
    LongToFloat,
    LongToDouble,
    FloatToDouble,
    /// The reader's symbol for each of the writer's.
    Enum(Box<[Option<u32>]>),
    Array(StepId),
    Map(StepId),
    /// The writer's union: what to do for each branch.
    Union(Box<[StepId]>),
    /// The reader's union: which branch, and how.
    Into(u32, StepId),
    Record(Box<[Member]>),
    /// A record whose fields the reader has in another order.
    Reordered {
        read: Box<[Member]>,
        put: Box<[Part]>,
    },
    /// The reader can't read this.
    Fail(Cow<'static, str>),
}

/// One field of a record.
enum Member {
    Take(StepId),
    Skip(StepId),
    Default(usize),
}

/// One field of the reader's record, from what was read.
enum Part {
    /// The field that was taken as the nth.
    Taken(usize),
    Default(usize),
}

/// A default value, as a datum.
struct Encoded {
    datum: Vec<u8>,
    values: usize,
}
