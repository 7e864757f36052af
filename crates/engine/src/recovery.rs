//! What a start finishes or takes back of what the last process left half done, before anybody is served.
//!
//! Loads come first: their records decide about the intents of their transactions, too. The commit log comes last: what only
//! it has is applied to shards in which nothing is half done any more.
//!
//! WHAT MAY NEVER HAPPEN: a transaction or a load is there in one shard and not in another; what was acknowledged is not there.

use crate::database::{Database, Load, LogMark, MARK, StoredLoad, apply_error};
use crate::meta::MetaStore;
use evenkeel_model::{Error, Result, ShardId, SqlState, TableId, Timestamp};
use evenkeel_storage::codec::key::table_of;
use evenkeel_storage::commit_log::{self, LoggedCommit, Part, RecordNumber};
use evenkeel_storage::{Command, Durability};
use std::collections::{BTreeMap, HashMap, HashSet};

impl Database {
    /// Finishes or takes back what the last process left half done; returns the last record of its commit log.
    pub(crate) fn recover(&self) -> Result<RecordNumber> {
        self.recover_loads()?;
        self.recover_transactions()?;
        let last = self.replay_log()?;
        // When rows last changed is not kept: for a reader of the past, counters are never as old as it asks for.
        let (now, layout) = (self.oracle.next()?, self.layout());
        for table in self.schemas().tables.values() {
            layout.shards.values().for_each(|shard| shard.note_load(table.schema.id, now));
        }
        let dropped = self.meta.list::<Timestamp>("dropped/")?;
        let parse = |(id, at): (String, Timestamp)| id.parse().ok().map(|id| (TableId(id), at));
        *self.dropped.lock() = dropped.into_iter().filter_map(parse).collect();
        self.purge_dropped()?;
        Ok(last)
    }

    /// Applies the commits that were durable in the commit log alone.
    fn replay_log(&self) -> Result<RecordNumber> {
        let mark = self.meta.get::<LogMark>(MARK)?.unwrap_or_default();
        for (id, sequence) in &mark.sequences {
            // A shard that was removed since had nothing left.
            let Ok(shard) = self.shard(*id) else { continue };
            let found = shard.sequence();
            if found < *sequence {
                return Err(Error::new(
                    SqlState::DataCorrupted,
                    format!("shard {id} has lost changes that were on disk"),
                )
                .with_detail(format!("its files end at change {found} of {sequence}"))
                .with_hint("restore the directory from a backup; nothing was changed"));
            }
        }
        let (commits, last) = commit_log::read(&self.log_directory(), mark.record)?;
        let schemas = self.schemas();
        let tables: HashSet<_> = schemas.tables.values().map(|table| table.schema.id).collect();
        let mut replayed = 0;
        for LoggedCommit { commit, parts } in commits {
            let mut is_missing = false;
            for Part { shard, mut mutations } in parts {
                // A table that was dropped meanwhile has no rows any more.
                mutations.retain(|mutation| table_of(&mutation.key).is_some_and(|table| tables.contains(&table)));
                let Ok(shard) = self.shard(shard) else { continue };
                is_missing |= shard.apply_logged(commit, &mutations)?;
            }
            replayed += u64::from(is_missing);
        }
        if replayed > 0 {
            self.event("recovery", "commit log", &format!("applied {replayed} commits that shards had not kept"));
        }
        if last > mark.record {
            self.mark_log(last)?;
        }
        Ok(last)
    }

    fn recover_loads(&self) -> Result<()> {
        let committed: HashMap<Timestamp, StoredLoad> = self
            .meta
            .list::<StoredLoad>("load/")?
            .into_iter()
            .filter_map(|(load, stored)| load.parse().ok().map(|load| (Timestamp(load), stored)))
            .collect();
        for shard in self.layout().shards.values() {
            for load in shard.loads()? {
                let (command, did) = if committed.contains_key(&load) {
                    (Command::FinishLoad { load }, "finished")
                } else {
                    (Command::AbortLoad { load }, "took back")
                };
                shard.apply(&command, Durability::Synced).map_err(apply_error)?;
                self.event("recovery", &format!("shard {}", shard.id()), &format!("{did} bulk load {load}"));
            }
        }
        let loads = committed.iter();
        *self.loads.write() = loads
            .map(|(load, stored)| Load { table: stored.table, load: *load, commit: Some(stored.commit), counted: true })
            .collect();
        Ok(())
    }

    fn recover_transactions(&self) -> Result<()> {
        let mut records = BTreeMap::new();
        for shard in self.layout().shards.values() {
            for (transaction, commit) in shard.transaction_records()? {
                records.insert((shard.id(), transaction), commit);
            }
        }
        let loads = self.meta.list::<StoredLoad>("load/")?;
        let with_loads: HashMap<Timestamp, Timestamp> =
            loads.into_iter().filter_map(|(_, load)| Some((load.transaction?, load.commit))).collect();
        for shard in self.layout().shards.values() {
            let mut transactions: BTreeMap<(Timestamp, ShardId), Vec<Vec<u8>>> = BTreeMap::new();
            for intent in shard.intents()? {
                transactions.entry((intent.transaction, intent.primary)).or_default().push(intent.key);
            }
            for ((transaction, primary), keys) in transactions {
                let rows = keys.len();
                let record = records.get(&(primary, transaction)).or_else(|| with_loads.get(&transaction));
                let (command, did) = match record {
                    Some(commit) => {
                        (Command::Commit { transaction, commit: *commit, keys, record: false }, "committed")
                    }
                    None => (Command::Rollback { transaction, keys }, "rolled back"),
                };
                shard.apply(&command, Durability::Synced).map_err(apply_error)?;
                let message = format!("{did} {rows} rows of a transaction that was half done");
                self.event("recovery", &format!("shard {}", shard.id()), &message);
            }
        }
        for ((shard, transaction), _) in records {
            let command = Command::Forget { transactions: vec![transaction] };
            self.shard(shard)?.apply(&command, Durability::Buffered).map_err(apply_error)?;
        }
        Ok(())
    }
}
