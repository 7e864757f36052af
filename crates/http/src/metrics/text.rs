//! Prometheus' text format, version 0.0.4.

use super::table::{Kind, METRICS, Metric, Observed};
use evenkeel_engine::Histogram;
use std::fmt::Write;

/// Every metric.
pub(super) fn text(observed: &Observed) -> String {
    let mut text = String::new();
    for metric in METRICS {
        let _ = writeln!(text, "# HELP {} {}", metric.name, metric.help);
        let _ = writeln!(text, "# TYPE {} {}", metric.name, metric.kind.name());
        (metric.of)(observed, &mut Samples { metric, text: &mut text });
    }
    text
}

/// Where a metric's values go.
pub(super) struct Samples<'a> {
    metric: &'a Metric,
    text: &'a mut String,
}

impl Samples<'_> {
    /// A value, with those of the metric's labels.
    pub(super) fn push(&mut self, labels: &[&dyn std::fmt::Display], value: f64) {
        debug_assert_ne!(self.metric.kind, Kind::Histogram);
        self.line("", labels, None, value);
    }

    /// Counts by time, with the values of the metric's labels.
    pub(super) fn histogram(&mut self, labels: &[&dyn std::fmt::Display], histogram: &Histogram) {
        debug_assert_eq!(self.metric.kind, Kind::Histogram);
        for (bound, count) in &histogram.buckets {
            self.line("_bucket", labels, Some(number(*bound)), *count as f64);
        }
        self.line("_bucket", labels, Some(number(f64::INFINITY)), histogram.count as f64);
        self.line("_sum", labels, None, histogram.sum_seconds);
        self.line("_count", labels, None, histogram.count as f64);
    }

    fn line(&mut self, suffix: &str, labels: &[&dyn std::fmt::Display], bound: Option<String>, value: f64) {
        debug_assert_eq!(labels.len(), self.metric.labels.len());
        let values = labels.iter().map(ToString::to_string);
        let mut pairs: Vec<_> = self
            .metric
            .labels
            .iter()
            .zip(values)
            .map(|(label, value)| format!("{label}=\"{}\"", escaped(&value)))
            .collect();
        pairs.extend(bound.map(|bound| format!("le=\"{bound}\"")));
        let pairs = if pairs.is_empty() { String::new() } else { format!("{{{}}}", pairs.join(",")) };
        let _ = writeln!(self.text, "{}{suffix}{pairs} {}", self.metric.name, number(value));
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn number(value: f64) -> String {
    match value {
        f64::INFINITY => "+Inf".to_string(),
        value if value.is_nan() => "NaN".to_string(),
        value => value.to_string(),
    }
}
