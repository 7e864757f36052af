//! The cluster of the walk: shards and the slot map obey what arrives, drivers observe and record.

use crate::invariants::{self, Invariant};
use crate::letters::{Answer, Letter, SHARDS, SOURCE, TARGET};
use crate::mistakes::Mistake;
use crate::state::{Action, Limits, Shard, State, Step};
use crate::values::{Values, View, Wants, moving};
use evenkeel_model::{JobId, MigrationId, Slot, SlotBits, SlotMap, Timestamp};
use evenkeel_rebalancer::migration::{
    Command, Effect, MapChange, Migration, Observed, Order, Ownership, Part, Phase, ShardCommand,
};

/// The rules of the cluster.
pub struct Cluster {
    pub mistake: Mistake,
    pub limits: Limits,
    pub values: Values,
}

impl Cluster {
    /// The rules, and the state that everything begins with: the source owns the slots and has the first version.
    pub fn new(mistake: Mistake, limits: Limits) -> (Self, State) {
        let mut values = Values::new(mistake);
        let map = SlotMap::even(SlotBits::new(2).expect("in range"), &SHARDS);
        let mut shard = |at: usize, rows| {
            let ownership = values.ownership(Ownership::new(map.slots_of(SHARDS[at]), map.epoch()));
            Shard { ownership, rows, outbox: 0, pending: 0, mirrored: false, seen: 0 }
        };
        let shards = [shard(SOURCE, invariants::FIRST), shard(TARGET, 0)];
        let record = Migration::new(MigrationId(7), JobId(1), SHARDS[SOURCE], SHARDS[TARGET], moving());
        let record = values.record(record);
        let state = State {
            record,
            post: values.post(&[], record),
            answers: values.no_answers(),
            map: values.map(map),
            shards,
            snapshots: 0,
            drains: 0,
            issued: 0,
            acked: invariants::FIRST,
            bumps: 0,
            away: false,
            verified: false,
            collected: false,
            broken: None,
        };
        (Self { mistake, limits, values }, state)
    }

    pub fn phase(&self, state: &State) -> Phase {
        self.values.wants(state.record).record.phase
    }

    pub fn view(&self, shard: &Shard) -> &View {
        self.values.view(shard.ownership)
    }

    /// Which shard the slot map names, by its place.
    pub fn holder(&self, state: &State) -> usize {
        usize::from(self.values.slot_map(state.map).owner(Slot(0)) == SHARDS[TARGET])
    }

    /// Everything that may happen in a state.
    pub fn steps(&mut self, state: &State) -> Vec<Step> {
        let mut steps = Vec::with_capacity(24);
        let wants = self.values.wants(state.record);
        let post = self.values.letters_in(state.post);
        for letter in post.iter() {
            self.deliver(state, &wants, *letter, &mut steps);
        }
        self.work(state, &wants, &mut steps);
        self.observe(state, &wants, &mut steps);
        self.transfer(state, &wants, &post, &mut steps);
        for shard in [SOURCE, TARGET] {
            self.serve(state, shard, &mut steps);
            self.crash(state, shard, &mut steps);
            self.collect(state, &wants, shard, &mut steps);
        }
        self.others(state, &mut steps);
        steps.retain(|step| step.to != *state);
        steps
    }

    /// Something that is under way arrives, for the first time or once more.
    fn deliver(&mut self, state: &State, wants: &Wants, number: u16, steps: &mut Vec<Step>) {
        let mut to = *state;
        let answer = match self.values.letter(number).clone() {
            Letter::Shard(at, command) => self.deliver_to_shard(&mut to, at, number, &command),
            Letter::Map(change) if !state.away => Some(self.deliver_to_map(&mut to, wants, &change)),
            Letter::Map(_) | Letter::Rows(_) => None,
        };
        let is_current = wants.letters.contains(&number);
        if let Some(answer) = answer {
            if is_current && matches!(wants.command, Some(Command::Tell(_) | Command::Commit(_))) {
                to.answers = self.values.answered(to.answers, answer);
            }
            steps.push(Step { action: Action::Deliver(number), to, is_regular: is_current });
        }
    }

    fn deliver_to_shard(&mut self, to: &mut State, at: usize, letter: u16, command: &ShardCommand) -> Option<Answer> {
        let before = to.shards[at];
        let shard = &mut to.shards[at];
        let is_drop = matches!(command.order, Order::Drop { .. });
        let must_wait = matches!(command.order, Order::Seal { .. }) && shard.pending != 0;
        if must_wait && self.mistake != Mistake::SealWithoutWaiting {
            return None;
        }
        if self.mistake == Mistake::DropWrongSide && is_drop {
            shard.rows = 0;
        } else {
            let (ownership, effect) = self.values.accept(shard.ownership, letter, to.issued)?;
            shard.ownership = ownership;
            match effect {
                Some(Effect::DeleteRows(_)) => shard.rows = 0,
                Some(Effect::ForgetOutbox(_)) => shard.outbox = 0,
                None => {}
            }
        }
        let step = u8::try_from(command.stamp.step).expect("few steps");
        let unseen = matches!(self.mistake, Mistake::StepsNotCompared | Mistake::EpochsNotCompared);
        if step < shard.seen && *shard != before && !unseen {
            to.broken = Some(Invariant::StaleEpochRefused);
        }
        if is_drop && shard.rows != before.rows && !to.verified {
            to.broken = Some(Invariant::VerifiedBeforeDrop);
        }
        shard.seen = shard.seen.max(step);
        Some(Answer::Agreed(at))
    }

