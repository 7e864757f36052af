//! The simulated world: every call takes a moment in which others go on, may fail, and may have done its work all the same.

use super::history::Invariant;
use super::mistakes::{Mistake, is_planted};
use super::process::{Guard, Pass, Pin, Planning};
use super::rows::{Change, Entry, Rows, Version, slot_of};
use super::shard::SimShard;
use super::sim::{Letter, Seat, failed};
use crate::world::{Activity, Clock, Copied, Foreground, Owed, Pace, Picture, Shards, Topology, Versions, World};
use crate::{Bell, MetaChange, MetaStore, Movement};
use evenkeel_model::{
    Epoch, Error, MigrationId, Result, Settings, ShardId, Slot, SlotBits, SlotSet, SqlState, Timestamp,
};
use evenkeel_rebalancer::balance::{Gauges, Load};
use evenkeel_rebalancer::migration::{Ownership, Part, Phase, Refusal, ShardCommand, Stamp, Tally};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

impl Clock for Seat<'_> {
    fn now_ms(&self) -> i64 {
        self.sim.now_ms()
    }

    fn elapsed(&self) -> Duration {
        self.sim.now.get()
    }

    /// As if it had a processor to itself, and never waited for anything.
    fn worked(&self) -> Duration {
        self.elapsed()
    }

    fn wait(&self, bell: &Bell, seen: u64, at_most: Duration) {
        let bell = bell.clone();
        Seat::wait(self, Some(self.sim.now.get() + at_most), move || bell.rings() != seen);
    }
}

fn away() -> Error {
    Error::new(SqlState::IoError, "the meta store is away")
}

impl MetaStore for Seat<'_> {
    fn read(&self, key: &str) -> Result<Option<Vec<u8>>> {
        if self.sim.now.get() < self.sim.away_until.get() {
            return Err(away());
        }
        Ok(self.sim.meta.borrow().get(key).cloned())
    }

    fn read_all(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>> {
        if self.sim.now.get() < self.sim.away_until.get() {
            return Err(away());
        }
        let meta = self.sim.meta.borrow();
        let from = meta.range(prefix.to_string()..).take_while(|(key, _)| key.starts_with(prefix));
        Ok(from.map(|(key, json)| (key.clone(), json.clone())).collect())
    }

    fn commit(&self, change: MetaChange) -> Result<()> {
        let (sim, weather) = (&self.sim, self.sim.weather.get());
        // Whoever has the conductor's state in hand is not interrupted; the process may end there all the same.
        let may_pause = !self.process.is_busy();
        if may_pause {
            sim.watch.borrow_mut().on_sent(&change);
            self.call();
        }
        if sim.now.get() < sim.away_until.get() {
            return Err(away());
        }
        if let Some(landed) = self.lost(weather.crashes_at_commit) {
            if landed {
                sim.land(&change);
            }
            self.die();
        }
        // What goes is gone twice as easily: a shard that may be off the list is the hardest to get right.
        let removes = change.keys.iter().any(|(key, value)| value.is_none() && key.starts_with("shard/"));
        if let Some(landed) = self.lost(weather.lost_commits * if removes { 10 } else { 1 }) {
            sim.say(|| format!("a commit of {} is lost{}", change.keys[0].0, if landed { ", and landed" } else { "" }));
            if landed {
                sim.land(&change);
                sim.watch.borrow_mut().on_lost(change.keys.iter().map(|(key, _)| key));
            }
            return Err(failed("the commit was lost"));
        }
        sim.land(&change);
        if may_pause {
            self.call();
        }
        Ok(())
    }
}

impl Versions for Vec<Version> {
    fn is_empty(&self) -> bool {
        Vec::is_empty(self)
    }

    fn rows(&self) -> u64 {
        self.len() as u64
    }

    fn bytes(&self) -> u64 {
        self.len() as u64 * 3_000
    }

    fn digest(&self) -> u64 {
        self.iter().fold(0, |sum, version| sum.wrapping_add(Version::digest(version)))
    }
}

pub fn refused(refusal: &Refusal) -> Error {
    Error::new(SqlState::ObjectNotInPrerequisiteState, format!("refused: {refusal}"))
}

