//! Numbers, slots and reasons in words.

use evenkeel_model::{ShardId, SlotSet};
use evenkeel_rebalancer::balance::{Dimension, Move, Problem, Reason};

/// Runs of slots that are written out; of more, only the first.
const RUNS_MAX: usize = 6;

/// Shards that are written out.
const SHARDS_MAX: usize = 12;

/// `1,204`.
pub(crate) fn thousands(number: u64) -> String {
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

/// `1 slot`, `1,204 slots`.
pub(crate) fn counted(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", thousands(number), if number == 1 { "" } else { "s" })
}

/// `2.5 MiB`.
pub(crate) fn bytes(amount: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let power = (0..UNITS.len() - 1).find(|power| amount >> (10 * (power + 1)) == 0).unwrap_or(UNITS.len() - 1);
    match power {
        0 => format!("{amount} B"),
        _ => format!("{:.1} {}", amount as f64 / (1u64 << (10 * power)) as f64, UNITS[power]),
    }
}

/// `48 %`, `0.4 %`.
pub(crate) fn percent(part: f64) -> String {
    let decimals = match part.abs() * 100.0 {
        hundredths if hundredths >= 10.0 || hundredths == 0.0 => 0,
        hundredths if hundredths >= 0.1 => 1,
        _ => 2,
    };
    format!("{:.*} %", decimals, part * 100.0)
}

/// `45 s`, `12 min`, `2 h`, rounded up.
pub(crate) fn duration(seconds: f64) -> String {
    match seconds.max(0.0).ceil() as u64 {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds.div_ceil(60)),
        seconds => format!("{} h", thousands(seconds.div_ceil(3_600))),
    }
}

/// `slot 3`, `slots 0-9, 12`, and of many runs the first: `slots 0, 2, 4, 6, 8, 10, … (20 in all)`.
pub(crate) fn named(slots: &SlotSet) -> String {
    let noun = if slots.len() == 1 { "slot" } else { "slots" };
    format!("{noun} {}", runs(slots))
}

/// `0-9, 12`, and of many runs the first.
pub(crate) fn runs(slots: &SlotSet) -> String {
    if slots.ranges().len() <= RUNS_MAX {
        return slots.to_string();
    }
    let first = slots.ranges()[..RUNS_MAX].iter().map(|(first, last)| SlotSet::range(*first, *last).to_string());
    format!("{}, … ({} in all)", first.collect::<Vec<_>>().join(", "), thousands(slots.len() as u64))
}

/// `shard 3`, `shards 1, 2 and 3`, and of many the first.
pub(crate) fn shards(ids: &[ShardId]) -> String {
    match ids {
        [only] => format!("shard {only}"),
        _ if ids.len() <= SHARDS_MAX => format!("shards {}", listed(ids)),
        _ => {
            let first: Vec<_> = ids[..SHARDS_MAX].iter().map(ToString::to_string).collect();
            format!("shards {}, … ({} in all)", first.join(", "), thousands(ids.len() as u64))
        }
    }
}

/// `1, 2 and 3`.
pub(crate) fn listed(items: &[impl ToString]) -> String {
    let items: Vec<_> = items.iter().map(ToString::to_string).collect();
    match items.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => String::new(),
    }
}

/// A reason as a sentence about its shard: reasons say "it".
pub(crate) fn said_of(reason: &Reason, shard: ShardId) -> String {
    let sentence = reason.to_string();
    match sentence.strip_prefix("it ") {
        Some(rest) => format!("shard {shard} {rest}"),
        None => format!("shard {shard}: {sentence}"),
    }
}

/// Why slots move, as a sentence with the names of both shards.
pub(crate) fn said_of_move(step: &Move) -> String {
    let target = format!("shard {}", step.target);
    match step.reason {
        Reason::ByHand => "it was asked for".to_string(),
        Reason::Underloaded { .. } => step.reason.to_string().replace("the target", &target),
        _ => said_of(&step.reason, step.source).replace("the target", &target),
    }
}

/// What would change a reason, in statements and settings.
pub(crate) fn hint(reason: &Reason, shard: ShardId) -> Option<String> {
    match reason {
        Reason::NotYetStable { .. } => Some("REBALANCE SHARDS doesn't wait".into()),
        Reason::WouldUnbalance { dimension, .. } => {
            let strategy = match dimension {
                Dimension::Rows => "rows",
                Dimension::Bytes => "size",
                Dimension::Qps | Dimension::Cpu => "load",
                Dimension::Slots => "uniform",
            };
            Some(format!("REBALANCE SHARDS WITH strategy = '{strategy}' looks at nothing else"))
        }
        Reason::AlreadyMoving => Some("WAIT FOR JOB ALL".into()),
        _ => reason.hint(shard),
    }
}

/// What to do where every shard is pinned, drained or can't be reached.
pub(crate) fn nobody_hint(problem: &Problem) -> String {
    match problem.shards.iter().find(|shard| shard.pinned) {
        Some(pinned) => format!("UNPIN SHARD {}, or ADD SHARD", pinned.id),
        None => "ADD SHARD".to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use evenkeel_model::Slot;

    #[test]
    fn numbers_and_slots_read_well() {
        assert_eq!([0.48, 0.051, 0.0004, 0.0].map(percent), ["48 %", "5.1 %", "0.04 %", "0 %"]);
        assert_eq!([0.2, 100.0, 121.0, 86_400.0].map(duration), ["1 s", "100 s", "3 min", "24 h"]);
        assert_eq!([512, 1 << 20].map(bytes), ["512 B", "1.0 MiB"]);
        assert_eq!([listed(&[1]), listed(&[1, 2, 3])], ["1", "1, 2 and 3"]);
        let even = (0..20).map(|at| Slot(at * 2)).collect();
        assert_eq!(named(&even), "slots 0, 2, 4, 6, 8, 10, … (20 in all)");
        assert_eq!(named(&SlotSet::range(Slot(3), Slot(3))), "slot 3");
    }
}
