//! Shards that are beyond a limit of their own, however fairly the rest is shared out.
//!
//! WHAT MAY NEVER HAPPEN: a burst splits a shard; a shard is split again before the last split could show its effect;
//! slots leave a pinned shard.
//!
//! A shard is hot when the mean of its last measurements (ten of them, none missing) is beyond a limit, and stays so
//! until the mean is below nine tenths of it. It is relieved in the cheapest way that helps: its hottest slots move to
//! one shard that stays well below the limit itself; if there is none, it is split; if one slot is all the heat, nothing
//! can be done, and that is said.

use super::load::Dimension;
use super::plan::Move;
use super::problem::{Problem, ShardRole};
use super::reason::{Reason, percent, thousands};
use evenkeel_model::{ShardId, Slot};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;

/// Below this part of a limit a shard is no longer hot.
const RELEASE: f64 = 0.9;

/// Both sides of a move that relieves a hot shard end below this part of the limit.
const RELIEVED: f64 = 0.8;

/// What a shard can have too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HotDimension {
    /// Queries per second.
    Qps,
    /// Part of the processor time that it may use.
    Cpu,
    /// Part of the memory that it may use.
    Memory,
    /// Part of its disk.
    Storage,
    Connections,
    /// The 99th percentile, in milliseconds.
    Latency,
}

impl HotDimension {
    /// Every one of them, in the order of [`Gauges`].
    pub const ALL: [HotDimension; 6] =
        [Self::Qps, Self::Cpu, Self::Memory, Self::Storage, Self::Connections, Self::Latency];

    /// The word in SYSTEM tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Qps => "qps",
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Storage => "storage",
            Self::Connections => "connections",
            Self::Latency => "latency",
        }
    }

    /// A value with its unit.
    pub(super) fn show(self, value: f64) -> String {
        match self {
            Self::Qps => format!("{}/s", thousands(value.round() as u64)),
            Self::Cpu | Self::Memory | Self::Storage => percent(value),
            Self::Connections => thousands(value.round() as u64),
            Self::Latency => format!("{} ms", thousands(value.round() as u64)),
        }
    }

    /// The load of slots that makes a shard hot in this way. Memory, connections and latency can't be told apart by slot;
    /// they go with the queries.
    fn load(self) -> Dimension {
        match self {
            Self::Storage => Dimension::Bytes,
            Self::Cpu => Dimension::Cpu,
            Self::Qps | Self::Memory | Self::Connections | Self::Latency => Dimension::Qps,
        }
    }
}

impl fmt::Display for HotDimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One measurement of a shard, or the limits: amounts in the order of [`HotDimension::ALL`]. A limit of 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Gauges(pub [f64; 6]);

impl Gauges {
    /// The defaults of the settings `hot_max_…`.
    pub const LIMITS: Gauges = Gauges([10_000.0, 0.8, 0.8, 0.8, 1_000.0, 100.0]);

    /// The amount in a dimension.
    pub fn get(&self, dimension: HotDimension) -> f64 {
        self.0[dimension as usize]
    }
}

/// A shard beyond one of its limits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HotShard {
    pub shard: ShardId,
    pub dimension: HotDimension,
    /// The mean of the last measurements.
    pub value: f64,
    pub threshold: f64,
    /// Since when the mean has been beyond the limit.
    pub since_ms: i64,
    /// Until when nothing is done about it, because something has been done already.
    pub cooldown_until_ms: Option<i64>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Track {
    last: VecDeque<Gauges>,
    since_ms: [Option<i64>; 6],
    cooldown_until_ms: Option<i64>,
}

/// The last measurements of every shard, and which of them are hot.
#[derive(Clone, Debug, PartialEq)]
pub struct HotWatch {
    measurements_max: usize,
    tracks: BTreeMap<ShardId, Track>,
}

impl HotWatch {
    /// Judges by so many measurements, and at least one.
    pub fn new(measurements_max: usize) -> Self {
        Self { measurements_max: measurements_max.max(1), tracks: BTreeMap::new() }
    }

