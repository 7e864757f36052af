//! Stories over one shard: every step of `scripts/*` with what the shard answered.
//!
//! A key is written table/slot/name, of 16 slots. `UPDATE_GOLDENFILES=1` writes the answers anew; they are then read.

use crate::recount::{counted, recount};
use evenkeel_model::{ShardId, Slot, SlotBits, TableId, Timestamp};
use evenkeel_storage::codec::key::{PREFIX_LEN, row_key, slot_of, table_of, table_range};
use evenkeel_storage::{ApplyError, Command, Cursor, Durability, Mutation, Operation, Shard, SortedRows, Store, View};
use goldenscript::{Argument, ArgumentConsumer, Context};
use std::error::Error;
use std::time::Duration;
use tempfile::TempDir;

type Answer = Result<String, Box<dyn Error>>;

/// A shard in a directory of its own, and what a script can ask of it.
struct Story {
    directory: TempDir,
    store: Store,
    shard: Option<Shard>,
}

fn bits() -> SlotBits {
    SlotBits::new(4).expect("16 slots")
}

fn key(text: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    let parts: Vec<&str> = text.split('/').collect();
    let [table, slot, name] = parts.as_slice() else { return Err(format!("{text} is not table/slot/name").into()) };
    let token = bits().first_token(Slot(slot.parse()?));
    Ok(row_key(TableId(table.parse()?), token, name.as_bytes()))
}

fn name(key: &[u8]) -> String {
    let table = table_of(key).expect("a row key");
    format!("{table}/{}/{}", slot_of(key, bits()), String::from_utf8_lossy(&key[PREFIX_LEN..]))
}

fn timestamp(text: &str) -> Result<Timestamp, Box<dyn Error>> {
    Ok(if text == "max" { Timestamp::MAX } else { Timestamp(text.parse()?) })
}

fn take(args: &mut ArgumentConsumer<'_>, what: &str) -> Result<Timestamp, Box<dyn Error>> {
    timestamp(args.take_key(what).ok_or_else(|| format!("{what}=… is missing"))?)
}

/// Every argument that is left: `key=row` writes, `key` alone deletes.
fn mutations(args: ArgumentConsumer<'_>) -> Result<Vec<Mutation>, Box<dyn Error>> {
    args.map(|argument| {
        Ok(match argument {
            Argument::KeyValue(at, row) => {
                Mutation { key: key(at)?, operation: Operation::Put(row.clone().into_bytes()) }
            }
            Argument::Positional(at) => Mutation { key: key(at)?, operation: Operation::Delete },
            other => return Err(format!("unexpected {other}").into()),
        })
    })
    .collect()
}

fn keys(args: ArgumentConsumer<'_>) -> Result<Vec<Vec<u8>>, Box<dyn Error>> {
    Ok(mutations(args)?.into_iter().map(|mutation| mutation.key).collect())
}

fn lines(lines: impl IntoIterator<Item = String>, none: &str) -> String {
    let lines: Vec<String> = lines.into_iter().collect();
    if lines.is_empty() { none.to_string() } else { lines.join("\n") }
}

