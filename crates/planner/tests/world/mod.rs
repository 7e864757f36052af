//! A cluster as values: what stories and properties plan for, and what becomes of it when a plan is carried out.
#![allow(dead_code, reason = "each of the tests that share it needs a part of it")]

use evenkeel_model::{JobId, ShardId, Slot, SlotSet};
use evenkeel_planner::{BalancerState, Defaults, JobKind, JobPlan, JobState, JobStatus, MigrationState, Snapshot};
use evenkeel_rebalancer::balance::{
    Load, PendingDrop, Problem, ShardRole, ShardState, SlotState, Strategy, Traffic, check, measure,
};
use evenkeel_rebalancer::migration::Phase;
use goldenscript::ArgumentConsumer;
use std::error::Error;
use std::fmt::Write as _;

type Done<T = ()> = Result<T, Box<dyn Error>>;

#[derive(Clone, Debug)]
pub struct World {
    pub snapshot: Snapshot,
}

impl Default for World {
    fn default() -> Self {
        Self {
            snapshot: Snapshot {
                problem: Problem::new(0, Vec::new(), Vec::new()),
                previous: None,
                defaults: Defaults::default(),
                jobs: Vec::new(),
                next_shard: ShardId(1),
                started_last_hour: 0,
                bytes_per_second: None,
                balancer: BalancerState::default(),
            },
        }
    }
}

impl World {
    /// Equal runs of equal slots.
    pub fn even(shards: u32, slots: usize) -> Self {
        let mut world = Self::default();
        let states = (1..=shards).map(|id| ShardState::new(ShardId(id))).collect();
        world.snapshot.problem = Problem::new(0, states, Vec::new());
        world.snapshot.next_shard = ShardId(shards + 1);
        world.lay_out(slots);
        world
    }

    fn lay_out(&mut self, count: usize) {
        let shards = &self.snapshot.problem.shards;
        let owner = |at: usize| shards[at * shards.len() / count].id;
        let load = Load::of_slot(1_000.0, 1e6, 0.0, 0.0);
        let slots = (0..count).map(|at| SlotState { owner: owner(at), load, moving_to: None }).collect();
        self.snapshot.problem.slots = slots;
    }

    pub fn owners(&self) -> Vec<ShardId> {
        self.snapshot.problem.slots.iter().map(|slot| slot.owner).collect()
    }

    fn shard(&mut self, id: &str) -> Done<&mut ShardState> {
        let id = ShardId(id.parse()?);
        let shards = &mut self.snapshot.problem.shards;
        shards.iter_mut().find(|shard| shard.id == id).ok_or_else(|| format!("no shard {id}").into())
    }

    pub fn arrange(&mut self, name: &str, args: &mut ArgumentConsumer) -> Done<String> {
        let first = args.next_pos().unwrap_or_default().to_string();
        match name {
            "shards" => *self = Self::even(first.parse()?, 0),
            "slots" => self.lay_out(first.parse()?),
            "load" => self.load(args)?,
            "own" => {
                let owner = ShardId(args.next_pos().ok_or("who?")?.parse()?);
                slots(&first)?.iter().for_each(|slot| self.snapshot.problem.slots[slot.0 as usize].owner = owner);
            }
            "pending" => {
                let shard = ShardId(args.take_key("shard").ok_or("which shard?")?.parse()?);
                self.snapshot.problem.pending_drops.push(PendingDrop { slots: slots(&first)?, shard });
            }
            "pin" | "unpin" => self.shard(&first)?.pinned = name == "pin",
            "lost" => self.shard(&first)?.role = ShardRole::Unavailable,
            "drains" => self.shard(&first)?.role = ShardRole::Draining,
            "back" => self.shard(&first)?.role = ShardRole::Active,
            "free" => self.shard(&first)?.free_bytes = Some(size(args.next_pos().ok_or("how much?")?)? as u64),
            "cool" => {
                let until_s: i64 = args.take_key("until").ok_or("until when?")?.parse()?;
                self.shard(&first)?.cooling_until_ms = Some(until_s * 1_000);
            }
            "pass" => self.snapshot.problem.now_ms += first.parse::<i64>()? * 1_000,
            "set" => self.set(args)?,
            "rate" => self.snapshot.bytes_per_second = Some(size(&first)?),
            "traffic" => {
                let mut amount = || args.next_pos().ok_or("how much?");
                let (newest_qps, smoothed_qps) = (amount()?.parse()?, amount()?.parse()?);
                let measurements = first.parse()?;
                self.snapshot.balancer.traffic = Some(Traffic { measurements, newest_qps, smoothed_qps });
            }
            "started" => self.snapshot.started_last_hour = first.parse()?,
            "check" => return Ok(self.check()),
            "job" => self.job(&first, args)?,
            _ => return Err(format!("unknown command {name}").into()),
        }
        Ok(String::new())
    }

