//! Making a plan for a pair of schemas, by the specification's rules of schema resolution.

use std::collections::{HashMap, VecDeque};

use relaybox_core::Result;

use super::{
    Issue, Plan, Problem, Step, StepId,
    budget::Budget,
    matching::{best_branch, candidate, means_the_same},
    place::{Place, PlacePart},
};
use crate::model::{EnumType, Field, Kind, Model, Name, RecordType, TypeId};

/// How many issues of a class are worth telling.
const MAX_ISSUES: usize = 100;
/// How many parts of a path are worth telling.
const MAX_PATH: usize = 32;

/// Makes the plan by which `reader` reads what `writer` wrote, and says what of it can't be read.
///
/// # Errors
/// [`ErrorKind::TooLarge`] when the pair needs more steps, comparisons or defaults than any should.
pub(crate) fn compile(writer: &Model, reader: &Model) -> Result<(Plan, Vec<Issue>)> {
    let mut compiler = Compiler {
        writer,
        reader,
        plan: Plan { steps: Vec::new(), defaults: Vec::new(), root: 0, same: true },
        pairs: HashMap::new(),
        skipped: HashMap::new(),
        todo: VecDeque::new(),
        encoded: HashMap::new(),
        issues: Vec::new(),
        told: [0; Problem::CLASSES],
        places: vec![Place { parent: 0, part: PlacePart::Top }],
        here: 0,
        budget: Budget::default(),
    };
    compiler.plan.root = compiler.pair(writer.root(), reader.root());
    while let Some(task) = compiler.todo.pop_front() {
        compiler.budget.check()?;
        compiler.here = task.place;
        compiler.plan.steps[task.step] = match task.reader {
            Some(reader) => compiler.resolve(task.writer, reader),
            None => compiler.skipping(task.writer),
        };
    }
    compiler.budget.check()?;
    Ok((compiler.plan, compiler.issues))
}

pub(super) struct Compiler<'a> {
    pub(super) writer: &'a Model,
    pub(super) reader: &'a Model,
    pub(super) plan: Plan,
    pairs: HashMap<(TypeId, TypeId), StepId>,
    pub(super) skipped: HashMap<TypeId, StepId>,
    todo: VecDeque<Task>,
    /// The reader's fields whose defaults were encoded: which of the plan's it is, unless it is none.
    pub(super) encoded: HashMap<*const Field, Option<usize>>,
    issues: Vec<Issue>,
    told: [usize; Problem::CLASSES],
    places: Vec<Place<'a>>,
    /// Where the types of the task at hand stand.
    here: usize,
    pub(super) budget: Budget,
}

/// A step to be made. One after the other, not one within the other: a hostile schema can nest types
/// as deep as it is long.
struct Task {
    step: StepId,
    writer: TypeId,
    /// None: the reader skips it.
    reader: Option<TypeId>,
    place: usize,
}

impl<'a> Compiler<'a> {
    /// The step that reads the writer's type `w` as the reader's `r`.
    fn pair(&mut self, w: TypeId, r: TypeId) -> StepId {
        if let Some(step) = self.pairs.get(&(w, r)) {
            return *step;
        }
        let step = self.task(w, Some(r));
        self.pairs.insert((w, r), step);
        step
    }

    /// The step that goes over a value of the writer's.
    pub(super) fn skip(&mut self, w: TypeId) -> StepId {
        if let Some(step) = self.skipped.get(&w) {
            return *step;
        }
        let step = self.task(w, None);
        self.skipped.insert(w, step);
        step
    }

    fn task(&mut self, writer: TypeId, reader: Option<TypeId>) -> StepId {
        let step = self.put(Step::Null);
        self.todo.push_back(Task { step, writer, reader, place: self.here });
        step
    }

    fn put(&mut self, step: Step) -> StepId {
        self.budget.step();
        self.plan.steps.push(step);
        self.plan.steps.len() - 1
    }