    /// Adds a measurement of every shard; shards that are missing are forgotten.
    pub fn record(&mut self, now_ms: i64, gauges: &[(ShardId, Gauges)], limits: &Gauges) {
        let measured: BTreeMap<_, _> = gauges.iter().copied().collect();
        self.tracks.retain(|shard, _| measured.contains_key(shard));
        for (shard, gauges) in measured {
            let track = self.tracks.entry(shard).or_default();
            if track.last.len() == self.measurements_max {
                track.last.pop_front();
            }
            track.last.push_back(gauges);
            track.judge(now_ms, limits, self.measurements_max);
        }
    }

    /// Takes note that something was done about a shard: until then it is left alone.
    pub fn cool(&mut self, shard: ShardId, until_ms: i64) {
        self.tracks.entry(shard).or_default().cooldown_until_ms = Some(until_ms);
    }

    /// Shards beyond their limits, the one furthest beyond first.
    pub fn hot(&self, now_ms: i64, limits: &Gauges) -> Vec<HotShard> {
        let mut hot: Vec<_> = self
            .tracks
            .iter()
            .flat_map(|(shard, track)| {
                HotDimension::ALL.into_iter().filter_map(move |dimension| {
                    Some(HotShard {
                        shard: *shard,
                        dimension,
                        value: track.mean(dimension),
                        threshold: limits.get(dimension),
                        since_ms: track.since_ms[dimension as usize]?,
                        cooldown_until_ms: track.cooldown_until_ms.filter(|until_ms| *until_ms > now_ms),
                    })
                })
            })
            .collect();
        let severity = |hot: &HotShard| hot.value / hot.threshold;
        hot.sort_by(|a, b| severity(b).total_cmp(&severity(a)).then(a.shard.cmp(&b.shard)));
        hot
    }
}

impl Track {
    fn mean(&self, dimension: HotDimension) -> f64 {
        self.last.iter().map(|gauges| gauges.get(dimension)).sum::<f64>() / self.last.len().max(1) as f64
    }

    fn judge(&mut self, now_ms: i64, limits: &Gauges, measurements: usize) {
        for dimension in HotDimension::ALL {
            let (mean, limit) = (self.mean(dimension), limits.get(dimension));
            let since = self.since_ms[dimension as usize];
            self.since_ms[dimension as usize] = match limit > 0.0 && self.last.len() == measurements {
                true if mean > limit => since.or(Some(now_ms)),
                true if mean >= limit * RELEASE => since,
                _ => None,
            };
        }
    }
}

/// What to do about a hot shard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Relief {
    /// Move its hottest slots to a shard that has room.
    MoveAway(Move),
    /// Split it into so many shards, at the load's midpoint: see [`split`](super::split).
    Split { shard: ShardId, parts: u32, reason: Reason },
    /// Nothing, and why.
    Nothing(Reason),
}

/// What to do about a hot shard: into `fanout` parts where it has to be split, and nothing where that is switched off.
pub fn relieve(problem: &Problem, hot: &HotShard, auto_split: bool, fanout: u32) -> Relief {
    let Some(state) = problem.shard(hot.shard) else {
        return Relief::Nothing(Reason::NoSuchShard { shard: hot.shard });
    };
    let cooling = hot.cooldown_until_ms.max(state.cooling_until_ms).filter(|until_ms| *until_ms > problem.now_ms);
    let slots: Vec<_> = (0..problem.slots.len()).filter(|at| problem.slots[*at].owner == hot.shard).collect();
    match cooling {
        _ if state.pinned => return Relief::Nothing(Reason::Pinned),
        Some(until_ms) => {
            return Relief::Nothing(Reason::CoolingDown { until_ms, left_ms: until_ms - problem.now_ms });
        }
        _ if state.role == ShardRole::Draining => return Relief::Nothing(Reason::Draining),
        _ if state.role == ShardRole::Unavailable => return Relief::Nothing(Reason::Unavailable),
        _ if !auto_split => return Relief::Nothing(Reason::AutoSplitOff),
        _ if slots.iter().any(|at| problem.slots[*at].moving_to.is_some()) => {
            return Relief::Nothing(Reason::AlreadyMoving);
        }
        _ if slots.len() < 2 => return Relief::Nothing(Reason::TooFewSlots { slots: slots.len() }),
        _ => {}
    }
    let dimension = hot.dimension.load();
    let loads: Vec<_> = slots.iter().map(|at| (problem.slots[*at].load[dimension], Slot(*at as u32))).collect();
    match move_away(problem, hot, loads.clone()) {
        Some(step) => Relief::MoveAway(step),
        None => split_or_not(hot, dimension, &loads, fanout),
    }
}

