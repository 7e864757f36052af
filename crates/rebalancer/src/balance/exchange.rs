//! Exchanges: what the search has chosen, improved where slots are coarse.
//!
//! Where a shard has a handful of slots, none of them may be as small as what is in excess, but the difference between
//! two can be. So the shards that the search could not bring to the goal exchange slots with others: up to [`LEG`] go one
//! way, up to as many the other, and of all such pairs of legs the best is taken. This is the interchange of parallel
//! machine scheduling (Finn and Horowitz, "A linear time approximation algorithm for multiprocessor scheduling", BIT 19,
//! 1979; with swaps: França and others, "A composite heuristic for the identical parallel machine scheduling problem",
//! Computers & Operations Research 21, 1994).
//!
//! What is exchanged are [`Places`], before anything moves: a slot that was to go from A to B goes from A to C instead, or
//! stays, and another goes to B. Every slot still goes the straight way from its home, so that an exchange costs few bytes
//! or none. And slots only get places where it makes the balance better to bring them from home, so that nearly always
//! there is an order in which all of them do; the few for which there is none stay at home, and another sweep looks for
//! what can be done instead.
//!
//! More may move than before if that brings two shards to the goal, and then the exchange that moves least is taken; or if
//! it relieves much for what it moves. So where slots are too coarse for the goal nothing is carried about for a little gain.

use super::bundle::{Bundle, GAIN_MIN, SLACK, add, slot_load};
use super::ledger::{D, Deviations, Rank, is_better, rank, worst_of};
use super::load::Dimension;
use super::places::Places;
use super::search::Search;
use std::collections::{BTreeSet, BinaryHeap};

/// Slots that go one way in an exchange, at most.
const LEG: usize = 2;

/// Of shards with more slots than this, slots go one by one: all pairs of them would be too many.
const PAIRED_MAX: usize = 12;

/// Slots of a shard that are looked at.
const LOOKED_AT: usize = 64;

/// Partners that are looked at besides neighbours, one sweep after the other: the first one often does.
const PARTNERS: [usize; 9] = [1, 4, 16, 16, 32, 64, 128, 256, 512];

/// One in so many shards is among the emptiest.
const EMPTIEST_PART: usize = 4;

/// Partners that are compared, of those with which the goal is reached.
const COMPARED: usize = 6;

/// Pairs of legs looked at: as many for every shard, some tenths of a second for ten thousand, and as many besides.
const WORK: (u64, u64) = (1_000, 100_000);

/// A sweep takes no more than one part in so many of all work, and what mends it one part in so many of that.
const SWEEP_PART: u64 = 2;
const REPAIR_PART: u64 = 3;

/// How often the ends of what there is no turn for look for something else.
const REPAIRS: usize = 3;

/// What an exchange that doesn't reach the goal must relieve for what it moves, both in fair shares.
const WORTH: f64 = 0.25;

/// Slots that go one way.
#[derive(Clone, Copy)]
struct Leg {
    slots: [u32; LEG],
    count: usize,
    load: [f64; D],
    /// By how much more moves for it, in fair shares; negative if slots stay that were to move.
    moved: f64,
}

impl Leg {
    const NOTHING: Leg = Leg { slots: [0; LEG], count: 0, load: [0.0; D], moved: 0.0 };

    fn slots(&self) -> &[u32] {
        &self.slots[..self.count]
    }

    fn with(mut self, slot: u32, load: &[f64; D], moved: f64) -> Self {
        self.slots[self.count] = slot;
        self.count += 1;
        self.moved += moved;
        add(&mut self.load, load);
        self
    }
}

/// Between which shards: the first gives more than it gets.
#[derive(Clone, Copy)]
struct Between {
    source: usize,
    target: usize,
    /// The one of them that is to be relieved, and in which dimension.
    driven: usize,
    dimension: usize,
}

/// How good an exchange is; the greater the better.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
struct Worth {
    /// Whether both shards are at the goal afterwards.
    settles: bool,
    /// How little more moves if it settles, else how much it relieves.
    relief: f64,
}

struct Exchange {
    between: Between,
    worth: Worth,
    out: Leg,
    back: Leg,
}

/// What sweeps came to.
struct Outcome {
    /// The sum of the squares of what shards are beyond the goal: the less the better.
    left: f64,
    /// The largest deviation.
    worst: f64,
    bundles: Vec<Bundle>,
    deviation: Vec<Deviations>,
}