    fn resolve(&mut self, w: TypeId, r: TypeId) -> Step {
        let (writer, reader) = (self.writer, self.reader);
        let (wt, rt) = (writer.of(w), reader.of(r));
        match (&wt.kind, &rt.kind) {
            (Kind::Union(branches), _) => self.writers_union(branches, r),
            (_, Kind::Union(branches)) => self.plan_branch(w, branches),
            _ => {
                if let Some((wl, rl)) = wt.logical.as_ref().zip(rt.logical.as_ref())
                    && !means_the_same(wl, rl)
                {
                    return self.mismatch(format!(
                        "it is written as {wl} and read as {rl}, which means something else"
                    ));
                }
                self.kinds(&wt.kind, &rt.kind)
            }
        }
    }

    fn kinds(&mut self, w: &'a Kind, r: &'a Kind) -> Step {
        let promoted = match (w, r) {
            (Kind::Null, Kind::Null) => return Step::Null,
            (Kind::Boolean, Kind::Boolean) => return Step::Boolean,
            (Kind::Int, Kind::Int | Kind::Long) => return Step::Int,
            (Kind::Long, Kind::Long) => return Step::Long,
            (Kind::Float, Kind::Float) => return Step::Float,
            (Kind::Double, Kind::Double) => return Step::Double,
            (Kind::String, Kind::String | Kind::Bytes) | (Kind::Bytes, Kind::String) => {
                return Step::String;
            }
            (Kind::Bytes, Kind::Bytes) => return Step::Bytes,
            (Kind::Int, Kind::Float) => Step::IntToFloat,
            (Kind::Int, Kind::Double) => Step::IntToDouble,
            (Kind::Long, Kind::Float) => Step::LongToFloat,
            (Kind::Long, Kind::Double) => Step::LongToDouble,
            (Kind::Float, Kind::Double) => Step::FloatToDouble,
            (Kind::Fixed { name: wn, size: ws }, Kind::Fixed { name: rn, size: rs }) => {
                self.names(wn, rn);
                if ws == rs {
                    return Step::Fixed(*ws);
                }
                return self.mismatch(format!("{wn} has {ws} bytes, and the reader's has {rs}"));
            }
            (Kind::Enum(we), Kind::Enum(re)) => return self.symbols(we, re),
            (Kind::Array(wi), Kind::Array(ri)) => {
                return Step::Array(self.within(PlacePart::Items, *wi, *ri));
            }
            (Kind::Map(wv), Kind::Map(rv)) => {
                return Step::Map(self.within(PlacePart::Values, *wv, *rv));
            }
            (Kind::Record(wr), Kind::Record(rr)) => return self.record(wr, rr),
            _ => {
                return self.mismatch(format!(
                    "{} can't be read as {}",
                    w.described(),
                    r.described()
                ));
            }
        };
        self.plan.same = false;
        promoted
    }

    pub(super) fn within(&mut self, part: PlacePart<'a>, w: TypeId, r: TypeId) -> StepId {
        let outside = self.here;
        self.here = self.places.len();
        self.places.push(Place { parent: outside, part });
        let step = self.pair(w, r);
        self.here = outside;
        step
    }

    fn writers_union(&mut self, branches: &[TypeId], r: TypeId) -> Step {
        let (writer, reader) = (self.writer, self.reader);
        let Kind::Union(readers) = &reader.of(r).kind else {
            self.plan.same = false;
            let steps = branches.iter().map(|branch| {
                if candidate(&writer.of(*branch).kind, &reader.of(r).kind) {
                    self.pair(*branch, r)
                } else {
                    self.no_branch(*branch)
                }
            });
            return Step::Union(steps.collect());
        };
        let steps =
            branches.iter().enumerate().map(|(index, branch)| match self.best(*branch, readers) {
                Some(best) => {
                    self.plan.same &= best == index;
                    self.read_branch(*branch, best, readers)
                }
                None => self.no_branch(*branch),
            });
        Step::Union(steps.collect())
    }

    /// The reader has a union where the writer has none.
    fn plan_branch(&mut self, w: TypeId, readers: &[TypeId]) -> Step {
        self.plan.same = false;
        match self.best(w, readers) {
            Some(best) => Step::Into(index(best), self.pair(w, readers[best])),
            None => self.mismatch(format!(
                "{} can't be read as any type of the reader's union",
                self.writer.of(w).kind.described()
            )),
        }
    }

