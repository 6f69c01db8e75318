//! The plans that were made.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use relaybox_core::{Result, SchemaFingerprint};

use crate::plan::Plan;

/// Plans by pair of schemas.
#[derive(Default)]
pub(super) struct Plans(RwLock<Kept>);

#[derive(Default)]
struct Kept {
    plans: HashMap<Pair, Arc<Plan>>,
    weight: usize,
}

/// The writer's and the reader's schema.
pub(super) type Pair = (SchemaFingerprint, SchemaFingerprint);

/// How many pairs of schemas are remembered.
const MAX_PLANS: usize = 4096;
/// How many steps and parts of steps their plans may have in all; one that has more by itself is
/// remembered alone.
const MAX_WEIGHT: usize = 1_000_000;

impl Plans {
    /// The plan for a pair, which `make` makes when there is none.
    ///
    /// # Errors
    /// Those of `make`.
    pub(super) fn get(&self, pair: Pair, make: impl FnOnce() -> Result<Plan>) -> Result<Arc<Plan>> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner).plans.get(&pair).cloned();
        if let Some(plan) = known {
            return Ok(plan);
        }
        let plan = Arc::new(make()?);
        self.0.write().unwrap_or_else(PoisonError::into_inner).keep(pair, &plan);
        Ok(plan)
    }
}

impl Kept {
    fn keep(&mut self, pair: Pair, plan: &Arc<Plan>) {
        if let Some(same) = self.plans.remove(&pair) {
            self.weight -= same.weight();
        }
        let weight = plan.weight();
        if self.plans.len() >= MAX_PLANS || self.weight + weight > MAX_WEIGHT {
            self.plans.clear();
            self.weight = 0;
        }
        self.plans.insert(pair, Arc::clone(plan));
        self.weight += weight;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EventSchema, plan::compile};

    #[test]
    fn plans_are_kept_within_a_weight_and_made_once() {
        let fields: Vec<_> =
            (0..5_000).map(|at| format!(r#"{{"name": "f{at}", "type": "int"}}"#)).collect();
        let text =
            format!(r#"{{"type": "record", "name": "R", "fields": [{}]}}"#, fields.join(","));
        let schema = EventSchema::parse(text).unwrap();
        let (plans, mut made, mut most) = (Plans::default(), 0, 0);
        for at in 0..250_u8 {
            let pair = (SchemaFingerprint::from_bytes([at; 32]), schema.fingerprint());
            for _ in 0..2 {
                let make = || {
                    made += 1;
                    compile(schema.model(), schema.model()).map(|(plan, _)| plan)
                };
                plans.get(pair, make).unwrap();
            }
            let kept = plans.0.read().unwrap();
            let weight: usize = kept.plans.values().map(|plan| plan.weight()).sum();
            assert_eq!(kept.weight, weight);
            most = most.max(weight);
        }
        assert_eq!(made, 250);
        assert!(most <= MAX_WEIGHT && most > MAX_WEIGHT / 2, "{most}");
    }
}
