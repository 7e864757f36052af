//! What is written down is what is so: `docs/openapi.json`, `docs/metrics.md` and `docs/grafana.json`.
//! `EVENKEEL_BLESS=1` writes the three.

use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

fn is(name: &str, text: &str) {
    let path = Path::new("../docs").join(name);
    if std::env::var_os("EVENKEEL_BLESS").is_some() {
        std::fs::write(&path, text).expect("docs can be written");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == text, "docs/{name} is not what the code says; EVENKEEL_BLESS=1 writes it");
}

#[test]
fn the_description_is_kept() {
    is("openapi.json", &evenkeel_http::openapi());
}

#[test]
fn the_list_of_metrics_is_kept() {
    is("metrics.md", &evenkeel_http::metrics_page());
}

#[test]
fn the_dashboard_is_kept() {
    is("grafana.json", &evenkeel_http::grafana());
}

fn references(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            into.extend(object.get("$ref").and_then(Value::as_str).map(str::to_string));
            object.values().for_each(|value| references(value, into));
        }
        Value::Array(values) => values.iter().for_each(|value| references(value, into)),
        _ => {}
    }
}

#[test]
fn the_description_describes_itself() {
    let document: Value = serde_json::from_str(&evenkeel_http::openapi()).expect("JSON");
    assert_eq!(document["openapi"], "3.1.0");
    let mut named = BTreeSet::new();
    references(&document, &mut named);
    for name in &named {
        let pointer = name.strip_prefix('#').expect("a place in the same document");
        assert!(document.pointer(pointer).is_some(), "{name} is not there");
    }
    let schemas = document["components"]["schemas"].as_object().expect("schemas");
    for name in schemas.keys() {
        assert!(named.contains(&format!("#/components/schemas/{name}")), "nothing has the schema {name}");
    }
    let mut operations = BTreeSet::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            assert!(operation["summary"].is_string(), "{method} {path}");
            let id = operation["operationId"].as_str().expect("an id").to_string();
            assert!(operations.insert(id), "{method} {path}: its id is another's, too");
            if path.starts_with("/api/") {
                let problem =
                    &operation["responses"]["default"]["content"]["application/problem+json"]["schema"]["$ref"];
                assert_eq!(problem, "#/components/schemas/Problem", "{method} {path}");
            }
        }
    }
}

#[test]
fn the_dashboard_shows_every_metric() {
    let dashboard: Value = serde_json::from_str(&evenkeel_http::grafana()).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let shown: BTreeSet<_> =
        panels.iter().filter(|panel| panel["type"] != "row").map(|p| p["title"].as_str()).collect();
    let known: BTreeSet<_> = evenkeel_http::METRIC_NAMES.iter().map(|name| Some(*name)).collect();
    assert_eq!(shown, known);
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].to_string()).collect();
    assert_eq!(ids.len(), panels.len());
}
