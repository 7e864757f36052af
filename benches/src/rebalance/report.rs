//! The figures as tables for people and as JSON for programs.

use super::About;
use super::finding::{Finding, Outcome, Period, Target, thousands};
use crate::report::table;
use serde_json::{Value, json};
use std::io::Write;

/// Prints the tables and what belongs to them.
///
/// # Errors
/// When standard output is gone.
pub fn print(about: &About, outcomes: &[Outcome]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{}\n", about.text())?;
    out.write_all(table(&finding_lines(outcomes)).as_bytes())?;
    if outcomes.iter().any(|outcome| !outcome.periods.is_empty()) {
        writeln!(out, "\nWhat the sessions felt (the first run):\n")?;
        out.write_all(table(&period_lines(outcomes)).as_bytes())?;
    }
    writeln!(out)?;
    for outcome in outcomes {
        for note in &outcome.notes {
            writeln!(out, "{}: {note}", outcome.work.name())?;
        }
    }
    out.flush()
}

/// The findings, with their header.
pub fn finding_lines(outcomes: &[Outcome]) -> Vec<[String; 5]> {
    let mut lines = vec![["work", "what", "measured", "target", "ok"].map(str::to_string)];
    for outcome in outcomes {
        for (at, finding) in outcome.findings.iter().enumerate() {
            let title = if at == 0 { outcome.work.title() } else { "" };
            lines.push([
                title.to_string(),
                finding.what.to_string(),
                finding.text(),
                finding.target_text(),
                finding.met_text().to_string(),
            ]);
        }
    }
    lines
}

/// The periods, with their header.
pub fn period_lines(outcomes: &[Outcome]) -> Vec<[String; 7]> {
    let header = ["work", "", "requests/s", "p50 µs", "p99 µs", "p99.9 µs", "longest write ms"];
    let mut lines = vec![header.map(str::to_string)];
    for outcome in outcomes {
        for (at, Period { name, window }) in outcome.periods.iter().enumerate() {
            let title = if at == 0 { outcome.work.title() } else { "" };
            lines.push([
                title.to_string(),
                format!("{name}, {:.1} s", window.seconds),
                thousands(window.rate()),
                format!("{:.1}", window.p50_us),
                thousands(window.p99_us),
                thousands(window.p999_us),
                format!("{:.1}", window.longest_write_us / 1e3),
            ]);
        }
    }
    lines
}

/// All figures, every run of them.
pub fn json(about: &About, outcomes: &[Outcome]) -> Value {
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "optimized": !cfg!(debug_assertions),
        "quick": about.quick,
        "cores": about.cores,
        "load_before": about.load,
        "rows": about.sizes.rows,
        "runs": about.sizes.runs,
        "seed": crate::random::SEED,
        "keys": about.traffic.keys.name(),
        "reads_percent": about.traffic.reads,
        "sessions": about.traffic.sessions,
        "works": outcomes.iter().map(outcome_json).collect::<Vec<_>>(),
    })
}

fn outcome_json(outcome: &Outcome) -> Value {
    json!({
        "name": outcome.work.name(),
        "title": outcome.work.title(),
        "findings": outcome.findings.iter().map(finding_json).collect::<Vec<_>>(),
        "periods": outcome.periods.iter().map(period_json).collect::<Vec<_>>(),
        "pauses_ms": outcome.pauses_ms,
        "notes": outcome.notes,
    })
}

fn finding_json(finding: &Finding) -> Value {
    let target = finding.target.map(|target| match target {
        Target::AtLeast(least) => json!({ "at_least": least }),
        Target::AtMost(limit) => json!({ "at_most": limit }),
        Target::Below(limit) => json!({ "below": limit }),
        Target::None => json!({ "exactly": 0 }),
    });
    let figure = finding.figure();
    json!({
        "what": finding.what,
        "unit": finding.unit.name(),
        "median": figure.map(|figure| figure.median),
        "min": figure.map(|figure| figure.min),
        "max": figure.map(|figure| figure.max),
        // Of what lies between the two, where they are not the least and the greatest.
        "confidence_percent": finding.is_compared.then_some(95),
        "runs": finding.runs,
        "target": target,
        "ok": finding.met(),
    })
}

fn period_json(Period { name, window }: &Period) -> Value {
    json!({
        "name": name,
        "seconds": window.seconds,
        "requests": window.requests,
        "requests_per_second": window.rate(),
        "p50_us": window.p50_us,
        "p99_us": window.p99_us,
        "p999_us": window.p999_us,
        "longest_write_us": window.longest_write_us,
    })
}