pub(super) struct Exchanges<'s, 'a> {
    search: &'s mut Search<'a>,
    places: Places,
    /// Shards that may give and take, by deviation.
    ranks: Vec<BTreeSet<Rank>>,
    /// By dimension: shards that had least before anything moved. Nearly every slot may go there, or comes from where it
    /// may go anywhere, so that they can exchange with nearly everybody.
    emptiest: Vec<Vec<u32>>,
    partners_max: usize,
    work_left: u64,
}

impl<'s, 'a> Exchanges<'s, 'a> {
    pub fn new(search: &'s mut Search<'a>) -> Self {
        let places = Places::new(&search.ledger, &search.bundles);
        let mut exchanges = Self {
            search,
            places,
            ranks: vec![BTreeSet::new(); D],
            partners_max: 0,
            emptiest: vec![Vec::new(); D],
            work_left: 0,
        };
        (0..exchanges.search.active.len()).for_each(|at| exchanges.rank(at));
        for d in exchanges.search.ledger.dimensions.clone() {
            let mut free: Vec<_> = exchanges.ranks[d].iter().map(|rank| rank.1).collect();
            let start = |at: &u32| rank(exchanges.places.start(*at as usize)[d], *at as usize);
            free.sort_by_key(start);
            free.truncate(free.len().div_ceil(EMPTIEST_PART));
            exchanges.emptiest[d] = free;
        }
        exchanges
    }

    /// Replaces the search's bundles by better ones, if there are any.
    pub fn make(mut self) {
        let mut best = self.outcome(self.search.bundles.clone());
        let (worst_max, shards) = (best.worst, self.search.active.len());
        let mut work_left = WORK.0 * shards as u64 + WORK.1;
        let sweep_max = work_left / SWEEP_PART;
        for partners in PARTNERS {
            let work = work_left.min(sweep_max);
            (self.partners_max, self.work_left) = (partners, work);
            let is_changed = self.sweep(0..shards);
            let is_cut = self.work_left == 0;
            work_left -= work - self.work_left;
            if is_changed {
                let bundles = self.settled(sweep_max / REPAIR_PART);
                let outcome = self.outcome(bundles);
                if outcome.left < best.left && outcome.worst <= worst_max + SLACK {
                    best = outcome;
                } else if is_cut {
                    break; // so much of it can't be put in order that it gets no better
                }
            }
            if best.left == 0.0 || work_left == 0 || (!is_changed && partners >= shards) {
                break;
            }
        }
        (self.search.bundles, self.search.ledger.deviation) = (best.bundles, best.deviation);
    }

    /// Exchanges slots of the shards beyond the goal, worst first, until that helps none of them or the work is done that
    /// is left to do; whether it helped any.
    fn sweep(&mut self, shards: impl Iterator<Item = usize>) -> bool {
        let mut is_changed = false;
        let mut queue: BinaryHeap<_> = shards.filter_map(|shard| self.search.urgency(shard)).collect();
        while let Some(entry) = queue.pop().filter(|_| self.work_left > 0) {
            let shard = entry.1.0 as usize;
            if self.search.urgency(shard) != Some(entry) {
                continue; // it has changed since, and stands elsewhere in the queue
            }
            let urgent = self.search.urgent(shard);
            if let Some(exchange) = urgent.iter().find_map(|dimension| self.best(shard, *dimension)) {
                self.carry_out(&exchange);
                is_changed = true;
                let pair = [exchange.between.source, exchange.between.target];
                queue.extend(pair.iter().filter_map(|shard| self.search.urgency(*shard)));
            }
        }
        is_changed
    }

    /// The places as bundles. What there is no turn for stays at home, and its ends look for something else.
    fn settled(&mut self, work: u64) -> Vec<Bundle> {
        for repair in 0.. {
            let (bundles, failed) = self.places.bundles(&self.search.ledger);
            failed.iter().for_each(|bundle| self.give_up(bundle));
            if failed.is_empty() || repair == REPAIRS {
                return bundles;
            }
            self.work_left = work;
            self.sweep(failed.iter().flat_map(|bundle| [bundle.source, bundle.target]));
        }
        Vec::new()
    }

    fn outcome(&self, bundles: Vec<Bundle>) -> Outcome {
        let deviation = self.search.ledger.deviation.clone();
        let left = deviation.iter().map(|deviations| self.beyond(deviations).powi(2)).sum();
        let worst = deviation.iter().flatten().fold(0.0, |worst: f64, deviation| worst.max(deviation.abs()));
        Outcome { left, worst, bundles, deviation }
    }

