//! The figures as a table for people and as JSON for programs.

use crate::bench::About;
use crate::figures::{Figure, Measured, Target, Unit};
use serde_json::{Value, json};
use std::io::Write;

const HEADER: [&str; 8] = ["work", "Evenkeel", "PostgreSQL", "ratio", "raw RocksDB", "ratio", "at least", "ok"];
const ABSENT: &str = "–";

/// Prints the table and what belongs to it.
///
/// # Errors
/// When standard output is gone.
pub fn print(about: &About, measured: &[Measured]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{}\n", about.text())?;
    out.write_all(table(&lines(measured)).as_bytes())?;
    for work in measured {
        for note in &work.notes {
            writeln!(out, "{}: {note}", work.name)?;
        }
    }
    out.flush()
}

/// Lines of cells, the first of them the header, as a table.
pub fn table<const N: usize>(lines: &[[String; N]]) -> String {
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for (at, line) in lines.iter().enumerate() {
        let cells: Vec<String> = line.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join(" │ ").trim_end());
        text.push('\n');
        if at == 0 {
            let rules: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
            text.push_str(&rules.join("─┼─"));
            text.push('\n');
        }
    }
    text
}

fn lines(measured: &[Measured]) -> Vec<[String; 8]> {
    let mut lines = vec![HEADER.map(str::to_string)];
    lines.extend(measured.iter().map(line));
    lines
}

fn line(work: &Measured) -> [String; 8] {
    let absent = || ABSENT.to_string();
    let figure = |figure: Option<Figure>| figure.map_or_else(absent, |figure| figure.text(work.unit));
    let times = |ratio: Option<f64>| ratio.map_or_else(absent, |ratio| format!("{ratio:.2} ×"));
    let share = |ratio: Option<f64>| ratio.map_or_else(absent, |ratio| format!("{:.0} %", ratio * 100.0));
    let targets: Vec<String> = work.targets.iter().map(|target| work.target_text(*target)).collect();
    [
        work.title.to_string(),
        figure(work.evenkeel()),
        figure(work.postgres()),
        times(work.times(work.postgres())),
        figure(work.raw()),
        share(work.times(work.raw())),
        targets.join(", "),
        work.met().map_or(ABSENT, |met| if met { "yes" } else { "NO" }).to_string(),
    ]
}

/// All figures, every run of them.
pub fn json(about: &About, measured: &[Measured]) -> Value {
    let works: Vec<Value> = measured.iter().map(work_json).collect();
    json!({
        "version": about.version,
        "optimized": about.optimized,
        "cores": about.cores,
        "load_before": about.load,
        "runs": about.runs,
        "seed": crate::random::SEED,
        "postgres": about.postgres.as_ref().ok(),
        "works": works,
    })
}

fn work_json(work: &Measured) -> Value {
    let targets: Vec<Value> = work.targets.iter().map(|target| target_json(work, *target)).collect();
    json!({
        "name": work.name,
        "title": work.title,
        "unit": work.unit.name(),
        "less_is_better": work.unit != Unit::PerSecond,
        "evenkeel": figure_json(work.evenkeel(), &work.samples.evenkeel),
        "postgres": figure_json(work.postgres(), &work.samples.postgres),
        "raw_rocksdb": figure_json(work.raw(), &work.samples.raw),
        "targets": targets,
        "ok": work.met(),
        "notes": work.notes,
    })
}

fn figure_json(figure: Option<Figure>, runs: &[f64]) -> Value {
    figure.map_or(
        Value::Null,
        |figure| json!({ "median": figure.median, "min": figure.min, "max": figure.max, "runs": runs }),
    )
}

fn target_json(work: &Measured, target: Target) -> Value {
    let (kind, value, measured) = match target {
        Target::Postgres(times) => ("times_postgres", times, work.times(work.postgres())),
        Target::Raw(share) => ("share_of_raw_rocksdb", share, work.times(work.raw())),
        Target::AtMost(limit) => ("at_most", limit, work.evenkeel().map(|figure| figure.median)),
    };
    json!({ "kind": kind, "value": value, "measured": measured, "ok": work.meets(target) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::Samples;

    fn scan() -> Measured {
        let samples = Samples { evenkeel: vec![0.1, 0.2, 0.3], postgres: vec![0.8], raw: vec![0.1] };
        let targets = vec![Target::Postgres(2.0), Target::Raw(0.4)];
        Measured { name: "scan", title: "scan", unit: Unit::Seconds, samples, targets, notes: Vec::new() }
    }

    #[test]
    fn the_table_is_aligned_and_complete() {
        let mut alone = scan();
        alone.samples.postgres.clear();
        let table = table(&lines(&[scan(), alone]));
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 4, "{table}");
        let bars = |line: &str| line.chars().enumerate().filter(|(_, c)| "│┼".contains(*c)).map(|(at, _)| at).collect();
        let columns: Vec<Vec<usize>> = lines.iter().map(|line| bars(line)).collect();
        assert!(columns.iter().all(|line| line == &columns[0]), "{table}");
        assert!(lines[2].contains("4.00 ×") && lines[2].contains("50 %") && lines[2].ends_with("yes"), "{table}");
        assert!(lines[3].contains(ABSENT), "{table}");
    }

    #[test]
    fn json_says_of_each_target_whether_it_is_met() {
        let value = work_json(&scan());
        assert_eq!(value["targets"][0]["measured"], 4.0);
        assert_eq!((&value["targets"][1]["ok"], &value["ok"]), (&json!(true), &json!(true)));
        assert_eq!(value["evenkeel"]["median"], 0.2);
    }
}
