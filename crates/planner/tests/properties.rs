//! What holds of every plan, whatever the cluster and the statement.

mod world;

use evenkeel_model::{JobId, ShardId, Slot, SlotSet};
use evenkeel_planner::{
    JobKind, JobPlan, JobState, JobStatus, MigrationState, Outcome, Snapshot, explain, imbalance, plan,
};
use evenkeel_pql::ast::{ShardStatement, SlotRange};
use evenkeel_rebalancer::balance::{Move, ShardRole};
use evenkeel_rebalancer::migration::Phase;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use std::collections::BTreeMap;
use world::World;

const SLOTS: u32 = 24;

fn worlds() -> impl Strategy<Value = World> {
    let slots = prop::collection::vec((1u32..6, 0u32..20, 0u32..9), SLOTS as usize);
    let pins = prop::collection::vec(0u8..6, 5);
    let jobs = prop::collection::vec((0..SLOTS, 1u32..6, 0usize..Phase::ALL.len()), 0..3);
    (slots, pins, jobs).prop_map(|(slots, pins, jobs)| {
        let mut world = World::even(5, SLOTS as usize);
        let problem = &mut world.snapshot.problem;
        for (state, (owner, rows, qps)) in problem.slots.iter_mut().zip(slots) {
            state.owner = ShardId(owner);
            (state.load.rows, state.load.bytes) = (f64::from(rows) * 1e3, f64::from(rows) * 1e6);
            state.load.qps = f64::from(qps) * 10.0;
        }
        for (shard, pin) in problem.shards.iter_mut().zip(pins) {
            shard.pinned = pin == 0;
            shard.free_bytes = (pin == 1).then_some(30_000_000);
            shard.role = if pin == 2 { ShardRole::Unavailable } else { ShardRole::Active };
        }
        for (slot, target, phase) in jobs {
            at_work(&mut world, slot, ShardId(target), Phase::ALL[phase]);
        }
        world
    })
}

/// A job that moves one slot.
fn at_work(world: &mut World, slot: u32, target: ShardId, phase: Phase) {
    let slots = SlotSet::range(Slot(slot), Slot(slot));
    let (source, free) = (world.snapshot.problem.slots[slot as usize].owner, world.snapshot.jobs.iter());
    let is_free = free.flat_map(|job| job.at_hand()).all(|step| step.slots.intersection(&slots).is_empty());
    let is_pinned = |shard| world.snapshot.problem.shard(shard).is_some_and(|state| state.pinned);
    if source == target || !is_free || phase.is_over() || is_pinned(source) || is_pinned(target) {
        return;
    }
    world.snapshot.jobs.push(JobState {
        id: JobId(world.snapshot.jobs.len() as u64 + 1),
        kind: JobKind::Move,
        status: JobStatus::Running,
        migrations: vec![MigrationState { source, target, slots, phase }],
        new_shards: Vec::new(),
        removes: Vec::new(),
    });
    if phase.is_past_no_return() {
        world.snapshot.problem.slots[slot as usize].owner = target;
    }
}

fn statements() -> impl Strategy<Value = ShardStatement> {
    let shard = 1u64..7;
    prop_oneof![
        Just(ShardStatement::Rebalance { options: Vec::new() }),
        (shard.clone(), prop::option::of(0u32..5), any::<bool>())
            .prop_map(|(shard, into, at_load_midpoint)| { ShardStatement::Split { shard, into, at_load_midpoint } }),
        prop::collection::vec(shard.clone(), 2..4).prop_map(|shards| ShardStatement::Merge { shards }),
        (prop::collection::vec((0..SLOTS, 0u32..4), 1..3), shard.clone(), shard.clone()).prop_map(
            |(slots, from, to)| {
                let slots = slots.into_iter().map(|(first, more)| SlotRange { first, last: first + more }).collect();
                ShardStatement::MoveSlots { slots, from, to }
            }
        ),
        shard.prop_map(ShardStatement::RemoveShard),
        (1u64..4).prop_map(ShardStatement::UndoJob),
    ]
}

