//! Records: which field becomes which.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::{Member, Part, Problem, Step, compile::Compiler, default, place::PlacePart};
use crate::model::{Field, RecordType};

/// What the writer's fields are called by its aliases.
type Renames<'a> = HashMap<&'a str, &'a str>;

impl<'a> Compiler<'a> {
    pub(super) fn record(&mut self, w: &'a RecordType, r: &'a RecordType) -> Step {
        self.names(&w.name, &r.name);
        if !self.budget.work(w.count() + r.count()) {
            return Step::Null;
        }
        let targets = targets(w, r);
        let renames = renames(w);
        // Each of the writer's fields, in the order of the payload.
        let mut read = Vec::with_capacity(w.fields.len());
        for (field, target) in w.fields.iter().zip(&targets) {
            read.push(match target {
                Some(at) => {
                    let part = PlacePart::field(&r.fields[*at], r);
                    Member::Take(self.within(part, field.of, r.fields[*at].of))
                }
                None => {
                    self.plan.same = false;
                    Member::Skip(self.skip(field.of))
                }
            });
        }
        let taken: HashMap<_, _> =
            targets.iter().flatten().enumerate().map(|(nth, at)| (*at, nth)).collect();
        let mut put = Vec::with_capacity(r.fields.len());
        let mut failed = None;
        for (at, field) in r.fields.iter().enumerate() {
            match taken.get(&at) {
                Some(nth) => put.push(Part::Taken(*nth)),
                None => match self.default(field, r, &renames) {
                    Ok(default) => put.push(Part::Default(default)),
                    Err(step) => failed = failed.or(Some(step)),
                },
            }
        }
        if let Some(step) = failed {
            return step;
        }
        let nths = put.iter().filter_map(|part| match part {
            Part::Taken(nth) => Some(*nth),
            Part::Default(_) => None,
        });
        if nths.is_sorted() {
            Step::Record(merged(read, put))
        } else {
            self.plan.same = false;
            Step::Reordered { read: read.into(), put: put.into() }
        }
    }

    fn default(
        &mut self,
        field: &'a Field,
        r: &'a RecordType,
        renames: &Renames<'_>,
    ) -> Result<usize, Step> {
        self.plan.same = false;
        let Some(json) = &field.default else {
            let problem = Problem::Missing {
                field: field.name.clone(),
                record: r.name.to_string(),
                renamed_to: renames.get(field.name.as_str()).map(|name| (*name).to_owned()),
            };
            self.field_issue(field, r, problem);
            return Err(self.fail(format!(
                "the field {} of {} was not written, and has no default",
                field.name, r.name
            )));
        };
        let Some(default) = self.encoded(field, json) else {
            let problem =
                Problem::Default { field: field.name.clone(), record: r.name.to_string() };
            self.field_issue(field, r, problem);
            return Err(self.fail(format!(
                "the default of the field {} of {} is not of its type",
                field.name, r.name
            )));
        };
        Ok(default)
    }

    /// The default of one of the reader's fields, encoded once for all records that lack it.
    fn encoded(&mut self, field: &'a Field, json: &Value) -> Option<usize> {
        let key = std::ptr::from_ref(field);
        if let Some(known) = self.encoded.get(&key) {
            return *known;
        }
        let (encoded, values) = default::encode(self.reader, field.of, json);
        let bytes = encoded.as_ref().map_or(0, |encoded| encoded.datum.len());
        let fits = self.budget.work(values) && self.budget.keep_default(bytes);
        let known = encoded.filter(|_| fits).map(|encoded| {
            self.plan.defaults.push(encoded);
            self.plan.defaults.len() - 1
        });
        self.encoded.insert(key, known);
        known
    }
}

/// The reader's field that each of the writer's goes to: by name, else by the reader's aliases.
fn targets(w: &RecordType, r: &RecordType) -> Vec<Option<usize>> {
    let by_name: HashMap<_, _> =
        w.fields.iter().enumerate().map(|(at, field)| (field.name.as_str(), at)).collect();
    let of_reader: HashSet<_> = r.fields.iter().map(|field| field.name.as_str()).collect();
    let mut targets = vec![None; w.fields.len()];
    for (at, field) in r.fields.iter().enumerate() {
        let names = std::iter::once(&field.name).chain(&field.aliases);
        let source = names.filter_map(|name| by_name.get(name.as_str())).find(|from| {
            let taken: Option<usize> = targets[**from];
            let name = w.fields[**from].name.as_str();
            // A field of the writer's that the reader has by name is that one, and no other's alias.
            taken.is_none() && (name == field.name || !of_reader.contains(name))
        });
        if let Some(from) = source {
            targets[*from] = Some(at);
        }
    }
    targets
}

/// By each alias, the first of the writer's fields that has it.
fn renames(w: &RecordType) -> Renames<'_> {
    let mut renames = Renames::new();
    for field in &w.fields {
        for alias in &field.aliases {
            renames.entry(alias).or_insert(&field.name);
        }
    }
    renames
}

/// One list of what to do, when the reader has the writer's order.
fn merged(read: Vec<Member>, put: Vec<Part>) -> Box<[Member]> {
    let mut read = read.into_iter();
    let mut members = Vec::with_capacity(put.len());
    for part in put {
        match part {
            Part::Default(default) => members.push(Member::Default(default)),
            Part::Taken(_) => {
                for member in read.by_ref() {
                    let taken = matches!(member, Member::Take(_));
                    members.push(member);
                    if taken {
                        break;
                    }
                }
            }
        }
    }
    members.extend(read);
    members.into()
}
