//! Metrics and what is written about them: every family of a scrape stands in `docs/METRICS.md`, and nothing else does; the
//! alert rules and the dashboard name metrics that exist. `integration/cases/metrics.rs` scrapes a running daemon.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};

use evpnd::base::Time;
use evpnd::control::counters::{COUNTERS, REFUSALS};
use evpnd::speaker::{KeptState, Speaker};

const DOCUMENT: &str = include_str!("../docs/METRICS.md");
const RULES: &str = include_str!("../config/prometheus-rules.yml");
const CONTROL: &str = include_str!("../docs/CONTROL.md");
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

/// Of the limits in docs/CONTROL.md, those that nobody is alarmed for: they keep strangers and clients out, warn beforehand, are told elsewhere
/// (`EvpndNeighborFlapping`, mistakes of a neighbor), or cost time and a word and no frame.
const NO_ALARM: [&str; 35] = [
    "speaker_max_routes_near",
    "speaker_neighbors_flapping",
    "speaker_neighbors_forgotten",
    "speaker_connections_refused",
    "speaker_ttl_security_refused",
    "speaker_connections_dropped_without_words",
    "speaker_updates_with_mistakes",
    "rib_treat_as_withdraw",
    "rib_attribute_discards",
    "rib_nlri_errors",
    "speaker_control_connections_refused",
    "speaker_control_idle_closed",
    "speaker_control_slow_closed",
    "speaker_control_unread_closed",
    "speaker_control_requests_too_long",
    "speaker_listings_joined",
    // Whoever asked is told why; wrong words count as well.
    "speaker_vnis_refused",
    "evpn_departed_not_kept",
    "kernel_misses_dropped",
    "evpn_address_moves_untold",
    "evpn_address_moves_told",
    "kernel_announcements_refused",
    "kernel_announcements_sent",
    "speaker_refreshes_ignored",
    "speaker_routes_asked_again",
    "evpn_put_back_later",
    "evpn_put_back_refused",
    "speaker_metrics_connections_refused",
    "speaker_metrics_requests_refused",
    "speaker_metrics_slow_closed",
    "evpn_duplicates_unwatched",
    "evpn_conflicts_unwatched",
    "evpn_sequences_not_kept",
    "speaker_events_dropped",
    "evpn_events_dropped",
];

/// What `evpnctl doctor` looks at (its own test says so), what the alert speaks of, and what is written: one list.
#[test]
fn a_limit_that_refuses_what_guests_notice_is_seen_by_doctor_and_the_alert_and_stands_in_the_table() {
    let (_, rest) = RULES.split_once("- alert: EvpndLimitHit").unwrap();
    let expression = rest.lines().find_map(|line| line.trim().strip_prefix("expr: ")).unwrap();
    let refusals: BTreeSet<String> = REFUSALS.iter().map(|name| (*name).to_owned()).collect();
    let counter = |metric: String| metric.strip_prefix("evpnd_").unwrap().strip_suffix("_total").unwrap().to_owned();
    assert_eq!(named(expression).into_iter().map(counter).collect::<BTreeSet<_>>(), refusals, "EvpndLimitHit");
    let (_, table) = CONTROL.split_once("### Counters of limits").unwrap();
    let rows = table.lines().skip_while(|line| !line.starts_with("| `")).take_while(|line| line.starts_with("| `"));
    // Names in a row's words are keys, but for those of counters.
    let counters: BTreeSet<&str> = COUNTERS.iter().map(|(name, _)| *name).collect();
    let documented: BTreeSet<String> =
        rows.flat_map(|row| row.split('`')).filter(|name| counters.contains(name)).map(str::to_owned).collect();
    let known: BTreeSet<String> = NO_ALARM.iter().map(|name| (*name).to_owned()).chain(refusals).collect();
    assert_eq!(known.len(), NO_ALARM.len() + REFUSALS.len(), "one is of both kinds");
    assert_eq!(documented, known, "docs/CONTROL.md, counters of limits: is it one that guests notice?");
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
