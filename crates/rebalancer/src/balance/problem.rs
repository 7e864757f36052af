//! Everything that a decision about moving slots may depend on: no clock, no setting, no shard is asked besides.

use super::load::{Dimension, Load};
use evenkeel_model::SlotSet;
use evenkeel_model::slot::{ShardId, Slot};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a plan makes even.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Rows, bytes, qps and cpu at once; none is pushed out of balance for another.
    #[default]
    Adaptive,
    /// Rows only.
    Rows,
    /// Bytes only.
    Size,
    /// Qps and cpu.
    Load,
    /// The number of slots.
    Uniform,
    /// As adaptive, and only shards beyond a trigger threshold are brought back, no further than below it.
    MinimizeMovement,
}

impl Strategy {
    /// Every strategy.
    pub const ALL: [Strategy; 6] =
        [Self::Adaptive, Self::Rows, Self::Size, Self::Load, Self::Uniform, Self::MinimizeMovement];

    /// The word in PQL.
    pub fn name(self) -> &'static str {
        match self {
            Self::Adaptive => "adaptive",
            Self::Rows => "rows",
            Self::Size => "size",
            Self::Load => "load",
            Self::Uniform => "uniform",
            Self::MinimizeMovement => "minimize_movement",
        }
    }

    /// The strategy of this name, without regard to case.
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|strategy| strategy.name().eq_ignore_ascii_case(name))
    }

    /// The dimensions that it looks at.
    pub fn dimensions(self) -> &'static [Dimension] {
        match self {
            Self::Adaptive | Self::MinimizeMovement => &Dimension::ALL[..4],
            Self::Rows => &[Dimension::Rows],
            Self::Size => &[Dimension::Bytes],
            Self::Load => &[Dimension::Qps, Dimension::Cpu],
            Self::Uniform => &[Dimension::Slots],
        }
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a shard is there for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShardRole {
    /// Carries its fair share.
    #[default]
    Active,
    /// Is to be emptied: gives everything, takes nothing.
    Draining,
    /// Can't be reached: neither gives nor takes.
    Unavailable,
}

/// A shard as the balancer sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct ShardState {
    pub id: ShardId,
    pub role: ShardRole,
    /// Its slots stay, and no others come.
    pub pinned: bool,
    /// It was split or filled lately: until then it neither gives nor takes.
    pub cooling_until_ms: Option<i64>,
    /// The most it may carry; 0 means that it is not known. Fair shares are in proportion to it.
    pub capacity: Load,
    /// Bytes free on its disk right now; `None` means that it is not known. What running moves will still bring is
    /// taken off by the balancer.
    pub free_bytes: Option<u64>,
}

impl ShardState {
    /// A shard of which nothing special is known.
    pub fn new(id: ShardId) -> Self {
        Self {
            id,
            role: ShardRole::Active,
            pinned: false,
            cooling_until_ms: None,
            capacity: Load::ZERO,
            free_bytes: None,
        }
    }

    /// Whether it has a fair share: pinned and unavailable shards keep what they have, the others share the rest.
    pub(super) fn takes_part(&self) -> bool {
        self.role == ShardRole::Active && !self.pinned
    }

    /// Whether it still cools down.
    pub(super) fn cools(&self, now_ms: i64) -> bool {
        self.cooling_until_ms.is_some_and(|until_ms| until_ms > now_ms)
    }
}

/// A slot as the balancer sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SlotState {
    pub owner: ShardId,
    /// Smoothed; see [`History`](super::History).
    pub load: Load,
    /// Where a running migration is taking it. It is counted there, and left alone.
    pub moving_to: Option<ShardId>,
}

/// Slots that may not go to a shard for now, because it has yet to drop an old copy of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingDrop {
    pub slots: SlotSet,
    pub shard: ShardId,
}

/// From which deviation on something is done about it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    /// Of rows, bytes and slots: `rebalance_trigger_threshold`.
    pub stored: f64,
    /// Of qps and cpu: `rebalance_qps_threshold`.
    pub rates: f64,
    /// A dimension counts when shards carry at least this much of it on average: four rows in four shards, or one query
    /// a second, are no reason to move anything.
    pub floor: Load,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            stored: 0.15,
            rates: 0.20,
            floor: Load { rows: 1_000.0, bytes: 65_536.0, qps: 10.0, cpu: 0.05, slots: 0.0 },
        }
    }
}

impl Thresholds {
    /// The trigger of a dimension.
    pub fn trigger(&self, dimension: Dimension) -> f64 {
        if dimension.is_rate() { self.rates } else { self.stored }
    }
}

/// How much a plan may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Moves in the plan: what is left of `max_migrations_per_hour`.
    pub moves_max: Option<usize>,
    /// Bytes that the plan may move.
    pub bytes_max: Option<u64>,
    /// Bytes of one move, unless a single slot is larger: a move that fails is cheap to try again.
    pub move_bytes_max: Option<u64>,
    /// Moves that run at the same time: `max_concurrent_migrations`.
    pub concurrent_max: usize,
    /// Moves that run already, of other jobs.
    pub running: usize,
    /// How long a slot that was moved doesn't go back, and a shard that a plan left as it is isn't looked at again
    /// unless it drifts.
    pub settle_ms: i64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            moves_max: Some(1_000),
            bytes_max: None,
            move_bytes_max: None,
            concurrent_max: 2,
            running: 0,
            settle_ms: 3_600_000,
        }
    }
}

/// The state of the cluster, and what is wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    pub now_ms: i64,
    /// In any order; the answer doesn't depend on it.
    pub shards: Vec<ShardState>,
    /// In slot order, all of them. A slot whose owner is not among the shards is left where it is.
    pub slots: Vec<SlotState>,
    pub strategy: Strategy,
    /// The largest deviation that a plan leaves, where slots are fine enough: `target_imbalance`.
    pub target_imbalance: f64,
    pub thresholds: Thresholds,
    pub limits: Limits,
    pub pending_drops: Vec<PendingDrop>,
}

impl Problem {
    /// Shards and slots with default settings.
    pub fn new(now_ms: i64, shards: Vec<ShardState>, slots: Vec<SlotState>) -> Self {
        Self {
            now_ms,
            shards,
            slots,
            strategy: Strategy::Adaptive,
            target_imbalance: 0.05,
            thresholds: Thresholds::default(),
            limits: Limits::default(),
            pending_drops: Vec::new(),
        }
    }

    /// A shard of the problem.
    pub fn shard(&self, id: ShardId) -> Option<&ShardState> {
        self.shards.iter().find(|shard| shard.id == id)
    }

    /// The slots that a shard owns, moving or not.
    pub fn slots_of(&self, shard: ShardId) -> SlotSet {
        self.slots.iter().enumerate().filter(|(_, slot)| slot.owner == shard).map(|(at, _)| Slot(at as u32)).collect()
    }

    /// How far a plan brings a dimension: the target, or for `minimize_movement` half-way between target and trigger.
    pub(super) fn goal(&self, dimension: Dimension) -> f64 {
        let trigger = self.thresholds.trigger(dimension);
        match self.strategy {
            Strategy::MinimizeMovement if trigger > self.target_imbalance => (self.target_imbalance + trigger) / 2.0,
            _ => self.target_imbalance,
        }
    }

    /// The deviation from which on a plan does something about a shard.
    pub(super) fn threshold(&self, dimension: Dimension) -> f64 {
        match self.strategy {
            Strategy::MinimizeMovement => self.thresholds.trigger(dimension).max(self.target_imbalance),
            _ => self.target_imbalance,
        }
    }
}
