//! Who goes on next: every actor is a coroutine, one of them runs at a time, and chance decides which.
//!
//! An actor that waits gives back what it waits for, a moment or a condition. When nobody can go on, time jumps to the
//! next moment that somebody waits for.

use super::dice::Dice;
use corosensei::{Coroutine, CoroutineResult, Yielder};
use std::time::Duration;

/// What an actor waits for: whichever comes first.
#[derive(Default)]
pub struct Park {
    pub until: Option<Duration>,
    pub ready: Option<Box<dyn Fn() -> bool>>,
}

/// How an actor gives the stage away.
pub type Hand = Yielder<(), Park>;

struct Actor {
    name: String,
    script: Coroutine<(), Park, ()>,
    park: Park,
}

impl Actor {
    fn can_go_on(&self, now: Duration) -> bool {
        self.park.until.is_some_and(|until| until <= now) || self.park.ready.as_ref().is_some_and(|ready| ready())
    }
}

/// The actors of a run.
#[derive(Default)]
pub struct Stage {
    actors: Vec<Actor>,
}

/// What the stage has come to.
pub enum Turn {
    /// This actor goes on, now or then.
    Goes(usize, Duration),
    /// Nobody ever will.
    Nobody,
}

impl Stage {
    /// Lets somebody in, who goes on when chance says so.
    pub fn enter(&mut self, name: String, now: Duration, play: impl FnOnce(&Hand) + 'static) {
        let script = Coroutine::new(move |hand: &Hand, ()| play(hand));
        self.actors.push(Actor { name, script, park: Park { until: Some(now), ready: None } });
    }

    /// Chooses who goes on.
    pub fn next(&self, now: Duration, dice: &Dice) -> Turn {
        let able: Vec<usize> = (0..self.actors.len()).filter(|at| self.actors[*at].can_go_on(now)).collect();
        if !able.is_empty() {
            return Turn::Goes(*dice.pick(&able), now);
        }
        let waits = |(at, actor): (usize, &Actor)| actor.park.until.map(|until| (until, at));
        match self.actors.iter().enumerate().filter_map(waits).min() {
            Some((until, at)) => Turn::Goes(at, until),
            None => Turn::Nobody,
        }
    }

    pub fn name(&self, at: usize) -> &str {
        &self.actors[at].name
    }

    /// Lets an actor go on until it waits again or is done.
    pub fn resume(&mut self, at: usize) {
        match self.actors[at].script.resume(()) {
            CoroutineResult::Yield(park) => self.actors[at].park = park,
            CoroutineResult::Return(()) => drop(self.actors.swap_remove(at)),
        }
    }

    /// Everybody stops where they are, and is gone.
    pub fn clear(&mut self) {
        self.actors.clear();
    }
}