/// The hottest slots to the least loaded shard that can take as many as it needs.
fn move_away(problem: &Problem, hot: &HotShard, mut loads: Vec<(f64, Slot)>) -> Option<Move> {
    let dimension = hot.dimension.load();
    let total: f64 = loads.iter().map(|(load, _)| load).sum();
    // The load at which this shard would be at its limit, by the rule of three; it is taken to be everybody's.
    let allowed = RELIEVED * total * hot.threshold / hot.value;
    let mut targets: Vec<_> = problem
        .shards
        .iter()
        .filter(|shard| shard.id != hot.shard && shard.takes_part() && !shard.cools(problem.now_ms))
        .map(|shard| (carried(problem, shard.id, dimension), shard.id))
        .collect();
    targets.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let (carries, target) = *targets.first()?;
    loads.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let (mut shed, mut slots) = (0.0, Vec::new());
    for (load, slot) in loads {
        let has_room = carries + shed + load <= allowed;
        if load > 0.0 && total - shed > allowed && has_room {
            shed += load;
            slots.push(slot);
        }
    }
    let reason = Reason::Hot { dimension: hot.dimension, value: hot.value, threshold: hot.threshold };
    let slots = slots.into_iter().collect();
    let step = super::by_hand::admit(problem, hot.shard, target, &slots).ok()?;
    (total - shed <= allowed).then_some(Move { reason, ..step })
}

fn carried(problem: &Problem, shard: ShardId, dimension: Dimension) -> f64 {
    let holds = |slot: &&super::SlotState| slot.moving_to.unwrap_or(slot.owner) == shard;
    problem.slots.iter().filter(holds).map(|slot| slot.load[dimension]).sum()
}

fn split_or_not(hot: &HotShard, dimension: Dimension, loads: &[(f64, Slot)], fanout: u32) -> Relief {
    let total: f64 = loads.iter().map(|(load, _)| load).sum();
    let hottest = loads.iter().copied().reduce(|a, b| if b.0 > a.0 { b } else { a });
    if let Some((load, slot)) = hottest.filter(|(load, _)| total > 0.0 && *load > RELIEVED * total) {
        return Relief::Nothing(Reason::SlotTooBig {
            slot,
            dimension,
            share: load / total,
            fair_share: 1.0 / f64::from(fanout.max(2)),
        });
    }
    let reason = Reason::Hot { dimension: hot.dimension, value: hot.value, threshold: hot.threshold };
    Relief::Split { shard: hot.shard, parts: fanout.clamp(2, loads.len() as u32), reason }
}

#[cfg(test)]
mod tests {
    use super::super::load::Load;
    use super::super::problem::{ShardState, SlotState};
    use super::*;
    use evenkeel_model::SlotSet;

    fn qps(qps: f64) -> Gauges {
        Gauges([qps, 0.1, 0.1, 0.1, 10.0, 5.0])
    }

    fn watched(measurements: &[f64]) -> Vec<HotShard> {
        let mut watch = HotWatch::new(10);
        let mut now_ms = 0;
        for measurement in measurements {
            now_ms += 10_000;
            watch.record(now_ms, &[(ShardId(1), qps(*measurement)), (ShardId(2), qps(1.0))], &Gauges::LIMITS);
        }
        watch.hot(now_ms, &Gauges::LIMITS)
    }