impl Seat<'_> {
    /// Gives a shard an order, which it accepts or refuses.
    pub fn deliver(&self, shard: &SimShard, command: &ShardCommand) -> std::result::Result<(), Refusal> {
        let judged = shard.rows().ownership.clone();
        let command = &distorted(shard, command);
        judged.accept(command)?;
        self.sim.watch.borrow_mut().before_order(&self.sim, shard, command);
        shard.apply_synced(Change::Order(command.clone()));
        self.sim.watch.borrow_mut().after_order(&self.sim, shard, command);
        Ok(())
    }

    /// A call to a shard, at which the process may end.
    fn reach(&self) {
        self.call();
        if self.sim.dice.chance(self.sim.weather.get().crashes_at_call) {
            self.die();
        }
    }

    /// What a target is sent, unless its disk is full.
    fn store(&self, shard: &SimShard, stamp: &Stamp, change: Change) -> Result<()> {
        if self.sim.dice.chance(self.sim.weather.get().full_disk) {
            return Err(Error::new(SqlState::DiskFull, "the target's disk is full"));
        }
        shard.rows().ownership.may_receive(&stale(stamp)).map_err(|refusal| refused(&refusal))?;
        shard.apply_synced(change);
        Ok(())
    }

    fn exported(&self, shard: &SimShard, slots: &SlotSet) -> Vec<Version> {
        shard.sync();
        let mut versions = shard.rows().versions(slots);
        if is_planted(Mistake::CopySkipsDeletions) {
            versions.retain(|version| version.value.is_some());
        }
        if is_planted(Mistake::CopySkipsHistory) {
            let rows = shard.rows();
            versions.retain(|version| rows.newest(version.key).is_some_and(|(at, _)| at == version.at));
        }
        versions
    }

    fn batch_rows(&self) -> usize {
        self.settings().integer("migration_batch_rows").max(1) as usize
    }
}

/// The order as a mistake has it.
fn distorted(shard: &SimShard, command: &ShardCommand) -> ShardCommand {
    let mut command = command.clone();
    if is_planted(Mistake::StaleStepAccepted)
        && let Some(role) = shard.rows().ownership.role(command.stamp.migration)
    {
        command.stamp.step = command.stamp.step.max(role.stamp.step);
    }
    if is_planted(Mistake::StaleEpochAccepted) {
        command.stamp.since = Epoch(u64::MAX);
    }
    command
}

fn stale(stamp: &Stamp) -> Stamp {
    if is_planted(Mistake::StaleStepAccepted) { Stamp { step: u64::MAX, ..*stamp } } else { *stamp }
}

