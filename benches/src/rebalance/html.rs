//! The figures as one page that needs nothing else: tables, and charts drawn here.

use super::About;
use super::chart::Chart;
use super::finding::{Outcome, Timeline};
use super::report::{finding_lines, period_lines};
use std::fmt::Write;

const STYLE: &str = "\
:root { color-scheme: light dark; --ink: #1c2733; --soft: #5b6875; --grid: #d9dfe5; --line: #1f6fb2; --shade: #f2b84b44; \
--limit: #c0392b; --page: #fff; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e9ee; --soft: #98a5b1; --grid: #35404b; --line: #6bb3ee; \
--shade: #f2b84b33; --limit: #ff7b6b; --page: #14191f; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page); max-width: 68rem; \
margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; }
th, td { text-align: left; padding: .3rem .7rem; border-bottom: 1px solid var(--grid); }
th { color: var(--soft); font-weight: 600; }
td.NO { color: var(--limit); font-weight: 700; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: 1rem; }
svg { width: 100%; height: auto; }
svg text { fill: var(--soft); font: 11px system-ui, sans-serif; }
svg text.title { fill: var(--ink); font-size: 13px; font-weight: 600; }
svg .end { text-anchor: end; } svg .middle { text-anchor: middle; }
svg .grid { stroke: var(--grid); } svg .shade { fill: var(--shade); }
svg .limit { stroke: var(--limit); stroke-dasharray: 6 4; }
svg .line { fill: none; stroke: var(--line); stroke-width: 1.8; }
.notes { color: var(--soft); }
";

/// The page.
pub fn page(about: &About, outcomes: &[Outcome]) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Evenkeel: what moving costs</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <h1>What moving costs</h1>\n<p>{}</p>\n",
        escaped(&about.text())
    );
    page.push_str(&table(&finding_lines(outcomes)));
    for outcome in outcomes {
        page.push_str(&section(outcome));
    }
    page.push_str("</body>\n</html>\n");
    page
}

fn section(outcome: &Outcome) -> String {
    let mut section = format!("<h2>{}</h2>\n", escaped(outcome.work.title()));
    if !outcome.periods.is_empty() {
        section.push_str(&table(&period_lines(std::slice::from_ref(outcome))));
    }
    let charts: Vec<Chart<'_>> =
        outcome.timeline.iter().flat_map(over_time).chain(pauses(&outcome.pauses_ms)).collect();
    if !charts.is_empty() {
        section.push_str("<div class=\"charts\">\n");
        charts.iter().for_each(|chart| section.push_str(&chart.svg()));
        section.push_str("</div>\n");
    }
    for note in &outcome.notes {
        // Writing to a String can't fail.
        let _ = writeln!(section, "<p class=\"notes\">{}</p>", escaped(note));
    }
    section
}

/// Throughput and p99; shaded while something moved.
fn over_time(timeline: &Timeline) -> [Chart<'static>; 2] {
    let chart = |title, points| {
        let across = "seconds; something moves where it is shaded";
        Chart { title, across, points, shaded: timeline.moving.clone(), limit: None }
    };
    let rates = timeline.points.iter().map(|(at, rate, _)| (*at, *rate)).collect();
    let p99 = timeline.points.iter().map(|(at, _, p99_us)| (*at, p99_us / 1e3)).collect();
    [chart("Requests a second", rates), chart("p99 in ms", p99)]
}

/// What part of the cutovers held writes back for no longer than so long.
fn pauses(pauses_ms: &[f64]) -> Option<Chart<'static>> {
    let mut sorted = pauses_ms.to_vec();
    sorted.sort_by(f64::total_cmp);
    let part = |at: usize| (at + 1) as f64 / sorted.len() as f64 * 100.0;
    let points: Vec<_> = sorted.iter().enumerate().map(|(at, ms)| (part(at), *ms)).collect();
    let title = "Writes held back at a cutover, in ms";
    (!points.is_empty()).then_some(Chart {
        title,
        across: "% of cutovers",
        points,
        shaded: Vec::new(),
        limit: Some(20.0),
    })
}

fn table<const N: usize>(lines: &[[String; N]]) -> String {
    let mut table = "<div class=\"wide\"><table>\n".to_string();
    for (at, line) in lines.iter().enumerate() {
        let tag = if at == 0 { "th" } else { "td" };
        table.push_str("<tr>");
        for cell in line {
            let class = if cell == "NO" { " class=\"NO\"" } else { "" };
            let _ = write!(table, "<{tag}{class}>{}</{tag}>", escaped(cell));
        }
        table.push_str("</tr>\n");
    }
    table.push_str("</table></div>\n");
    table
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('\n', "<br>")
}
