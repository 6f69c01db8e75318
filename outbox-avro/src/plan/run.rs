//! Going over a payload.

use std::borrow::Cow;

use relaybox_core::{Error, ErrorKind};

use super::{Member, Part, Plan, Step, StepId, default::put_long};
use crate::AvroLimits;

/// What a value takes in memory at least, with its share of what holds it.
const VALUE: usize = 16;

/// Why a payload is not read, and at which byte.
#[derive(Debug)]
pub(crate) struct Refusal {
    kind: ErrorKind,
    at: usize,
    why: Cow<'static, str>,
}

impl Refusal {
    /// As an error of `operation`, about `subject`. It has no bytes of the payload.
    pub(crate) fn into_error(
        self,
        operation: &'static str,
        subject: &dyn std::fmt::Display,
    ) -> Error {
        Error::new(self.kind, operation)
            .detail(format!("{subject}: {} (at byte {})", self.why, self.at))
    }
}

/// Goes over a payload; gives it as a datum of the reader's schema.
///
/// Takes memory for that datum only, and stack for [`AvroLimits::max_depth`] small frames.
pub(crate) fn run<'a>(
    plan: &Plan,
    limits: &AvroLimits,
    payload: &'a [u8],
) -> Result<Cow<'a, [u8]>, Refusal> {
    let mut walk = Walk {
        plan,
        limits,
        payload,
        at: 0,
        out: Vec::new(),
        muted: plan.same,
        values: 0,
        decoded: 0,
    };
    walk.step(plan.root, 0)?;
    if walk.at != payload.len() {
        return Err(walk.wrong("there are bytes after the value"));
    }
    Ok(if plan.same { Cow::Borrowed(payload) } else { Cow::Owned(walk.out) })
}

struct Walk<'a> {
    plan: &'a Plan,
    limits: &'a AvroLimits,
    payload: &'a [u8],
    at: usize,
    out: Vec<u8>,
    /// Nothing is put out: it is skipped, or the same as what comes in.
    muted: bool,
    values: usize,
    decoded: usize,
}

type Walked<T = ()> = Result<T, Refusal>;

impl<'a> Walk<'a> {
    fn step(&mut self, id: StepId, depth: usize) -> Walked {
        if depth > self.limits.depth {
            return Err(self.too_large("it nests deeper than allowed"));
        }
        self.count(1, VALUE)?;
        let plan = self.plan;
        match &plan.steps[id] {
            Step::Null => Ok(()),
            Step::Boolean => self.boolean(),
            Step::Int => self.copy(|walk| walk.int().map(drop)),
            Step::Long => self.copy(|walk| walk.long().map(drop)),
            Step::Float => self.copy(|walk| walk.take(4).map(drop)),
            Step::Double => self.copy(|walk| walk.take(8).map(drop)),
            Step::Bytes => self.copy(|walk| walk.bytes().map(drop)),
            Step::String => self.copy(Self::string),
            Step::Fixed(size) => self.copy(|walk| {
                walk.take(*size)?;
                walk.count(0, *size)
            }),
            Step::IntToFloat | Step::LongToFloat => {
                self.put_float(matches!(plan.steps[id], Step::IntToFloat))
            }
            Step::IntToDouble | Step::LongToDouble => {
                self.put_double(matches!(plan.steps[id], Step::IntToDouble))
            }
            Step::FloatToDouble => {
                let float = f32::from_le_bytes(self.array()?);
                self.put(&f64::from(float).to_le_bytes());
                Ok(())
            }
            Step::Enum(symbols) => self.symbol(symbols),
            Step::Array(items) => self.blocks(|walk| walk.step(*items, depth + 1)),
            Step::Map(values) => self.blocks(|walk| {
                walk.count(1, VALUE)?;
                walk.copy(Self::string)?;
                walk.step(*values, depth + 1)
            }),
            Step::Union(branches) => {
                let branch = self.int()?;
                let branch = usize::try_from(branch).ok().and_then(|branch| branches.get(branch));
                let branch = *branch.ok_or_else(|| self.wrong("a union has no such branch"))?;
                // A union holds no union: nothing nests here without end.
                self.step(branch, depth)
            }
            Step::Into(branch, step) => {
                self.put_long(i64::from(*branch));
                self.step(*step, depth)
            }
            Step::Record(members) => {
                members.iter().try_for_each(|member| self.member(member, depth).map(drop))
            }
            Step::Reordered { read, put } => self.reordered(read, put, depth),
            Step::Fail(why) => Err(self.wrong(why.clone())),
        }
    }

    fn member(&mut self, member: &Member, depth: usize) -> Walked {
        match member {
            Member::Take(step) => self.step(*step, depth + 1),
            Member::Skip(step) => {
                let muted = std::mem::replace(&mut self.muted, true);
                let skipped = self.step(*step, depth + 1);
                self.muted = muted;
                skipped
            }
            Member::Default(default) => self.default(*default),
        }
    }

    fn reordered(&mut self, read: &[Member], put: &[Part], depth: usize) -> Walked {
        let start = self.out.len();
        let mut ends = Vec::with_capacity(read.len());
        for member in read {
            self.member(member, depth)?;
            if matches!(member, Member::Take(_)) {
                ends.push(self.out.len());
            }
        }
        let taken = self.out.split_off(start);
        for part in put {
            match part {
                Part::Default(default) => self.default(*default)?,
                Part::Taken(nth) => {
                    let from = nth.checked_sub(1).map_or(start, |before| ends[before]);
                    self.out.extend_from_slice(&taken[from - start..ends[*nth] - start]);
                }
            }
        }
        Ok(())
    }