fn job_of(statement: &ShardStatement, snapshot: &Snapshot) -> Option<JobPlan> {
    match plan(statement, "", snapshot) {
        Ok(Outcome::Start(job)) => Some(*job),
        Ok(_) | Err(_) => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 512,
        rng_seed: RngSeed::Fixed(20_261_122),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn plans_leave_alone_what_is_not_theirs(world in worlds(), statement in statements()) {
        let Some(job) = job_of(&statement, &world.snapshot) else { return Ok(()) };
        let (problem, mut seen) = (&world.snapshot.problem, SlotSet::new());
        let at_hand: Vec<_> = world.snapshot.jobs.iter().flat_map(|job| job.at_hand()).collect();
        for step in &job.moves {
            for shard in [step.source, step.target] {
                let state = problem.shard(shard);
                prop_assert!(state.is_none_or(|state| !state.pinned && state.role != ShardRole::Unavailable));
                prop_assert!(state.is_some() || job.new_shards.contains(&shard));
            }
            prop_assert!(!step.slots.is_empty() && step.source != step.target);
            prop_assert!(step.slots.iter().all(|slot| problem.slots[slot.0 as usize].owner == step.source));
            prop_assert!(seen.intersection(&step.slots).is_empty(), "a slot twice");
            prop_assert!(at_hand.iter().all(|other| other.slots.intersection(&step.slots).is_empty()));
            prop_assert!(!job.removes.contains(&step.target));
            seen = seen.union(&step.slots);
        }
        for shard in &job.removes {
            prop_assert!(problem.slots_of(*shard).difference(&seen).is_empty(), "shard {shard} would not be empty");
            prop_assert!(at_hand.iter().all(|step| step.source != *shard && step.target != *shard));
        }
        prop_assert_eq!(job.summary.migrations, job.moves.len());
        prop_assert_eq!(job.summary.imbalance_before, imbalance(&world.snapshot.problem()));
        if let Some(made) = job.plan.as_ref().filter(|_| job.kind == JobKind::Rebalance) {
            prop_assert!((job.summary.imbalance_before - made.before).abs() < 1e-9);
            prop_assert!((job.summary.imbalance_after - made.after).abs() < 1e-9);
        }
    }

    #[test]
    fn a_job_is_persisted_as_it_is(world in worlds(), statement in statements()) {
        let Some(job) = job_of(&statement, &world.snapshot) else { return Ok(()) };
        let text = serde_json::to_string(&job).expect("a job is data");
        let read: JobPlan = serde_json::from_str(&text).expect("a job is data");
        // All but shares and deviations, which JSON may change in their last digit.
        let exact = |job: &JobPlan| {
            let step = |step: &Move| (step.source, step.target, step.slots.clone(), step.rows, step.bytes);
            let (new, removes, notices) = (job.new_shards.clone(), job.removes.clone(), job.notices.clone());
            (job.kind, job.moves.iter().map(step).collect::<Vec<_>>(), new, removes, notices, job.undoes)
        };
        prop_assert_eq!(exact(&read), exact(&job));
    }

    #[test]
    fn explain_never_differs_in_whether_there_is_a_plan(world in worlds(), statement in statements()) {
        let (planned, explained) = (plan(&statement, "", &world.snapshot), explain(&statement, "", &world.snapshot));
        match (planned, explained) {
            (Ok(Outcome::Start(job)), Ok(rows)) => {
                let moves = rows.iter().filter(|row| row.item.starts_with("move ")).count();
                prop_assert_eq!(moves, job.moves.len());
            }
            (Ok(_), Ok(rows)) => prop_assert!(!rows.is_empty()),
            (Err(planned), Err(explained)) => prop_assert_eq!(planned, explained),
            (planned, explained) => prop_assert!(false, "{planned:?} but {explained:?}"),
        }
    }

    #[test]
    fn undo_gives_back_the_old_map(mut world in worlds(), statement in statements()) {
        let Some(job) = job_of(&statement, &world.snapshot) else { return Ok(()) };
        // Nobody else is at work and no disk is full, so there is nothing in the way.
        prop_assume!(world.snapshot.jobs.is_empty() && !job.moves.is_empty());
        world.snapshot.problem.shards.iter_mut().for_each(|shard| shard.free_bytes = None);
        let owners = world.owners();
        world.carry_out(&job);
        let undo = job_of(&ShardStatement::UndoJob(1), &world.snapshot);
        let Some(undo) = undo else { return Err(TestCaseError::fail("there is no way back")) };
        world.carry_out(&undo);
        // Every shard has what it had; one that was removed has it under a new number.
        let (mut names, mut taken) = (BTreeMap::new(), BTreeMap::new());
        for (old, new) in owners.into_iter().zip(world.owners()) {
            prop_assert!(old == new || (job.removes.contains(&old) && undo.new_shards.contains(&new)));
            prop_assert_eq!(*names.entry(old).or_insert(new), new);
            prop_assert_eq!(*taken.entry(new).or_insert(old), old);
        }
        prop_assert!(job.new_shards.iter().all(|shard| world.snapshot.problem.shard(*shard).is_none()));
    }
}
