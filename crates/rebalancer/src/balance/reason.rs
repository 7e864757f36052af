//! Why something moves, and why it doesn't, in the user's words.
//!
//! Reasons are values: they are kept with jobs and decisions, compared in tests, and turned into a sentence only where
//! somebody reads them. A sentence speaks of "it", the shard whose reason it is; [`explain`](super::explain) puts the
//! name in front.

use super::granularity::out_of_reach;
use super::hot::HotDimension;
use super::load::Dimension;
use evenkeel_model::slot::{ShardId, Slot};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Why slots move, or a shard is left alone, or nothing is done at all. Shares are parts of the whole: 0.48 is 48 %.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    // Why slots move.
    /// The source carries more than its fair share.
    Overloaded {
        dimension: Dimension,
        share: f64,
        fair_share: f64,
    },
    /// The target carries less than its fair share, and the source more.
    Underloaded {
        dimension: Dimension,
        share: f64,
        fair_share: f64,
    },
    /// The source is being emptied.
    Draining,
    /// Somebody asked for exactly this.
    ByHand,
    /// The source is split.
    Splitting {
        dimension: Dimension,
        share_of_shard: f64,
    },
    /// The source is merged into the target.
    Merging,
    /// The source is beyond a limit of its own, whatever the others carry.
    Hot {
        dimension: HotDimension,
        value: f64,
        threshold: f64,
    },

    // Why a shard is left alone.
    /// No further from its fair share than the target allows.
    WithinTarget {
        deviation: f64,
        target: f64,
    },
    /// Further away than the target, but not as far as the trigger.
    BelowThreshold {
        dimension: Dimension,
        deviation: f64,
        threshold: f64,
    },
    /// As the last plan left it.
    Settled {
        deviation: f64,
    },
    Pinned,
    CoolingDown {
        until_ms: i64,
        left_ms: i64,
    },
    Unavailable,
    /// Everything that it could give is on its way already.
    AlreadyMoving,
    /// It has too much, and the shards that may take slots have no room for any.
    NoTargetWithRoom,
    /// It has too little, and no room for more.
    Full,
    /// It has too much, and no shard that may take slots has less.
    NoTarget,
    /// It has too little, and no shard that may give has more than its share.
    NoSource,
    /// One slot alone is more than a fair share. A slot can't be divided without doubling the number of slots.
    SlotTooBig {
        slot: Slot,
        dimension: Dimension,
        share: f64,
        fair_share: f64,
    },
    /// Any slot moved would make the other side worse than it made this one better.
    TooCoarse {
        dimension: Dimension,
        deviation: f64,
    },
    /// Wherever the slots are, some shard is further from its share than the target allows: `best` is how far the worst
    /// one is at best. See [`Granularity`](super::Granularity).
    OutOfReach {
        dimension: Dimension,
        deviation: f64,
        target: f64,
        slots_per_shard: f64,
        best: f64,
    },
    /// What would help in one dimension would push another out of the target.
    WouldUnbalance {
        dimension: Dimension,
        other: Dimension,
    },
    /// The slots would go to a shard that has yet to drop its old copy of them, or where they have just come from.
    TooSoonToReturn {
        target: ShardId,
    },
    /// The plan's moves or bytes are used up.
    OverBudget,
    /// The search has looked at as many slots as one search may; the next plan goes on from there.
    SearchEnded,
    /// It is drained and has no slots left.
    Empty,

    // Why a decision was to do nothing, besides the ones above.
    AutoRebalanceOff,
    AutoSplitOff,
    /// Seen, but not often enough in a row.
    NotYetStable {
        seen: u32,
        needed: u32,
    },
    /// As many moves run as may run.
    TooManyRunning {
        running: usize,
    },
    /// Too few to be divided.
    TooFewSlots {
        slots: usize,
    },
    /// Every shard is pinned, drained or unavailable.
    NobodyTakesPart,

    // Why a move or a split that was asked for is refused.
    SameShard,
    NoSuchShard {
        shard: ShardId,
    },
    NoSuchSlot {
        slot: Slot,
    },
    NotOwner {
        slot: Slot,
        owner: ShardId,
    },
    NoSlots,
}