    fn default(&mut self, default: usize) -> Walked {
        let default = &self.plan.defaults[default];
        self.count(default.values, default.values * VALUE + default.datum.len())?;
        self.put(&default.datum);
        Ok(())
    }

    /// The blocks of an array or a map.
    fn blocks(&mut self, mut item: impl FnMut(&mut Self) -> Walked) -> Walked {
        let mut items = 0_usize;
        loop {
            let count = self.long()?;
            let bytes = if count < 0 { Some(self.length()?) } else { None };
            if count == 0 {
                self.put(&[0]);
                return Ok(());
            }
            let count = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
            items = items.saturating_add(count);
            if items > self.limits.items {
                return Err(self.too_large("an array or a map has more items than allowed"));
            }
            self.put_long(i64::try_from(count).unwrap_or(i64::MAX));
            let start = self.at;
            for _ in 0..count {
                item(self)?;
            }
            if bytes.is_some_and(|bytes| self.at - start != bytes) {
                return Err(self.wrong("a block is not as long as it says"));
            }
        }
    }

    fn boolean(&mut self) -> Walked {
        match self.take(1)? {
            byte @ ([0] | [1]) => {
                self.put(byte);
                Ok(())
            }
            _ => Err(self.wrong("a boolean is neither 0 nor 1")),
        }
    }

    fn symbol(&mut self, symbols: &[Option<u32>]) -> Walked {
        let symbol = usize::try_from(self.int()?).ok().and_then(|symbol| symbols.get(symbol));
        match symbol {
            Some(Some(reader)) => {
                self.put_long(i64::from(*reader));
                Ok(())
            }
            Some(None) => {
                Err(self.wrong("the reader's enum has neither this symbol nor a default"))
            }
            None => Err(self.wrong("an enum has no such symbol")),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "Avro's promotions lose precision, too")]
    fn put_float(&mut self, from_int: bool) -> Walked {
        let number = if from_int { i64::from(self.int()?) } else { self.long()? };
        self.put(&(number as f32).to_le_bytes());
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "Avro's promotions lose precision, too")]
    fn put_double(&mut self, from_int: bool) -> Walked {
        let number = if from_int { i64::from(self.int()?) } else { self.long()? };
        self.put(&(number as f64).to_le_bytes());
        Ok(())
    }

    fn string(&mut self) -> Walked {
        match std::str::from_utf8(self.bytes()?) {
            Ok(_) => Ok(()),
            Err(_) => Err(self.wrong("a string is not UTF-8")),
        }
    }

    fn bytes(&mut self) -> Walked<&'a [u8]> {
        let length = self.length()?;
        if length > self.limits.length {
            return Err(self.too_large("a string or bytes is longer than allowed"));
        }
        let bytes = self.take(length)?;
        self.count(0, length)?;
        Ok(bytes)
    }

    fn length(&mut self) -> Walked<usize> {
        let length = self.long()?;
        usize::try_from(length).map_err(|_| self.wrong("a length is negative"))
    }

    fn int(&mut self) -> Walked<i32> {
        let value = self.long()?;
        i32::try_from(value).map_err(|_| self.wrong("an int has more than 32 bits"))
    }

    fn long(&mut self) -> Walked<i64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.array::<1>()?[0];
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
            }
        }
        Err(self.wrong("a number has more than 64 bits"))
    }

    fn array<const N: usize>(&mut self) -> Walked<[u8; N]> {
        let bytes = self.take(N)?;
        Ok(std::array::from_fn(|at| bytes[at]))
    }

    fn take(&mut self, bytes: usize) -> Walked<&'a [u8]> {
        let taken = self.payload[self.at..].get(..bytes);
        let taken = taken.ok_or_else(|| self.wrong("it ends in the middle of a value"))?;
        self.at += bytes;
        Ok(taken)
    }

    /// Reads something, and puts out the bytes that it had.
    fn copy(&mut self, read: impl FnOnce(&mut Self) -> Walked) -> Walked {
        let start = self.at;
        read(self)?;
        if !self.muted {
            self.out.extend_from_slice(&self.payload[start..self.at]);
        }
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) {
        if !self.muted {
            self.out.extend_from_slice(bytes);
        }
    }

    fn put_long(&mut self, value: i64) {
        if !self.muted {
            put_long(value, &mut self.out);
        }
    }

    fn count(&mut self, values: usize, decoded: usize) -> Walked {
        self.values += values;
        self.decoded += decoded;
        if self.values > self.limits.values {
            return Err(self.too_large("it has more values than allowed"));
        }
        if self.decoded > self.limits.decoded {
            return Err(self.too_large("it is larger than allowed when decoded"));
        }
        Ok(())
    }

    fn wrong(&self, why: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal { kind: ErrorKind::Decode, at: self.at, why: why.into() }
    }

    fn too_large(&self, why: &'static str) -> Refusal {
        Refusal { kind: ErrorKind::TooLarge, at: self.at, why: why.into() }
    }
}
