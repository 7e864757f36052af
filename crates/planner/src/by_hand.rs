//! SPLIT SHARD, MERGE SHARDS and MOVE SLOTS.

use crate::job::{Draft, JobKind, JobPlan};
use crate::place::Subject;
use crate::planning::{Planning, not_as_things_are};
use crate::words::counted;
use evenkeel_model::{Error, Result, ShardId, Slot, SlotSet, SqlState};
use evenkeel_pql::ast::SlotRange;
use evenkeel_rebalancer::balance::{Reason, SplitAt, split};

impl Planning<'_> {
    pub fn split(&self, number: u64, into: Option<u32>, at_load_midpoint: bool) -> Result<JobPlan> {
        let shard = self.shard(number, Subject::Shard(0))?;
        let parts = into.unwrap_or(self.snapshot.defaults.split_fanout.max(2));
        if parts < 2 {
            let error = Error::new(SqlState::InvalidParameterValue, format!("{parts} is not a number of parts"));
            let hint = format!("a split makes at least two: SPLIT SHARD {shard} INTO 2");
            return Err(self.text.at(error.with_hint(hint), Subject::Behind("INTO")));
        }
        self.staying(shard, Subject::Shard(0))?;
        let slots = self.problem.slots_of(shard);
        if slots.len() < parts as usize {
            return Err(self.too_few(shard, slots.len(), parts));
        }
        // A part goes somewhere new, so no other shard's copy is in its way.
        self.movable(&slots, shard, shard).map_err(|(_, error)| self.text.at(error, Subject::Shard(0)))?;
        let first = self.snapshot.next_shard.0;
        let new: Vec<_> = (0..parts - 1).map(|nth| ShardId(first + nth)).collect();
        let at = if at_load_midpoint { SplitAt::LoadMidpoint } else { SplitAt::Rows };
        let moves = split(&self.problem, shard, &new, at)
            .map_err(|reason| self.text.at(self.refused(&reason, shard, shard, &slots), Subject::Shard(0)))?;
        let mut draft = Draft::new(JobKind::Split, self.problem.clone());
        new.into_iter().for_each(|shard| draft.create(shard));
        moves.into_iter().for_each(|step| draft.add(step));
        Ok(draft.finish(self.snapshot.bytes_per_second))
    }

    fn too_few(&self, shard: ShardId, slots: usize, parts: u32) -> Error {
        let owned = counted(slots as u64, "slot");
        let error = not_as_things_are(format!("shard {shard} has {owned}, too few for {parts} parts"));
        let hint = match slots {
            0 => "it is empty: REBALANCE SHARDS gives it slots".to_string(),
            1 => "a slot can't be divided".to_string(),
            slots => format!("SPLIT SHARD {shard} INTO {slots} at most"),
        };
        self.text.at(error.with_hint(hint), Subject::Shard(0))
    }

    /// The shard with the most bytes takes the slots of the others, which are removed.
    pub fn merge(&self, numbers: &[u64]) -> Result<JobPlan> {
        let mut shards = Vec::with_capacity(numbers.len());
        for (nth, number) in numbers.iter().enumerate() {
            let shard = self.shard(*number, Subject::Shard(nth))?;
            if shards.contains(&shard) {
                let error = Error::new(SqlState::InvalidParameterValue, format!("shard {shard} is named twice"));
                let hint = "a shard can't be merged with itself";
                return Err(self.text.at(error.with_hint(hint), Subject::Shard(nth)));
            }
            self.staying(shard, Subject::Shard(nth))?;
            shards.push(shard);
        }
        let target = self.largest(&shards).ok_or_else(|| Error::internal("MERGE SHARDS names no shard"))?;
        let mut draft = Draft::new(JobKind::Merge, self.problem.clone());
        for (nth, source) in shards.iter().enumerate().filter(|(_, shard)| **shard != target) {
            self.give_all(&mut draft, *source, target).map_err(|error| {
                // What has no room at one shard may have it at several.
                let no_room = error.state == SqlState::DiskFull;
                let hint = format!("REMOVE SHARD {source} spreads its slots over all others");
                self.text.at(if no_room { error.with_hint(hint) } else { error }, Subject::Shard(nth))
            })?;
        }
        shards.into_iter().filter(|shard| *shard != target).for_each(|shard| draft.remove(shard));
        Ok(draft.finish(self.snapshot.bytes_per_second))
    }

    /// The one with the most bytes; of equal ones the first.
    fn largest(&self, shards: &[ShardId]) -> Option<ShardId> {
        let bytes = |shard: &ShardId| -> f64 {
            self.problem.slots_of(*shard).iter().map(|slot| self.problem.slots[slot.0 as usize].load.bytes).sum()
        };
        shards.iter().rev().max_by(|a, b| bytes(a).total_cmp(&bytes(b))).copied()
    }

    fn give_all(&self, draft: &mut Draft, source: ShardId, target: ShardId) -> Result<()> {
        let slots = self.problem.slots_of(source);
        self.movable(&slots, source, target).map_err(|(_, error)| error)?;
        self.untouched(source)?;
        if slots.is_empty() {
            return Ok(()); // there is nothing to move before it can go
        }
        draft
            .admit(source, target, &slots, Reason::Merging)
            .map_err(|reason| self.refused(&reason, source, target, &slots))
    }

    pub fn move_slots(&self, ranges: &[SlotRange], from: u64, to: u64) -> Result<JobPlan> {
        let source = self.shard(from, Subject::Shard(0))?;
        let target = self.shard(to, Subject::Shard(1))?;
        if source == target {
            let error = Error::new(SqlState::InvalidParameterValue, format!("shard {source} is source and target"));
            return Err(self.text.at(error.with_hint("slots move from one shard to another"), Subject::Shard(1)));
        }
        self.free(source, Subject::Shard(0))?;
        self.staying(target, Subject::Shard(1))?;
        let place_of = |slot: Slot| {
            Subject::Slots(ranges.iter().position(|range| (range.first..=range.last).contains(&slot.0)).unwrap_or(0))
        };
        let mut slots = SlotSet::new();
        for range in ranges {
            slots = slots.union(&SlotSet::range(Slot(range.first), Slot(range.last)));
        }
        self.movable(&slots, source, target).map_err(|(slot, error)| self.text.at(error, place_of(slot)))?;
        let mut draft = Draft::new(JobKind::Move, self.problem.clone());
        draft.admit(source, target, &slots, Reason::ByHand).map_err(|reason| {
            let error = self.refused(&reason, source, target, &slots);
            let no_room = error.state == SqlState::DiskFull;
            let hint = "fewer slots may fit, or another shard";
            self.text.at(if no_room { error.with_hint(hint) } else { error }, Subject::Shard(1))
        })?;
        Ok(draft.finish(self.snapshot.bytes_per_second))
    }
}