impl Reason {
    /// What the user can do about it.
    pub fn hint(&self, shard: ShardId) -> Option<String> {
        match self {
            Self::Pinned => Some(format!("UNPIN SHARD {shard}")),
            Self::AutoRebalanceOff => Some("ALTER SYSTEM SET auto_rebalance = true".into()),
            Self::AutoSplitOff => Some("ALTER SYSTEM SET auto_split = true".into()),
            Self::BelowThreshold { dimension, .. } if dimension.is_rate() => {
                Some("lower rebalance_qps_threshold, or run REBALANCE SHARDS".into())
            }
            Self::BelowThreshold { .. } => Some("lower rebalance_trigger_threshold, or run REBALANCE SHARDS".into()),
            Self::WithinTarget { .. } => Some("a smaller target_imbalance asks for more".into()),
            Self::NoTargetWithRoom | Self::NoTarget | Self::Full => Some("ADD SHARD makes room".into()),
            Self::OverBudget => Some("raise max_migrations_per_hour, or wait for the next hour".into()),
            Self::TooManyRunning { .. } => Some("raise max_concurrent_migrations, or wait".into()),
            Self::SlotTooBig { .. } | Self::TooCoarse { .. } | Self::OutOfReach { .. } => {
                Some("more slots (slot_bits) are finer".into())
            }
            _ => None,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Overloaded { .. } | Self::Underloaded { .. } | Self::Draining | Self::ByHand => self.say_move(f),
            Self::Splitting { .. } | Self::Merging | Self::Hot { .. } => self.say_move(f),
            Self::SameShard | Self::NoSuchShard { .. } | Self::NoSuchSlot { .. } => self.say_refusal(f),
            Self::NotOwner { .. } | Self::NoSlots => self.say_refusal(f),
            Self::AutoRebalanceOff | Self::AutoSplitOff | Self::NotYetStable { .. } => self.say_nothing_done(f),
            Self::TooManyRunning { .. } | Self::TooFewSlots { .. } | Self::NobodyTakesPart => self.say_nothing_done(f),
            _ => self.say_left_alone(f),
        }
    }
}

impl Reason {
    fn say_move(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Overloaded { dimension, share, fair_share } => {
                let (share, fair_share) = percent_pair(*share, *fair_share);
                write!(f, "it holds {share} of {}, fair share is {fair_share}", dimension.noun())
            }
            Self::Underloaded { dimension, share, fair_share } => {
                let (share, fair_share) = percent_pair(*share, *fair_share);
                write!(f, "the target holds only {share} of {}, fair share is {fair_share}", dimension.noun())
            }
            Self::Draining => f.write_str("it is being drained"),
            Self::ByHand => f.write_str("it was asked for"),
            Self::Splitting { dimension, share_of_shard } => {
                let share = percent(*share_of_shard);
                write!(f, "it is split, and this is {share} of {} that it holds", dimension.noun())
            }
            Self::Merging => f.write_str("it is merged into the target"),
            Self::Hot { dimension, value, threshold } => {
                let (value, threshold) = (dimension.show(*value), dimension.show(*threshold));
                write!(f, "it is hot: {dimension} is {value}, limit is {threshold}")
            }
            _ => Ok(()),
        }
    }

    fn say_left_alone(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WithinTarget { deviation, target } => {
                let (deviation, target) = (percent(*deviation), percent(*target));
                write!(f, "it is {deviation} from its fair share, and the target allows {target}")
            }
            Self::BelowThreshold { dimension, deviation, threshold } => {
                let (deviation, threshold) = percent_pair(*deviation, *threshold);
                write!(f, "it is {deviation} from its fair share of {}, trigger is {threshold}", dimension.noun())
            }
            Self::Settled { deviation } => {
                write!(f, "it is {} from its fair share, much as the last plan left it", percent(*deviation))
            }
            Self::Pinned => f.write_str("it is pinned"),
            Self::CoolingDown { left_ms, .. } => write!(f, "it cools down for another {}", duration(*left_ms)),
            Self::Unavailable => f.write_str("it can't be reached"),
            Self::AlreadyMoving => f.write_str("what it could give is on its way already"),
            Self::NoTargetWithRoom => f.write_str("no shard that may take its slots has room for one"),
            Self::Full => f.write_str("it has less than its share, but no room for more"),
            Self::NoTarget => f.write_str("no shard that may take its slots carries less"),
            Self::NoSource => f.write_str("no shard that may give slots has more than its share"),
            Self::SlotTooBig { slot, dimension, share, fair_share } => {
                let (share, fair_share) = percent_pair(*share, *fair_share);
                let noun = dimension.noun();
                write!(f, "slot {slot} alone holds {share} of {noun}, more than a fair share of {fair_share}")
            }
            Self::TooCoarse { dimension, deviation } => {
                let (noun, deviation) = (dimension.noun(), percent(*deviation));
                write!(f, "it is {deviation} from its fair share of {noun}, and no slot is small enough to help")
            }
            Self::OutOfReach { dimension, deviation, target, slots_per_shard, best } => {
                let (noun, deviation) = (dimension.noun(), percent(*deviation));
                let out_of_reach = out_of_reach(*target, *slots_per_shard, *best);
                write!(f, "it is {deviation} from its fair share of {noun}, and {out_of_reach}")
            }
            Self::WouldUnbalance { dimension, other } => {
                write!(f, "what would even out {} would push {} out of balance", dimension.noun(), other.noun())
            }
            Self::TooSoonToReturn { target } => {
                write!(f, "slots that were at shard {target} a short while ago may not go back there yet")
            }
            Self::OverBudget => f.write_str("the moves or bytes that a plan may ask for are used up"),
            Self::SearchEnded => {
                f.write_str("the search for this plan was long enough, the next one goes on from here")
            }
            Self::Empty => f.write_str("it is drained, no slots are left"),
            _ => Ok(()),
        }
    }

    fn say_nothing_done(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AutoRebalanceOff => f.write_str("auto_rebalance is off"),
            Self::AutoSplitOff => f.write_str("auto_split is off"),
            Self::NotYetStable { seen, needed } => {
                write!(f, "seen by {} in a row, acted upon after {needed}", counted(u64::from(*seen), "check"))
            }
            Self::TooManyRunning { running } => write!(f, "{running} moves are running, as many as may"),
            Self::TooFewSlots { slots } => {
                write!(f, "it has only {}, too few to be divided", counted(*slots as u64, "slot"))
            }
            Self::NobodyTakesPart => f.write_str("every shard is pinned, drained or can't be reached"),
            _ => Ok(()),
        }
    }

    fn say_refusal(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SameShard => f.write_str("source and target are the same shard"),
            Self::NoSuchShard { shard } => write!(f, "there is no shard {shard}"),
            Self::NoSuchSlot { slot } => write!(f, "there is no slot {slot}"),
            Self::NotOwner { slot, owner } => write!(f, "slot {slot} is owned by shard {owner}"),
            Self::NoSlots => f.write_str("there are no slots to move"),
            _ => Ok(()),
        }
    }
}

