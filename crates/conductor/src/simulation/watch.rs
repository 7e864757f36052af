//! The invariants, checked wherever something changes that they speak of.

use super::history::Invariant::{self, *};
use super::rows::{Count, Rows, SLOT_BITS, Version, slot_of};
use super::shard::SimShard;
use super::sim::Sim;
use crate::movement::record_key;
use crate::orders::job_key;
use crate::world::Picture;
use crate::{MetaChange, StoredJob, StoredMigration, StoredShard};
use evenkeel_model::{Epoch, JobId, MigrationId, ShardId, Slot, SlotMap, SlotSet, Timestamp};
use evenkeel_planner::JobStatus;
use evenkeel_rebalancer::balance::{Gauges, Move};
use evenkeel_rebalancer::migration::{Access, Effect, Order, Part, Phase, ShardCommand, Tally};
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What has been seen so far.
#[derive(Default)]
pub struct Watch {
    /// The newest step that a shard was told, by migration.
    told: BTreeMap<(ShardId, MigrationId), u64>,
    /// Shards that were read to the end, at which timestamp.
    tallies: Vec<(ShardId, SlotSet, Timestamp, Tally)>,
    /// Migrations of a job that was cancelled before they could switch.
    must_turn_back: BTreeSet<(JobId, MigrationId)>,
    /// The records that are on their way with a slot map: who cancels now comes too late.
    switching: BTreeSet<String>,
    /// Each slot's last cutover.
    cutovers: BTreeMap<Slot, Timestamp>,
    /// The epoch at which each slot was switched last.
    switched: BTreeMap<Slot, Epoch>,
    seen: BTreeMap<ShardId, (Duration, u64, f64)>,
    /// What was kept though whoever kept it was told that it was lost: nobody has heard of it before a restart.
    unheard: BTreeSet<String>,
}

fn decode<T: DeserializeOwned>(json: &[u8]) -> T {
    serde_json::from_slice(json).expect("what the conductor keeps can be read")
}

fn get<T: DeserializeOwned>(sim: &Sim, key: &str) -> Option<T> {
    sim.meta.borrow().get(key).map(|json| decode(json))
}

fn migration(sim: &Sim, id: MigrationId) -> Option<StoredMigration> {
    get(sim, &record_key(id))
}

fn migrations(sim: &Sim) -> Vec<StoredMigration> {
    let meta = sim.meta.borrow();
    let all = meta.range("migration/".to_string()..).take_while(|(key, _)| key.starts_with("migration/"));
    all.map(|(_, json)| decode(json)).collect()
}

impl Watch {
    /// The meta store has another value for a key.
    pub fn on_key(&mut self, sim: &Sim, key: &str, before: Option<&Vec<u8>>, after: Option<&Vec<u8>>) {
        let is_heard = !self.unheard.remove(key);
        let Some(after) = after else { return };
        match key.split('/').next() {
            Some("slots") => self.on_map(sim, before.map(|json| decode(json)), &decode(after)),
            Some("job") => self.on_job(sim, before.filter(|_| is_heard).map(|json| decode(json)), &decode(after)),
            Some("migration") => self.on_migration(sim, before.map(|json| decode(json)), &decode(after)),
            _ => {}
        }
    }

    fn on_map(&mut self, sim: &Sim, before: Option<SlotMap>, after: &SlotMap) {
        let Some(before) = before else { return };
        sim.say(|| format!("the slot map is at epoch {}", after.epoch()));
        if after.epoch().0 != before.epoch().0 + 1 {
            sim.violate(StaleEpochRefused, format!("epoch {} follows {}", after.epoch(), before.epoch()));
        }
        let moved: SlotSet =
            before.iter().filter(|(slot, owner)| after.owner(*slot) != *owner).map(|(s, _)| s).collect();
        let Some((first, _)) = moved.ranges().first() else { return };
        self.switched.extend(moved.iter().map(|slot| (slot, after.epoch())));
        for shard in [before.owner(*first), after.owner(*first)] {
            let key = format!("shard/{:010}", shard.0);
            if get::<StoredShard>(sim, &key).is_some_and(|shard| shard.pinned) {
                sim.violate(PinnedStays, format!("slots {moved} move, and shard {shard} is pinned"));
            }
        }
        let by = migrations(sim)
            .into_iter()
            .find(|stored| stored.migration.slots == moved && !stored.migration.phase.is_over());
        if let Some(stored) = by
            && self.must_turn_back.contains(&(stored.migration.job, stored.migration.id))
        {
            let id = stored.migration.id;
            sim.violate(Terminal, format!("migration {id} switches, and its job was cancelled long before"));
        }
    }

