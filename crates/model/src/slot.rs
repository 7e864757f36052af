//! Tokens, slots, and who owns them.
//!
//! A row's shard key hashes to a 64-bit token; the token's top bits are its slot; the slot map says which shard has the
//! slot. Routing is one shift and one index. Slots are many more than shards, so that ownership can be moved in small
//! pieces whose exact size is known.
//!
//! WHAT MAY NEVER HAPPEN: a slot without an owner, or with two (`one-owner`). [`SlotMap`] is a flat array with one entry
//! a slot, so neither can be written down; its epoch grows with every change, so that an older map is told from a newer.

use crate::slots::SlotSet;
use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($int:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $int);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

id!(/** A shard: a set of slots and the store that holds their rows. Numbered from 1, never reused. */ ShardId(u32));
id!(/** A table's rows in every shard. A new number on TRUNCATE, never reused. */ TableId(u32));
id!(/** A slot: a contiguous range of tokens, the unit of ownership, statistics and moves. */ Slot(u32));
id!(/** One live move of slots from a shard to another. Numbered from 1, never reused. */ MigrationId(u64));
id!(/** What a statement or a monitor asked for: a plan of migrations. Numbered from 1, never reused. */ JobId(u64));
id!(/** The version of the slot map; grows by one at every change. */ Epoch(u64));

/// The hash of a row's shard key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

impl Token {
    /// The token of a shard key in its memcomparable bytes (xxh3, 64 bits, seed 0).
    #[inline]
    pub fn of(shard_key: &[u8]) -> Self {
        Self(xxhash_rust::xxh3::xxh3_64(shard_key))
    }

    /// The slot that holds this token, of `1 << bits` slots.
    #[inline]
    pub fn slot(self, bits: SlotBits) -> Slot {
        // A shift by 64 (bits = 0) would overflow; SlotBits starts at 1.
        Slot((self.0 >> (64 - bits.get())) as u32)
    }
}

/// How many of a token's top bits name its slot: 1 to 20.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SlotBits(u32);

impl SlotBits {
    /// 8192 slots.
    pub const DEFAULT: SlotBits = SlotBits(13);
    /// The fewest bits: two slots.
    pub const MIN: u32 = 1;
    /// The most bits: about a million slots.
    pub const MAX: u32 = 20;

    /// `None` outside [`Self::MIN`]..=[`Self::MAX`].
    pub fn new(bits: u32) -> Option<Self> {
        (Self::MIN..=Self::MAX).contains(&bits).then_some(Self(bits))
    }

    /// The number of bits.
    #[inline]
    pub fn get(self) -> u32 {
        self.0
    }

    /// The number of slots.
    #[inline]
    pub fn slots(self) -> usize {
        1 << self.0
    }

    /// The first token of a slot.
    pub fn first_token(self, slot: Slot) -> Token {
        Token(u64::from(slot.0) << (64 - self.0))
    }

    /// The last token of a slot.
    pub fn last_token(self, slot: Slot) -> Token {
        Token(self.first_token(slot).0 | (u64::MAX >> self.0))
    }
}

/// Which shard owns each slot, at one epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotMap {
    epoch: Epoch,
    bits: SlotBits,
    owners: Vec<ShardId>,
}

impl SlotMap {
    /// Contiguous runs of equal length (give or take one slot) over `shards`, in their order; epoch 1.
    ///
    /// # Panics
    /// If `shards` is empty or has more shards than there are slots.
    pub fn even(bits: SlotBits, shards: &[ShardId]) -> Self {
        assert!(!shards.is_empty() && shards.len() <= bits.slots(), "between one shard and one a slot");
        let owners = (0..bits.slots()).map(|slot| shards[slot * shards.len() / bits.slots()]).collect();
        Self { epoch: Epoch(1), bits, owners }
    }

    /// The version of this map.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// How tokens are cut into slots.
    pub fn bits(&self) -> SlotBits {
        self.bits
    }

    /// The shard that owns the slot of this token.
    #[inline]
    pub fn route(&self, token: Token) -> ShardId {
        self.owners[token.slot(self.bits).0 as usize]
    }

    /// The shard that owns a slot.
    #[inline]
    pub fn owner(&self, slot: Slot) -> ShardId {
        self.owners[slot.0 as usize]
    }

    /// The next epoch's map, in which `target` owns `slots`.
    ///
    /// # Panics
    /// If a slot is not of this map.
    #[must_use]
    pub fn moved(&self, slots: &SlotSet, target: ShardId) -> Self {
        let mut next = self.bumped();
        slots.iter().for_each(|slot| next.owners[slot.0 as usize] = target);
        next
    }

    /// The next epoch's map with the same owners: whoever meant to change this one finds its epoch gone.
    #[must_use]
    pub fn bumped(&self) -> Self {
        Self { epoch: Epoch(self.epoch.0 + 1), ..self.clone() }
    }

    /// The slots of a shard.
    pub fn slots_of(&self, shard: ShardId) -> SlotSet {
        self.iter().filter(|(_, owner)| *owner == shard).map(|(slot, _)| slot).collect()
    }

    /// Every slot with its owner, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Slot, ShardId)> + '_ {
        self.owners.iter().enumerate().map(|(slot, shard)| (Slot(slot as u32), *shard))
    }

    /// The shards that own at least one slot, in ascending order.
    pub fn shards(&self) -> Vec<ShardId> {
        let mut shards = self.owners.clone();
        shards.sort_unstable();
        shards.dedup();
        shards
    }

    /// How many slots a shard owns.
    pub fn count(&self, shard: ShardId) -> usize {
        self.owners.iter().filter(|owner| **owner == shard).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_covers_its_tokens_and_no_others() {
        for bits in [1, 5, 13, 20].map(|bits| SlotBits::new(bits).expect("in range")) {
            let last = Slot(bits.slots() as u32 - 1);
            for slot in [Slot(0), Slot(1), last] {
                assert_eq!(bits.first_token(slot).slot(bits), slot);
                assert_eq!(bits.last_token(slot).slot(bits), slot);
            }
            assert_eq!(bits.last_token(last), Token(u64::MAX));
            assert_eq!(bits.first_token(Slot(1)).0, bits.last_token(Slot(0)).0 + 1);
        }
        assert_eq!((SlotBits::new(0), SlotBits::new(21)), (None, None));
    }

    #[test]
    fn even_maps_differ_by_at_most_one_slot() {
        for shards in [1, 3, 4, 64] {
            let ids: Vec<_> = (1..=shards).map(ShardId).collect();
            let map = SlotMap::even(SlotBits::DEFAULT, &ids);
            let counts: Vec<_> = ids.iter().map(|id| map.count(*id)).collect();
            assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1);
            assert_eq!(counts.iter().sum::<usize>(), SlotBits::DEFAULT.slots());
            assert_eq!(map.shards(), ids);
        }
    }

    #[test]
    fn tokens_are_stable_across_versions() {
        // Rows on disk stand under these tokens.
        assert_eq!(Token::of(b"").0, 0x2d06_8005_38d3_94c2);
        assert_eq!(Token::of(b"evenkeel"), Token::of(b"evenkeel"));
    }
}
