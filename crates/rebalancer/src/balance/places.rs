//! Where every slot will be once a plan has been carried out, while that is still being decided.
//!
//! Unlike the bundles of a search, places can be changed again: a slot may be given another place, or its home back.
//! [`Places::bundles`] turns them into bundles again, in an order in which each makes the balance better.

use super::board::Board;
use super::bundle::{Bundle, Cause, SLACK, slot_load};
use super::ledger::{Deviations, Ledger, Pair, is_better, rank, worst_of};
use super::problem::ShardRole;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// How often bundles that would not make the balance better in their turn are tried earlier.
const REORDERED: usize = 6;

pub(super) struct Places {
    /// Of every slot, the shard that will have it.
    place: Vec<u32>,
    /// Of every slot that was chosen to move, the bundle that it was in.
    turn: BTreeMap<u32, usize>,
    /// Slots and the shards where they have no place, because there was no turn in which it was an improvement.
    refused: BTreeSet<(u32, usize)>,
    /// Of every shard, the slots that it will have and that may have other places.
    held: Vec<Vec<u32>>,
    /// Of every shard, its slots that will be elsewhere.
    given: Vec<Vec<u32>>,
    /// Deviations before anything moves.
    start: Vec<Deviations>,
}

impl Places {
    /// The places that bundles bring slots to.
    pub fn new(ledger: &Ledger, bundles: &[Bundle]) -> Self {
        let board = ledger.board;
        let count = board.shards.len();
        let mut places = Self {
            place: board.holder.clone(),
            turn: BTreeMap::new(),
            refused: BTreeSet::new(),
            held: (0..count).map(|at| ledger.movable(at).collect()).collect(),
            given: vec![Vec::new(); count],
            start: (0..count).map(|at| board.deviations(at).to_array()).collect(),
        };
        for (turn, bundle) in bundles.iter().enumerate() {
            for slot in &bundle.slots {
                places.place[*slot as usize] = bundle.target as u32;
                places.turn.insert(*slot, turn);
            }
            places.held[bundle.target].extend(&bundle.slots);
            places.given[bundle.source].extend(&bundle.slots);
        }
        places
    }

    /// How far a shard is from its share before anything moves.
    pub fn start(&self, shard: usize) -> &Deviations {
        &self.start[shard]
    }

    /// The slots that a shard will have and that may have other places.
    pub fn held(&self, shard: usize) -> &[u32] {
        &self.held[shard]
    }

    /// The shards that a shard takes slots from or gives some to, ascending.
    pub fn neighbours(&self, board: &Board, shard: usize) -> Vec<usize> {
        let sources = self.held[shard].iter().map(|slot| board.holder[*slot as usize]);
        let targets = self.given[shard].iter().map(|slot| self.place[*slot as usize]);
        let mut neighbours: Vec<_> = sources.chain(targets).map(|at| at as usize).filter(|at| *at != shard).collect();
        neighbours.sort_unstable();
        neighbours.dedup();
        neighbours
    }

    /// Whether a slot may have its place at a shard: at home, or where it makes the balance better to move it there from
    /// home before anything else has moved.
    pub fn may_be_at(&self, ledger: &Ledger, slot: u32, shard: usize) -> bool {
        let home = ledger.board.holder[slot as usize] as usize;
        let before = (self.start[home], self.start[shard]);
        let is_improvement = || {
            let after = ledger.carried(before, (home, shard), &slot_load(ledger, slot));
            ledger.board.shards[home].role == ShardRole::Draining || is_better(&after, &before)
        };
        home == shard || (!self.refused.contains(&(slot, shard)) && !ledger.is_barred(slot, shard) && is_improvement())
    }

    /// Gives a slot another place.
    pub fn put(&mut self, ledger: &mut Ledger, slot: u32, to: usize) {
        let home = ledger.board.holder[slot as usize] as usize;
        let from = std::mem::replace(&mut self.place[slot as usize], to as u32) as usize;
        self.held[from].retain(|held| *held != slot);
        self.held[to].push(slot);
        let load = slot_load(ledger, slot);
        if from == home {
            self.given[home].push(slot);
        } else {
            ledger.take_room(from, &load, -1.0);
        }
        if to == home {
            self.given[home].retain(|given| *given != slot);
        } else {
            ledger.take_room(to, &load, 1.0);
        }
        (ledger.deviation[from], ledger.deviation[to]) = ledger.after(from, to, &load);
    }

    /// Leaves a slot at home, and doesn't give it the place again that it has.
    pub fn refuse(&mut self, ledger: &mut Ledger, slot: u32) {
        self.refused.insert((slot, self.place[slot as usize] as usize));
        self.put(ledger, slot, ledger.board.holder[slot as usize] as usize);
    }

