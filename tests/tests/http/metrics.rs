//! `/metrics`, read as strictly as Prometheus' text format says.

use crate::ground::{Ground, get, post};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// Everything of one name.
#[derive(Debug, Default)]
struct Family {
    kind: String,
    /// Suffix, labels, value.
    samples: Vec<(String, BTreeMap<String, String>, f64)>,
}

impl Family {
    /// The value of the sample with these labels.
    fn value(&self, suffix: &str, labels: &[(&str, &str)]) -> f64 {
        let wanted = |found: &BTreeMap<String, String>| {
            labels.iter().all(|(name, value)| found.get(*name).is_some_and(|f| f == value))
        };
        let found = self.samples.iter().find(|(s, found, _)| s == suffix && wanted(found));
        found.unwrap_or_else(|| panic!("no {suffix} {labels:?} in {self:?}")).2
    }

    fn sum(&self) -> f64 {
        self.samples.iter().map(|(_, _, value)| value).sum()
    }
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

fn number(text: &str) -> f64 {
    match text {
        "+Inf" => f64::INFINITY,
        "NaN" => f64::NAN,
        text => {
            assert!(text.starts_with(|c: char| c.is_ascii_digit() || c == '-'), "{text} is no number");
            text.parse().unwrap_or_else(|_| panic!("{text} is no number"))
        }
    }
}

/// `{a="1",b="2"}`
fn labels(text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (name, after) = rest.split_once("=\"").unwrap_or_else(|| panic!("labels {text}"));
        assert!(is_name(name), "label {name}");
        let (mut value, mut characters) = (String::new(), after.char_indices());
        let end = loop {
            match characters.next().unwrap_or_else(|| panic!("labels {text}")) {
                (_, '\\') => value.push(match characters.next() {
                    Some((_, 'n')) => '\n',
                    Some((_, c @ ('\\' | '"'))) => c,
                    other => panic!("escape {other:?}"),
                }),
                (at, '"') => break at,
                (_, c) => value.push(c),
            }
        };
        assert!(found.insert(name.to_string(), value).is_none(), "label {name} twice");
        rest = &after[end + 1..];
        rest = rest.strip_prefix(',').unwrap_or_else(|| {
            assert!(rest.is_empty(), "labels {text}");
            rest
        });
    }
    found
}

/// HELP, TYPE, samples, for one name after another, each once.
fn parse(text: &str) -> BTreeMap<String, Family> {
    assert!(text.ends_with('\n'));
    let mut families = BTreeMap::<String, Family>::new();
    let (mut current, mut helped) = (String::new(), String::new());
    let mut seen = BTreeSet::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a help text");
            assert!(is_name(name) && !help.trim().is_empty(), "{line}");
            assert!(!families.contains_key(name), "{name} twice");
            helped = name.to_string();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a type");
            assert_eq!(name, helped, "HELP stands before TYPE");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            current = name.to_string();
            families.insert(current.clone(), Family { kind: kind.to_string(), samples: Vec::new() });
        } else {
            assert!(!line.starts_with('#') && !line.is_empty(), "{line}");
            let (series, value) = line.rsplit_once(' ').expect("a value");
            assert!(seen.insert(series.to_string()), "{series} twice");
            let (name, inside) = match series.split_once('{') {
                Some((name, rest)) => (name, rest.strip_suffix('}').expect("the end of labels")),
                None => (series, ""),
            };
            let suffix = name.strip_prefix(current.as_str()).unwrap_or_else(|| panic!("{line} is not of {current}"));
            let family = families.get_mut(&current).expect("a family");
            let known: &[&str] = if family.kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            assert!(known.contains(&suffix), "{line}");
            family.samples.push((suffix.to_string(), labels(inside), number(value)));
        }
    }
    families.iter().for_each(|(name, family)| conventions(name, family));
    families
}

