//! Drives one migration from phase to phase: what the record wants is carried out, what is seen leads to the next record,
//! and the next record is kept before anybody acts by it.
//!
//! A crash is no special case: the record is read again, and wants the same. Who carries out, keeps and wishes is a
//! [`Carrier`], so that a simulation drives the same loop.

use evenkeel_model::{Error, Result};
use evenkeel_rebalancer::migration::{Command, Migration, Observed, Phase};

/// What a driver needs from the world.
pub trait Carrier {
    /// Carries a command out. `None` when it was interrupted by a wish, and nothing was seen.
    ///
    /// # Errors
    /// What went wrong; the outcome may be unknown.
    fn carry_out(&mut self, migration: &Migration, command: Command) -> Result<Option<Observed>>;

    /// Keeps the record in place of the one before it. Only then may anybody act by it.
    ///
    /// # Errors
    /// When it could not be kept, or may not have been.
    fn keep(&mut self, migration: &Migration) -> Result<()>;

    /// What somebody wants of this migration now.
    fn wish(&self) -> Wish;

    /// Why it is given up, if it is.
    fn why_given_up(&self) -> String;

    /// Waits until the wish changes, or a while.
    fn wait(&mut self);

    /// Something failed that is tried again, or that turns the migration round.
    fn report(&mut self, migration: &Migration, error: &Error);
}

/// What somebody wants of a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    GoOn,
    /// Stop where nobody waits for what comes next, until another wish.
    Pause,
    /// Turn back, if that is still possible: somebody has cancelled it.
    Cancel,
    /// Turn back, if that is still possible: it gets nowhere.
    GiveUp,
    /// The database closes: leave the record as it is.
    Stop,
}

/// Drives a migration until it is over, or in a phase where `enough` says so, or until it is to stop. Returns the last
/// record that was kept.
pub fn drive(mut migration: Migration, carrier: &mut impl Carrier, enough: impl Fn(Phase) -> bool) -> Migration {
    while !migration.phase.is_over() && !enough(migration.phase) {
        let wish = carrier.wish();
        let turned_back = match wish {
            Wish::Cancel => migration.cancel(),
            Wish::GiveUp => migration.next(&Observed::Failed(carrier.why_given_up())),
            Wish::GoOn | Wish::Pause | Wish::Stop => migration.clone(),
        };
        let next = if turned_back != migration {
            Some(turned_back)
        } else if wish == Wish::Stop {
            return migration;
        } else if wish == Wish::Pause && migration.phase.may_pause() {
            carrier.wait();
            None
        } else {
            step(&migration, carrier)
        };
        let Some(next) = next.filter(|next| *next != migration) else { continue };
        match carrier.keep(&next) {
            Ok(()) => migration = next,
            Err(error) => {
                // Neither record is certain; both want what may be repeated.
                carrier.report(&migration, &error);
                carrier.wait();
            }
        }
    }
    migration
}

/// The record after the present one's command was carried out, if anything was seen.
fn step(migration: &Migration, carrier: &mut impl Carrier) -> Option<Migration> {
    let command = migration.command()?;
    match carrier.carry_out(migration, command) {
        Ok(seen) => seen.map(|seen| migration.next(&seen)),
        Err(error) => {
            carrier.report(migration, &error);
            // Before the slot map is asked to change, nothing is lost by going back; afterwards only trying again helps.
            if matches!(migration.phase, Phase::Planned | Phase::Copying | Phase::CatchingUp | Phase::Sealing) {
                return Some(migration.next(&Observed::Failed(error.message)));
            }
            carrier.wait();
            None
        }
    }
}