    /// The bundles that bring every slot to its place, in an order in which each makes the balance better; and those
    /// that would not.
    ///
    /// Slots keep the turn of the bundle in which they were chosen. What would not be an improvement in its turn comes
    /// earlier, when its source still has more and its target less, and after what leaves the target or comes to the source.
    pub fn bundles(&self, ledger: &Ledger) -> (Vec<Bundle>, Vec<Bundle>) {
        let mut turns: Vec<_> = self.turns(ledger.board).into_iter().map(|bundle| (Reverse(0), bundle)).collect();
        let mut failed = self.replay(ledger, &turns, |_, _, _| {});
        for _ in 0..REORDERED {
            if failed.is_empty() {
                break;
            }
            let (mut leaving, mut coming) = (BTreeMap::new(), BTreeMap::new());
            for at in failed {
                let (Reverse(urgency), bundle) = &mut turns[at];
                *urgency = (*urgency).max(1);
                leaving.insert(bundle.target, *urgency + 1);
                coming.insert(bundle.source, *urgency + 1);
            }
            for (Reverse(urgency), bundle) in &mut turns {
                let wanted = leaving.get(&bundle.source).max(coming.get(&bundle.target));
                *urgency = (*urgency).max(wanted.copied().unwrap_or(0));
            }
            turns.sort_by_key(|(urgency, _)| *urgency);
            failed = self.replay(ledger, &turns, |_, _, _| {});
        }
        let mut done = Vec::new();
        self.replay(ledger, &turns, |bundle, before, after| {
            let is_drain = ledger.board.shards[bundle.source].role == ShardRole::Draining;
            let ends = (bundle.source, bundle.target);
            let cause = if is_drain { Cause::Draining } else { cause(ledger, ends, before, after) };
            done.push(Bundle { cause, ..bundle.clone() });
        });
        (done, failed.into_iter().map(|at| turns[at].1.clone()).collect())
    }

    /// Slots that go the same way in the same turn.
    fn turns(&self, board: &Board) -> Vec<Bundle> {
        let mut ways: BTreeMap<(usize, usize, usize), Vec<u32>> = BTreeMap::new();
        for (source, given) in self.given.iter().enumerate() {
            for slot in given {
                let turn = self.turn.get(slot).copied().unwrap_or(usize::MAX);
                ways.entry((turn, source, self.place[*slot as usize] as usize)).or_default().push(*slot);
            }
        }
        let bundle = |((_, source, target), mut slots): (_, Vec<u32>)| {
            slots.sort_unstable();
            let load = slots.iter().map(|slot| board.slot_loads[*slot as usize]).sum();
            Bundle { source, target, cause: Cause::Draining, slots, load }
        };
        ways.into_iter().map(bundle).collect()
    }

    /// Carries the bundles out, one after the other, as far as each makes the balance better, and shows each with its ends
    /// before and after; which ones don't.
    fn replay(
        &self,
        ledger: &Ledger,
        turns: &[(Reverse<u32>, Bundle)],
        mut show: impl FnMut(&Bundle, &Pair, &Pair),
    ) -> Vec<usize> {
        let mut deviations = self.start.clone();
        let mut failed = Vec::new();
        for (at, (_, bundle)) in turns.iter().enumerate() {
            let ends = (bundle.source, bundle.target);
            let before = (deviations[ends.0], deviations[ends.1]);
            let after = ledger.carried(before, ends, &bundle.load.to_array());
            let is_drain = ledger.board.shards[ends.0].role == ShardRole::Draining;
            let is_low = worst_of(&after) <= ledger.ceiling.max(worst_of(&before)) + SLACK;
            if is_drain || (is_low && is_better(&after, &before)) {
                (deviations[ends.0], deviations[ends.1]) = after;
                show(bundle, &before, &after);
            } else {
                failed.push(at);
            }
        }
        failed
    }
}

/// What a bundle relieves most; of what it relieves as much, the end that is further from its share.
fn cause(ledger: &Ledger, (source, target): (usize, usize), before: &Pair, after: &Pair) -> Cause {
    let ends = [(source, &before.0, &after.0), (target, &before.1, &after.1)];
    let reliefs = ledger.dimensions.iter().flat_map(|d| {
        ends.map(|(driven, before, after)| {
            // As ranks, so that of those that are as good as equal the first is named.
            let (relief, _) = rank(before[*d].abs() - after[*d].abs(), driven);
            let (distance, _) = rank(before[*d].abs(), driven);
            ((relief, distance), Cause::Deviation { driven, dimension: *d, deviation: before[*d] })
        })
    });
    let most = reliefs.reduce(|most, next| if next.0 > most.0 { next } else { most });
    most.map_or(Cause::Draining, |(_, cause)| cause)
}
