//! What goes on around the migration: rows travel, clients write, shards crash, others use the meta store.

use crate::cluster::Cluster;
use crate::invariants;
use crate::letters::{Answer, Letter, SOURCE, TARGET};
use crate::mistakes::Mistake;
use crate::state::{Action, Shard, State, Step};
use crate::values::Wants;
use evenkeel_rebalancer::migration::{Observed, Part, Phase};

/// The bits that are set.
fn set_bits(bits: u16) -> impl Iterator<Item = u8> {
    (0..16).filter(move |bit| bits >> bit & 1 == 1)
}

impl Cluster {
    /// Rows leave the source, and the target stores what has left: whole or in part, in time or late.
    pub fn transfer(&mut self, state: &State, wants: &Wants, post: &[u16], steps: &mut Vec<Step>) {
        let leave: Vec<_> = post
            .iter()
            .filter_map(|letter| match self.values.letter(*letter) {
                Letter::Rows(stamp) => Some(*stamp),
                _ => None,
            })
            .collect();
        if leave.is_empty() {
            return;
        }
        self.send_rows(state, steps);
        let judge = self.values.judge(state.shards[TARGET].ownership);
        let is_welcome = leave.iter().any(|stamp| judge.may_receive(stamp).is_ok());
        let is_copying = wants.record.phase == Phase::Copying && judge.may_receive(&wants.record.stamp()).is_ok();
        if is_welcome || self.mistake == Mistake::StaleCommandsAccepted {
            self.store_rows(state, is_copying, steps);
        }
    }

    fn send_rows(&self, state: &State, steps: &mut Vec<Step>) {
        let [source, target] = &state.shards;
        let mut step = |action, to| steps.push(Step { action, to, is_regular: true });
        if self.view(source).mirrors || self.mistake == Mistake::SnapshotBeforeOutbox {
            step(Action::Snapshot, State { snapshots: state.snapshots | 1 << source.rows, ..*state });
        }
        if source.outbox != 0 {
            let mut to = State { drains: state.drains | 1 << source.outbox, ..*state };
            if self.mistake == Mistake::OutboxForgetsWhatWasRead {
                to.shards[SOURCE].outbox = 0;
            }
            step(Action::ReadOutbox, to);
        }
        if self.view(target).part == Some(Part::Incoming) {
            let mut to = *state;
            to.shards[SOURCE].outbox &= !target.rows;
            step(Action::Forget, to);
        }
    }

    fn store_rows(&mut self, state: &State, is_copying: bool, steps: &mut Vec<Step>) {
        let mut step = |action, rows, answers| {
            let mut to = State { answers, ..*state };
            to.shards[TARGET].rows = rows;
            steps.push(Step { action, to, is_regular: true });
        };
        let rows = state.shards[TARGET].rows;
        for versions in set_bits(state.snapshots) {
            let copied = Answer::Seen(Observed::Copied);
            let answers = if is_copying { self.values.answered(state.answers, copied) } else { state.answers };
            step(Action::Store { versions, part: false }, self.stored(rows, versions), answers);
            let part = versions & invariants::FIRST_ROW;
            step(Action::Store { versions, part: true }, self.stored(rows, part), state.answers);
        }
        for versions in set_bits(state.drains) {
            step(Action::Drain { versions }, rows | versions, state.answers);
        }
    }

    fn stored(&self, rows: u8, versions: u8) -> u8 {
        let replaces = self.mistake == Mistake::CopyOverwrites && versions & invariants::FIRST_ROW != 0;
        versions | if replaces { rows & !invariants::FIRST_ROW } else { rows }
    }

    /// A client's write begins, with its timestamp, or is applied and acknowledged.
    pub fn serve(&self, state: &State, at: usize, steps: &mut Vec<Step>) {
        let shard = state.shards[at];
        let view = self.view(&shard);
        let mut step = |action, to| steps.push(Step { action, to, is_regular: true });
        if view.may_write && shard.pending == 0 && state.issued < self.limits.writes {
            let mut to = State { issued: state.issued + 1, ..*state };
            to.shards[at].pending = to.issued;
            to.shards[at].mirrored = view.mirrors && self.mistake == Mistake::OutboxDecidedEarly;
            step(Action::BeginWrite(at), to);
        }
        if shard.pending == 0 {
            return;
        }
        let version = 1 << shard.pending;
        let mirrors = view.mirrors && (shard.mirrored || self.mistake != Mistake::OutboxDecidedEarly);
        let mut to = State { acked: state.acked | version, ..*state };
        to.shards[at] = Shard { rows: shard.rows | version, pending: 0, mirrored: false, ..shard };
        if self.mistake == Mistake::OutboxInAnotherBatch {
            step(Action::Apply { shard: at, outbox_lost: true }, to);
        }
        to.shards[at].outbox |= if mirrors { version } else { 0 };
        step(Action::Apply { shard: at, outbox_lost: false }, to);
    }

    pub fn crash(&mut self, state: &State, at: usize, steps: &mut Vec<Step>) {
        let mut to = *state;
        to.shards[at].pending = 0;
        to.shards[at].mirrored = false;
        let is_sealed = matches!(self.view(&to.shards[at]).part, Some(Part::Sealed { .. }));
        if self.mistake == Mistake::SealNotPersisted && is_sealed {
            to.shards[at].ownership = self.values.unsealed(to.shards[at].ownership);
        }
        steps.push(Step { action: Action::Crash(at), to, is_regular: false });
    }

    /// A deletion is collected with what it hides, unless the record wants to read below it later.
    pub fn collect(&self, state: &State, wants: &Wants, at: usize, steps: &mut Vec<Step>) {
        let shard = &state.shards[at];
        let is_past = wants.record.keeps_readable().is_none_or(|kept| kept >= invariants::DELETED_AT);
        let may_collect = self.view(shard).may_collect || self.mistake == Mistake::CollectWhileReceiving;
        let is_due = is_past || self.mistake == Mistake::CollectPastCutover;
        if may_collect && is_due && shard.rows & invariants::DELETION != 0 {
            let mut to = State { collected: true, ..*state };
            to.shards[at].rows &= !(invariants::FIRST | invariants::DELETION);
            steps.push(Step { action: Action::Collect(at), to, is_regular: true });
        }
    }

    /// What others do to the meta store.
    pub fn others(&mut self, state: &State, steps: &mut Vec<Step>) {
        if state.bumps < self.limits.bumps && !state.away {
            let map = self.values.slot_map(state.map).bumped();
            let to = State { map: self.values.map(map), bumps: state.bumps + 1, ..*state };
            steps.push(Step { action: Action::Bump, to, is_regular: false });
        }
        let to = State { away: !state.away, ..*state };
        steps.push(Step { action: Action::Away(to.away), to, is_regular: !to.away });
    }
}
