//! Which types match, by the specification's rules of schema resolution.

use crate::model::{Kind, Logical, Model, Name, TypeId};

/// The branch of the reader's union for a type of the writer's: the same type with the same full name,
/// else one that its name or aliases fit, else the first that it can be promoted to.
pub(super) fn best_branch(
    (writer, w): (&Model, TypeId),
    (reader, branches): (&Model, &[TypeId]),
) -> Option<usize> {
    let of = &writer.of(w).kind;
    let find = |fits: &dyn Fn(&Kind) -> bool| {
        branches.iter().position(|branch| fits(&reader.of(*branch).kind))
    };
    find(&|kind| same_kind(of, kind) && of.name().map(Name::full) == kind.name().map(Name::full))
        .or_else(|| find(&|kind| same_kind(of, kind) && fits_name(of, kind)))
        .or_else(|| find(&|kind| promotes(of, kind)))
}

/// Whether a branch of the writer's can be read as the reader's type, by its outside.
pub(super) fn candidate(w: &Kind, r: &Kind) -> bool {
    same_kind(w, r) || promotes(w, r)
}

fn same_kind(w: &Kind, r: &Kind) -> bool {
    std::mem::discriminant(w) == std::mem::discriminant(r)
}

fn fits_name(w: &Kind, r: &Kind) -> bool {
    match (w.name(), r.name()) {
        (Some(w), Some(r)) => r.reads(w),
        _ => true,
    }
}

fn promotes(w: &Kind, r: &Kind) -> bool {
    matches!(
        (w, r),
        (Kind::Int, Kind::Long | Kind::Float | Kind::Double)
            | (Kind::Long, Kind::Float | Kind::Double)
            | (Kind::Float, Kind::Double)
            | (Kind::String, Kind::Bytes)
            | (Kind::Bytes, Kind::String)
    )
}

/// A decimal may get more digits before the point: the value is the same.
pub(super) fn means_the_same(w: &Logical, r: &Logical) -> bool {
    match (w, r) {
        (
            Logical::Decimal { precision: wp, scale: ws },
            Logical::Decimal { precision: rp, scale: rs },
        ) => ws == rs && wp <= rp,
        _ => w == r,
    }
}