    fn on_job(&mut self, sim: &Sim, before: Option<StoredJob>, after: &StoredJob) {
        let was_cancelling = before.as_ref().is_some_and(|before: &StoredJob| before.status == JobStatus::Cancelling);
        if after.status == JobStatus::Cancelling && !was_cancelling {
            self.on_cancel(sim, after.id);
        }
        if let Some(before) = before.filter(|before| before.status.is_over()) {
            sim.violate(Terminal, format!("job {} was {} and is {}", after.id, before.status, after.status));
        }
        sim.say(|| format!("job {} ({}, {:?}) is {}", after.id, after.statement, after.plan.kind, after.status));
        let meets = |one: &Move, other: &Move| {
            [one.source, one.target].iter().any(|shard| [other.source, other.target].contains(shard))
        };
        let steps = || after.plan.moves.iter().zip(&after.migrations);
        for (nth, (begun, _)) in steps().enumerate().filter(|(_, (_, migration))| migration.is_some()) {
            if steps().take(nth).any(|(earlier, migration)| migration.is_none() && meets(earlier, begun)) {
                sim.violate(InOrder, format!("move {nth} of job {} has overtaken another of its shards", after.id));
            }
        }
        let begun = || after.migrations.iter().flatten().filter_map(|id| migration(sim, *id));
        let open = begun().find(|stored| !stored.migration.phase.is_over());
        match (after.status.is_over(), open) {
            (true, Some(stored)) => {
                let (id, phase) = (stored.migration.id, stored.migration.phase);
                sim.violate(Terminal, format!("job {} is {}, and migration {id} is {phase}", after.id, after.status));
            }
            (true, None) if after.status == JobStatus::Failed && sim.weather.get().is_fair => {
                sim.violate(Undisturbed, format!("job {} fails: {:?}", after.id, after.error));
            }
            _ => {}
        }
    }

    /// A change is on its way.
    pub fn on_sent(&mut self, change: &MetaChange) {
        let keys = || change.keys.iter().map(|(key, _)| key);
        if keys().any(|key| key == "slots") {
            self.switching.extend(keys().filter(|key| key.starts_with("migration/")).cloned());
        }
    }

