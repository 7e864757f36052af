//! What may never happen to a plan, tried on thousands of random clusters.
//!
//! Every property is checked against the definitions in the balancer's essay, computed here a second time in the plainest
//! way. The seed is fixed, so that a failure is the same on every machine; set `BALANCE_SEED` to try others.

#![allow(clippy::print_stdout)] // the seed of a failure, and how far greedy is from the best

use evenkeel_model::{ShardId, Slot, SlotSet};
use evenkeel_rebalancer::balance::{
    Dimension, History, Load, PendingDrop, Plan, Problem, Reason, ShardRole, ShardState, SlotState, SplitAt,
    Strategy as Strat, Watch, check, drain, measure, plan, split,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

const CASES: u32 = 1_500;

/// Clusters with thousands of slots take their time without optimisation.
const LARGE_CASES: u32 = 150;

/// Runs a property on random values with the fixed seed.
fn always<S: Strategy>(values: S, property: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    in_cases(CASES, values, property);
}

fn in_cases<S: Strategy>(cases: u32, values: S, property: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let seed: u8 = std::env::var("BALANCE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(42);
    println!("BALANCE_SEED={seed}");
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
    if let Err(error) = TestRunner::new_with_rng(config, rng).run(&values, property) {
        panic!("{error}\nBALANCE_SEED={seed}");
    }
}

/// A slot's load: from nothing, over all alike, to a few giants among many dwarfs.
fn load() -> impl Strategy<Value = Load> {
    let amount = prop_oneof![
        1 => Just(0.0),
        6 => 0.5..1.5f64,
        2 => 0.0..4.0f64,
        1 => (1.0..6.0f64).prop_map(|power| power.exp2()),
    ];
    (amount.clone(), amount, any::<bool>()).prop_map(|(size, heat, goes_along)| {
        let heat = if goes_along { size } else { heat };
        Load::of_slot(size * 1e5, size * 1e7, heat * 1e3, heat * 0.5)
    })
}

fn shard(id: u32) -> impl Strategy<Value = ShardState> {
    let role = prop_oneof![
        12 => Just(ShardRole::Active),
        1 => Just(ShardRole::Draining),
        1 => Just(ShardRole::Unavailable),
    ];
    let free = prop_oneof![4 => Just(None), 1 => (0u64..400_000_000).prop_map(Some), 1 => Just(Some(0))];
    let capacity = prop_oneof![5 => Just(0.0), 1 => 1e9..4e9f64];
    let cooling = prop_oneof![9 => Just(None), 1 => Just(Some(2_000)), 1 => Just(Some(500))];
    (role, prop::bool::weighted(0.1), cooling, free, capacity).prop_map(
        move |(role, pinned, cooling_until_ms, free_bytes, capacity)| ShardState {
            role,
            pinned,
            cooling_until_ms,
            free_bytes,
            capacity: Load { bytes: capacity, ..Load::ZERO },
            ..ShardState::new(ShardId(id))
        },
    )
}

fn strategy() -> impl Strategy<Value = Strat> {
    prop::sample::select(Strat::ALL.to_vec())
}

prop_compose! {
    /// Up to ten shards with up to 200 slots, as crooked as can be.
    fn cluster()(shards in 1u32..10, slots in 0usize..200)(
        shards in (1..=shards).map(shard).collect::<Vec<_>>(),
        // The minimum of two is a shard with a low number more often: skewed ownership.
        slots in prop::collection::vec((0..shards, 0..shards, load(), prop::option::weighted(0.05, 0..shards)), slots),
        strategy in strategy(),
        target in prop::sample::select(vec![0.01, 0.05, 0.1]),
        limits in (prop::option::weighted(0.2, 0usize..6), prop::option::weighted(0.2, 0u64..500_000_000),
            prop::option::weighted(0.2, 1u64..100_000_000)),
        drops in prop::collection::vec((0u32..200, 0u32..60, 1..=shards), 0..3),
    ) -> Problem {
        let slot = |(a, b, load, moving): (u32, u32, Load, Option<u32>)| SlotState {
            owner: ShardId(a.min(b) + 1), load, moving_to: moving.map(|at| ShardId(at + 1)),
        };
        let mut problem = Problem::new(1_000, shards, slots.into_iter().map(slot).collect());
        (problem.strategy, problem.target_imbalance) = (strategy, target);
        (problem.limits.moves_max, problem.limits.bytes_max, problem.limits.move_bytes_max) = limits;
        problem.pending_drops = drops.into_iter().map(|(first, length, shard)| PendingDrop {
            slots: SlotSet::range(Slot(first), Slot(first + length)), shard: ShardId(shard),
        }).collect();
        problem
    }
}

/// Nothing in the way, and slots that are fine enough for any target.
fn open_cluster() -> impl Strategy<Value = Problem> {
    let slots = prop::collection::vec((0u32..8, 0u32..8, 0.5..1.5f64), 2_000..4_000);
    (slots, 3u32..8, prop::sample::select(vec![Strat::Rows, Strat::Size, Strat::Uniform, Strat::Adaptive])).prop_map(
        |(slots, shards, strategy)| {
            let slot = |(a, b, size): (u32, u32, f64)| SlotState {
                owner: ShardId(a.min(b) % shards + 1),
                load: Load::of_slot(size * 1e5, size * 1e7, size * 1e3, size * 0.5),
                moving_to: None,
            };
            let shards = (1..=shards).map(|id| ShardState::new(ShardId(id))).collect();
            Problem { strategy, ..Problem::new(1_000, shards, slots.into_iter().map(slot).collect()) }
        },
    )
}

/// Nothing in the way, and slots so coarse that it matters which ones go together.
fn coarse_cluster() -> impl Strategy<Value = Problem> {
    let size = prop_oneof![3 => 0.2..2.0f64, 1 => Just(1.0)];
    let capacities = prop_oneof![3 => Just(vec![0.0; 24]), 1 => prop::collection::vec(1e11..2e11f64, 24)];
    let strategy = prop::sample::select(vec![Strat::Rows, Strat::Uniform, Strat::Adaptive]);
    (prop::collection::vec((0u32..24, 0u32..24, size), 4..160), 2u32..24, capacities, strategy).prop_map(
        |(slots, shards, capacities, strategy)| {
            let slot = |(a, b, size): (u32, u32, f64)| SlotState {
                owner: ShardId(a.min(b) % shards + 1),
                load: Load::of_slot(size * 1e6, size * 1e7, size * 1e4, size * 5.0),
                moving_to: None,
            };
            let shard = |id: u32| ShardState {
                capacity: Load { bytes: capacities[id as usize], ..Load::ZERO },
                ..ShardState::new(ShardId(id))
            };
            let shards = (1..=shards).map(shard).collect();
            Problem { strategy, ..Problem::new(1_000, shards, slots.into_iter().map(slot).collect()) }
        },
    )
}

/// The stated measure: slots on draining shards, then the sum of the squares of all deviations. And the worst of them.
fn badness(problem: &Problem, fair: &BTreeMap<(ShardId, Dimension), f64>, owners: &[ShardId]) -> (usize, f64, f64) {
    let mut loads: BTreeMap<ShardId, Load> = BTreeMap::new();
    for (owner, slot) in owners.iter().zip(&problem.slots) {
        *loads.entry(slot.moving_to.unwrap_or(*owner)).or_default() += Load { slots: 1.0, ..slot.load };
    }
    let is_draining = |id: &ShardId| problem.shard(*id).is_some_and(|shard| shard.role == ShardRole::Draining);
    let draining = owners.iter().zip(&problem.slots).filter(|(o, s)| is_draining(&s.moving_to.unwrap_or(**o))).count();
    let load = |shard: &ShardId| loads.get(shard).copied().unwrap_or_default();
    let deviations = fair.iter().map(|((shard, d), fair)| (load(shard)[*d] / fair - 1.0).abs());
    deviations.fold((draining, 0.0, 0.0), |(n, sum, worst), x| (n, sum + x * x, f64::max(worst, x)))
}

/// What is fair for every shard in every dimension that counts.
fn fair_shares(problem: &Problem, made: &Plan) -> BTreeMap<(ShardId, Dimension), f64> {
    let mut fair = BTreeMap::new();
    let taking: Vec<_> = problem.shards.iter().filter(|s| s.role == ShardRole::Active && !s.pinned).collect();
    let shares = |shard: &&&ShardState| !shard.pinned && shard.role != ShardRole::Unavailable;
    let all: Vec<_> = problem.shards.iter().collect();
    let sharing: BTreeSet<_> = all.iter().filter(shares).map(|shard| shard.id).collect();
    let total: Load = problem
        .slots
        .iter()
        .filter(|slot| sharing.contains(&slot.moving_to.unwrap_or(slot.owner)))
        .map(|slot| Load { slots: 1.0, ..slot.load })
        .sum();
    let known: Vec<_> = taking.iter().map(|shard| shard.capacity.bytes).filter(|bytes| *bytes > 0.0).collect();
    let mean = if known.is_empty() { 1.0 } else { known.iter().sum::<f64>() / known.len() as f64 };
    let weight = |shard: &ShardState| if shard.capacity.bytes > 0.0 { shard.capacity.bytes } else { mean };
    let weights: f64 = taking.iter().map(|shard| weight(shard)).sum();
    let counts = |d: &&Dimension| total[**d] > 0.0 && total[**d] >= problem.thresholds.floor[**d] * taking.len() as f64;
    let mut counting: Vec<_> = problem.strategy.dimensions().iter().filter(counts).copied().collect();
    if counting.is_empty() {
        counting = vec![Dimension::Slots];
    }
    for shard in taking {
        for d in counting.iter().filter(|d| total[**d] > 0.0) {
            fair.insert((shard.id, *d), total[*d] * weight(shard) / weights);
        }
    }
    assert!(made.standings.len() == problem.shards.len());
    fair
}

/// What moves in a plan, of the strategy's first dimension, and what shards had beyond their fair share of it.
fn moved_and_excess(problem: &Problem, made: &Plan) -> (f64, f64) {
    let d = problem.strategy.dimensions()[0];
    let amount = |slot: &SlotState| Load { slots: 1.0, ..slot.load }[d];
    let slots = made.moves.iter().flat_map(|step| step.slots.iter());
    let moved = slots.map(|slot| amount(&problem.slots[slot.0 as usize])).sum();
    let mut held = BTreeMap::new();
    problem.slots.iter().for_each(|slot| *held.entry(slot.owner).or_insert(0.0) += amount(slot));
    let fair = fair_shares(problem, made);
    let excess = held.iter().map(|(shard, held)| (held - fair[&(*shard, d)]).max(0.0)).sum();
    (moved, excess)
}

#[test]
fn every_move_is_allowed() {
    always(cluster(), |problem| {
        let made = plan(&problem, None);
        let mut moved = SlotSet::new();
        let state = |id: ShardId| problem.shard(id).expect("a shard of the problem");
        for step in &made.moves {
            let (source, target) = (state(step.source), state(step.target));
            prop_assert!(step.source != step.target && !step.slots.is_empty());
            for shard in [source, target] {
                prop_assert!(!shard.pinned && shard.role != ShardRole::Unavailable);
                prop_assert!(shard.cooling_until_ms.is_none_or(|until_ms| until_ms <= problem.now_ms));
            }
            prop_assert!(target.role == ShardRole::Active);
            prop_assert!(moved.intersection(&step.slots).is_empty(), "a slot moves twice");
            moved = moved.union(&step.slots);
            for slot in step.slots.iter() {
                let slot = &problem.slots[slot.0 as usize];
                prop_assert!(slot.owner == step.source && slot.moving_to.is_none());
            }
            for drop in problem.pending_drops.iter().filter(|drop| drop.shard == step.target) {
                prop_assert!(drop.slots.intersection(&step.slots).is_empty());
            }
            let load: Load = step.slots.iter().map(|slot| problem.slots[slot.0 as usize].load).sum();
            prop_assert!((load.bytes - step.bytes as f64).abs() <= 1.0 && (load.rows - step.rows as f64).abs() <= 1.0);
        }
        Ok(())
    });
}

#[test]
fn every_prefix_of_a_plan_is_an_improvement() {
    always(cluster(), |problem| {
        let made = plan(&problem, None);
        let fair = fair_shares(&problem, &made);
        let mut owners: Vec<_> = problem.slots.iter().map(|slot| slot.owner).collect();
        let start = badness(&problem, &fair, &owners);
        let mut before = start;
        for step in &made.moves {
            step.slots.iter().for_each(|slot| owners[slot.0 as usize] = step.target);
            let after = badness(&problem, &fair, &owners);
            let is_better = after.0 < before.0 || (after.0 == before.0 && after.1 < before.1);
            prop_assert!(is_better, "{step}\n{before:?}\n{after:?}");
            prop_assert!(start.0 > 0 || after.2 <= start.2 + problem.target_imbalance + 1e-6, "{start:?} {after:?}");
            before = after;
        }
        prop_assert!(start.0 > 0 || before.2 <= start.2 + 1e-6, "the worst is {} and was {}", before.2, start.2);
        prop_assert!((made.after - before.2).abs() < 1e-6, "{} and not {}", made.after, before.2);
        Ok(())
    });
}

/// All clusters of three shards and six slots, with four kinds of load: 2,916 of them. Each is improved and then steady,
/// and the outcome is held against the best of all 729 assignments.
#[test]
fn every_small_cluster_is_improved_and_then_steady() {
    let kinds: [[f64; 6]; 4] = [[1.0; 6], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [9.0, 1.0, 1.0, 1.0, 1.0, 1.0], [0.0; 6]];
    let owners = |number: u32| (0..6).map(|at| ShardId(number / 3u32.pow(at) % 3 + 1)).collect::<Vec<_>>();
    let (mut gaps, mut largest) = (0.0, 0.0f64);
    for sizes in kinds {
        let mut best = f64::INFINITY;
        let mut reached = Vec::new();
        for number in 0..3u32.pow(6) {
            let load = |size: &f64| Load::of_slot(size * 1e5, size * 1e7, 0.0, 0.0);
            let slot = |(owner, size)| SlotState { owner, load: load(size), moving_to: None };
            let slots = owners(number).into_iter().zip(&sizes).map(slot).collect();
            let problem = Problem::new(0, (1..=3).map(|id| ShardState::new(ShardId(id))).collect(), slots);
            let made = plan(&problem, None);
            let fair = fair_shares(&problem, &made);
            best = best.min(badness(&problem, &fair, &owners(number)).2);
            let outcome = made.outcome(&problem);
            let after: Vec<_> = outcome.slots.iter().map(|slot| slot.owner).collect();
            let worst = badness(&problem, &fair, &after).2;
            assert!(worst <= made.before + 1e-9 && (worst - made.after).abs() < 1e-9);
            assert!(plan(&outcome, Some(&made)).moves.is_empty());
            reached.push(worst);
        }
        let gap = reached.iter().map(|worst| worst - best).sum::<f64>() / reached.len() as f64;
        let most = reached.iter().map(|worst| worst - best).fold(0.0, f64::max);
        println!("{sizes:?}: best is {best:.3}, plans are {gap:.3} above it on average, {most:.3} at most");
        (gaps, largest) = (gaps + gap / kinds.len() as f64, largest.max(most));
    }
    // Greedy is not optimal where a shard has two slots. These are the measured gaps, rounded up: it must not get worse.
    assert!(gaps < 0.03 && largest < 0.3, "{gaps} on average, {largest} at most");
}

#[test]
fn targets_have_room_while_both_copies_exist() {
    always(cluster(), |problem| {
        let made = plan(&problem, None);
        for shard in &problem.shards {
            let coming: u64 = made.moves.iter().filter(|step| step.target == shard.id).map(|step| step.bytes).sum();
            let arriving = problem.slots.iter().filter(|slot| slot.moving_to == Some(shard.id));
            let arriving: f64 = arriving.map(|slot| slot.load.bytes).sum();
            let owned: f64 =
                problem.slots.iter().filter(|slot| slot.owner == shard.id).map(|slot| slot.load.bytes).sum();
            let slack = made.moves.len() as f64 + 1.0;
            if coming > 0 {
                let (coming, capacity) = (coming as f64 + arriving, shard.capacity.bytes);
                prop_assert!(shard.free_bytes.is_none_or(|free| coming <= free as f64 + slack));
                prop_assert!(capacity == 0.0 || owned + coming <= capacity * (1.0 + 1e-6) + slack);
            }
        }
        Ok(())
    });
}

#[test]
fn a_plan_after_its_own_outcome_is_empty() {
    always((cluster(), 0i64..3_000_000), |(problem, later_ms)| {
        let made = plan(&problem, None);
        let drains = problem.shards.iter().any(|shard| shard.role == ShardRole::Draining);
        // A budget may end a plan early; and room that the first plan freed may let a drain go on.
        if made.cut || drains {
            return Ok(());
        }
        let mut outcome = made.outcome(&problem);
        let again = plan(&outcome, Some(&made));
        prop_assert!(again.moves.is_empty(), "{:?}\n{:?}", made, again.moves);
        // Not only right after. Cooldowns are over then, which is a reason to look again.
        if problem.shards.iter().all(|shard| shard.cooling_until_ms.is_none()) {
            outcome.now_ms += later_ms;
            prop_assert!(plan(&outcome, Some(&made)).moves.is_empty());
        }
        Ok(())
    });
}

#[test]
fn nothing_goes_back_where_it_came_from_while_it_settles() {
    always((cluster(), prop::collection::vec(load(), 200)), |(mut problem, loads)| {
        let made = plan(&problem, None);
        problem = made.outcome(&problem);
        problem.now_ms += 60_000;
        problem.slots.iter_mut().zip(loads).for_each(|(slot, load)| slot.load = load);
        let next = plan(&problem, Some(&made));
        for (was, is) in made.moves.iter().flat_map(|was| next.moves.iter().map(move |is| (was, is))) {
            let returned = was.slots.intersection(&is.slots);
            prop_assert!(was.source != is.target || returned.is_empty(), "{was}\n{is}");
        }
        Ok(())
    });
}

#[test]
fn plans_depend_on_nothing_but_the_problem() {
    always(cluster(), |problem| {
        let mut reversed = problem.clone();
        reversed.shards.reverse();
        let made = plan(&problem, None);
        prop_assert_eq!(&made, &plan(&problem, None));
        prop_assert_eq!(&made, &plan(&reversed, None));
        Ok(())
    });
}

#[test]
fn limits_hold_and_every_shard_has_its_reason() {
    always(cluster(), |problem| {
        let made = plan(&problem, None);
        let limits = &problem.limits;
        prop_assert!(limits.moves_max.is_none_or(|most| made.moves.len() <= most));
        prop_assert!(limits.bytes_max.is_none_or(|most| made.bytes() <= most + made.moves.len() as u64));
        let touched: BTreeSet<_> = made.moves.iter().flat_map(|step| [step.source, step.target]).collect();
        for shard in &problem.shards {
            let reason = made.reason(shard.id);
            prop_assert!(touched.contains(&shard.id) || reason.is_some(), "no word about shard {}", shard.id);
            prop_assert!(reason.is_none_or(|reason| !reason.to_string().is_empty()));
            prop_assert!(!shard.pinned || reason == Some(&Reason::Pinned));
        }
        Ok(())
    });
}

#[test]
fn fine_slots_reach_the_target_and_little_more_than_the_excess_moves() {
    in_cases(LARGE_CASES, open_cluster(), |problem| {
        let made = plan(&problem, None);
        prop_assert!(made.after <= problem.target_imbalance + 1e-9, "{}", made.after);
        let (moved, excess) = moved_and_excess(&problem, &made);
        prop_assert!(moved <= 1.1 * excess, "{moved} of {excess}");
        prop_assert!(made.moves.len() < problem.shards.len(), "n shards, at most n − 1 pairs");
        Ok(())
    });
}

#[test]
fn no_layout_is_better_than_the_best_possible() {
    let size = prop_oneof![4 => 0.5..2.0f64, 1 => 2.0..9.0f64, 1 => Just(1.0)];
    let clusters = (prop::collection::vec(size, 1..7), prop::collection::vec(1.0..2.0f64, 3), any::<bool>(), 2u32..4);
    in_cases(LARGE_CASES, clusters, |(sizes, capacities, is_even, shards)| {
        let slot = |size: &f64| SlotState {
            owner: ShardId(1),
            load: Load::of_slot(size * 1e6, size * 1e7, 0.0, 0.0),
            moving_to: None,
        };
        let bytes = |id: u32| if is_even { 0.0 } else { capacities[id as usize - 1] * 1e9 };
        let shard =
            |id: u32| ShardState { capacity: Load { bytes: bytes(id), ..Load::ZERO }, ..ShardState::new(ShardId(id)) };
        let slots: Vec<_> = sizes.iter().map(slot).collect();
        let problem = Problem::new(0, (1..=shards).map(shard).collect(), slots);
        let made = plan(&problem, None);
        let Some(granularity) = &made.granularity else { return Ok(()) };
        let fair = fair_shares(&problem, &made);
        let layouts = 0..shards.pow(sizes.len() as u32);
        let owner = |layout: u32, at: u32| ShardId(layout / shards.pow(at) % shards + 1);
        let worst = layouts.map(|layout| {
            let owners: Vec<_> = (0..sizes.len() as u32).map(|at| owner(layout, at)).collect();
            badness(&problem, &fair, &owners).2
        });
        let best = worst.fold(f64::INFINITY, f64::min);
        prop_assert!(granularity.best() <= best + 1e-9, "{granularity:?}, and {best} is possible");
        prop_assert!(granularity.best() > problem.target_imbalance && made.after >= granularity.best() - 1e-9);
        Ok(())
    });
}

#[test]
fn coarse_slots_are_exchanged_for_few_bytes_and_what_is_out_of_reach_is_said() {
    let (reached, moves) = (Cell::new(0), Cell::new((0.0, 0.0)));
    always(coarse_cluster(), |problem| {
        let made = plan(&problem, None);
        let outcome = made.outcome(&problem);
        prop_assert!(plan(&outcome, Some(&made)).moves.is_empty());
        let fair = fair_shares(&problem, &made);
        let mut owners: Vec<_> = problem.slots.iter().map(|slot| slot.owner).collect();
        let mut before = badness(&problem, &fair, &owners);
        for step in &made.moves {
            step.slots.iter().for_each(|slot| owners[slot.0 as usize] = step.target);
            let after = badness(&problem, &fair, &owners);
            prop_assert!(after.1 < before.1, "{step}\n{before:?}\n{after:?}");
            before = after;
        }
        let best = made.granularity.as_ref().map_or(0.0, |granularity| granularity.best());
        prop_assert!(made.after >= best - 1e-9, "{} is better than {best}", made.after);
        for (shard, reason) in &made.left_alone {
            let Reason::OutOfReach { deviation, target, best: said, .. } = reason else { continue };
            prop_assert!(said > target && deviation > target && *said <= best + 1e-9, "shard {shard}: {reason}");
        }
        let (moved, excess) = moved_and_excess(&problem, &made);
        moves.set((moves.get().0 + moved / excess.max(1.0), moves.get().1 + 1.0));
        reached.set(reached.get() + u32::from(made.after <= best.max(problem.target_imbalance) + 1e-9));
        Ok(())
    });
    let (reached, (ratios, plans)) = (f64::from(reached.get()) / moves.get().1, moves.get());
    println!(
        "{reached:.2} of the plans reach the target or the best possible; {:.3} of the excess moves",
        ratios / plans
    );
    // Measured, and rounded: it must not get worse. The best possible is a bound that can't always be reached.
    assert!(reached > 0.75 && ratios < 1.1 * plans, "{reached}, {ratios} of {plans}");
}

#[test]
fn minimal_movement_ends_below_the_triggers_and_moves_less() {
    in_cases(LARGE_CASES, open_cluster(), |problem| {
        let adaptive = plan(&Problem { strategy: Strat::Adaptive, ..problem.clone() }, None);
        let minimal = Problem { strategy: Strat::MinimizeMovement, ..problem };
        let made = plan(&minimal, None);
        prop_assert!(!measure(&made.outcome(&minimal)).exceeds());
        prop_assert!(made.bytes() <= adaptive.bytes(), "{} and {}", made.bytes(), adaptive.bytes());
        Ok(())
    });
}

#[test]
fn a_split_deals_its_load_out_evenly() {
    always((prop::collection::vec(load(), 2..60), 1u32..4, any::<bool>()), |(loads, parts, by_load)| {
        let slot = |load: &Load| SlotState { owner: ShardId(1), load: *load, moving_to: None };
        let problem = Problem::new(0, vec![ShardState::new(ShardId(1))], loads.iter().map(slot).collect());
        let into: Vec<_> = (2..2 + parts).map(ShardId).collect();
        let at = if by_load { SplitAt::LoadMidpoint } else { SplitAt::Rows };
        let Ok(moves) = split(&problem, ShardId(1), &into, at) else {
            prop_assert!(loads.len() <= parts as usize);
            return Ok(());
        };
        let mut stays = problem.slots_of(ShardId(1));
        for (step, target) in moves.iter().zip(&into) {
            prop_assert!(step.target == *target && !step.slots.is_empty());
            prop_assert_eq!(&step.slots.difference(&stays), &SlotSet::new(), "a slot moves twice");
            stays = stays.difference(&step.slots);
        }
        prop_assert!(!stays.is_empty() && moves.len() == into.len());
        let total: Load = loads.iter().copied().sum();
        let d = match at {
            SplitAt::Rows => Dimension::Rows,
            SplitAt::LoadMidpoint => Dimension::Qps,
        };
        if total[d] > 0.0 {
            let amount = |set: &SlotSet| set.iter().map(|slot| loads[slot.0 as usize][d]).sum::<f64>();
            let largest = loads.iter().map(|load| load[d]).fold(0.0, f64::max);
            let most = moves.iter().map(|step| amount(&step.slots)).fold(amount(&stays), f64::max);
            let fair = total[d] / f64::from(parts + 1);
            prop_assert!(most <= 1.06 * fair + largest, "{most} of {fair}, largest {largest}");
        }
        Ok(())
    });
}

#[test]
fn drains_empty_a_shard_wherever_there_is_room() {
    in_cases(LARGE_CASES, (open_cluster(), 1u32..4), |(problem, shard)| {
        let shard = ShardId(shard);
        let made = drain(&problem, shard, None);
        let outcome = made.outcome(&problem);
        prop_assert!(outcome.slots_of(shard).is_empty());
        prop_assert!(made.moves.iter().all(|step| step.source == shard && step.reason == Reason::Draining));
        let mut drained = outcome.clone();
        drained.shards.iter_mut().filter(|state| state.id == shard).for_each(|state| state.role = ShardRole::Draining);
        let again = drain(&outcome, shard, Some(&made));
        prop_assert_eq!(again.moves.len(), 0);
        prop_assert_eq!(again.reason(shard), Some(&Reason::Empty));
        Ok(())
    });
}

/// A day in which the load moves slowly from one end of the slots to the other and back, with noise: the balancer follows,
/// and no slot comes back to where it was within the hour.
#[test]
fn slowly_moving_load_is_followed_without_thrashing() {
    let minutes = 24 * 60;
    let slots = 512usize;
    let shards: Vec<_> = (1..=8).map(|id| ShardState::new(ShardId(id))).collect();
    let mut owners: Vec<_> = (0..slots).map(|slot| ShardId((slot * 8 / slots) as u32 + 1)).collect();
    let mut history = History::new(History::MEASUREMENTS);
    let (mut watch, mut previous, mut left) = (Watch::default(), None::<Plan>, BTreeMap::new());
    let (mut plans, mut moved, mut noise) = (0, 0, 12_345u64);
    for minute in 0..minutes {
        let wave = std::f64::consts::TAU * f64::from(minute) / f64::from(minutes);
        let loads = (0..slots).map(|slot| {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let jitter = 0.8 + 0.4 * (noise >> 40) as f64 / (1u64 << 24) as f64;
            let heat = 1.0 + 0.8 * (wave + slot as f64 * std::f64::consts::TAU / slots as f64).sin();
            Load::of_slot(1e4, 1e6, heat * jitter * 100.0, heat * jitter * 0.1)
        });
        history.record(loads.collect());
        let slot = |(owner, load): (&ShardId, Load)| SlotState { owner: *owner, load, moving_to: None };
        let states = owners.iter().zip(history.smoothed()).map(slot).collect();
        let problem = Problem::new(i64::from(minute) * 60_000, shards.clone(), states);
        watch = watch.next(&measure(&problem));
        let (_, Some(made)) = check(&problem, watch, previous.as_ref(), true) else { continue };
        plans += 1;
        for (step, slot) in made.moves.iter().flat_map(|step| step.slots.iter().map(move |slot| (step, slot))) {
            moved += 1;
            let back = left.insert((slot, step.source), minute);
            if let Some(at) = left.get(&(slot, step.target)) {
                assert!(minute - at >= 60, "slot {slot} is back at shard {} after {} min", step.target, minute - at);
            }
            assert!(back.is_none_or(|at| minute - at >= 60));
            owners[slot.0 as usize] = step.target;
        }
        (previous, watch) = (Some(made), Watch::default());
    }
    println!("{plans} plans moved {moved} slots of {slots} in a day");
    assert!(plans > 0, "the load does move");
    assert!(moved < 8 * slots, "{moved} slots moved in {plans} plans: that is thrashing");
}
