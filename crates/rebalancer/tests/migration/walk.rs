//! Breadth first through every state that can be reached.

use crate::cluster::Cluster;
use crate::invariants::{Invariant, broken};
use crate::letters::{Answer, Letter};
use crate::mistakes::Mistake;
use crate::state::{Action, Limits, State};
use evenkeel_rebalancer::migration::Phase;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};

/// What a walk has found.
pub struct Walk {
    pub states: usize,
    pub transitions: usize,
    /// How many states are over, by phase.
    pub ends: Vec<(Phase, usize)>,
    pub violation: Option<Violation>,
}

/// The shortest story that ends in what may never happen.
#[derive(Debug)]
pub struct Violation {
    pub invariant: Invariant,
    story: Vec<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:?} is broken after", self.invariant)?;
        self.story.iter().enumerate().try_for_each(|(at, line)| writeln!(f, "  {:>2}. {line}", at + 1))
    }
}

/// Quick rather than safe from malice; states are our own.
#[derive(Default)]
struct QuickHasher(u64);

impl Hasher for QuickHasher {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(u64::from(value));
    }

    fn write_u16(&mut self, value: u16) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(5) ^ value).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }
}

/// Where a state was first come from.
type Parent = (u32, Option<Action>);

/// Visits every state, until one breaks an invariant; then looks for states from which no way leads to an end.
pub fn walk(mistake: Mistake, limits: Limits) -> Walk {
    let (mut cluster, first) = Cluster::new(mistake, limits);
    let mut numbers: HashMap<State, u32, BuildHasherDefault<QuickHasher>> = HashMap::default();
    let mut states = vec![first];
    let mut parents: Vec<Parent> = vec![(0, None)];
    let mut regular: Vec<(u32, u32)> = Vec::new();
    let (mut transitions, mut at) = (0, 0);
    numbers.insert(first, 0);
    while at < states.len() {
        let state = states[at];
        if let Some(invariant) = broken(&cluster, &state) {
            let violation = Some(Violation { invariant, story: story(&cluster, &parents, at) });
            return Walk { states: states.len(), transitions, ends: vec![], violation };
        }
        for step in cluster.steps(&state) {
            transitions += 1;
            let next = states.len() as u32;
            let to = *numbers.entry(step.to).or_insert_with(|| {
                states.push(step.to);
                parents.push((at as u32, Some(step.action)));
                next
            });
            if step.is_regular {
                regular.push((to, at as u32));
            }
        }
        at += 1;
    }
    let stuck = stuck(&cluster, &states, regular);
    let violation = stuck.map(|at| Violation { invariant: Invariant::Terminal, story: story(&cluster, &parents, at) });
    let mut ends = BTreeMap::new();
    for phase in states.iter().map(|state| cluster.phase(state)).filter(|phase| phase.is_over()) {
        *ends.entry(phase).or_insert(0) += 1;
    }
    Walk { states: states.len(), transitions, ends: ends.into_iter().collect(), violation }
}

/// The first state from which no regular steps, with all faults ceasing, lead to an end.
fn stuck(cluster: &Cluster, states: &[State], mut regular: Vec<(u32, u32)>) -> Option<usize> {
    regular.sort_unstable();
    let mut ends_well: Vec<bool> = states.iter().map(|state| cluster.phase(state).is_over()).collect();
    let mut queue: VecDeque<u32> = (0..states.len() as u32).filter(|at| ends_well[*at as usize]).collect();
    while let Some(to) = queue.pop_front() {
        let first = regular.partition_point(|(end, _)| *end < to);
        for (_, from) in regular[first..].iter().take_while(|(end, _)| *end == to) {
            if !std::mem::replace(&mut ends_well[*from as usize], true) {
                queue.push_back(*from);
            }
        }
    }
    ends_well.iter().position(|ends| !ends)
}

fn story(cluster: &Cluster, parents: &[Parent], mut at: usize) -> Vec<String> {
    let mut lines = Vec::new();
    while let (parent, Some(action)) = parents[at] {
        lines.push(tell(cluster, action));
        at = parent as usize;
    }
    lines.reverse();
    lines
}

fn tell(cluster: &Cluster, action: Action) -> String {
    let shard = |at: usize| ["source", "target"][at];
    match action {
        Action::Deliver(letter) => match cluster.values.letter(letter) {
            Letter::Shard(at, command) => {
                format!("{} gets {:?}, step {}", shard(*at), command.order, command.stamp.step)
            }
            Letter::Map(change) => format!("the slot map gets {change:?}"),
            Letter::Rows(stamp) => format!("rows may travel, step {}", stamp.step),
        },
        Action::Observe(answers, at) => match &cluster.values.answers(answers)[at] {
            Answer::Seen(seen) => format!("a driver records {seen:?}"),
            Answer::Agreed(at) => format!("a driver hears from {}", shard(*at)),
        },
        Action::BeginWrite(at) => format!("a write begins at {}", shard(at)),
        Action::Apply { shard: at, outbox_lost } => {
            format!(
                "the write at {} is acknowledged{}",
                shard(at),
                if outbox_lost { ", its outbox entry lost" } else { "" }
            )
        }
        Action::Crash(at) => format!("{} crashes", shard(at)),
        Action::Collect(at) => format!("{} collects old versions", shard(at)),
        other => format!("{other:?}"),
    }
}