impl Shards for Seat<'_> {
    type Shard = SimShard;
    type Versions = Vec<Version>;
    type Load = Timestamp;

    fn order(&self, shard: &SimShard, command: &ShardCommand) -> Result<()> {
        self.reach();
        self.sim.post.borrow_mut().push((shard.id, Letter::Order(command.clone())));
        let lost = self.lost(self.sim.weather.get().lost_commands);
        self.sim.say(|| {
            let how = match lost {
                None => "",
                Some(true) => " (its answer is lost)",
                Some(false) => " (lost)",
            };
            format!("migration {} tells shard {}: {:?}{how}", command.stamp.migration, shard.id, command.order)
        });
        let outcome = if lost == Some(false) { Ok(()) } else { self.deliver(shard, command) };
        self.reach();
        match (lost, outcome) {
            (Some(_), _) => Err(failed("a command to a shard was lost")),
            (None, outcome) => outcome.map_err(|refusal| refused(&refusal)),
        }
    }

    fn part_in(&self, shard: &SimShard, migration: MigrationId) -> Option<Part> {
        shard.rows().ownership.role(migration).map(|role| role.part)
    }

    fn hold(&self, shard: &SimShard, slots: &SlotSet, at_most: Duration) -> bool {
        shard.hold(slots);
        self.call();
        if is_planted(Mistake::HoldWithoutWaiting) {
            return true;
        }
        let deadline = self.sim.now.get() + at_most;
        let (disks, id, kept) = (Rc::clone(&self.sim), shard.id, slots.clone());
        while shard.is_committing(slots) {
            if self.sim.now.get() >= deadline {
                shard.release_hold(slots);
                return false;
            }
            let (sim, slots) = (Rc::clone(&disks), kept.clone());
            Seat::wait(self, Some(deadline), move || {
                sim.disks.borrow().get(&id).is_none_or(|shard| !shard.is_committing(&slots))
            });
        }
        true
    }

    fn release_hold(&self, shard: &SimShard, slots: &SlotSet) {
        shard.release_hold(slots);
    }

    fn count_of(&self, shard: &SimShard, slots: &SlotSet) -> Tally {
        shard.rows().count_of(slots)
    }

    fn owed(&self, shard: &SimShard, migration: MigrationId, limit: usize) -> Result<Owed<Vec<Version>, Timestamp>> {
        self.reach();
        let (mut versions, mut loads, mut upto, mut entries) = (Vec::new(), Vec::new(), 0, 0);
        for (number, entry) in shard.rows().outbox.get(&migration).into_iter().flatten().take(limit) {
            (entries, upto) = (entries + 1, *number);
            match entry {
                Entry::Row(version) => versions.push(*version),
                Entry::Load(load) => loads.push(*load),
            }
        }
        if entries > 0 {
            shard.sync();
        }
        let behind = shard.rows().outbox.get(&migration).map_or(0, |outbox| outbox.len() - entries) as u64;
        Ok(Owed { versions, loads, upto, entries, behind })
    }

    fn forget_owed(&self, shard: &SimShard, migration: MigrationId, upto: u64) -> Result<()> {
        self.reach();
        shard.apply(Change::ForgetOwed { migration, upto });
        Ok(())
    }

    fn loaded(
        &self,
        shard: &SimShard,
        slots: &SlotSet,
        load: &Timestamp,
        each: &mut dyn FnMut(Vec<Version>) -> Result<()>,
    ) -> Result<()> {
        let rows = shard.rows().of_load(*load).filter(|version| slots.contains(slot_of(version.key))).collect();
        each(rows)
    }

    fn export(
        &self,
        shard: &SimShard,
        slots: &SlotSet,
        each: &mut dyn FnMut(Vec<Version>) -> Result<()>,
    ) -> Result<()> {
        let versions = self.exported(shard, slots);
        versions.chunks(self.batch_rows()).try_for_each(|versions| {
            self.reach();
            each(versions.to_vec())
        })
    }

    fn receive(&self, shard: &SimShard, stamp: &Stamp, versions: &Vec<Version>) -> Result<()> {
        self.reach();
        self.sim.post.borrow_mut().push((shard.id, Letter::Rows(*stamp, versions.clone())));
        let lost = self.lost(self.sim.weather.get().lost_commands);
        if lost == Some(false) {
            return Err(failed("rows were lost"));
        }
        let versions = versions.clone();
        self.store(shard, stamp, Change::Receive { versions, counts_twice: is_planted(Mistake::RowsCountedTwice) })?;
        self.reach();
        lost.map_or(Ok(()), |_| Err(failed("an answer was lost")))
    }

    fn copy_files(
        &self,
        source: &SimShard,
        target: &SimShard,
        slots: &SlotSet,
        stamp: &Stamp,
        pace: &mut Pace<'_>,
    ) -> Result<Copied> {
        let versions = self.exported(source, slots);
        for batch in versions.chunks(self.batch_rows()) {
            self.reach();
            pace(batch.len() as u64, Versions::bytes(&batch.to_vec()))?;
        }
        let digest = Versions::digest(&versions);
        self.store(target, stamp, Change::Ingest { versions })?;
        self.reach();
        // The files are in; a process that ends here has not counted them.
        let lost = self.lost(self.sim.weather.get().lost_commands);
        if lost == Some(false) {
            return Err(failed("files were taken in and not counted"));
        }
        target.apply_synced(Change::Recount { slots: slots.clone() });
        lost.map_or(Ok(Copied { sent: digest, stored: digest }), |_| Err(failed("an answer was lost")))
    }

    fn has_received_nothing(&self, shard: &SimShard, slots: &SlotSet) -> Result<bool> {
        self.reach();
        Ok(shard.rows().versions(slots).is_empty())
    }

    fn recount_received(&self, shard: &SimShard, slots: &SlotSet) -> Result<()> {
        self.reach();
        if !is_planted(Mistake::RetryWithoutRecount) {
            shard.apply_synced(Change::Recount { slots: slots.clone() });
        }
        Ok(())
    }

    fn tally(&self, shard: &SimShard, slots: &SlotSet, at: Timestamp, pace: &mut Pace<'_>) -> Result<Tally> {
        let hidden = self.sim.truth.borrow().hidden(at);
        let mut sum = Tally::default();
        for (first, last) in slots.ranges() {
            self.call();
            let tally = shard.rows().tally(&SlotSet::range(*first, *last), at, &hidden);
            pace(tally.rows, tally.bytes)?;
            sum.rows += tally.rows;
            sum.bytes += tally.bytes;
            sum.digest = sum.digest.wrapping_add(tally.digest);
        }
        self.sim.watch.borrow_mut().on_tally(shard.id, slots, at, sum);
        Ok(sum)
    }

    fn slot_loads(&self, shard: &SimShard) -> BTreeMap<Slot, Load> {
        let rows = shard.rows();
        rows.counters
            .iter()
            .map(|(slot, count)| (*slot, Load::of_slot(count.rows as f64, count.bytes as f64, 0.0, 0.0)))
            .collect()
    }

    fn activity(&self, shard: &SimShard) -> Activity {
        let accesses = shard.accesses();
        let busy_ns = accesses.values().sum::<u64>() * 100_000;
        Activity { accesses, busy_ns }
    }
}

