//! Where in a migration the bank ends itself.

use super::say;
use evenkeel_engine::PhaseHook;
use std::collections::HashMap;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

/// A migration enters a phase.
pub struct Moment {
    phase: String,
    /// After its record is kept, not before.
    kept: bool,
    /// The how manieth time in a row that the migration enters a phase of this name in this process: the second sealing is
    /// the unsealing, the second switching opens the target.
    turn: u32,
}

/// What brings migrations to the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Aim {
    /// Any move does, or there is no moment.
    #[default]
    Anything,
    /// A cutover that takes too long.
    Unsealing,
    /// A job that is cancelled.
    TurningBack,
}

impl Moment {
    /// Reads `PHASE before|after TURN`.
    pub fn read(words: &[String]) -> Option<Self> {
        let [phase, when, turn] = words else { return None };
        let kept = match when.as_str() {
            "before" => false,
            "after" => true,
            _ => return None,
        };
        Some(Self { phase: phase.clone(), kept, turn: turn.parse().ok()? })
    }

    pub fn aim(&self) -> Aim {
        match (self.phase.as_str(), self.turn) {
            ("sealing", 2) => Aim::Unsealing,
            ("reclaiming" | "undoing" | "undone", _) => Aim::TurningBack,
            _ => Aim::Anything,
        }
    }
}

/// Says where the migrations are, and ends the process at the moment, if one is given.
pub fn hook(moment: Option<Moment>) -> PhaseHook {
    let turns: Mutex<HashMap<u64, (String, u32)>> = Mutex::default();
    PhaseHook(Arc::new(move |migration, phase, kept| {
        let turn = {
            let mut turns = turns.lock().unwrap_or_else(PoisonError::into_inner);
            let (last, turn) = turns.entry(migration).or_default();
            if last != phase {
                (*last, *turn) = (phase.to_string(), 0);
            }
            *turn += u32::from(!kept);
            *turn
        };
        let is_now = |moment: &Moment| moment.phase == phase && moment.kept == kept && moment.turn == turn;
        if moment.as_ref().is_some_and(is_now) {
            end();
        }
        if kept {
            say(&format!("phase {migration} {phase}"));
        }
    }))
}

/// SIGKILL; what is not done by then is never done.
fn end() -> ! {
    let _ = Command::new("kill").args(["-9", &std::process::id().to_string()]).status();
    loop {
        std::thread::park();
    }
}