/// What promtool's linter says, and what a histogram has to be.
fn conventions(name: &str, family: &Family) {
    assert_eq!(family.kind == "counter", name.ends_with("_total"), "{name}");
    for unit in ["_ms", "_millis", "_us", "_micros", "_ns", "_minutes", "_hours", "_kb", "_mb", "_percent", "_pct"] {
        assert!(!name.contains(unit), "{name} has no base unit");
    }
    for (suffix, _, value) in &family.samples {
        assert!(!value.is_nan(), "{name}");
        assert!(family.kind == "gauge" || *value >= 0.0, "{name}{suffix}");
    }
    if family.kind != "histogram" {
        return;
    }
    let mut series = BTreeMap::<_, Vec<(f64, f64)>>::new();
    for (_, labels, value) in family.samples.iter().filter(|(suffix, _, _)| suffix == "_bucket") {
        let mut labels = labels.clone();
        let bound = number(&labels.remove("le").expect("a bound"));
        series.entry(labels).or_default().push((bound, *value));
    }
    for (labels, buckets) in series {
        assert!(buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{name} {labels:?}: {buckets:?}");
        let pairs: Vec<_> = labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let last = buckets.last().expect("buckets");
        assert_eq!(*last, (f64::INFINITY, family.value("_count", &pairs)), "{name} {labels:?}");
        family.value("_sum", &pairs);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_say_what_is_so() {
    let ground = Ground::new().await;
    ground.pql("CREATE TABLE t (id INT PRIMARY KEY, v TEXT)").await;
    ground.pql("INSERT INTO t SELECT value, 'row' FROM generate_series(1, 5000)").await;
    ground.pql("SELECT count(*) FROM t WHERE v = 'row'").await;
    ground.pql("PIN SHARD 4").await;
    let open = ground.database.session();
    for _ in 0..3 {
        let again = json!({ "statement": "INSERT INTO t VALUES (1, '')" });
        assert_eq!(ground.ask(post("/api/v1/pql").json(&again)).await.sqlstate(), "23505");
    }
    ground.pql("MOVE SLOTS 0 TO 999 FROM SHARD 1 TO SHARD 2").await;
    ground.pql("WAIT FOR JOB ALL TIMEOUT '60s'").await;
    ground.pql("REBALANCE SHARDS").await;
    ground.pql("WAIT FOR JOB ALL TIMEOUT '60s'").await;

    let reply = ground.ask(get("/metrics")).await;
    assert_eq!(reply.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let families = parse(&reply.text());
    let known: BTreeSet<_> = evenkeel_http::METRIC_NAMES.iter().map(|name| (*name).to_string()).collect();
    assert_eq!(families.keys().cloned().collect::<BTreeSet<_>>(), known);
    assert_eq!(known.len(), evenkeel_http::METRIC_NAMES.len(), "a name stands twice");

    let of = |name: &str| &families[name];
    assert_eq!(of("evenkeel_shard_rows").sum(), 5_000.0);
    assert_eq!(of("evenkeel_shard_slots").sum(), 8_192.0);
    assert_eq!(of("evenkeel_shard_pinned").value("", &[("shard", "4")]), 1.0);
    assert_eq!(of("evenkeel_shard_pinned").sum(), 1.0);
    assert!(of("evenkeel_shard_written_rows_total").sum() >= 5_000.0);
    assert!(of("evenkeel_shard_read_rows_total").sum() >= 5_000.0);
    assert!(of("evenkeel_shard_cpu_seconds_total").sum() > 0.0);
    assert!(of("evenkeel_shard_live_bytes").sum() > 5_000.0);
    assert!(of("evenkeel_shard_storage_bytes").sum() > 0.0);
    assert!(of("evenkeel_imbalance_ratio").sum() < 0.2);
    assert!(of("evenkeel_shard_max_min_ratio").value("", &[("dimension", "rows")]) >= 1.0);
    let insert = [("class", "insert"), ("sqlstate_class", "23")];
    assert_eq!(of("evenkeel_statement_failures_total").value("", &insert), 3.0);
    let took = of("evenkeel_statement_duration_seconds");
    assert_eq!(took.value("_count", &[("class", "insert")]), 4.0);
    assert_eq!(took.value("_count", &[("class", "wait")]), 2.0);
    assert!(took.value("_sum", &[("class", "query")]) > 0.0);
    assert_eq!(of("evenkeel_jobs").value("", &[("state", "done")]), 2.0);
    assert_eq!(of("evenkeel_migrations").sum(), 0.0);
    assert_eq!(of("evenkeel_migrations_stuck").sum(), 0.0);
    let phases = of("evenkeel_migration_phase_duration_seconds");
    for phase in ["copying", "sealing", "switching", "verifying", "dropping"] {
        assert!(phases.value("_count", &[("phase", phase)]) >= 2.0, "{phase}");
    }
    assert!(of("evenkeel_migration_cutover_duration_seconds").value("_count", &[]) >= 2.0);
    let started = [("trigger", "manual"), ("decision", "started"), ("reason", "overloaded")];
    assert!(of("evenkeel_balancer_decisions_total").sum() >= 1.0, "{started:?}");
    assert_eq!(of("evenkeel_connections").value("", &[("protocol", "postgresql")]), 3.0);
    assert!(of("evenkeel_connections").value("", &[("protocol", "http")]) >= 1.0);
    assert_eq!(of("evenkeel_http_answers_total").value("", &[("status", "409")]), 3.0);
    assert_eq!(of("evenkeel_sessions").value("", &[("state", "idle")]), 1.0, "sessions of calls go with them");
    drop(open);
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn counters_only_grow() {
    let ground = Ground::new().await;
    ground.pql("CREATE TABLE t (id INT PRIMARY KEY)").await;
    let before = parse(&ground.ask(get("/metrics")).await.text());
    ground.pql("INSERT INTO t VALUES (1)").await;
    let after = parse(&ground.ask(get("/metrics")).await.text());
    for (name, family) in before.iter().filter(|(_, family)| family.kind == "counter") {
        assert!(after[name].sum() >= family.sum(), "{name}");
    }
    ground.end().await;
}

#[test]
#[should_panic(expected = "twice")]
fn the_parser_sees_doubles() {
    parse("# HELP a_total x\n# TYPE a_total counter\na_total 1\na_total 2\n");
}

#[test]
#[should_panic(expected = "a_ms")]
fn the_parser_sees_units() {
    parse("# HELP a_ms x\n# TYPE a_ms gauge\na_ms 1\n");
}