impl Story {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut story = Self { directory, store: Store::new(16 << 20).expect("a store"), shard: None };
        story.open().expect("a new shard");
        story
    }

    fn open(&mut self) -> Answer {
        self.shard = None;
        let path = self.directory.path().join("shard");
        self.shard = Some(Shard::open(ShardId(1), &path, bits(), &self.store)?);
        Ok("open".to_string())
    }

    fn shard(&self) -> &Shard {
        self.shard.as_ref().expect("the shard is open")
    }

    fn apply(&self, command: &Command) -> Answer {
        match self.shard().apply(command, Durability::Synced) {
            Ok(()) => Ok("ok".to_string()),
            Err(ApplyError::Conflict { key }) => Ok(format!("conflict at {}, nothing changed", name(&key))),
            Err(ApplyError::Failed(error)) => Err(error.into()),
        }
    }

    /// A bulk load's files: announced, and taken in unless the script stops before that.
    fn load(&self, mut args: ArgumentConsumer<'_>) -> Answer {
        let load = take(&mut args, "at")?;
        let ingest = args.take_key("ingest") != Some("no");
        let directory = self.directory.path().join(format!("load-{}", load.0));
        std::fs::create_dir_all(&directory)?;
        let mut rows = Vec::new();
        for Mutation { key, operation } in mutations(args)? {
            let Operation::Put(row) = operation else { return Err("a load only has rows".into()) };
            rows.push((key, row));
        }
        rows.sort();
        let table = rows.first().and_then(|(key, _)| table_of(key)).ok_or("a load has rows")?;
        let mut files = SortedRows::new(self.shard(), &self.store, &directory, load);
        files.write(rows.iter().map(|(key, row)| Ok((key.as_slice(), row.as_slice()))))?;
        self.apply(&Command::BeginLoad { load, table, counts: files.counts() })?;
        if ingest {
            self.shard().ingest(files.files())?;
        }
        Ok(format!("{} rows {}", rows.len(), if ingest { "taken in" } else { "announced" }))
    }

    fn view<T>(&self, args: &mut ArgumentConsumer<'_>, read: impl FnOnce(&View<'_>) -> T) -> Result<T, Box<dyn Error>> {
        let at = take(args, "at")?;
        let hidden = args.take_key("hidden").map(timestamp).transpose()?;
        let hidden: Vec<_> = hidden.into_iter().collect();
        Ok(read(&View { read: at, hidden: &hidden, lock_timeout: Duration::from_secs(10), map: None }))
    }

    fn get(&self, mut args: ArgumentConsumer<'_>) -> Answer {
        let key = key(args.next_pos().ok_or("which key?")?)?;
        let row = self
            .view(&mut args, |view| self.shard().get(&key, view, |row| String::from_utf8_lossy(row).into_owned()))??;
        Ok(row.unwrap_or_else(|| "no row".to_string()))
    }

    fn scan(&self, mut args: ArgumentConsumer<'_>) -> Answer {
        let table = args.take_key("table").unwrap_or("1").parse()?;
        let limit = args.take_key("limit").map_or(Ok(100), str::parse)?;
        let mut rows = Vec::new();
        let outcome = self.view(&mut args, |view| {
            let mut cursor = Cursor::new(table_range(TableId(table)));
            while !cursor.is_done() {
                let first = rows.len();
                self.shard().scan(&mut cursor, view, limit, |key, row| {
                    rows.push(format!("{} = {}", name(key), String::from_utf8_lossy(row)));
                    Ok(())
                })?;
                if limit < 100 && rows.len() > first {
                    rows.push("…".to_string());
                }
            }
            Ok::<_, evenkeel_model::Error>(())
        })?;
        outcome?;
        Ok(lines(rows, "no rows"))
    }

    /// The counters, which are those of a full count or the story ends here.
    fn counters(&self, mut args: ArgumentConsumer<'_>) -> Answer {
        let hidden: Vec<_> = args.take_key("hidden").map(timestamp).transpose()?.into_iter().collect();
        let counted = counted(self.shard());
        if counted != recount(self.shard(), &hidden)? {
            return Err("the counters differ from a full count".into());
        }
        let line = |((table, slot), count): (&(TableId, Slot), &evenkeel_storage::SlotCount)| {
            format!("table {table} slot {slot}: {} rows, {} bytes", count.rows, count.bytes)
        };
        Ok(lines(counted.iter().map(line), "nothing counted"))
    }

    /// What a restart would have to deal with.
    fn pending(&self) -> Answer {
        let intents = self.shard().intents()?.into_iter().map(|intent| {
            format!(
                "intent on {} by the transaction from {}, primary shard {}",
                name(&intent.key),
                intent.transaction.0,
                intent.primary
            )
        });
        let records = self.shard().transaction_records()?.into_iter();
        let records =
            records.map(|(start, commit)| format!("the transaction from {} committed at {}", start.0, commit.0));
        let loads = self.shard().loads()?.into_iter().map(|load| format!("load {} under way", load.0));
        Ok(lines(intents.chain(records).chain(loads), "nothing"))
    }

    fn change(&self, name: &str, mut args: ArgumentConsumer<'_>) -> Answer {
        let command = match name {
            "commit" => {
                let (start, commit) = (take(&mut args, "start")?, take(&mut args, "at")?);
                Command::CommitOnePhase { start, commit, mutations: mutations(args)? }
            }
            "prewrite" => {
                let start = take(&mut args, "start")?;
                let primary = ShardId(args.take_key("primary").unwrap_or("1").parse()?);
                Command::Prewrite { transaction: start, start, primary, mutations: mutations(args)? }
            }
            "commit-intents" => {
                let (start, commit) = (take(&mut args, "start")?, take(&mut args, "at")?);
                let record = args.take_key("record") == Some("yes");
                Command::Commit { transaction: start, commit, keys: keys(args)?, record }
            }
            "rollback" => Command::Rollback { transaction: take(&mut args, "start")?, keys: keys(args)? },
            "forget" => Command::Forget { transactions: vec![take(&mut args, "start")?] },
            "finish-load" => Command::FinishLoad { load: take(&mut args, "at")? },
            "abort-load" => Command::AbortLoad { load: take(&mut args, "at")? },
            "drop-table" => Command::DropTable { table: TableId(args.next_pos().ok_or("which table?")?.parse()?) },
            other => return Err(format!("unknown step {other}").into()),
        };
        self.apply(&command)
    }
}

impl goldenscript::Runner for Story {
    type Command = goldenscript::Command;

    fn run(&mut self, command: &goldenscript::Command, _context: &Context) -> Answer {
        let mut args = command.consume_args();
        match command.name.as_str() {
            "get" => self.get(args),
            "scan" => self.scan(args),
            "counters" => self.counters(args),
            "pending" => self.pending(),
            "load" => self.load(args),
            "reopen" => self.open(),
            "safe-point" => {
                self.store.raise_safe_point(take(&mut args, "at")?);
                Ok("raised".to_string())
            }
            "compact" => {
                self.shard().compact(None);
                Ok("compacted".to_string())
            }
            name => self.change(name, args),
        }
    }
}

#[test]
fn stories() {
    let scripts = std::fs::read_dir("tests/storage/scripts").expect("scripts");
    let mut scripts: Vec<_> = scripts.flatten().map(|entry| entry.path()).collect();
    scripts.sort();
    assert!(!scripts.is_empty());
    for script in scripts {
        goldenscript::run(&mut Story::new(), &script).unwrap_or_else(|error| panic!("{}: {error}", script.display()));
    }
}
