//! Bare RocksDB with a table's very keys and values: what the storage engine itself would take.
//!
//! One database a shard, as Evenkeel has them, with the same block size, compression, filters and cache. Reading it
//! includes no transaction, no version, no decoding and no query.

use anyhow::{Context, ensure};
use evenkeel_model::TableId;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DB, DBCompressionType, IngestExternalFileOptions, IteratorMode,
    Options, ReadOptions, SstFileWriter,
};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

/// As Evenkeel's shards have it.
const BLOCK_BYTES: usize = 16 << 10;
const FILTER_BITS: f64 = 10.0;
/// Evenkeel's default `cache_size`.
const CACHE_BYTES: usize = 256 << 20;
const FILE_BYTES_MAX: u64 = 64 << 20;
const READAHEAD_BYTES: usize = 2 << 20;
/// The column family of a shard that holds the newest versions.
const DATA: &str = "data";

/// The copies of all shards, in the order of their numbers.
pub struct Raw {
    shards: Vec<DB>,
    table: TableId,
    rows: u64,
}

impl Raw {
    /// Copies the rows of a database that has one table.
    ///
    /// # Errors
    /// When the disk fails, or there is another table or none.
    pub fn copy_of(database: &Path, into: &Path) -> anyhow::Result<Self> {
        let cache = Cache::new_hyper_clock_cache(CACHE_BYTES, 0);
        let options = options(&cache);
        std::fs::create_dir(into)?;
        let (mut shards, mut rows, mut tables) = (Vec::new(), 0, Vec::new());
        for number in 1..=crate::evenkeel::SHARDS {
            let source = database.join("shards").join(number.to_string());
            let target = into.join(number.to_string());
            let copy = DB::open(&options, &target)?;
            rows += copy_shard(&source, &copy, &options, into, &mut tables)?;
            shards.push(copy);
        }
        tables.sort_unstable();
        tables.dedup();
        ensure!(tables.len() == 1, "one table was expected, {} are there", tables.len());
        Ok(Self { shards, table: TableId(tables[0]), rows })
    }

    /// Rows in all shards.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The table's number in row keys.
    pub fn table(&self) -> TableId {
        self.table
    }

    /// The databases, in the order of the shards' numbers.
    pub fn shards(&self) -> &[DB] {
        &self.shards
    }

    /// Reads every key and value once, on so many threads; returns rows and bytes.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn iterate(&self, threads: usize) -> anyhow::Result<(u64, u64)> {
        let next = AtomicUsize::new(0);
        let work = || -> anyhow::Result<(u64, u64)> {
            let (mut rows, mut bytes) = (0, 0);
            while let Some(shard) = self.shards.get(next.fetch_add(1, Ordering::Relaxed)) {
                let mut iterator = shard.raw_iterator();
                iterator.seek_to_first();
                while let Some((key, value)) = iterator.item() {
                    rows += 1;
                    bytes += (key.len() + value.len()) as u64;
                    iterator.next();
                }
                iterator.status()?;
            }
            Ok((rows, bytes))
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            threads.into_iter().try_fold((0, 0), |(rows, bytes), thread| {
                let (more_rows, more_bytes) = thread.join().ok().context("a reading thread panicked")??;
                Ok((rows + more_rows, bytes + more_bytes))
            })
        })
    }
}

fn options(cache: &Cache) -> Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(cache);
    blocks.set_block_size(BLOCK_BYTES);
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    blocks.set_format_version(6);
    blocks.set_bloom_filter(FILTER_BITS, false);
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_block_based_table_factory(&blocks);
    options.set_compression_type(DBCompressionType::Lz4);
    options
}

/// Copies one shard through sorted files, as a bulk load makes them. Notes the tables it meets.
fn copy_shard(
    source: &Path,
    copy: &DB,
    options: &Options,
    directory: &Path,
    tables: &mut Vec<u32>,
) -> anyhow::Result<u64> {
    let mut reading = Options::default();
    // The shard is open in this process: its log stays its own.
    reading.set_db_log_dir(directory);
    let shard = DB::open_cf_for_read_only(&reading, source, ["default", DATA], false)?;
    let family = shard.cf_handle(DATA).context("a shard has no rows' column family")?;
    let mut items = shard.iterator_cf(&family, IteratorMode::Start).peekable();
    let (mut rows, mut files) = (0, Vec::new());
    while items.peek().is_some() {
        let path = directory.join(format!("{}.sst", files.len()));
        let mut writer = SstFileWriter::create(options);
        writer.open(&path)?;
        while writer.file_size() < FILE_BYTES_MAX {
            let Some(item) = items.next() else { break };
            let (key, value) = item?;
            let table = key.first_chunk::<4>().context("a row's key is too short")?;
            let table = u32::from_be_bytes(*table);
            if tables.last() != Some(&table) {
                tables.push(table);
            }
            writer.put(&key, &value)?;
            rows += 1;
        }
        writer.finish()?;
        files.push(path);
    }
    if !files.is_empty() {
        copy.ingest_external_file(files.clone())?;
    }
    files.iter().try_for_each(std::fs::remove_file)?;
    Ok(rows)
}

/// Copies one shard's rows into a new database as directly as RocksDB allows, on this thread, and drops the copy; returns how
/// many there were. The shard's rows must be in its files.
///
/// # Errors
/// When the disk fails.
pub fn copy_once(shard: &Path, into: &Path) -> anyhow::Result<u64> {
    let cache = Cache::new_hyper_clock_cache(CACHE_BYTES, 0);
    let options = options(&cache);
    let mut reading = options.clone();
    reading.create_if_missing(false);
    // The shard is open in this process: its log stays its own.
    std::fs::create_dir_all(into)?;
    reading.set_db_log_dir(into);
    let families = ["default", DATA].map(|name| ColumnFamilyDescriptor::new(name, reading.clone()));
    let source = DB::open_cf_descriptors_read_only(&reading, shard, families, false)?;
    let family = source.cf_handle(DATA).context("a shard has no rows' column family")?;
    let target = DB::open(&options, into.join("copy"))?;
    let mut reads = ReadOptions::default();
    reads.set_readahead_size(READAHEAD_BYTES);
    reads.fill_cache(false);
    let mut rows = source.raw_iterator_cf_opt(&family, reads);
    rows.seek_to_first();
    let (mut count, mut files) = (0, Vec::new());
    while rows.valid() {
        let path = into.join(format!("{}.sst", files.len()));
        let mut writer = SstFileWriter::create(&options);
        writer.open(&path)?;
        while writer.file_size() < FILE_BYTES_MAX
            && let Some((key, value)) = rows.item()
        {
            writer.put(key, value)?;
            count += 1;
            rows.next();
        }
        writer.finish()?;
        files.push(path);
    }
    rows.status()?;
    let mut ingest = IngestExternalFileOptions::default();
    ingest.set_move_files(true);
    if !files.is_empty() {
        target.ingest_external_file_opts(&ingest, files)?;
    }
    drop(rows);
    drop(target);
    std::fs::remove_dir_all(into)?;
    Ok(count)
}