    /// The best exchange that brings a shard nearer to the goal in a dimension.
    fn best(&mut self, shard: usize, dimension: usize) -> Option<Exchange> {
        let (mut best, mut settling): (Option<Exchange>, _) = (None, 0);
        let is_over = self.search.ledger.deviation[shard][dimension] > 0.0;
        for other in self.partners(shard, dimension) {
            let (source, target) = if is_over { (shard, other) } else { (other, shard) };
            let deviation = |at: usize| self.search.ledger.deviation[at][dimension];
            if deviation(source) <= deviation(target) {
                continue;
            }
            let (out, back) = (self.legs(source, target), self.legs(target, source));
            self.work_left =
                self.work_left.saturating_sub((out.len() * back.len() + 8 * (out.len() + back.len())) as u64);
            let between = Between { source, target, driven: shard, dimension };
            let found = self.best_between(between, (&out, &back), best.as_ref().map(|best| best.worth));
            settling += usize::from(found.as_ref().is_some_and(|found| found.worth.settles));
            best = found.or(best);
            if settling == COMPARED || self.work_left == 0 {
                break;
            }
        }
        best
    }

    /// Shards to exchange with: its neighbours, some from the other end of the ranking, and some of the emptiest.
    fn partners(&self, shard: usize, dimension: usize) -> Vec<usize> {
        let board = self.search.ledger.board;
        let mut partners = self.places.neighbours(board, shard);
        partners.retain(|at| board.is_free(*at));
        let ranks = self.ranks[dimension].iter().map(|rank| rank.1 as usize);
        match self.search.ledger.deviation[shard][dimension] > 0.0 {
            true => partners.extend(ranks.take(self.partners_max)),
            false => partners.extend(ranks.rev().take(self.partners_max)),
        }
        // Other ones for each shard, so that not all look for the same.
        let emptiest = &self.emptiest[dimension];
        let step = (emptiest.len() / self.partners_max).max(1);
        partners.extend(emptiest.iter().skip(shard % step).step_by(step).map(|at| *at as usize));
        let mut seen = BTreeSet::from([shard]);
        partners.retain(|at| seen.insert(*at));
        partners
    }

    /// What could go from one shard to another at once: nothing, one slot, or a few.
    fn legs(&self, from: usize, to: usize) -> Vec<Leg> {
        let ledger = &self.search.ledger;
        let may_go = |slot: &u32| self.places.may_be_at(ledger, *slot, to);
        let slots = self.places.held(from).iter().copied().filter(may_go).take(LOOKED_AT);
        let loads = slots.map(|slot| (slot, slot_load(ledger, slot), self.moved(slot, from, to)));
        // Of slots that are alike, more than a leg has room for add nothing.
        let mut slots: Vec<(u32, [f64; D], f64)> = Vec::new();
        for (slot, load, moved) in loads {
            let alike = slots.iter().filter(|(_, other, its)| *other == load && *its == moved);
            if alike.count() < LEG {
                slots.push((slot, load, moved));
            }
        }
        let mut legs = vec![Leg::NOTHING];
        let of_several = if slots.len() <= PAIRED_MAX { LEG } else { 1 };
        for (slot, load, moved) in slots {
            for at in 0..legs.len() {
                if legs[at].count < of_several {
                    legs.push(legs[at].with(slot, &load, moved));
                }
            }
        }
        legs
    }

    /// What more moves when a slot gets another place, in fair shares of what it is most.
    fn moved(&self, slot: u32, from: usize, to: usize) -> f64 {
        let board = self.search.ledger.board;
        let (load, fair) = (board.slot_loads[slot as usize], board.fair[from]);
        let counting = board.dimensions.iter().chain(&[Dimension::Bytes]).filter(|d| fair[**d] > 0.0);
        self.way(slot, from, to) * counting.map(|d| load[*d] / fair[*d]).fold(0.0, f64::max)
    }

    /// 1 where a slot leaves its home, −1 where it comes back, 0 on the way from one place to another.
    fn way(&self, slot: u32, from: usize, to: usize) -> f64 {
        match self.search.ledger.board.holder[slot as usize] as usize {
            home if home == from => 1.0,
            home if home == to => -1.0,
            _ => 0.0,
        }
    }

    /// The best exchange of a pair, if it is better than `least`.
    fn best_between(&self, between: Between, legs: (&[Leg], &[Leg]), mut least: Option<Worth>) -> Option<Exchange> {
        let mut best = None;
        for out in &legs.0[1..] {
            for back in legs.1 {
                let Some(worth) = self.worth(between, out, back) else { continue };
                if least.is_none_or(|least| worth > least) && self.is_allowed(between, out, back) {
                    (least, best) = (Some(worth), Some((worth, *out, *back)));
                }
            }
        }
        best.map(|(worth, out, back)| Exchange { between, worth, out, back })
    }

