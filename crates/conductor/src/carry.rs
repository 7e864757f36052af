//! Carries the commands of one migration out.
//!
//! WHAT MAY NEVER HAPPEN: a reader takes a picture between the source's last timestamp and the target's first; the target
//! has what a crash takes from the source; rows are deleted while somebody may read them.

use crate::Movement;
use crate::copy::SentOwed;
use crate::driver::{Carrier, Wish};
use crate::meta::MetaChange;
use crate::mistake::mistaken;
use crate::world::{Cutover, World};
use evenkeel_model::{Epoch, Error, MigrationId, Result, ShardId, SlotMap, SqlState, Timestamp};
use evenkeel_rebalancer::migration::{
    Command, Holder, MapChange, Migration, Observed, Order, Part, Phase, ShardCommand, Tally,
};
use std::sync::Arc;
use std::time::Duration;

/// Changes that are sent at once while catching up.
pub(crate) const OWED_AT_ONCE: usize = 4_096;
/// So few changes are left to a cutover.
const OWED_TO_CUTOVER: usize = 256;
/// How often it is looked whether old readers are gone, or a load is over.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How long what failed is left alone.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(200);

/// One migration's hands.
pub(crate) struct Carry<'w, W: World> {
    pub(crate) world: &'w W,
    pub(crate) movement: Arc<Movement>,
    pub(crate) source: Arc<W::Shard>,
    pub(crate) target: Arc<W::Shard>,
    migration: MigrationId,
    ids: (ShardId, ShardId),
    /// Nobody else takes a picture: from the cutover timestamp until the target serves.
    picture: Option<W::Cutover<'w>>,
    pass: Option<W::Pass<'w>>,
    /// The slot map that was committed and is not in the picture yet.
    switched: Option<SlotMap>,
    /// A record that is to be kept together with what it orders: while it waits, the one before it holds.
    deferred: Option<Migration>,
    /// A record that was kept before it was its turn.
    kept: Option<Migration>,
    /// When writes began to be held.
    held_since: Option<Duration>,
    /// Digests of what was sent and of what was stored since this process drives the migration.
    pub(crate) streamed: (u64, u64),
    /// Keeps the cutover timestamp readable until both sides were compared.
    _pin: Option<W::Pin<'w>>,
}

impl<'w, W: World> Carry<'w, W> {
    pub(crate) fn new(world: &'w W, movement: Arc<Movement>, migration: &Migration) -> Result<Self> {
        let picture = world.picture();
        let shard = |id: ShardId| {
            picture.shards.get(&id).cloned().ok_or_else(|| Error::internal(format!("shard {id} is not there")))
        };
        let pin = migration.keeps_readable().map(|cutover| world.pin(cutover));
        Ok(Self {
            source: shard(migration.source)?,
            target: shard(migration.target)?,
            migration: migration.id,
            ids: (migration.source, migration.target),
            world,
            movement,
            picture: None,
            pass: None,
            switched: None,
            deferred: None,
            kept: None,
            held_since: None,
            streamed: Default::default(),
            _pin: pin,
        })
    }

    pub(crate) fn order(&self, id: ShardId, command: &ShardCommand) -> Result<()> {
        let shard = match id {
            id if id == self.ids.0 => &self.source,
            id if id == self.ids.1 => &self.target,
            _ => return Err(Error::internal(format!("shard {id} has no part in the migration"))),
        };
        self.world.order(shard, command)
    }

    fn catch_up(&mut self, migration: &Migration) -> Result<Option<Observed>> {
        loop {
            if self.movement.wish() != Wish::GoOn {
                return Ok(None);
            }
            let SentOwed { entries, bytes, behind } = self.send_owed(migration)?;
            if entries <= OWED_TO_CUTOVER && !self.world.is_loading() {
                return Ok(Some(Observed::CaughtUp { epoch: self.map()?.epoch() }));
            }
            if entries <= OWED_TO_CUTOVER {
                // A bulk load keeps the slots where they are until it is over.
                self.movement.count(self.world, 0, bytes);
                self.movement.sleep(self.world, LOOK_EVERY);
            } else if self.movement.pace_catching_up(self.world, bytes, behind).is_err() {
                return Ok(None);
            }
        }
    }