impl Seat<'_> {
    /// Until nobody replaces the picture.
    pub fn wait_for_picture(&self) {
        while self.process.is_cutting_over.get() {
            let process = Rc::clone(&self.process);
            Seat::wait(self, None, move || !process.is_cutting_over.get());
        }
    }

    pub fn current_picture(&self) -> Arc<Picture<SimShard>> {
        self.wait_for_picture();
        Arc::clone(&self.process.picture.borrow())
    }
}

impl Topology for Seat<'_> {
    type Cutover<'w>
        = Guard
    where
        Self: 'w;
    type Pass<'w>
        = Pass
    where
        Self: 'w;
    type Pin<'w>
        = Pin
    where
        Self: 'w;

    fn picture(&self) -> Picture<SimShard> {
        Picture::clone(&self.current_picture())
    }

    fn cutover(&self) -> Guard {
        self.wait_for_picture();
        Guard::take(&self.process)
    }

    fn begin_cutover(&self) -> Option<Pass> {
        if self.is_loading() {
            return None;
        }
        self.process.cutovers.set(self.process.cutovers.get() + 1);
        Some(Pass(Rc::clone(&self.process)))
    }

    fn is_loading(&self) -> bool {
        self.process.loads.get() > 0
    }

    fn announce(&self) {
        self.process.changed.ring();
    }

    fn has_readers_before(&self, epoch: Epoch) -> bool {
        self.process.oldest_picture().is_some_and(|oldest| oldest < epoch)
    }

    fn next_timestamp(&self) -> Result<Timestamp> {
        Ok(self.sim.next_timestamp())
    }

    fn pin(&self, at: Timestamp) -> Pin {
        Pin::new(&self.process, at)
    }

    fn settle_commits(&self) -> Result<()> {
        self.call();
        if !is_planted(Mistake::CommitsNotSettled) {
            self.sim.shards().iter().for_each(|shard| shard.sync());
            self.sim.log.borrow_mut().clear();
        }
        Ok(())
    }
}

impl World for Seat<'_> {
    type Planning<'w>
        = Planning
    where
        Self: 'w;

    fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.sim.settings.borrow())
    }

    fn event(&self, kind: &str, subject: &str, message: &str) {
        self.sim.say(|| format!("{kind} {subject}: {message}"));
    }

    fn report(&self, error: &Error) {
        self.sim.say(|| format!("error: {}", error.message));
    }

    fn foreground(&self) -> Foreground {
        let dice = &self.sim.dice;
        let (recent_us, idle_percent) = (Some(dice.between(500, 4_000)), dice.between(0, 100) as u32);
        Foreground { recent_us, baseline_us: 1_000, processors: 2, idle_percent }
    }

    fn start(&self, movement: Arc<Movement>) -> Result<()> {
        let (id, process) = (movement.stored().migration.id, Rc::clone(&self.process));
        self.sim.enter(format!("migration {id}"), move |seat| process.conductor().drive(seat, &movement));
        Ok(())
    }

    fn is_abandoned(&self, _threads: usize) -> bool {
        false
    }

    fn try_planning(&self) -> Option<Planning> {
        Planning::try_begin(&self.process)
    }

    fn on_phase(&self, migration: MigrationId, phase: Phase, kept: bool) {
        if kept {
            self.sim.say(|| format!("migration {migration} enters {phase}"));
        }
        if self.sim.dice.chance(self.sim.weather.get().crashes_at_commit / 2) {
            self.die();
        }
    }

    fn free_bytes(&self) -> Option<u64> {
        None
    }

    fn gauges(&self) -> Vec<(ShardId, Gauges)> {
        self.sim.watch.borrow_mut().gauges(&self.sim, &self.process.picture.borrow())
    }

    fn make_shard(&self, id: ShardId, _bits: SlotBits, epoch: Epoch) -> Result<Arc<SimShard>> {
        self.call();
        let rows = Rows::new(Ownership::new(SlotSet::new(), epoch));
        let shard = Arc::new(SimShard::new(id, rows));
        self.sim.disks.borrow_mut().insert(id, Arc::clone(&shard));
        Ok(shard)
    }

    fn delete_shard(&self, shard: Arc<SimShard>) -> Result<()> {
        let owned = shard.rows().ownership.owned().len();
        if owned > 0 {
            self.sim.violate(Invariant::OneOwner, format!("shard {} goes with {owned} slots", shard.id));
        }
        self.sim.disks.borrow_mut().remove(&shard.id);
        Ok(())
    }
}