    fn load(&mut self, args: &mut ArgumentConsumer) -> Done {
        let chosen = args.take_key("slots").map(slots).transpose()?;
        let owner = args.take_key("shard").map(str::parse).transpose()?.map(ShardId);
        let mut amounts = Vec::new();
        while let Some((key, amount)) = args.next_key() {
            amounts.push((key.to_string(), size(amount)?));
        }
        for (at, slot) in self.snapshot.problem.slots.iter_mut().enumerate() {
            let is_meant = chosen.as_ref().is_none_or(|slots| slots.contains(Slot(at as u32)));
            if !is_meant || owner.is_some_and(|owner| owner != slot.owner) {
                continue;
            }
            for (key, amount) in &amounts {
                match key.as_str() {
                    "rows" => slot.load.rows = *amount,
                    "bytes" => slot.load.bytes = *amount,
                    "qps" => slot.load.qps = *amount,
                    "cpu" => slot.load.cpu = *amount,
                    other => return Err(format!("no dimension {other}").into()),
                }
            }
        }
        Ok(())
    }

    fn set(&mut self, args: &mut ArgumentConsumer) -> Done {
        let defaults = &mut self.snapshot.defaults;
        while let Some((key, value)) = args.next_key() {
            match key {
                "strategy" => defaults.strategy = Strategy::find(value).ok_or("no such strategy")?,
                "target" => defaults.target_imbalance = value.parse()?,
                "per_hour" => defaults.max_migrations_per_hour = value.parse()?,
                "at_once" => defaults.max_concurrent_migrations = value.parse()?,
                "move_bytes" => self.snapshot.problem.limits.move_bytes_max = Some(value.parse()?),
                "fanout" => defaults.split_fanout = value.parse()?,
                "auto" => self.snapshot.balancer.auto_rebalance = value == "on",
                "next_check" => self.snapshot.balancer.next_check_ms = Some(value.parse::<i64>()? * 1_000),
                other => return Err(format!("no setting {other}").into()),
            }
        }
        Ok(())
    }

    /// What the engine's monitor does at every check.
    fn check(&mut self) -> String {
        let problem = self.snapshot.problem();
        let watch = self.snapshot.balancer.watch.next(&measure(&problem));
        self.snapshot.balancer.watch = watch;
        let auto = self.snapshot.balancer.auto_rebalance;
        let (decision, _) = check(&problem, watch, self.snapshot.previous.as_ref(), auto);
        let text = decision.to_string();
        self.snapshot.balancer.last = Some(decision);
        text
    }

    fn job(&mut self, id: &str, args: &mut ArgumentConsumer) -> Done {
        let id = JobId(id.parse()?);
        let (kind, status) = (kind(args.next_pos().unwrap_or_default())?, status(args.next_pos().unwrap_or_default())?);
        let at = self.snapshot.jobs.iter().position(|job| job.id == id).unwrap_or(self.snapshot.jobs.len());
        if at == self.snapshot.jobs.len() {
            let (migrations, new_shards, removes) = (Vec::new(), Vec::new(), Vec::new());
            self.snapshot.jobs.push(JobState { id, kind, status, migrations, new_shards, removes });
        }
        let job = &mut self.snapshot.jobs[at];
        job.status = status;
        job.new_shards.extend(args.take_key("new").map(str::parse).transpose()?.map(ShardId));
        job.removes.extend(args.take_key("removes").map(str::parse).transpose()?.map(ShardId));
        if let Some(moved) = args.take_key("slots") {
            let source = ShardId(args.take_key("from").ok_or("from where?")?.parse()?);
            let target = ShardId(args.take_key("to").ok_or("to where?")?.parse()?);
            let name = args.take_key("phase").unwrap_or("planned");
            let phase = Phase::ALL.into_iter().find(|phase| phase.name() == name).ok_or("no such phase")?;
            job.migrations.push(MigrationState { source, target, slots: slots(moved)?, phase });
        }
        Ok(())
    }

