//! The pipeline, simulated: 2,000 histories, in two halves side by side.

use relaybox_conformance::simulation::Simulation;

const SEEDS: u64 = 2_000;

#[test]
fn the_guarantees_hold_in_every_other_history() {
    Simulation::new().run_many(SEEDS, 0, 2).unwrap();
}

#[test]
fn and_in_the_others() {
    Simulation::new().run_many(SEEDS, 1, 2).unwrap();
}