    /// How good an exchange would be; `None` if it isn't.
    fn worth(&self, Between { source, target, driven, dimension }: Between, out: &Leg, back: &Leg) -> Option<Worth> {
        let (ledger, net) = (&self.search.ledger, out.load[dimension] - back.load[dimension]);
        let sign = if driven == source { -1.0 } else { 1.0 };
        let was = ledger.deviation[driven][dimension];
        if net <= 0.0 || (was + sign * net * ledger.unit[driven][dimension]).abs() >= was.abs() {
            return None;
        }
        let mut net = out.load;
        net.iter_mut().zip(back.load).for_each(|(net, back)| *net -= back);
        let before = (ledger.deviation[source], ledger.deviation[target]);
        let after = ledger.after(source, target, &net);
        let left = self.beyond(&after.0) + self.beyond(&after.1);
        let relief = self.beyond(&before.0) + self.beyond(&before.1) - left;
        let (moved, settles) = (out.moved + back.moved, left <= SLACK);
        let is_worth = settles || (relief >= GAIN_MIN && relief >= WORTH * moved);
        let is_worth = is_worth && is_better(&after, &before) && worst_of(&after) <= worst_of(&before);
        is_worth.then_some(Worth { settles, relief: if settles { -moved } else { relief } })
    }

    /// By how much a shard is beyond the goal, in all dimensions together.
    fn beyond(&self, deviations: &Deviations) -> f64 {
        let ledger = &self.search.ledger;
        ledger.dimensions.iter().map(|d| (deviations[*d].abs() - ledger.goal[*d]).max(0.0)).sum()
    }

    /// Whether there is room for it, and the plan may move as many bytes.
    fn is_allowed(&self, Between { source, target, .. }: Between, out: &Leg, back: &Leg) -> bool {
        let ledger = &self.search.ledger;
        let coming = |leg: &Leg, to: usize| {
            let mut sum = [0.0; D];
            let is_coming = |slot: &&u32| ledger.board.holder[**slot as usize] as usize != to;
            leg.slots().iter().filter(is_coming).for_each(|slot| add(&mut sum, &slot_load(ledger, *slot)));
            sum
        };
        ledger.has_room(target, &coming(out, target))
            && ledger.has_room(source, &coming(back, source))
            && self.more_bytes(out, source, target) + self.more_bytes(back, target, source) <= self.search.bytes_left
    }

    /// How many more bytes the plan moves for a leg.
    fn more_bytes(&self, leg: &Leg, from: usize, to: usize) -> f64 {
        let bytes = |slot: u32| self.search.ledger.board.slot_loads[slot as usize].bytes;
        leg.slots().iter().map(|slot| self.way(*slot, from, to) * bytes(*slot)).sum()
    }

    fn carry_out(&mut self, Exchange { between: Between { source, target, .. }, out, back, .. }: &Exchange) {
        self.search.bytes_left -= self.more_bytes(out, *source, *target) + self.more_bytes(back, *target, *source);
        let exchanged = out.slots().iter().map(|slot| (*slot, *target));
        let exchanged: Vec<_> = exchanged.chain(back.slots().iter().map(|slot| (*slot, *source))).collect();
        self.change((*source, *target), |places, search| {
            exchanged.iter().for_each(|(slot, to)| places.put(&mut search.ledger, *slot, *to));
        });
    }

    /// Leaves the slots of a bundle where they are.
    fn give_up(&mut self, bundle: &Bundle) {
        self.search.bytes_left += bundle.load.bytes;
        self.change((bundle.source, bundle.target), |places, search| {
            bundle.slots.iter().for_each(|slot| places.refuse(&mut search.ledger, *slot));
        });
    }

    /// Changes what two shards hold, and what is known about them.
    fn change(&mut self, (one, other): (usize, usize), change: impl FnOnce(&mut Places, &mut Search)) {
        self.unrank(one);
        self.unrank(other);
        change(&mut self.places, self.search);
        for shard in [one, other] {
            self.rank(shard);
            self.search.touch(shard);
        }
    }

    fn rank(&mut self, shard: usize) {
        if self.search.ledger.board.is_free(shard) {
            let ledger = &self.search.ledger;
            ledger.dimensions.iter().for_each(|d| _ = self.ranks[*d].insert(rank(ledger.deviation[shard][*d], shard)));
        }
    }

    fn unrank(&mut self, shard: usize) {
        let ledger = &self.search.ledger;
        ledger.dimensions.iter().for_each(|d| _ = self.ranks[*d].remove(&rank(ledger.deviation[shard][*d], shard)));
    }
}