    fn deliver_to_map(&mut self, to: &mut State, wants: &Wants, change: &MapChange) -> Answer {
        let map = self.values.slot_map(to.map);
        let mut change = change.clone();
        if let MapChange::Switch { expected, .. } = &mut change
            && self.mistake == Mistake::SwitchOfAnyEpoch
        {
            *expected = map.epoch();
        }
        if let Some(changed) = change.apply(map) {
            to.map = self.values.map(changed);
        }
        Answer::Seen(wants.record.read(self.values.slot_map(to.map)))
    }

    /// A driver carries out those parts of a command that nothing is sent for.
    fn work(&mut self, state: &State, wants: &Wants, steps: &mut Vec<Step>) {
        let map = self.values.slot_map(state.map);
        let (action, seen, broken) = match &wants.command {
            Some(Command::ReadMap) if !state.away => (Action::Look, Some(wants.record.read(map)), None),
            Some(Command::CatchUp { .. }) if !state.away => {
                (Action::Look, Some(Observed::CaughtUp { epoch: map.epoch() }), None)
            }
            Some(Command::Seal { .. }) => {
                let (seen, broken) = self.drained(state).unzip();
                (Action::Sealed, seen, broken.flatten())
            }
            Some(Command::Compare { cutover }) => {
                let (seen, broken) = self.compared(state, *cutover).unzip();
                (Action::Compare, seen, broken.flatten())
            }
            _ => return,
        };
        if let Some(seen) = seen {
            let verified = state.verified || action == Action::Compare && broken.is_none();
            let answers = self.values.answered(state.answers, Answer::Seen(seen));
            steps.push(Step { action, to: State { answers, verified, broken, ..*state }, is_regular: true });
        }
    }

    /// Sealed, fenced, drained to the last change, and counted.
    fn drained(&self, state: &State) -> Option<(Observed, Option<Invariant>)> {
        let [source, target] = &state.shards;
        let Some(Part::Sealed { cutover }) = self.view(source).part else { return None };
        let is_careless = self.mistake == Mistake::LastDrainForgotten;
        let is_drained = source.outbox & !target.rows == 0 || is_careless;
        if self.view(target).part != Some(Part::Incoming) || !is_drained {
            return None;
        }
        let at_source = invariants::tally(source.rows, cutover);
        let at_target = if is_careless { at_source } else { invariants::tally(target.rows, cutover) };
        // The machine would turn back, and should never have to: nothing in the model damages a row.
        let broken = invariants::differ(source.rows, target.rows, cutover, Invariant::AckedIsDurable);
        let seen = Observed::Sealed { cutover, source: at_source, target: at_target };
        Some((seen, broken.filter(|_| !is_careless)))
    }

    fn compared(&self, state: &State, cutover: Timestamp) -> Option<(Observed, Option<Invariant>)> {
        let [source, target] = &state.shards;
        if !matches!(self.view(source).part, Some(Part::Released { .. })) {
            return None;
        }
        let tally = |shard: &Shard| invariants::tally(shard.rows, cutover);
        let broken = invariants::differ(source.rows, target.rows, cutover, Invariant::NoStaleRead);
        Some((Observed::Compared { source: tally(source), target: tally(target) }, broken))
    }

    /// A driver puts the next record in place; somebody cancels.
    fn observe(&mut self, state: &State, wants: &Wants, steps: &mut Vec<Step>) {
        let record = &wants.record;
        let guesses = self.mistake == Mistake::GuessWhileAway && state.away;
        let is_slow = matches!(wants.command, Some(Command::Seal { .. })) && !state.away;
        if guesses || is_slow && record.cutover_attempts < self.limits.cutovers {
            let to = self.mistake.distort(record, &Observed::TooSlow);
            steps.push(Step { action: Action::TooSlow, to: self.moved_on(state, to), is_regular: false });
        }
        if state.away {
            return;
        }
        let answers = self.values.answers(state.answers).to_vec();
        for (at, answer) in answers.iter().enumerate() {
            if let Answer::Seen(seen) = answer {
                let to = self.mistake.distort(record, seen);
                let action = Action::Observe(state.answers, at);
                steps.push(Step { action, to: self.moved_on(state, to), is_regular: true });
            }
        }
        let has_agreed = |letter: &u16| match self.values.letter(*letter) {
            Letter::Shard(at, _) => answers.contains(&Answer::Agreed(*at)),
            _ => false,
        };
        if matches!(wants.command, Some(Command::Tell(_))) && wants.letters.iter().all(has_agreed) {
            let to = self.mistake.distort(record, &Observed::Told);
            steps.push(Step { action: Action::AllAgreed, to: self.moved_on(state, to), is_regular: true });
        }
        let to = self.mistake.distort_cancel(record);
        steps.push(Step { action: Action::Cancel, to: self.moved_on(state, to), is_regular: false });
    }

    /// The state once a record has replaced the present one: its letters are under way, older answers mean nothing.
    fn moved_on(&mut self, state: &State, next: Migration) -> State {
        let record = self.values.record(next);
        if record == state.record {
            return *state;
        }
        let post = self.values.posted(state.post, record);
        State { record, post, answers: self.values.no_answers(), ..*state }
    }
}
