//! Opening a process after a crash, and who acts in it: the one that tends the jobs, the operator, the background, the post.

use super::history::Invariant::{SnapshotIsolation, StaleEpochRefused};
use super::mistakes::{Mistake, is_planted};
use super::rows::{Change, Rows, SLOT_BITS};
use super::sim::{Letter, Seat};
use super::watch;
use super::weather;
use crate::world::{Clock, World};
use crate::{Conductor, LOOK_EVERY, MetaStore, listed_shards};
use evenkeel_model::{Result, ShardId, Slot, SlotMap, Timestamp};
use evenkeel_planner::{JobStatus, Outcome};
use evenkeel_pql::ast::{ShardStatement, SlotRange};
use evenkeel_rebalancer::migration::Order;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// How long versions are kept for who reads the past.
const RETENTION_MS: i64 = 2_000;

impl Seat<'_> {
    /// Opens the process: what the last one left half done is finished before anybody is served.
    pub fn open(&self) {
        while let Err(error) = self.try_open() {
            self.sim.say(|| format!("cannot open: {}", error.message));
            self.sleep_ms(20, 60);
        }
        if let Err(error) = self.process.conductor().settle(self) {
            self.sim.say(|| format!("cannot settle: {}", error.message));
            self.die();
        }
        self.resolve_pending();
        watch::one_owner(&self.sim);
        watch::rows_are_there(&self.sim);
        self.sim.shards().iter().for_each(|shard| watch::counters_exact(&self.sim, shard));
        self.process.is_open.set(true);
        self.sim.say(|| "is open".to_string());
        self.sim.enter("jobs", |seat: &Seat<'_>| seat.tend());
        self.sim.enter("background", |seat: &Seat<'_>| seat.background());
        self.sim.enter("operator", |seat: &Seat<'_>| seat.operate());
        self.sim.enter("post", |seat: &Seat<'_>| seat.post());
        (1..=5).for_each(|nth| self.sim.enter(format!("client {nth}"), |seat: &Seat<'_>| seat.client()));
    }

    fn try_open(&self) -> Result<()> {
        let slots: SlotMap = self.get("slots")?.unwrap_or_else(|| self.sim.slot_map());
        let listed = listed_shards(self, &slots)?;
        self.sim.disks.borrow_mut().retain(|id, _| listed.contains_key(id));
        self.recover()?;
        self.process.conduct(Conductor::open(self, listed, self.sim.now_ms())?);
        Ok(())
    }

    /// Loads, transactions over several shards, and what only the commit log has.
    fn recover(&self) -> Result<()> {
        let shards = self.sim.shards();
        for shard in &shards {
            let loads = shard.rows().loads.clone();
            for load in loads {
                let is_committed = self.get::<bool>(&format!("load/{}", load.0))?.is_some();
                shard.apply_synced(Change::EndLoad { load, is_committed });
            }
        }
        let records: BTreeMap<(u32, u64), Timestamp> = shards
            .iter()
            .flat_map(|shard| shard.rows().records.iter().map(|(t, at)| ((shard.id.0, *t), *at)).collect::<Vec<_>>())
            .collect();
        for shard in &shards {
            let left: BTreeSet<_> = shard.rows().intents.values().map(|i| (i.primary, i.transaction)).collect();
            for (primary, transaction) in left {
                let commit = records.get(&(primary, transaction)).copied();
                shard.apply_synced(Change::Resolve { transaction, commit, record: false });
            }
        }
        for shard in &shards {
            let known: Vec<u64> = shard.rows().records.keys().copied().collect();
            known.into_iter().for_each(|transaction| shard.apply_synced(Change::Forget { transaction }));
        }
        for record in self.sim.log.borrow().iter() {
            let Some(shard) = shards.iter().find(|shard| shard.id == record.shard) else { continue };
            let has = |rows: &Rows| {
                let newest = |key| rows.newest(key).map(|(at, _)| at);
                record.writes.iter().all(|(key, _)| newest(*key) >= Some(record.at))
            };
            if !has(&shard.rows()) {
                shard.apply_synced(Change::Commit { at: record.at, writes: record.writes.clone() });
            }
        }
        Ok(())
    }

    /// Commits whose clients were never answered are there as a whole or not at all.
    fn resolve_pending(&self) {
        let (map, pending) = (self.sim.slot_map(), self.sim.truth.borrow().pending.clone());
        for (at, transaction) in pending {
            let is_there = |key: u32| {
                let shard = self.sim.disks.borrow().get(&map.owner(super::rows::slot_of(key))).cloned();
                shard
                    .is_some_and(|shard| shard.rows().rows.get(&key).is_some_and(|versions| versions.contains_key(&at)))
            };
            let there = transaction.writes.iter().filter(|(key, _)| is_there(*key)).count();
            let known = match there {
                0 => {
                    self.sim.truth.borrow_mut().forget(at);
                    Ok(())
                }
                all if all == transaction.writes.len() => self.sim.truth.borrow_mut().acknowledge(at),
                _ => {
                    self.sim.violate(SnapshotIsolation, format!("half of the commit at {at} is there"));
                    Ok(())
                }
            };
            self.sim.check(known);
        }
    }

    fn tend(&self) {
        let conductor = self.process.conductor();
        loop {
            let seen = conductor.called().rings();
            if let Err(error) = conductor.tend(self) {
                self.report(&error);
            }
            Clock::wait(self, conductor.called(), seen, LOOK_EVERY);
        }
    }

    /// Syncs, collects garbage, and looks whether all is as it must be.
    fn background(&self) {
        loop {
            self.sleep_ms(20, 300);
            let shards = self.sim.shards();
            if self.sim.dice.chance(300) {
                shards.iter().for_each(|shard| shard.sync());
                self.sim.log.borrow_mut().clear();
            }
            if self.sim.dice.chance(300) {
                self.collect_garbage();
            }
            watch::rows_are_there(&self.sim);
            let shard = self.sim.dice.pick(&shards);
            watch::counters_exact(&self.sim, shard);
        }
    }

    fn collect_garbage(&self) {
        let mut safe = Timestamp::from_millis(self.sim.now_ms() - RETENTION_MS);
        if let Some(oldest) = self.process.pins.borrow().keys().next() {
            safe = safe.min(*oldest);
        }
        if let Some(record) = self.sim.log.borrow().iter().map(|record| record.at).min() {
            safe = safe.min(Timestamp(record.0 - 1));
        }
        safe = safe.min(self.process.conductor().oldest_start());
        let mut truth = self.sim.truth.borrow_mut();
        truth.collected = truth.collected.max(safe);
        self.sim.shards().iter().for_each(|shard| shard.apply(Change::Collect { safe }));
    }

    /// What arrives late.
    fn post(&self) {
        loop {
            self.sleep_ms(1, 20);
            let weather = self.sim.weather.get();
            if self.sim.dice.chance(weather.outages) {
                let until = self.sim.now.get() + Duration::from_millis(self.sim.dice.between(5, 1_500));
                self.sim.away_until.set(until);
                self.sim.say(|| "the meta store is away".to_string());
            }
            if self.sim.dice.chance(weather.late_commands) {
                self.deliver_late();
            }
        }
    }

    fn deliver_late(&self) {
        let post = self.sim.post.borrow();
        if post.is_empty() {
            return;
        }
        let (shard, letter) = self.sim.dice.pick(&post).clone();
        drop(post);
        let Some(shard) = self.sim.disks.borrow().get(&shard).cloned() else { return };
        match letter {
            Letter::Order(mut command) => {
                if let Order::Seal { cutover } = &mut command.order {
                    // The shard fills in the timestamp, after the last write in flight.
                    if shard.is_committing(&command.slots) {
                        return;
                    }
                    *cutover = self.sim.next_timestamp();
                }
                self.sim.say(|| format!("shard {} gets late: {:?} of {:?}", shard.id, command.order, command.stamp));
                let _ = self.deliver(&shard, &command);
            }
            Letter::Rows(stamp, versions) => self.rows_late(&shard, &stamp, versions),
        }
    }

    fn rows_late(
        &self,
        shard: &super::shard::SimShard,
        stamp: &evenkeel_rebalancer::migration::Stamp,
        versions: Vec<super::rows::Version>,
    ) {
        let refused = shard.rows().ownership.may_receive(stamp).is_err();
        if refused && !is_planted(Mistake::StaleStepAccepted) {
            return;
        }
        self.sim.say(|| format!("shard {} gets {} rows late", shard.id, versions.len()));
        let before = shard.rows().rows.clone();
        let counts_twice = is_planted(Mistake::RowsCountedTwice);
        shard.apply_synced(Change::Receive { versions, counts_twice });
        if refused && before != shard.rows().rows {
            self.sim.violate(StaleEpochRefused, format!("shard {} takes rows of {stamp:?}", shard.id));
        }
    }

    /// Whoever asks for things.
    fn operate(&self) {
        loop {
            self.sleep_ms(50, 600);
            if self.sim.is_settling.get() {
                self.resume_paused();
                continue;
            }
            if self.sim.dice.chance(80) {
                let mut settings = self.sim.settings.borrow().as_ref().clone();
                let what = weather::change(&mut settings, &self.sim.dice);
                self.sim.say(|| format!("sets {what}"));
                *self.sim.settings.borrow_mut() = Arc::new(settings);
                continue;
            }
            let Some(planning) = self.try_planning() else { continue };
            let statement = self.statement();
            let picture = self.process.conductor().snapshot(self);
            let planned = evenkeel_planner::plan(&statement, "", &picture);
            self.sim.say(|| match &planned {
                Ok(_) => format!("says {statement:?}"),
                Err(error) => format!("is refused {statement:?}: {}", error.message),
            });
            if let Ok(planned) = planned
                && let Err(error) = self.carry_out(&planned)
            {
                self.report(&error);
            }
            drop(planning);
        }
    }

    fn statement(&self) -> ShardStatement {
        let dice = &self.sim.dice;
        let shards: Vec<u64> = self.process.picture.borrow().shards.keys().map(|id| u64::from(id.0)).collect();
        let jobs = self.process.conductor().jobs();
        let open: Vec<_> = jobs.iter().filter(|job| !job.status.is_over()).collect();
        let job = || match open.as_slice() {
            [_, ..] if dice.chance(700) => dice.pick(&open).id.0,
            _ => jobs.iter().rev().nth(dice.below(3) as usize).map_or(1, |job| job.id.0),
        };
        let shard = || *dice.pick(&shards);
        match dice.below(100) {
            0..12 => ShardStatement::Rebalance { options: Vec::new() },
            12..20 => ShardStatement::Split { shard: shard(), into: None, at_load_midpoint: dice.chance(500) },
            20..26 => ShardStatement::Merge { shards: vec![shard(), shard()] },
            26..58 => {
                let from = shard();
                let slots = self.some_slots(ShardId(from as u32));
                ShardStatement::MoveSlots { slots, from, to: shard() }
            }
            58..61 => ShardStatement::AddShard,
            61..65 => ShardStatement::RemoveShard(shard()),
            65..69 => ShardStatement::Pin(shard()),
            69..74 => ShardStatement::Unpin(shard()),
            74..80 => ShardStatement::PauseJob(job()),
            80..86 => ShardStatement::ResumeJob(job()),
            86..94 => ShardStatement::CancelJob(job()),
            _ => ShardStatement::UndoJob(job()),
        }
    }

    fn some_slots(&self, of: ShardId) -> Vec<SlotRange> {
        let owned: Vec<Slot> = self.process.picture.borrow().slots.slots_of(of).iter().collect();
        let wanted = self.sim.dice.between(1, 4);
        let any = || {
            if owned.is_empty() {
                Slot(self.sim.dice.below(1 << SLOT_BITS) as u32)
            } else {
                *self.sim.dice.pick(&owned)
            }
        };
        let range = |slot: Slot| SlotRange { first: slot.0, last: slot.0 };
        (0..wanted).map(|_| range(any())).collect()
    }

    fn carry_out(&self, planned: &Outcome) -> Result<()> {
        let conductor = self.process.conductor();
        match planned {
            Outcome::Start(plan) => conductor.start_job(self, "by hand", plan.as_ref().clone()).map(drop),
            Outcome::Pin(shard) => conductor.pin_shard(self, *shard, true),
            Outcome::Unpin(shard) => conductor.pin_shard(self, *shard, false),
            Outcome::AddShard(shard) => conductor.add_shard(self, *shard),
            Outcome::Pause(job) => conductor.want(self, *job, JobStatus::Paused),
            Outcome::Resume(job) => conductor.want(self, *job, JobStatus::Running),
            Outcome::Cancel(job) => conductor.want(self, *job, JobStatus::Cancelling),
            Outcome::Nothing(nothing) => match &nothing.decision {
                Some(decision) => conductor.note_decision(self, decision),
                None => Ok(()),
            },
            Outcome::Wait(_) | Outcome::Verify(_) | Outcome::Rows(_) => Ok(()),
        }
    }

    fn resume_paused(&self) {
        let paused = self.process.conductor().jobs().into_iter().filter(|job| job.status == JobStatus::Paused);
        for job in paused {
            if let Err(error) = self.process.conductor().want(self, job.id, JobStatus::Running) {
                self.report(&error);
            }
        }
    }
}
