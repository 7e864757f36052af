//! Rows on their way: all that a source has of some slots, then what it owes since.

use crate::carry::{Carry, OWED_AT_ONCE};
use crate::mistake::mistaken;
use crate::world::{Owed, Versions, World};
use evenkeel_model::{Result, SqlState};
use evenkeel_rebalancer::migration::{Migration, Observed, ShardCommand, Stamp};
use std::sync::Arc;

/// What was sent of what is owed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SentOwed {
    pub(crate) entries: usize,
    pub(crate) bytes: u64,
    /// Entries that are left, at most.
    pub(crate) behind: u64,
}

impl<W: World> Carry<'_, W> {
    /// Streams all that the source has of the slots.
    pub(crate) fn copy(
        &mut self,
        migration: &Migration,
        outgoing: &ShardCommand,
        incoming: &ShardCommand,
    ) -> Result<Option<Observed>> {
        self.order(migration.source, outgoing)?;
        self.order(migration.target, incoming)?;
        let slots = &migration.slots;
        self.movement.begin_copy(self.world.count_of(&self.source, slots).rows);
        let outcome = if self.world.has_received_nothing(&self.target, slots)? {
            self.copy_files(migration)
        } else {
            self.world.recount_received(&self.target, slots).and_then(|()| self.copy_versions(migration))
        };
        match outcome {
            Ok(()) => Ok(Some(Observed::Copied)),
            Err(error) if error.state == SqlState::QueryCanceled => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Through sorted files, where the target has nothing of the slots yet.
    fn copy_files(&mut self, migration: &Migration) -> Result<()> {
        let (world, movement) = (self.world, Arc::clone(&self.movement));
        let mut pace = |rows, bytes| movement.pace(world, rows, bytes);
        let (source, target) = (&self.source, &self.target);
        let copied = world.copy_files(source, target, &migration.slots, &migration.stamp(), &mut pace)?;
        self.streamed.0 = self.streamed.0.wrapping_add(copied.sent);
        self.streamed.1 = self.streamed.1.wrapping_add(copied.stored);
        Ok(())
    }

    /// Version by version, where a copy that was cut off has left some: they may be there already.
    fn copy_versions(&mut self, migration: &Migration) -> Result<()> {
        let (world, source, movement) = (self.world, Arc::clone(&self.source), Arc::clone(&self.movement));
        world.export(&source, &migration.slots, &mut |versions| {
            let bytes = self.send(&migration.stamp(), &versions)?;
            movement.pace(world, versions.rows(), bytes)
        })
    }

    fn send(&mut self, stamp: &Stamp, versions: &W::Versions) -> Result<u64> {
        if versions.is_empty() {
            return Ok(0);
        }
        self.world.receive(&self.target, stamp, versions)?;
        self.streamed.0 = self.streamed.0.wrapping_add(versions.digest());
        self.streamed.1 = self.streamed.1.wrapping_add(versions.digest());
        Ok(versions.bytes())
    }

    /// Sends some of what is owed; the source forgets it once the target has it.
    pub(crate) fn send_owed(&mut self, migration: &Migration) -> Result<SentOwed> {
        let (world, source) = (self.world, Arc::clone(&self.source));
        let Owed { versions, loads, upto, entries, behind } = world.owed(&source, migration.id, OWED_AT_ONCE)?;
        if entries == 0 {
            return Ok(SentOwed::default());
        }
        if mistaken!(ForgetBeforeStored) {
            world.forget_owed(&source, migration.id, upto)?;
        }
        let stamp = migration.stamp();
        let mut bytes = self.send(&stamp, &versions)?;
        for load in &loads {
            world.loaded(&source, &migration.slots, load, &mut |versions| {
                bytes += self.send(&stamp, &versions)?;
                Ok(())
            })?;
        }
        world.forget_owed(&source, migration.id, upto)?;
        Ok(SentOwed { entries, bytes, behind })
    }
}
