//! Every state that a migration can get into, and what may never happen in any of them.
//!
//! The cluster of the model is two shards, a slot map, the record of one migration and any number of drivers. Two slots
//! move, with a row in each; clients write to both shards and read from both. The walk visits every reachable state,
//! breadth first, so that the story it tells of a violation is the shortest there is.
//!
//! What stands for which fault:
//!
//! * A command that is lost was never delivered. One that is repeated or late is delivered again: whatever a persisted
//!   record ever wanted stays under way for good, also from drivers that have crashed or that do not know that they
//!   were overtaken. So a driver has no state of its own, and there are as many as one likes.
//! * An answer that is lost was not observed. One that is late is observed when the world has moved on.
//! * A shard that crashes loses what it had not persisted: writes in flight.
//! * The meta store being away is a flag: no record and no slot map is read or changed.
//!
//! To see that the walk can see, mistakes are planted (`mistakes.rs`): each must be found, under the name of what it breaks.

mod cluster;
mod invariants;
mod letters;
mod mistakes;
mod state;
mod traffic;
mod values;
mod walk;

use mistakes::Mistake;
use state::Limits;
use walk::{Walk, walk};

/// A walk without mistakes: its size, or the story of what went wrong.
fn sound(name: &str, limits: Limits) -> Walk {
    let walk = walk(Mistake::None, limits);
    if let Some(violation) = &walk.violation {
        panic!("{violation}");
    }
    eprintln!("{name}: {} states, {} transitions, {:?}", walk.states, walk.transitions, walk.ends);
    walk
}

#[test]
fn every_state_keeps_the_invariants() {
    let walk = sound("all faults", Limits::ALL);
    assert!(walk.states > 10_000, "{} states: the model has lost its faults", walk.states);
    assert_eq!(walk.ends.iter().map(|(phase, _)| phase.name()).collect::<Vec<_>>(), ["done", "undone"]);
}

#[test]
#[ignore = "two million states: half a minute"]
fn more_writes_keep_the_invariants() {
    sound("more writes", Limits::MORE_WRITES);
}
