//! Memory for work on a table of 2 GB: filled, scanned, sorted and copied out within 512 MiB.
//!
//! The work is done by a process of its own, so that nothing else counts, with settings that leave room for what a
//! process has beside caches and sorts. What counts is the most memory that it ever had in RAM, as the system says.

use super::Work;
use crate::bench::{Bench, say};
use crate::evenkeel::{Evenkeel, each_batch};
use crate::figures::{Measured, Samples, Target, Unit};
use anyhow::{Context, ensure};
use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;
use tokio::io::{AsyncBufReadExt, BufReader};

const BUDGET_MIB: f64 = 512.0;
/// Rows of about 210 bytes, in so many statements.
const ROWS: i64 = 10_000_000;
const PIECES: i64 = 5;
/// Sorts and loads, and blocks and write buffers: the rest of the budget is for everything else.
const SETTINGS: &str = "ALTER SYSTEM SET memory_limit = '128MiB', cache_size = '64MiB'";
const TABLE: &str = "CREATE TABLE big (id BIGINT PRIMARY KEY, k BIGINT NOT NULL, payload TEXT NOT NULL)";
const SORT: &str = "SELECT k, id, payload FROM big ORDER BY k";

/// Starts the process and waits for what it says.
///
/// # Errors
/// When the process fails.
pub async fn measure(bench: &Bench) -> anyhow::Result<Measured> {
    let directory = bench.path().join("memory");
    let mut child = tokio::process::Command::new(std::env::current_exe()?)
        .args(["bench", "--memory-child"])
        .arg(&directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("cannot start the process whose memory is measured")?;
    let mut lines = BufReader::new(child.stdout.take().context("the process has no output")?).lines();
    let (mut peak, mut notes) = (0.0_f64, Vec::new());
    while let Some(line) = lines.next_line().await? {
        let step: Value = serde_json::from_str(&line).with_context(|| line.clone())?;
        let (name, mebibytes) = (step["step"].as_str().unwrap_or_default(), step["peak_mib"].as_f64());
        let mebibytes = mebibytes.context("a step has no peak")?;
        let seconds = step["seconds"].as_f64().unwrap_or_default();
        peak = peak.max(mebibytes);
        let note = format!("{name}: peak {mebibytes:.0} MiB, {seconds:.1} s");
        say(&format!("  {note}"));
        notes.push(note);
    }
    let status = child.wait().await?;
    ensure!(status.success(), "the process whose memory is measured ended with {status}");
    std::fs::remove_dir_all(&directory)?;
    let samples = Samples { evenkeel: vec![peak], ..Samples::default() };
    let measured = Work::Memory.report(Unit::Mebibytes, samples, vec![Target::AtMost(BUDGET_MIB)]);
    Ok(Measured { notes, ..measured })
}

/// Does the work, in a directory that is not there yet, and writes a line of JSON for each step.
///
/// # Errors
/// When a statement fails or answers wrongly.
pub async fn child(directory: &Path) -> anyhow::Result<()> {
    let evenkeel = Evenkeel::create(directory)?;
    evenkeel.execute(SETTINGS).await?;
    evenkeel.execute(TABLE).await?;
    let mut step = Step::begin();
    for piece in 0..PIECES {
        let (from, to) = (piece * ROWS / PIECES + 1, (piece + 1) * ROWS / PIECES);
        evenkeel.execute(&fill(from, to)).await?;
        step = step.end(&format!("insert {} rows", to - from + 1))?;
    }
    let scan = "SELECT CAST(sum(length(payload)) + 16 * count(*) AS BIGINT) FROM big";
    let bytes = evenkeel.number(scan).await?;
    step = step.end(&format!("scan ({:.2} GB of values)", bytes as f64 / 1e9))?;
    sort(&evenkeel).await?;
    step = step.end("sort by a column that is no key")?;
    for format in ["csv", "parquet"] {
        let path = directory.join(format!("big.{format}"));
        let file = path.display().to_string().replace('\'', "''");
        let tag = each_batch(evenkeel.session(), &format!("COPY big TO '{file}'"), |_| {}).await?;
        ensure!(tag == format!("COPY {ROWS}"), "{tag}");
        let bytes = std::fs::metadata(&path)?.len();
        step = step.end(&format!("copy to {format} ({:.2} GB)", bytes as f64 / 1e9))?;
        std::fs::remove_file(&path)?;
    }
    Ok(())
}

/// Rows whose payload compresses to about half.
fn fill(from: i64, to: i64) -> String {
    format!(
        "INSERT INTO big SELECT i, (i * 2654435761) % 1000000007, \
         repeat(md5(CAST(i AS TEXT)) || md5(CAST(i + 1 AS TEXT)) || md5(CAST(i + 2 AS TEXT)), 2) \
         FROM generate_series({from}, {to}) AS g(i)"
    )
}

/// Streams the sorted table out and looks at its order.
async fn sort(evenkeel: &Evenkeel) -> anyhow::Result<()> {
    let (mut last, mut ordered, mut rows) = (i64::MIN, true, 0);
    each_batch(evenkeel.session(), SORT, |batch| {
        rows += batch.num_rows() as i64;
        for k in batch.column(0).as_primitive::<Int64Type>().values() {
            ordered &= last <= *k;
            last = *k;
        }
    })
    .await?;
    ensure!(ordered && rows == ROWS, "the sort gave {rows} rows of {ROWS}, in order: {ordered}");
    Ok(())
}

/// One step, since its beginning.
struct Step {
    since: Instant,
}

impl Step {
    fn begin() -> Self {
        // Forgets the peak so far, where the system allows that; otherwise a step's peak is that of all before it too.
        let _ = std::fs::write("/proc/self/clear_refs", "5");
        Self { since: Instant::now() }
    }

    fn end(self, name: &str) -> anyhow::Result<Self> {
        let seconds = self.since.elapsed().as_secs_f64();
        let status = std::fs::read_to_string("/proc/self/status").context("this system has no /proc/self/status")?;
        let peak = peak_mib(&status).context("/proc/self/status says no peak")?;
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", json!({ "step": name, "seconds": seconds, "peak_mib": peak }))?;
        out.flush()?;
        Ok(Self::begin())
    }
}

/// The peak resident size in `/proc/self/status`.
fn peak_mib(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes / 1024.0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_peak_is_read_from_what_the_system_says() {
        let status = "Name:\tevenkeel\nVmPeak:\t  999999 kB\nVmHWM:\t  524288 kB\nVmRSS:\t  1024 kB\n";
        assert_eq!(super::peak_mib(status), Some(512.0));
        assert_eq!(super::peak_mib("Name:\tevenkeel\n"), None);
    }
}
