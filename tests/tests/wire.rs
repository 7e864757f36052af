//! The PostgreSQL protocol, spoken by a client that nobody here wrote, and by one that speaks it badly.
//!
//! WHAT MAY NEVER HAPPEN: an answer to one statement is taken for another's; a client's bytes bring the server down.

#[path = "wire/catalog.rs"]
mod catalog;
#[path = "wire/copying.rs"]
mod copying;
#[path = "wire/cursors.rs"]
mod cursors;
#[path = "wire/extended.rs"]
mod extended;
#[path = "wire/ground.rs"]
mod ground;
#[path = "wire/hostile.rs"]
mod hostile;
#[path = "wire/limits.rs"]
mod limits;
#[path = "wire/shell.rs"]
mod shell;
#[path = "wire/shell_doors.rs"]
mod shell_doors;
#[path = "wire/shell_ground.rs"]
mod shell_ground;
#[path = "wire/shell_losses.rs"]
mod shell_losses;
#[path = "wire/silence.rs"]
mod silence;
#[path = "wire/simple.rs"]
mod simple;
#[path = "wire/values.rs"]
mod values;
