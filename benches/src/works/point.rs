//! Look-ups of flights by primary key: a prepared statement in this process, on one thread, everything in memory. Bare
//! RocksDB is given the finished row keys and which shard has them, and only fetches the value.

use super::Work;
use crate::bench::{Bench, say_run};
use crate::evenkeel::{Evenkeel, SHARDS};
use crate::figures::{Measured, Samples, Target, Unit};
use crate::random::Random;
use crate::raw::Raw;
use anyhow::{Context, bail, ensure};
use arrow::compute::concat_batches;
use evenkeel_engine::{Prepared, ScalarValue, Value};
use evenkeel_model::{ColumnType, ShardId, SlotBits, SlotMap, TableId, Token};
use evenkeel_storage::codec::{KeyBuilder, row_key};
use std::borrow::Cow;
use std::time::Instant;

const LOOKUPS: usize = 200_000;
const QUERY: &str = "SELECT dep_time, dep_delay, tailnum, origin, dest FROM flights \
                     WHERE time_hour = $1 AND carrier = $2 AND flight = $3";

/// A flight that is there.
struct Key {
    parameters: [ScalarValue; 3],
    shard: usize,
    bytes: Vec<u8>,
}

/// Measures it.
///
/// # Errors
/// When a contestant complains or does not find a row.
pub async fn measure(bench: &mut Bench) -> anyhow::Result<Measured> {
    bench.loaded().await?;
    let directory = bench.path().to_path_buf();
    let runs = bench.about.runs;
    let table = bench.flights.raw(&directory)?.table();
    let keys = keys(bench.flights.evenkeel()?, table).await?;
    let mut prepared = bench.flights.evenkeel()?.session().prepare(QUERY)?;
    let raw = bench.flights.raw(&directory)?;
    let mut samples = Samples::default();
    // The first round brings everything into memory and does not count.
    for round in 0..=runs {
        let (evenkeel, raw) = (look_up(&mut prepared, &keys)?, fetch(raw, &keys)?);
        let Some(run) = round.checked_sub(1) else { continue };
        samples.evenkeel.push(evenkeel);
        samples.raw.push(raw);
        say_run(run, &format!("Evenkeel {evenkeel:.0} ns, raw RocksDB {raw:.0} ns"));
    }
    Ok(Work::Point.report(Unit::Nanoseconds, samples, vec![Target::Raw(0.5)]))
}

/// Nanoseconds for one look-up.
fn look_up(prepared: &mut Prepared, keys: &[Key]) -> anyhow::Result<f64> {
    let (mut found, mut values) = (0, 0);
    let since = Instant::now();
    for key in keys {
        found += usize::from(prepared.get(&key.parameters, |_, value| values += usize::from(!value.is_null()))?);
    }
    let elapsed = since.elapsed();
    ensure!(found == keys.len() && values > found, "Evenkeel found {found} flights of {}", keys.len());
    Ok(elapsed.as_nanos() as f64 / keys.len() as f64)
}

fn fetch(raw: &Raw, keys: &[Key]) -> anyhow::Result<f64> {
    let (mut found, mut bytes) = (0, 0);
    let shards = raw.shards();
    let since = Instant::now();
    for key in keys {
        if let Some(value) = shards[key.shard].get_pinned(&key.bytes)? {
            found += 1;
            bytes += value.len();
        }
    }
    let elapsed = since.elapsed();
    ensure!(found == keys.len() && bytes > 0, "RocksDB found {found} flights of {}", keys.len());
    Ok(elapsed.as_nanos() as f64 / keys.len() as f64)
}

/// Keys of flights picked at random, as parameters and as bytes.
async fn keys(evenkeel: &Evenkeel, table: TableId) -> anyhow::Result<Vec<Key>> {
    let batches = evenkeel.query("SELECT time_hour, carrier, flight FROM flights").await?;
    let schema = batches.first().context("there are no flights")?.schema();
    let flights = concat_batches(&schema, &batches)?;
    let ids: Vec<ShardId> = (1..=SHARDS).map(ShardId).collect();
    let slots = SlotMap::even(SlotBits::DEFAULT, &ids);
    let mut random = Random::of(0);
    let mut builder = KeyBuilder::new();
    let mut keys = Vec::with_capacity(LOOKUPS);
    for _ in 0..LOOKUPS {
        let row = random.below(flights.num_rows());
        let value = |column: usize| ScalarValue::try_from_array(flights.column(column), row);
        let parameters = [value(0)?, value(1)?, value(2)?];
        builder.clear();
        for (value, column) in parameters.iter().zip(&KEY) {
            builder.push(column, &key_value(value)?);
        }
        let token = Token::of(builder.bytes());
        let shard = slots.route(token);
        keys.push(Key { parameters, shard: shard.0 as usize - 1, bytes: row_key(table, token, builder.bytes()) });
    }
    Ok(keys)
}

/// The types of the key's columns.
const KEY: [ColumnType; 3] = [ColumnType::TimestampTz, ColumnType::Text { max_chars: None }, ColumnType::Integer];

fn key_value(value: &ScalarValue) -> anyhow::Result<Value<'_>> {
    Ok(match value {
        ScalarValue::TimestampMicrosecond(Some(microseconds), _) => Value::Integer(*microseconds),
        ScalarValue::Int32(Some(number)) => Value::Integer(i64::from(*number)),
        ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)) => {
            Value::Bytes(Cow::Borrowed(text.as_bytes()))
        }
        other => bail!("{other:?} is no value of a flight's key"),
    })
}
