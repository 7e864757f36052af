//! A Grafana dashboard of every metric: `docs/grafana.json`.

use super::table::{Kind, METRICS, Metric, SECTIONS};
use serde_json::{Value, json};

/// A dashboard is 24 wide; three panels stand beside each other.
const WIDTH: usize = 8;
const HEIGHT: usize = 7;
const ACROSS: usize = 3;

/// The dashboard, as JSON that Grafana imports.
///
/// # Panics
/// Never: it is JSON.
pub fn grafana() -> String {
    let mut panels = Vec::new();
    let mut top = 0;
    for section in SECTIONS {
        panels.push(json!({
            "id": panels.len() + 1,
            "type": "row",
            "title": section,
            "collapsed": false,
            "gridPos": { "x": 0, "y": top, "w": WIDTH * ACROSS, "h": 1 },
            "panels": [],
        }));
        top += 1;
        let metrics: Vec<_> = METRICS.iter().filter(|metric| metric.section == section).collect();
        for (at, metric) in metrics.iter().enumerate() {
            let place = json!({
                "x": at % ACROSS * WIDTH, "y": top + at / ACROSS * HEIGHT, "w": WIDTH, "h": HEIGHT,
            });
            panels.push(panel(metric, panels.len() + 1, &place));
        }
        top += metrics.len().div_ceil(ACROSS) * HEIGHT;
    }
    let dashboard = json!({
        "uid": "evenkeel",
        "title": "Evenkeel",
        "tags": ["evenkeel"],
        "schemaVersion": 39,
        "timezone": "browser",
        "refresh": "15s",
        "time": { "from": "now-1h", "to": "now" },
        "templating": { "list": [
            { "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus" },
            {
                "name": "instance", "label": "Instance", "type": "query", "includeAll": true, "multi": true,
                "datasource": { "type": "prometheus", "uid": "${datasource}" },
                "query": { "query": "label_values(evenkeel_build_info, instance)", "refId": "instance" },
                "refresh": 2,
            },
        ] },
        "panels": panels,
    });
    let mut text = serde_json::to_string_pretty(&dashboard).expect("it is JSON");
    text.push('\n');
    text
}

fn panel(metric: &Metric, id: usize, place: &Value) -> Value {
    let legend: Vec<_> = metric.labels.iter().map(|label| format!("{{{{{label}}}}}")).collect();
    json!({
        "id": id,
        "type": "timeseries",
        "title": metric.name,
        "description": metric.help,
        "gridPos": place,
        "datasource": { "type": "prometheus", "uid": "${datasource}" },
        "fieldConfig": { "defaults": { "unit": unit(metric), "min": 0 }, "overrides": [] },
        "options": { "legend": { "displayMode": "list", "placement": "bottom" }, "tooltip": { "mode": "multi" } },
        "targets": [{ "refId": "A", "expr": query(metric), "legendFormat": legend.join(" ") }],
    })
}

/// What is drawn: counters by their rate, histograms by their p99.
fn query(metric: &Metric) -> String {
    let (name, by) = (metric.name, metric.labels.join(", "));
    let here = "{instance=~\"$instance\"}";
    match metric.kind {
        Kind::Gauge if by.is_empty() => format!("{name}{here}"),
        Kind::Gauge => format!("sum by ({by}) ({name}{here})"),
        Kind::Counter => format!("sum by ({by}) (rate({name}{here}[$__rate_interval]))"),
        Kind::Histogram => {
            let by = metric.labels.iter().chain(&["le"]).copied().collect::<Vec<_>>().join(", ");
            format!("histogram_quantile(0.99, sum by ({by}) (rate({name}_bucket{here}[$__rate_interval])))")
        }
    }
}

/// The unit of what is drawn, from the unit in the name.
fn unit(metric: &Metric) -> &'static str {
    let name = metric.name.strip_suffix("_total").unwrap_or(metric.name);
    let counter = metric.kind == Kind::Counter;
    match name {
        // Seconds of each second.
        _ if name.ends_with("_seconds") && counter => "none",
        _ if name.ends_with("_seconds") => "s",
        _ if name.ends_with("_bytes") && counter => "Bps",
        _ if name.ends_with("_bytes") => "bytes",
        _ if counter => "ops",
        _ => "short",
    }
}
