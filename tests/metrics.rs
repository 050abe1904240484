//! Metrics and what is written about them: every family of a scrape stands in `docs/METRICS.md`, and nothing else does; the
//! alert rules and the dashboard name metrics that exist. `integration/cases/metrics.rs` scrapes a running daemon.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};

use evpnd::base::Time;
use evpnd::speaker::{KeptState, Speaker};

const DOCUMENT: &str = include_str!("../docs/METRICS.md");
const RULES: &str = include_str!("../config/prometheus-rules.yml");
/// Run by promtool, where the package is installed.
const RULES_TEST: &str = include_str!("../integration/package/rules-test.yml");
const DASHBOARD: &str = include_str!("../config/grafana-dashboard.json");

/// What `src/io/metrics.rs` adds.
const OF_THE_PROCESS: [(&str, &str); 3] = [
    ("process_start_time_seconds", "gauge"),
    ("process_cpu_seconds_total", "counter"),
    ("process_resident_memory_bytes", "gauge"),
];

/// Every family with its kind, and the labels of its samples.
fn families() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let text = "[router]\nasn = 65000\nvtep = \"10.0.0.1\"\n[[neighbor]]\naddress = \"10.0.0.2\"\n[[vni]]\nid = 100\n";
    let mut speaker = Speaker::new(evpnd::config::parse("x", text).unwrap(), KeptState::default(), None, 1, Time::ZERO);
    speaker.start(Time::ZERO);
    let mut found: BTreeMap<String, (String, BTreeSet<String>)> =
        OF_THE_PROCESS.iter().map(|(name, kind)| ((*name).to_owned(), ((*kind).to_owned(), BTreeSet::new()))).collect();
    let mut last = String::new();
    for line in speaker.metrics(Time::ZERO).into_text().lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            last = name.to_owned();
            found.insert(last.clone(), (kind.to_owned(), BTreeSet::new()));
        } else if let Some((_, labels)) = line.split_once('{') {
            let names = labels.split("\",").map(|label| label.split('=').next().unwrap().to_owned());
            found.get_mut(&last).unwrap().1.extend(names.filter(|name| name != "le"));
        }
    }
    found
}

#[test]
fn every_family_is_documented_with_its_labels_and_nothing_else_is() {
    let words = |(kind, labels): &(String, BTreeSet<String>)| {
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        format!("{kind} | {}", labels.join(", "))
    };
    let told: BTreeSet<String> = families().iter().map(|(name, family)| format!("`{name}` | {}", words(family))).collect();
    let mut documented = BTreeSet::new();
    for row in DOCUMENT.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [name, kind, labels, unit, meaning] = cells.as_slice() else { panic!("not five columns: {row}") };
        assert!(!unit.is_empty() && !meaning.is_empty(), "{row}");
        let mut labels: Vec<&str> = labels.split(", ").collect();
        labels.sort_unstable();
        documented.insert(format!("{name} | {kind} | {}", labels.join(", ")));
    }
    assert_eq!(told.difference(&documented).collect::<Vec<_>>(), Vec::<&String>::new(), "not in docs/METRICS.md");
    assert_eq!(documented.difference(&told).collect::<Vec<_>>(), Vec::<&String>::new(), "only in docs/METRICS.md");
}

/// Metrics that an expression names.
fn named(expression: &str) -> BTreeSet<String> {
    let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("evpnd_") || word.starts_with("process_")).map(str::to_owned).collect()
}

fn expect_known(place: &str, expressions: &[String]) {
    let families = families();
    let mut count = 0;
    for name in expressions.iter().flat_map(|expression| named(expression)) {
        let histogram = |suffix: &str| {
            name.strip_suffix(suffix).is_some_and(|base| families.get(base).is_some_and(|(kind, _)| kind == "histogram"))
        };
        let known = families.contains_key(&name) || ["_bucket", "_sum", "_count"].into_iter().any(histogram);
        assert!(known, "{place} names {name}, which no scrape has");
        count += 1;
    }
    assert!(count >= 10, "only {count} metrics are named in {place}");
}

#[test]
fn the_alert_rules_name_metrics_that_exist() {
    let expressions: Vec<String> =
        RULES.lines().filter_map(|line| line.trim().strip_prefix("expr: ")).map(str::to_owned).collect();
    assert_eq!(expressions.len(), RULES.matches("- alert:").count(), "an expression stands on one line");
    expect_known("config/prometheus-rules.yml", &expressions);
}

#[test]
fn each_alert_rule_is_tried() {
    for name in RULES.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        let fires = format!("{{alertname=\"{name}\"");
        assert!(RULES_TEST.contains(&fires), "integration/package/rules-test.yml does not fire {name}");
    }
}

#[test]
fn the_dashboard_names_metrics_that_exist() {
    let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = |panel: &serde_json::Value| panel["targets"].as_array().cloned().unwrap_or_default();
    let expressions: Vec<String> =
        panels.iter().flat_map(targets).map(|target| target["expr"].as_str().unwrap().to_owned()).collect();
    expect_known("config/grafana-dashboard.json", &expressions);
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "two panels with one id");
}