/// `48 %`, and as many decimals as a small part needs to be told from nothing: `0.4 %`, `0.02 %`.
pub(super) fn percent(part: f64) -> String {
    format!("{:.*} %", decimals(part), part * 100.0)
}

/// Two parts that are compared: with as many decimals as it takes to tell them apart, up to two.
fn percent_pair(a: f64, b: f64) -> (String, String) {
    let start = decimals(a).max(decimals(b));
    let show = |part: f64, decimals: usize| format!("{:.*} %", decimals, part * 100.0);
    let decimals = (start..=2).find(|n| a == b || show(a, *n) != show(b, *n)).unwrap_or(2);
    (show(a, decimals), show(b, decimals))
}

fn decimals(part: f64) -> usize {
    match part.abs() * 100.0 {
        hundredths if hundredths >= 10.0 || hundredths == 0.0 => 0,
        hundredths if hundredths >= 0.1 => 1,
        _ => 2,
    }
}

/// `1,204`.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `2.5 MiB`.
pub(super) fn bytes(amount: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let power = (0..UNITS.len() - 1).find(|power| amount >> (10 * (power + 1)) == 0).unwrap_or(UNITS.len() - 1);
    match power {
        0 => format!("{amount} B"),
        _ => format!("{:.1} {}", amount as f64 / (1u64 << (10 * power)) as f64, UNITS[power]),
    }
}

/// `45 s`, `12 min`, `2 h`, rounded up.
fn duration(ms: i64) -> String {
    match (ms.max(0) + 999) / 1_000 {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", (seconds + 59) / 60),
        seconds => format!("{} h", (seconds + 3_599) / 3_600),
    }
}

/// `1 slot`, `1,204 slots`.
pub(super) fn counted(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", thousands(number), if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!([0.48, 0.051, 0.0004, 0.0].map(percent), ["48 %", "5.1 %", "0.04 %", "0 %"]);
        assert_eq!(percent_pair(0.2534, 0.25), ("25.3 %".into(), "25.0 %".into()));
        assert_eq!([7, 1_204, 1_000_000].map(thousands), ["7", "1,204", "1,000,000"]);
        assert_eq!([1, 100_000, 120_001, 86_400_000].map(duration), ["1 s", "100 s", "3 min", "24 h"]);
        assert_eq!([512, 1 << 20, 2_684_354_560].map(bytes), ["512 B", "1.0 MiB", "2.5 GiB"]);
    }
}
