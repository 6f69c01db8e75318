//! Going over what the reader doesn't know.

use super::{Member, Step, compile::Compiler};
use crate::model::{Kind, TypeId};

impl Compiler<'_> {
    /// The step that goes over a value of the writer's type, and puts nothing out.
    pub(super) fn skipping(&mut self, w: TypeId) -> Step {
        let writer = self.writer;
        match &writer.of(w).kind {
            Kind::Null => Step::Null,
            Kind::Boolean => Step::Boolean,
            Kind::Int => Step::Int,
            Kind::Long => Step::Long,
            Kind::Float => Step::Float,
            Kind::Double => Step::Double,
            Kind::Bytes => Step::Bytes,
            Kind::String => Step::String,
            Kind::Fixed { size, .. } => Step::Fixed(*size),
            Kind::Enum(of) => {
                Step::Enum((0_u32..).zip(&of.symbols).map(|(at, _)| Some(at)).collect())
            }
            Kind::Array(items) => Step::Array(self.skip(*items)),
            Kind::Map(values) => Step::Map(self.skip(*values)),
            Kind::Union(branches) => {
                Step::Union(branches.iter().map(|branch| self.skip(*branch)).collect())
            }
            Kind::Record(of) => Step::Record(
                of.fields.iter().map(|field| Member::Take(self.skip(field.of))).collect(),
            ),
        }
    }
}
