//! The large values of the walk, each kept once, with what follows from it worked out once.

use crate::invariants;
use crate::letters::{Answer, Interned, Letter, letters_of};
use crate::mistakes::Mistake;
use evenkeel_model::{Epoch, Slot, SlotMap, SlotSet, Timestamp};
use evenkeel_rebalancer::migration::{Access, Command, Effect, Migration, Order, Ownership, Part, ShardCommand};
use std::collections::HashMap;
use std::rc::Rc;

/// The two slots that move, of four; the target owns the two others all the time.
pub fn moving() -> SlotSet {
    SlotSet::range(Slot(0), Slot(1))
}

/// What an ownership allows.
#[derive(Clone, Copy, Debug)]
pub struct View {
    pub may_write: bool,
    /// Reads at timestamp 2n.
    pub may_read: [bool; invariants::WRITES as usize + 1],
    pub part: Option<Part>,
    pub mirrors: bool,
    pub may_collect: bool,
}

impl View {
    fn of(ownership: &Ownership, mistake: Mistake) -> Self {
        let part = ownership.roles().first().map(|role| role.part);
        let unfenced = mistake == Mistake::NoFence && matches!(part, Some(Part::Sealed { .. }));
        let may_read = |n: usize| ownership.may_scan(&moving(), Timestamp(n as u64 * 2)) == Access::Granted || unfenced;
        let bystander = Slot(3);
        let serves_bystander = ownership.may_write(bystander) == Access::Granted;
        assert_eq!(serves_bystander, ownership.owned().contains(bystander), "a slot that does not move is concerned");
        Self {
            may_write: ownership.may_write(Slot(0)) == Access::Granted,
            may_read: std::array::from_fn(may_read),
            part,
            mirrors: ownership.mirrors(Slot(1)).is_some(),
            may_collect: ownership.may_collect(Slot(0)),
        }
    }
}

/// A record with what it makes its drivers do.
pub struct Wants {
    pub record: Migration,
    pub command: Option<Command>,
    /// The numbers of its letters.
    pub letters: Vec<u16>,
}

/// The ownership that follows and what else is done; `None` if the letter is refused.
type Obeyed = Option<(u16, Option<Effect>)>;

/// All values that states refer to.
pub struct Values {
    mistake: Mistake,
    records: Interned<Migration>,
    wants: Vec<Rc<Wants>>,
    ownerships: Interned<Ownership>,
    views: Vec<View>,
    letters: Interned<Letter>,
    posts: Interned<Vec<u16>>,
    answers: Interned<Vec<Answer>>,
    maps: Vec<SlotMap>,
    /// By ownership, letter and writes issued.
    accepted: HashMap<(u16, u16, u8), Obeyed>,
    /// (post, record) → post with the record's letters.
    posted: HashMap<(u16, u16), u16>,
}

impl Values {
    pub fn new(mistake: Mistake) -> Self {
        Self {
            mistake,
            records: Interned::new(),
            wants: Vec::new(),
            ownerships: Interned::new(),
            views: Vec::new(),
            letters: Interned::new(),
            posts: Interned::new(),
            answers: Interned::new(),
            maps: Vec::new(),
            accepted: HashMap::new(),
            posted: HashMap::new(),
        }
    }

    pub fn record(&mut self, record: Migration) -> u16 {
        let number = self.records.number(record);
        if self.records.len() > self.wants.len() {
            let record = self.records.get(number).clone();
            let letters =
                letters_of(&record, self.mistake).into_iter().map(|letter| self.letters.number(letter)).collect();
            self.wants.push(Rc::new(Wants { command: record.command(), record, letters }));
        }
        number
    }

    pub fn wants(&self, record: u16) -> Rc<Wants> {
        Rc::clone(&self.wants[record as usize])
    }

    pub fn letter(&self, number: u16) -> &Letter {
        self.letters.get(number)
    }

    /// What is under way once a record's letters have been added to it.
    pub fn post(&mut self, post: &[u16], record: u16) -> u16 {
        let mut all: Vec<_> = post.iter().chain(&self.wants[record as usize].letters).copied().collect();
        all.sort_unstable();
        all.dedup();
        self.posts.number(all)
    }

    pub fn posted(&mut self, post: u16, record: u16) -> u16 {
        if let Some(known) = self.posted.get(&(post, record)) {
            return *known;
        }
        let number = self.post(&self.letters_in(post), record);
        self.posted.insert((post, record), number);
        number
    }

    pub fn letters_in(&self, post: u16) -> Rc<[u16]> {
        self.posts.get(post).as_slice().into()
    }

    pub fn answers(&self, answers: u16) -> &[Answer] {
        self.answers.get(answers)
    }

    pub fn no_answers(&mut self) -> u16 {
        self.answers.number(vec![])
    }

    /// The answers with one more; the order in which they came tells nothing.
    pub fn answered(&mut self, answers: u16, answer: Answer) -> u16 {
        if self.answers.get(answers).contains(&answer) {
            return answers;
        }
        let mut all = self.answers.get(answers).clone();
        all.push(answer);
        all.sort_by_key(|answer| format!("{answer:?}"));
        self.answers.number(all)
    }

    pub fn map(&mut self, map: SlotMap) -> u16 {
        let at = self.maps.iter().position(|known| *known == map).unwrap_or_else(|| {
            self.maps.push(map);
            self.maps.len() - 1
        });
        u16::try_from(at).expect("few maps")
    }

    pub fn slot_map(&self, map: u16) -> &SlotMap {
        &self.maps[map as usize]
    }

    pub fn ownership(&mut self, ownership: Ownership) -> u16 {
        let number = self.ownerships.number(ownership);
        if self.ownerships.len() > self.views.len() {
            self.views.push(View::of(self.ownerships.get(number), self.mistake));
        }
        number
    }

    pub fn view(&self, ownership: u16) -> &View {
        &self.views[ownership as usize]
    }

    /// The judge of a shard's commands.
    pub fn judge(&self, ownership: u16) -> &Ownership {
        self.ownerships.get(ownership)
    }

    /// What a shard does about a letter, after so many writes were issued.
    pub fn accept(&mut self, ownership: u16, letter: u16, issued: u8) -> Obeyed {
        let key = (ownership, letter, issued);
        if let Some(known) = self.accepted.get(&key) {
            return known.clone();
        }
        let Letter::Shard(_, mut command) = self.letter(letter).clone() else { return None };
        if let Order::Seal { cutover } = &mut command.order {
            *cutover = Timestamp(u64::from(issued) * 2 + 1);
        }
        if matches!(self.mistake, Mistake::StaleCommandsAccepted | Mistake::StepsNotCompared) {
            let seen = self.judge(ownership).role(command.stamp.migration).map_or(0, |role| role.stamp.step);
            command.stamp.step = command.stamp.step.max(seen);
        }
        if matches!(self.mistake, Mistake::StaleCommandsAccepted | Mistake::EpochsNotCompared) {
            command.stamp.since = Epoch(99);
        }
        let accepted = self.judge(ownership).accept(&command).ok();
        let accepted = accepted.map(|accepted| (self.ownership(accepted.ownership), accepted.effect));
        self.accepted.insert(key, accepted.clone());
        accepted
    }

    /// A source that has forgotten its seal.
    pub fn unsealed(&mut self, ownership: u16) -> u16 {
        let role = self.judge(ownership).roles()[0].clone();
        let command = ShardCommand { stamp: role.stamp, slots: role.slots, order: Order::Unseal };
        let open = self.judge(ownership).accept(&command).expect("it is sealed").ownership;
        self.ownership(open)
    }
}