    /// Holds writes, drains the rest, and fences the source at a timestamp. If that can't be short, everything goes on.
    fn seal(&mut self, migration: &Migration) -> Result<Option<Observed>> {
        let Some(pass) = self.world.begin_cutover() else { return Ok(Some(Observed::TooSlow)) };
        self.pass = Some(pass);
        let began = self.world.elapsed();
        let budget = Duration::from_millis(self.world.settings().duration_ms("cutover_budget"));
        self.held_since = Some(began);
        let early = mistaken!(TimestampBeforeHold).then(|| self.world.next_timestamp()).transpose()?;
        let sealed = self.is_sealed();
        if !sealed && !self.world.hold(&self.source, &migration.slots, budget) {
            return Ok(self.too_slow(migration));
        }
        while self.send_owed(migration)?.entries > 0 {
            if !sealed && self.world.elapsed() > began + budget {
                return Ok(self.too_slow(migration));
            }
        }
        let tally = |shard: &W::Shard, digest| Tally { digest, ..self.world.count_of(shard, &migration.slots) };
        let (source, target) = (tally(&self.source, self.streamed.0), tally(&self.target, self.streamed.1));
        let cutover = self.fence(migration, early)?;
        Ok(Some(Observed::Sealed { cutover, source, target }))
    }

    /// From here until the target serves, nobody takes a timestamp to read at.
    fn fence(&mut self, migration: &Migration, early: Option<Timestamp>) -> Result<Timestamp> {
        self.picture = Some(self.world.cutover());
        let order = Order::Seal { cutover: early.map_or_else(|| self.world.next_timestamp(), Ok)? };
        self.order(
            migration.source,
            &ShardCommand { stamp: migration.stamp(), slots: migration.slots.clone(), order },
        )?;
        self.world.release_hold(&self.source, &migration.slots);
        let Some(Part::Sealed { cutover }) = self.world.part_in(&self.source, migration.id) else {
            return Err(Error::internal("a source that was sealed is not"));
        };
        self._pin = Some(self.world.pin(cutover));
        Ok(cutover)
    }

    fn too_slow(&mut self, migration: &Migration) -> Option<Observed> {
        self.world.release_hold(&self.source, &migration.slots);
        self.open();
        Some(Observed::TooSlow)
    }

    /// Lets pictures be taken, and everybody who was kept off try again.
    fn open(&mut self) {
        self.picture = None;
        self.pass = None;
        self.world.announce();
        if let Some(since) = self.held_since.take() {
            let pause = self.world.elapsed().saturating_sub(since);
            self.movement.note_pause(pause);
            self.world.on_pause(pause);
        }
    }

    fn is_sealed(&self) -> bool {
        matches!(self.world.part_in(&self.source, self.migration), Some(Part::Sealed { .. }))
    }

    /// The slot map as the meta store has it.
    fn map(&self) -> Result<SlotMap> {
        self.world.get("slots")?.ok_or_else(|| Error::internal("the slot map is not there"))
    }

    fn commit(&mut self, migration: &Migration, change: &MapChange) -> Result<Option<Observed>> {
        if self.picture.is_none() {
            self.picture = Some(self.world.cutover());
        }
        if mistaken!(UndoWithoutEpoch) && migration.phase == Phase::Reclaiming {
            return Ok(Some(Observed::Map { epoch: Epoch(migration.epoch.0 + 1), holder: Holder::Source }));
        }
        if mistaken!(ActivateBeforeSwitch) && migration.phase == Phase::Switching {
            let order = Order::Activate { epoch: Epoch(migration.epoch.0 + 1) };
            let (stamp, slots) = (migration.stamp(), migration.slots.clone());
            self.order(migration.target, &ShardCommand { stamp, slots, order })?;
        }
        let mut map = self.map()?;
        if let Some(next) = change.apply(&map) {
            let mut change = MetaChange::default();
            change.put("slots", &next)?;
            if self.deferred.is_some() {
                let following = migration.next(&migration.read(&next));
                let over = self.movement.keep_with(self.world, &following, change)?;
                self.note_kept(migration, over);
                (self.deferred, self.kept) = (None, Some(following));
            } else {
                self.world.commit(change)?;
            }
            map = next;
        }
        let seen = migration.read(&map);
        self.switched = Some(map);
        if !matches!(seen, Observed::Map { holder: Holder::Target, .. }) {
            self.publish();
        }
        if mistaken!(OpenBeforeActivate) {
            self.picture = None;
        }
        Ok(Some(seen))
    }

