//! `docs/metrics.md`.

use super::table::{METRICS, SECTIONS};
use std::fmt::Write;

/// The page that lists every metric.
pub fn page() -> String {
    let mut page = String::from(
        "# Metrics\n\n\
         <!-- Made from the list of metrics by tests/tests/http.rs; EVENKEEL_BLESS=1 writes it anew. -->\n\n\
         What [`/metrics`](http.md#watching) answers, for Prometheus. Counters and histograms begin at zero when the \
         database is opened. `evenkeel generate grafana` prints a dashboard of all of them.\n",
    );
    for section in SECTIONS {
        let _ = write!(page, "\n## {section}\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n");
        for metric in METRICS.iter().filter(|metric| metric.section == section) {
            let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
            let (kind, labels) = (metric.kind.name(), labels.join(", "));
            let _ = writeln!(page, "| `{}` | {kind} | {labels} | {} |", metric.name, metric.help.replace('|', "\\|"));
        }
    }
    page
}