    /// What has just happened to these keys was said to be lost.
    pub fn on_lost<'k>(&mut self, keys: impl Iterator<Item = &'k String>) {
        let keys: Vec<_> = keys.cloned().collect();
        self.must_turn_back.retain(|(job, _)| !keys.contains(&job_key(*job)));
        self.unheard.extend(keys);
    }

    /// A new process has read everything.
    pub fn on_restart(&mut self) {
        self.unheard.clear();
        self.switching.clear();
    }

    /// The job is being cancelled.
    fn on_cancel(&mut self, sim: &Sim, job: JobId) {
        let can_turn = |stored: &StoredMigration| {
            use Phase::{CatchingUp, Copying, Planned, Sealing, Unsealing};
            matches!(stored.migration.phase, Planned | Copying | CatchingUp | Sealing | Unsealing)
                && !self.switching.contains(&record_key(stored.migration.id))
        };
        let of_job = migrations(sim).into_iter().filter(|stored| stored.migration.job == job && can_turn(stored));
        self.must_turn_back.extend(of_job.map(|stored| (job, stored.migration.id)));
    }

    fn on_migration(&mut self, sim: &Sim, before: Option<StoredMigration>, after: &StoredMigration) {
        let (id, phase) = (after.migration.id, after.migration.phase);
        self.switching.remove(&record_key(id));
        match before {
            Some(before) if before.migration.phase.is_over() && before.migration != after.migration => {
                sim.violate(Terminal, format!("migration {id} was {} and is {phase}", before.migration.phase));
            }
            Some(before) if before.migration.step > after.migration.step => {
                sim.violate(StaleEpochRefused, format!("the record of migration {id} goes back"));
            }
            None => self.on_begin(sim, after),
            Some(_) => {}
        }
        let reason = after.migration.reason.as_ref().map(ToString::to_string).unwrap_or_default();
        if phase == Phase::VerificationFailed {
            sim.violate(AckedIsDurable, format!("migration {id}: {reason}"));
        } else if reason.contains("the copies differ") {
            sim.violate(CountersExact, format!("migration {id}: {reason}"));
        }
    }

    fn on_begin(&mut self, sim: &Sim, new: &StoredMigration) {
        // What waits for the last reader of its old copy keeps nobody from going on.
        let is_at_work =
            |stored: &StoredMigration| !stored.migration.phase.is_over() && stored.migration.phase != Phase::Dropping;
        let open: Vec<_> = migrations(sim).into_iter().filter(is_at_work).collect();
        let most = sim.settings.borrow().integer("max_concurrent_migrations") as usize;
        if open.len() > most {
            sim.violate(WithinLimits, format!("{} migrations at once, of {most}", open.len()));
        }
        let (id, source, target) = (new.migration.id, new.migration.source, new.migration.target);
        let touches = |other: &&StoredMigration| {
            let other = &other.migration;
            other.id != id && [other.source, other.target].iter().any(|shard| [source, target].contains(shard))
        };
        if let Some(other) = open.iter().find(touches) {
            let other = other.migration.id;
            sim.violate(WithinLimits, format!("migrations {other} and {id} are at one shard"));
        }
    }

    pub fn on_tally(&mut self, shard: ShardId, slots: &SlotSet, at: Timestamp, tally: Tally) {
        self.tallies.push((shard, slots.clone(), at, tally));
    }

    /// A shard accepts an order and is about to obey.
    pub fn before_order(&mut self, sim: &Sim, shard: &SimShard, command: &ShardCommand) {
        let id = command.stamp.migration;
        let newest = self.told.entry((shard.id, id)).or_default();
        let is_over = migration(sim, id).is_some_and(|stored| stored.migration.phase.is_over());
        if (command.stamp.step < *newest || is_over) && changes_something(&shard.rows(), command) {
            let (step, newest) = (command.stamp.step, *newest);
            sim.violate(
                StaleEpochRefused,
                format!("shard {} obeys step {step} of migration {id}, after {newest}, over: {is_over}", shard.id),
            );
        }
        let newest = self.told.entry((shard.id, id)).or_default();
        *newest = (*newest).max(command.stamp.step);
        let effect = shard.rows().ownership.accept(command).ok().and_then(|accepted| accepted.effect);
        let deletes =
            matches!(effect, Some(Effect::DeleteRows(_))) && !shard.rows().versions(&command.slots).is_empty();
        if matches!(command.order, Order::Drop { .. }) && deletes && !self.is_verified(sim, shard, command) {
            sim.violate(VerifiedBeforeDrop, format!("shard {} drops slots {}", shard.id, command.slots));
        }
    }

    /// Both sides were read at the cutover, and are equal in fact.
    fn is_verified(&self, sim: &Sim, shard: &SimShard, command: &ShardCommand) -> bool {
        let Some(stored) = migration(sim, command.stamp.migration) else { return false };
        let Some(cutover) = stored.migration.cutover else { return false };
        let read = |id: ShardId| {
            let of = |(shard, slots, at, _): &&(ShardId, SlotSet, Timestamp, Tally)| {
                *shard == id && *slots == command.slots && *at == cutover
            };
            self.tallies.iter().rev().find(of).map(|(.., tally)| *tally)
        };
        let hidden = sim.truth.borrow().hidden(cutover);
        let in_fact =
            |id: ShardId| sim.disks.borrow().get(&id).map(|shard| shard.rows().tally(&command.slots, cutover, &hidden));
        let (source, target) = (stored.migration.source, stored.migration.target);
        shard.id == source
            && read(source).is_some()
            && read(source) == read(target)
            && in_fact(source) == in_fact(target)
    }

    /// A shard has obeyed.
    pub fn after_order(&mut self, sim: &Sim, shard: &SimShard, command: &ShardCommand) {
        let part = shard.rows().ownership.role(command.stamp.migration).map(|role| role.part);
        if let Some(Part::Sealed { cutover }) = part {
            self.cutovers.extend(command.slots.iter().map(|slot| (slot, cutover)));
            let versions = shard.rows().versions(&command.slots);
            if let Some(Version { key, at, .. }) = versions.iter().find(|version| version.at > cutover) {
                sim.violate(NoStaleRead, format!("key {key} was written at {at}, above the cutover at {cutover}"));
            }
        }
        one_owner(sim);
        counters_exact(sim, shard);
    }

    /// Whether whoever goes by a picture of this epoch must still be answered where it sends them.
    pub fn is_owed_an_answer(&self, slot: Slot, picture: Epoch, at: Timestamp) -> bool {
        let is_below = self.cutovers.get(&slot).is_none_or(|cutover| at <= *cutover);
        is_below && self.switched.get(&slot).is_some_and(|switched| picture < *switched)
    }

    /// Queries a second of every shard.
    pub fn gauges(&mut self, sim: &Sim, picture: &Picture<SimShard>) -> Vec<(ShardId, Gauges)> {
        let now = sim.now.get();
        let mut gauge = |(id, shard): (&ShardId, &std::sync::Arc<SimShard>)| {
            let total: u64 = shard.accesses().values().sum();
            let (at, before, rate) = self.seen.entry(*id).or_insert((now, total, 0.0));
            if now - *at >= Duration::from_millis(50) {
                *rate = total.saturating_sub(*before) as f64 / (now - *at).as_secs_f64();
                (*at, *before) = (now, total);
            }
            (*id, Gauges([*rate, 0.0, 0.0, 0.0, 0.0, 0.0]))
        };
        picture.shards.iter().map(&mut gauge).collect()
    }
}