    fn note_kept(&self, migration: &Migration, over: Option<(&'static str, Duration)>) {
        if let Some((phase, took)) = over {
            self.world.on_phase_over(phase, took);
        }
        self.world.on_phase(migration.id, migration.phase, true);
    }

    /// Puts the committed slot map into the picture. As long as the source is sealed, nobody takes one.
    fn publish(&mut self) {
        let Some(map) = self.switched.take() else { return };
        let mut picture = self.picture.take().unwrap_or_else(|| self.world.cutover());
        if picture.slots().epoch() < map.epoch() {
            picture.replace_slots(map);
        }
        if self.is_sealed() {
            self.picture = Some(picture);
        }
    }

    fn tell(&mut self, migration: &Migration, commands: &[(ShardId, ShardCommand)]) -> Result<Option<Observed>> {
        if migration.phase == Phase::Dropping && !self.wait_for_readers(migration)? {
            return Ok(None);
        }
        for (shard, command) in commands {
            let is_wrong = mistaken!(DropWrongSide) && migration.phase == Phase::Dropping;
            self.order(if is_wrong { migration.target } else { *shard }, command)?;
        }
        if migration.phase == Phase::Activating {
            if self.switched.is_none() {
                // A process before this one committed it.
                self.switched = Some(self.map()?);
            }
            self.publish();
        }
        self.world.release_hold(&self.source, &migration.slots);
        self.open();
        Ok(Some(Observed::Told))
    }

    /// Waits until nobody goes by a picture in which the source has the slots; `false` when it is to stop.
    fn wait_for_readers(&self, migration: &Migration) -> Result<bool> {
        while self.world.has_readers_before(migration.epoch) && !mistaken!(DropUnderReaders) {
            if self.movement.wish() == Wish::Stop {
                return Ok(false);
            }
            self.movement.sleep(self.world, LOOK_EVERY);
        }
        self.world.settle_commits()?;
        Ok(true)
    }

    /// Reads both sides as of the cutover.
    fn compare(&self, migration: &Migration, cutover: Timestamp) -> Result<Option<Observed>> {
        if mistaken!(DropBeforeVerify) {
            return Ok(Some(Observed::Compared { source: Tally::default(), target: Tally::default() }));
        }
        let read = |shard: &W::Shard| {
            let mut pace = |_, bytes| self.movement.pace_reading(self.world, bytes);
            self.world.tally(shard, &migration.slots, cutover, &mut pace)
        };
        match read(&self.source).and_then(|source| Ok((source, read(&self.target)?))) {
            Ok((source, target)) => Ok(Some(Observed::Compared { source, target })),
            Err(error) if error.state == SqlState::QueryCanceled => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl<W: World> Carrier for Carry<'_, W> {
    fn carry_out(&mut self, migration: &Migration, command: Command) -> Result<Option<Observed>> {
        match command {
            Command::ReadMap => Ok(Some(migration.read(&self.map()?))),
            Command::Copy { outgoing, incoming } => self.copy(migration, &outgoing, &incoming),
            Command::CatchUp { .. } => self.catch_up(migration),
            Command::Seal { .. } => self.seal(migration),
            Command::Commit(change) => self.commit(migration, &change),
            Command::Tell(commands) => self.tell(migration, &commands),
            Command::Compare { cutover } => self.compare(migration, cutover),
        }
    }

    fn keep(&mut self, migration: &Migration) -> Result<()> {
        self.world.on_phase(migration.id, migration.phase, false);
        if self.kept.take().is_some_and(|kept| kept == *migration) {
            self.world.on_phase(migration.id, migration.phase, true);
            return Ok(());
        }
        if migration.phase == Phase::Switching && self.picture.is_some() && self.deferred.is_none() {
            // Everybody waits: the record goes with the slot map, in one step. A crash before it finds the source sealed
            // and the record that ordered it.
            self.deferred = Some(migration.clone());
            return Ok(());
        }
        self.deferred = None;
        if mistaken!(ActBeforeKept)
            && let Some(command) = migration.command()
        {
            self.carry_out(migration, command)?;
        }
        let over = self.movement.keep(self.world, migration)?;
        self.note_kept(migration, over);
        Ok(())
    }

    fn wish(&self) -> Wish {
        self.movement.wish()
    }

    fn why_given_up(&self) -> String {
        self.movement.stored().progress.error.unwrap_or_default()
    }

    fn wait(&mut self) {
        self.movement.sleep(self.world, TRY_AGAIN_AFTER);
    }

    fn report(&mut self, migration: &Migration, error: &Error) {
        // Whoever waits for the picture must not wait for what is tried again. A bulk load has to: it asks no shard whether
        // it may write, and goes where the picture says, which is wrong from the seal until the outcome is published.
        let part = self.world.part_in(&self.source, migration.id);
        let is_open = !matches!(part, Some(Part::Sealed { .. } | Part::Released { .. })) || mistaken!(LoadsWhileSealed);
        let pass = self.pass.take().filter(|_| !is_open);
        self.world.release_hold(&self.source, &migration.slots);
        self.open();
        self.pass = pass;
        self.movement.note_error(error);
    }
}