    fn next_job(&self) -> JobId {
        JobId(self.snapshot.jobs.iter().map(|job| job.id.0).max().unwrap_or(0) + 1)
    }

    /// The job is there, and nothing of it has happened but that its shards were made.
    pub fn begin(&mut self, plan: &JobPlan) -> String {
        let id = self.next_job();
        let migrations = plan.moves.iter().map(|step| MigrationState {
            source: step.source,
            target: step.target,
            slots: step.slots.clone(),
            phase: Phase::Planned,
        });
        self.snapshot.jobs.push(JobState {
            id,
            kind: plan.kind,
            status: JobStatus::Running,
            migrations: migrations.collect(),
            new_shards: plan.new_shards.clone(),
            removes: plan.removes.clone(),
        });
        for shard in &plan.new_shards {
            self.snapshot.problem.shards.push(ShardState::new(*shard));
            self.snapshot.next_shard = ShardId(self.snapshot.next_shard.0.max(shard.0 + 1));
        }
        format!("job {id} has begun")
    }

    /// The job is done, as planned.
    pub fn carry_out(&mut self, plan: &JobPlan) -> String {
        self.begin(plan);
        let problem = &mut self.snapshot.problem;
        for step in &plan.moves {
            for slot in step.slots.iter() {
                assert_eq!(problem.slots[slot.0 as usize].owner, step.source, "slot {slot}");
                problem.slots[slot.0 as usize].owner = step.target;
            }
        }
        for shard in &plan.removes {
            assert!(problem.slots_of(*shard).is_empty(), "shard {shard} is not empty");
            problem.shards.retain(|state| state.id != *shard);
        }
        if let Some(plan) = plan.plan.clone().filter(|_| plan.kind == JobKind::Rebalance) {
            self.snapshot.previous = Some(plan);
        }
        let job = self.snapshot.jobs.last_mut().expect("it has just begun");
        job.status = JobStatus::Done;
        job.migrations.iter_mut().for_each(|step| step.phase = Phase::Done);
        format!("job {} is done\n{}", self.snapshot.jobs.len(), self.show())
    }

    pub fn show(&self) -> String {
        let problem = &self.snapshot.problem;
        let mut text = String::new();
        for shard in &problem.shards {
            let owned = problem.slots_of(shard.id);
            let load: Load = owned.iter().map(|slot| problem.slots[slot.0 as usize].load).sum();
            let _ = writeln!(text, "shard {}: {} slots ({owned}), {:.0} rows", shard.id, owned.len(), load.rows);
        }
        text
    }
}

fn kind(name: &str) -> Done<JobKind> {
    use JobKind::{Merge, Move, Rebalance, Remove, Split, Undo};
    let kinds = [Rebalance, Split, Merge, Move, Remove, Undo];
    kinds.into_iter().find(|kind| kind.name() == name).ok_or_else(|| format!("no kind {name}").into())
}

fn status(name: &str) -> Done<JobStatus> {
    use JobStatus::{Cancelled, Cancelling, Done, Failed, Paused, Running};
    let statuses = [Running, Paused, Cancelling, Done, Cancelled, Failed];
    statuses.into_iter().find(|status| status.name() == name).ok_or_else(|| format!("no status {name}").into())
}

/// `0-9`, `7` or `0-9,20-29`.
fn slots(text: &str) -> Done<SlotSet> {
    let mut set = SlotSet::new();
    for range in text.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        set = set.union(&SlotSet::range(Slot(first.parse()?), Slot(last.parse()?)));
    }
    Ok(set)
}

/// `250`, `10k`, `64M`, `2G`.
fn size(text: &str) -> Done<f64> {
    let (digits, factor) = match text.char_indices().last() {
        Some((at, 'k')) => (&text[..at], 1e3),
        Some((at, 'M')) => (&text[..at], 1e6),
        Some((at, 'G')) => (&text[..at], 1e9),
        _ => (text, 1.0),
    };
    Ok(digits.parse::<f64>()? * factor)
}