/// Whether a shard would be another after an order. When slots were settled may always be learned.
fn changes_something(rows: &Rows, command: &ShardCommand) -> bool {
    let Ok(accepted) = rows.ownership.accept(command) else { return false };
    accepted.effect.is_some()
        || accepted.ownership.owned() != rows.ownership.owned()
        || accepted.ownership.roles() != rows.ownership.roles()
}

/// Whoever takes writes is whom the slot map names; so there are never two.
pub fn one_owner(sim: &Sim) {
    let map = sim.slot_map();
    for shard in sim.shards() {
        let rows = shard.rows();
        for slot in (0..1 << SLOT_BITS).map(Slot) {
            let owner = map.owner(slot);
            if rows.ownership.may_write(slot) == Access::Granted && owner != shard.id {
                sim.violate(
                    OneOwner,
                    format!("shard {} takes writes to slot {slot}, which is shard {owner}'s", shard.id),
                );
                return;
            }
        }
    }
}

/// A slot's counters are what a full count comes to.
pub fn counters_exact(sim: &Sim, shard: &SimShard) {
    let rows = shard.rows();
    let counted = rows.full_count(rows.ownership.owned());
    for slot in (0..1 << SLOT_BITS).map(Slot) {
        let of = |counts: &BTreeMap<Slot, Count>| counts.get(&slot).copied().unwrap_or_default();
        let (full, kept) = (of(&counted), of(&rows.counters));
        if full != kept {
            sim.violate(CountersExact, format!("shard {}, slot {slot}: {full:?} are counted as {kept:?}", shard.id));
            return;
        }
    }
}

/// Every row is where the slot map says, and as it was acknowledged last.
pub fn rows_are_there(sim: &Sim) {
    let (map, truth) = (sim.slot_map(), sim.truth.borrow());
    let hidden = truth.hidden(Timestamp::MAX);
    let undecided: BTreeSet<_> =
        truth.pending.values().flat_map(|pending| pending.writes.iter().map(|(key, _)| *key)).collect();
    for key in truth.keys().filter(|key| !undecided.contains(key)) {
        let slot = slot_of(key);
        let owner = sim.disks.borrow().get(&map.owner(slot)).cloned();
        let Some(owner) = owner else {
            sim.violate(OneOwner, format!("slot {slot} is shard {}'s, which is gone", map.owner(slot)));
            return;
        };
        if owner.rows().ownership.may_write(slot) != Access::Granted {
            continue;
        }
        let (due, got) = (truth.read(key, Timestamp::MAX), owner.rows().visible(key, Timestamp::MAX, &hidden));
        if due != got {
            sim.violate(
                missing_or_back(due, got, AckedIsDurable),
                format!("key {key} at shard {}: {got:?}, not {due:?}", owner.id),
            );
            return;
        }
    }
}

/// What it breaks that something else is seen than ought to be.
pub fn missing_or_back(due: Option<i64>, got: Option<i64>, missing: Invariant) -> Invariant {
    if due.is_none() && got.is_some() { NoResurrection } else { missing }
}

/// When all is over, nothing is left over.
pub fn nothing_is_left(sim: &Sim) {
    let map = sim.slot_map();
    let process = sim.process.borrow();
    let say = |what: String| sim.violate(Terminal, what);
    for shard in sim.shards() {
        let (rows, id) = (shard.rows(), shard.id);
        if !rows.ownership.roles().is_empty() {
            say(format!("shard {id} still has a part in {:?}", rows.ownership.roles()));
        }
        if *rows.ownership.owned() != map.slots_of(id) {
            sim.violate(
                OneOwner,
                format!("shard {id} owns {}, and the slot map says {}", rows.ownership.owned(), map.slots_of(id)),
            );
        }
        if let Some(key) = rows.rows.keys().find(|key| map.owner(slot_of(**key)) != id) {
            say(format!("key {key} was left at shard {id}"));
        }
        if rows.outbox.values().any(|owed| !owed.is_empty())
            || rows.incoming.values().any(|count| *count != Count::default())
        {
            say(format!("shard {id} still owes {:?}, or counts {:?} as received", rows.outbox, rows.incoming));
        }
        if !rows.intents.is_empty() || !rows.loads.is_empty() {
            say(format!("shard {id} has intents {:?}, loads {:?}", rows.intents, rows.loads));
        }
        drop(rows);
        if !shard.held().is_empty() || shard.has_locks() {
            say(format!("shard {id} still holds {}, or has locks", shard.held()));
        }
    }
    if process.is_cutting_over.get()
        || process.cutovers.get() > 0
        || process.loads.get() > 0
        || !process.pins.borrow().is_empty()
    {
        say("somebody still holds the picture, or a timestamp".to_string());
    }
}