    #[test]
    fn a_shard_is_hot_after_ten_measurements_and_not_for_a_burst() {
        assert_eq!(watched(&[20_000.0; 9]), []);
        let hot = watched(&[20_000.0; 12]);
        assert_eq!((hot.len(), hot[0].shard, hot[0].since_ms, hot[0].value), (1, ShardId(1), 100_000, 20_000.0));
        let burst = [[9_000.0; 10].as_slice(), &[18_000.0]].concat();
        assert_eq!(watched(&burst), []);
    }

    #[test]
    fn a_shard_stays_hot_until_it_is_well_below_the_limit() {
        let cooler = [[11_000.0; 10].as_slice(), &[9_500.0; 20]].concat();
        assert_eq!(watched(&cooler).len(), 1);
        let cold = [[11_000.0; 10].as_slice(), &[8_500.0; 20]].concat();
        assert_eq!(watched(&cold), []);
    }

    fn hot() -> HotShard {
        let (dimension, value, threshold) = (HotDimension::Qps, 20_000.0, 10_000.0);
        HotShard { shard: ShardId(1), dimension, value, threshold, since_ms: 0, cooldown_until_ms: None }
    }

    fn problem(own: &[f64], others: &[f64]) -> Problem {
        let slot = |shard: u32| {
            move |qps: &f64| SlotState {
                owner: ShardId(shard),
                load: Load::of_slot(1e4, 1e6, *qps, 0.0),
                moving_to: None,
            }
        };
        let slots = own.iter().map(slot(1)).chain(others.iter().map(slot(2))).collect();
        Problem::new(1, [1, 2].map(|id| ShardState::new(ShardId(id))).to_vec(), slots)
    }

    #[test]
    fn the_hottest_slots_move_where_there_is_room_and_else_it_is_split() {
        let hot = HotShard { value: 12_000.0, ..hot() };
        // 12,000/s come down to 8,000/s, and shard 2 may carry as much: one slot is enough, and fits.
        let relief = relieve(&problem(&[1_200.0, 5_400.0, 1_800.0, 3_600.0], &[500.0]), &hot, true, 2);
        let Relief::MoveAway(step) = relief else { panic!("there is room: {relief:?}") };
        assert_eq!((step.target, step.slots), (ShardId(2), SlotSet::range(Slot(1), Slot(1))));
        let crowded = relieve(&problem(&[1_200.0, 5_400.0, 1_800.0, 3_600.0], &[6_000.0]), &hot, true, 2);
        assert!(matches!(crowded, Relief::Split { shard: ShardId(1), parts: 2, .. }), "{crowded:?}");
    }

    #[test]
    fn what_can_not_be_done_is_said() {
        let tenant = relieve(&problem(&[19e3, 1e3], &[0.0]), &hot(), true, 2);
        assert!(matches!(tenant, Relief::Nothing(Reason::SlotTooBig { slot: Slot(0), .. })), "{tenant:?}");
        assert_eq!(relieve(&problem(&[5e3; 4], &[0.0]), &hot(), false, 2), Relief::Nothing(Reason::AutoSplitOff));
        assert_eq!(
            relieve(&problem(&[5e3], &[0.0]), &hot(), true, 2),
            Relief::Nothing(Reason::TooFewSlots { slots: 1 })
        );
        let cooling = HotShard { cooldown_until_ms: Some(9), ..hot() };
        let reason = relieve(&problem(&[5e3; 4], &[0.0]), &cooling, true, 2);
        assert_eq!(reason, Relief::Nothing(Reason::CoolingDown { until_ms: 9, left_ms: 8 }));
        let mut pinned = problem(&[5e3; 4], &[0.0]);
        pinned.shards[0].pinned = true;
        assert_eq!(relieve(&pinned, &hot(), true, 2), Relief::Nothing(Reason::Pinned));
    }
}