    fn best(&mut self, w: TypeId, readers: &[TypeId]) -> Option<usize> {
        self.budget.check().ok()?;
        let reader = self.reader;
        let names = readers.iter().map(|id| reader.of(*id).kind.name().map_or(1, Name::count));
        let enough = self.budget.work(names.sum());
        enough.then(|| best_branch((self.writer, w), (reader, readers))).flatten()
    }

    fn read_branch(&mut self, w: TypeId, best: usize, readers: &[TypeId]) -> StepId {
        let step = self.pair(w, readers[best]);
        self.put(Step::Into(index(best), step))
    }

    fn no_branch(&mut self, w: TypeId) -> StepId {
        let described = self.writer.of(w).kind.described();
        self.issue(Problem::Branch(described.to_string()));
        let fail = self.fail(format!("the reader has no place for {described} here"));
        self.put(fail)
    }

    fn symbols(&mut self, w: &EnumType, r: &EnumType) -> Step {
        self.names(&w.name, &r.name);
        if !self.budget.work(w.symbols.len()) {
            return Step::Null;
        }
        let default = r.default.as_ref().and_then(|default| r.index(default));
        let map: Box<[_]> = w.symbols.iter().map(|symbol| r.index(symbol).or(default)).collect();
        let missing = w.symbols.iter().zip(&map).filter(|(_, to)| to.is_none());
        let missing: Vec<_> = missing.map(|(symbol, _)| symbol.clone()).take(10).collect();
        if !missing.is_empty() {
            self.issue(Problem::Symbols { record: r.name.to_string(), symbols: missing });
        }
        self.plan.same &= map.iter().zip(0..).all(|(to, from)| *to == Some(from));
        Step::Enum(map)
    }

    /// Names that differ are told, and read all the same: an event type says what an event is.
    pub(super) fn names(&mut self, w: &Name, r: &Name) {
        if self.budget.work(r.count()) && !r.reads(w) {
            self.budget.text(w.full().len() + r.full().len());
            self.issue(Problem::Renamed { writer: w.to_string(), reader: r.to_string() });
        }
    }

    fn mismatch(&mut self, why: String) -> Step {
        let place = self.place();
        let why = if place.is_empty() { why } else { format!("{place}: {why}") };
        self.plan.same = false;
        self.issue(Problem::Mismatch(why.clone()));
        self.fail(why)
    }

    pub(super) fn fail(&mut self, why: String) -> Step {
        self.budget.text(why.len());
        Step::Fail(why.into())
    }

    pub(super) fn field_issue(
        &mut self,
        field: &'a Field,
        record: &'a RecordType,
        problem: Problem,
    ) {
        let outside = self.here;
        self.here = self.places.len();
        self.places.push(Place { parent: outside, part: PlacePart::field(field, record) });
        self.issue(problem);
        self.here = outside;
    }

    fn issue(&mut self, problem: Problem) {
        let told = &mut self.told[problem.class()];
        if *told < MAX_ISSUES {
            *told += 1;
            let (path, place) = (self.path(), self.place());
            self.budget.text(path.len() + place.len());
            self.issues.push(Issue { path, place, problem });
        }
    }

    /// The places from here up.
    fn way_up(&self) -> impl Iterator<Item = &PlacePart<'a>> {
        let mut at = Some(self.here);
        std::iter::from_fn(move || {
            let place = &self.places[at.filter(|at| *at != 0)?];
            at = Some(place.parent);
            Some(&place.part)
        })
    }

    fn path(&self) -> String {
        let mut parts: Vec<_> = self.way_up().take(MAX_PATH).collect();
        parts.reverse();
        let mut path = String::new();
        for part in parts {
            if let PlacePart::Field { .. } = part
                && !path.is_empty()
            {
                path.push('.');
            }
            path.push_str(part.short());
        }
        path
    }

    /// The innermost field, and what of it.
    fn place(&self) -> String {
        let mut parts = Vec::new();
        for part in self.way_up().take(MAX_PATH) {
            parts.push(part.to_string());
            if let PlacePart::Field { .. } = part {
                break;
            }
        }
        parts.reverse();
        parts.join(", ")
    }
}

fn index(branch: usize) -> u32 {
    u32::try_from(branch).expect("a union has fewer than 20,000 branches")
}
