//! The conductor, run in a simulated world: crashes, delays, reorderings, lost and repeated commands, a meta store that goes
//! away, full disks, people who change their minds, clients all the while.
//!
//! One seed is one run. It decides the weather, the settings, who does what, and after every step who goes on; time is a
//! number that jumps. So a seed that fails does so for ever, and tells its story:
//!
//! ```text
//! make simulate SEEDS=100000                                    many seeds, and the mistakes
//! EVENKEEL_SEED=4711 make simulate                              one seed, line by line
//! EVENKEEL_SEED=23 EVENKEEL_MISTAKE=NoFence make simulate       with a mistake planted
//! ```
//!
//! What runs is the product's own code: [`Conductor`](crate::Conductor), its driver and its carrier. What is simulated is the
//! [`World`](crate::World): shards as maps with a log of which a crash keeps a prefix (`rows`, `shard`; the judge of commands is
//! the real `Ownership`), the meta store and the faults (`seat`, `weather`), the process that dies (`process`), and whoever
//! acts in it as coroutines (`stage`, `clients`, `cast`). A plain map of what was acknowledged says what reads must return
//! (`truth`); `watch` has the invariants, checked wherever something changes that they speak of.
//!
//! To see that it can see, mistakes are planted (`mistakes`), each of which must be found.

mod cast;
mod clients;
mod dice;
mod history;
mod mistakes;
mod process;
mod rows;
mod run;
mod seat;
mod shard;
mod sim;
mod stage;
mod tests;
mod truth;
mod watch;
mod weather;

pub(crate) use mistakes::{Mistake, is_planted};
