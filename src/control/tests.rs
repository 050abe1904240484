//! Tests of the whole room: what a program sees (the JSON is a contract) and what people see.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use serde_json::json;

use super::render::{Renderer, age, many, utc};
use super::*;
use crate::base::{Asn, BgpIdentifier, MacAddr, Vni};

fn vni(number: u32) -> Vni {
    Vni::new(number).unwrap()
}

fn mac(last: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0xab, last])
}

fn same<T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug>(value: &T) {
    let text = serde_json::to_string(value).unwrap();
    assert!(!text.contains('\n'));
    assert_eq!(&serde_json::from_str::<T>(&text).unwrap(), value, "{text}");
}

fn neighbor_view() -> NeighborView {
    NeighborView {
        address: "10.0.0.254".parse().unwrap(),
        description: "reflector".to_owned(),
        asn: Asn(65000),
        external: false,
        state: "established".to_owned(),
        since_secs: 3700,
        router_id: Some(BgpIdentifier([10, 0, 0, 254].into())),
        host_name: Some("rr1".to_owned()),
        local_address: Some("10.0.0.1".parse().unwrap()),
        local_port: Some(40000),
        remote_port: Some(179),
        passive: false,
        dynamic: false,
        client: true,
        hold_time_secs: Some(90),
        capabilities: vec!["route refresh".to_owned(), "extended message".to_owned()],
        routes_received: 100_000,
        max_routes: None,
        routes_advertised: 12,
        pending: false,
        end_of_rib: true,
        graceful_restart: "agreed, also over a NOTIFICATION, it asks for 120 s".to_owned(),
        stale_routes: 0,
        stale_secs: None,
        messages_in: MessageCounts { open: 1, update: 900, keepalive: 40, ..MessageCounts::default() },
        messages_out: MessageCounts::default(),
        established_count: 1,
        dropped_count: 0,
        attribute_octets: 640,
        update_mistakes: 0,
        rest_secs: None,
        last_error: None,
        last_error_secs: None,
    }
}

fn vni_view() -> VniView {
    VniView {
        vni: vni(100),
        device: "vxlan100".to_owned(),
        bridge: "br100".to_owned(),
        rd: "10.0.0.1:100".to_owned(),
        import: vec!["auto".to_owned()],
        export: vec!["65000:100".to_owned()],
        state: "unusable".to_owned(),
        reason: Some("bridge br100 is enslaved to bond0".to_owned()),
        remedy: Some("ip link set br100 nomaster".to_owned()),
        made_device: true,
        made_bridge: false,
        run_time: false,
        callers: vec!["libvirt:web1".to_owned()],
        announce_own: None,
        local: None,
        port: None,
        mtu: None,
        vteps: 2,
        local_macs: 3,
        remote_macs: 4,
        refused_local_macs: 0,
        refused_remote_macs: 0,
        refused_routes: 0,
        refused_addresses: 0,
        rows: RowCounts { wanted: 6, in_sync: 4, dirty: 1, in_flight: 0, failed: 1, on_demand: 0 },
        suppressed: RowCounts::default(),
        healed: 0,
        warnings: Vec::new(),
    }
}

fn mac_view(last: u8) -> MacView {
    MacView {
        vni: vni(100),
        mac: mac(last),
        kind: MacKind::Remote,
        port: None,
        vtep: Some("10.0.0.2".parse().unwrap()),
        remote_vni: None,
        sequence: 3,
        sticky: false,
        duplicate: None,
        ips: vec!["192.0.2.1".parse().unwrap()],
        duplicate_ips: vec![],
        row: RowState::InSync,
    }
}

fn route_view(best: bool, from: &str) -> RouteView {
    RouteView {
        route_type: 2,
        key: "[2]:[0]:[48]:[02:00:00:00:ab:01]:[32]:[192.0.2.1]".to_owned(),
        rd: "10.0.0.2:100".to_owned(),
        vni: Some(100),
        second_label: None,
        esi: None,
        next_hop: Some("10.0.0.2".parse().unwrap()),
        neighbor: Some(from.parse().unwrap()),
        best,
        stale: false,
        age_secs: 61,
        as_path: String::new(),
        local_pref: Some(100),
        med: None,
        route_targets: vec!["65000:100".to_owned()],
        encapsulation: Some(8),
        sequence: Some(3),
        sticky: false,
        originator_id: Some(BgpIdentifier([10, 0, 0, 2].into())),
        cluster_list: vec![BgpIdentifier([10, 0, 0, 254].into())],
        group: None,
        other: Vec::new(),
    }
}

fn explanation() -> Explanation {
    Explanation {
        vni: vni(100),
        mac: mac(1),
        local: None,
        candidates: vec![Candidate {
            path: "10.0.0.2:100 [2]:[0]:[48]:[02:00:00:00:ab:01] via 10.0.0.2".to_owned(),
            neighbor: Some("10.0.0.254".parse().unwrap()),
            best: true,
            why: "best".to_owned(),
        }],
        choice: "VTEP 10.0.0.2: the only one".to_owned(),
        wanted: Some("dst 10.0.0.2".to_owned()),
        installed: None,
        status: "failed: No space left on device, retried in 3 s".to_owned(),
        neighbors: vec!["192.0.2.1 is answered with 02:00:00:00:00:01: in sync".to_owned()],
        duplicates: vec!["192.0.2.1 is at two MACs at once".to_owned()],
        kernel: Vec::new(),
        conclusion: "frames are flooded, because the kernel refuses the row".to_owned(),
    }
}

fn status() -> Status {
    Status {
        version: "0.1.0".to_owned(),
        config_file: "/etc/evpnd/evpnd.toml".to_owned(),
        ignored_devices: vec!["lab*".to_owned()],
        asn: Asn(65000),
        router_id: BgpIdentifier([10, 0, 0, 1].into()),
        vtep: Some("10.0.0.1".parse().unwrap()),
        uptime_secs: 90,
        draining: false,
        neighbors: Count { up: 1, configured: 2 },
        vnis: Count { up: 3, configured: 3 },
        vteps: 5,
        routes: 10,
        paths: 20,
        macs: MacCount { local: 1, remote: 2 },
        rows: RowCounts { wanted: 7, in_sync: 7, ..RowCounts::default() },
        suppressed: RowCounts::default(),
        overflows: 0,
        counters: BTreeMap::from([("loops".to_owned(), 2), ("zero".to_owned(), 0)]),
        sizes: BTreeMap::from([("fib_rows".to_owned(), 3)]),
        warnings: vec!["neighbor 10.0.0.253 is down".to_owned()],
    }
}

#[test]
fn requests_are_plain_json() {
    let read = |value: serde_json::Value| serde_json::from_value::<Request>(value);
    assert_eq!(read(json!({"request": "show_status"})).unwrap(), Request::ShowStatus {});
    assert_eq!(
        read(json!({"request": "show_macs", "vni": 100, "mac": "02:00:00:00:AB:01", "limit": 5})).unwrap(),
        Request::ShowMacs { vni: Some(vni(100)), mac: Some(mac(1)), duplicates: false, after: None, limit: Some(5) }
    );
    assert_eq!(read(json!({"request": "vni_add", "vni": 7})).unwrap(), Request::VniAdd(VniAdd::new(vni(7))));
    for wrong in [
        json!({"request": "show_mac"}),
        json!({"request": "show_macs", "vnii": 1}),
        json!({"request": "show_status", "vni": 1}),
        json!({"request": "vni_add", "vni": 7, "vtep": 1}),
        json!({"request": "vni_del", "vni": 16_777_216}),
        json!({"request": "explain", "vni": 1, "mac": "x"}),
        json!({}),
        json!([]),
    ] {
        assert!(read(wrong.clone()).is_err(), "{wrong}");
    }
}

#[test]
fn every_value_survives_the_socket() {
    for request in [
        Request::ShowStatus {},
        Request::ShowNeighbors { address: Some("::1".parse().unwrap()), after: None, limit: None },
        Request::ShowRoutes {
            route_type: Some(2),
            vni: None,
            rd: Some("1:2".to_owned()),
            neighbor: None,
            after: Some("x".to_owned()),
            limit: Some(1),
        },
        Request::Explain { vni: vni(1), mac: mac(1) },
        Request::VniAdd(VniAdd { import: Some(vec!["auto".to_owned()]), ..VniAdd::new(vni(1)) }),
        Request::ClearNeighbor { address: "10.0.0.1".parse().unwrap() },
    ] {
        same(&request);
    }
    let event = Event::MacMoved {
        vni: vni(100),
        mac: mac(1),
        from: Place::Port("tap0".to_owned()),
        to: Place::Vtep("10.0.0.2".parse().unwrap()),
        sequence: 4,
    };
    for reply in [
        Reply::Status(status()),
        Reply::Neighbors(Page::last(vec![neighbor_view()])),
        Reply::Vnis(Page::last(vec![vni_view()])),
        Reply::Vteps(Page::last(vec![VtepView { address: "::1".parse().unwrap(), vnis: vec![vni(1)], macs: 1 }])),
        Reply::Macs(Page::new(vec![mac_view(1)], Some("cursor".to_owned()))),
        Reply::Routes(Page::last(vec![route_view(true, "10.0.0.254")])),
        Reply::Explanation(explanation()),
        Reply::Event(MonitorLine::new(1, event)),
        Reply::Event(MonitorLine::new(1, Event::Note { severity: Level::Debug, text: "x".to_owned() })),
        Reply::Done { message: "done".to_owned() },
    ] {
        same(&reply);
    }
}

#[test]
fn the_json_of_a_mac_is_a_contract() {
    assert_eq!(
        serde_json::to_value(Reply::Macs(Page::last(vec![mac_view(1)]))).unwrap(),
        json!({"reply": "macs", "more": false, "next": null, "items": [{
            "vni": 100, "mac": "02:00:00:00:ab:01", "kind": "remote", "port": null, "vtep": "10.0.0.2", "remote_vni": null,
            "sequence": 3, "sticky": false, "duplicate": null, "ips": ["192.0.2.1"], "duplicate_ips": [], "row": "in_sync"
        }]})
    );
}

#[test]
fn an_event_is_flat_and_says_itself_in_words() {
    let line = MonitorLine::new(
        1_500,
        Event::SessionDown {
            neighbor: "10.0.0.254".parse().unwrap(),
            reason: "the peer shut the session down: \"maintenance\"".to_owned(),
            up_secs: 90,
            routes: 1,
            kept_secs: None,
        },
    );
    assert_eq!(
        serde_json::to_value(Reply::Event(line.clone())).unwrap(),
        json!({"reply": "event", "unix_millis": 1500, "level": "warn", "event": "session_down", "neighbor": "10.0.0.254", "up_secs": 90,
            "routes": 1, "kept_secs": null, "reason": "the peer shut the session down: \"maintenance\"",
            "message": "neighbor 10.0.0.254 down after 90 s, 1 route goes: the peer shut the session down: \"maintenance\""})
    );
    assert_eq!(
        Renderer::default().page(&Reply::Event(line)),
        "1970-01-01T00:00:01.500Z warn  neighbor 10.0.0.254 down after 90 s, 1 route goes: the peer shut the session down: \"maintenance\"\n"
    );
}

#[test]
fn levels_fit_their_events() {
    assert!(Level::Error < Level::Debug);
    let ready = |warnings| Event::VniReady { vni: vni(1), device: "v".to_owned(), bridge: "b".to_owned(), made: true, warnings };
    assert_eq!(ready(Vec::new()).level(), Level::Info);
    assert_eq!(ready(vec!["learning is on".to_owned()]).level(), Level::Warn);
    let learned =
        Event::MacLearned { vni: vni(1), mac: mac(1), place: Place::Port("tap0".to_owned()), sequence: 0, sticky: true };
    assert_eq!(
        (learned.level(), learned.to_string().as_str()),
        (Level::Debug, "VNI 1: 02:00:00:00:ab:01 is at local port tap0 (sequence 0, sticky)")
    );
}

#[test]
fn times() {
    assert_eq!((many(1, "VNI"), many(2, "VNI")), ("1 VNI".to_owned(), "2 VNIs".to_owned()));
    assert_eq!([age(0), age(59), age(61), age(3700), age(90_000)], ["0 s", "59 s", "1m01s", "1h01m", "1d1h"]);
    assert_eq!(utc(951_827_696_789), "2000-02-29T12:34:56.789Z");
    assert_eq!(utc(4_107_542_400_000), "2100-03-01T00:00:00.000Z");
}

#[test]
fn macs_over_two_pages() {
    let mut renderer = Renderer::default();
    assert_eq!(
        renderer.page(&Reply::Macs(Page::new(vec![mac_view(1)], Some("x".to_owned())))),
        "VNI  MAC                KIND    WHERE     SEQ  ROW      ADDRESSES\n\
         100  02:00:00:00:ab:01  remote  10.0.0.2    3  in sync  192.0.2.1\n"
    );
    let local = MacView {
        kind: MacKind::Local,
        sticky: true,
        port: Some("tap0".to_owned()),
        vtep: None,
        row: RowState::None,
        ips: Vec::new(),
        ..mac_view(2)
    };
    assert_eq!(renderer.page(&Reply::Macs(Page::last(vec![local]))), "100  02:00:00:00:ab:02  local static  tap0        3  -\n");
}

#[test]
fn a_mac_that_contends_for_an_address_is_marked() {
    let duplicate_ips = ["192.0.2.1", "2001:db8::1"].map(|text| text.parse().unwrap()).to_vec();
    let macs = vec![MacView { duplicate_ips, duplicate: Some(Duplicate::Warned), ..mac_view(1) }, mac_view(2)];
    assert_eq!(
        Renderer::default().page(&Reply::Macs(Page::last(macs))),
        "VNI  MAC                KIND                                  WHERE     SEQ  ROW      ADDRESSES\n\
         100  02:00:00:00:ab:01  remote, duplicate, duplicate address  10.0.0.2    3  in sync  192.0.2.1\n    \
         contends for 192.0.2.1, 2001:db8::1 with another MAC\n\
         100  02:00:00:00:ab:02  remote                                10.0.0.2    3  in sync  192.0.2.1\n"
    );
}

#[test]
fn a_neighbor_in_a_line_and_in_detail() {
    let down = NeighborView {
        state: "idle".to_owned(),
        last_error: Some("wrong AS".to_owned()),
        last_error_secs: Some(5),
        ..neighbor_view()
    };
    let page = Reply::Neighbors(Page::last(vec![neighbor_view(), down]));
    assert_eq!(
        Renderer::default().page(&page),
        "NEIGHBOR       AS  STATE          FOR  RECEIVED  SENT  DESCRIPTION\n\
         10.0.0.254  65000  established  1h01m    100000    12  reflector (client)\n\
         10.0.0.254  65000  idle         1h01m    100000    12  reflector (client)\n    last error 5 s ago: wrong AS\n"
    );
    let detail = Renderer::new(true).page(&page);
    assert!(detail.contains("  hold time     90 s\n") && detail.contains("  last error    5 s ago: wrong AS\n"), "{detail}");
}

#[test]
fn a_vni_that_does_not_work_says_what_to_do() {
    assert_eq!(
        Renderer::default().page(&Reply::Vnis(Page::last(vec![vni_view()]))),
        "VNI  DEVICE    BRIDGE  STATE     VTEPS  LOCAL  REMOTE  ROWS\n\
         100  vxlan100  br100   unusable      2      3       4  4/6\n    bridge br100 is enslaved to bond0; ip link set br100 nomaster\n"
    );
    let detail = Renderer::new(true).page(&Reply::Vnis(Page::last(vec![vni_view()])));
    assert!(
        detail.contains("  remedy        ip link set br100 nomaster\n")
            && detail.contains("6 wanted, 4 in sync, 1 to be written, 1 FAILED"),
        "{detail}"
    );
}

#[test]
fn paths_stand_below_their_route() {
    let mut renderer = Renderer::default();
    let first = renderer.page(&Reply::Routes(Page::new(vec![route_view(true, "10.0.0.253")], Some("x".to_owned()))));
    let second = renderer.page(&Reply::Routes(Page::last(vec![route_view(false, "10.0.0.254")])));
    assert_eq!(
        first + &second,
        "10.0.0.2:100 [2]:[0]:[48]:[02:00:00:00:ab:01]:[32]:[192.0.2.1]
  * from 10.0.0.253, via 10.0.0.2, VNI 100, RT 65000:100, sequence 3, local-pref 100,
      originator 10.0.0.2, clusters 10.0.0.254, 1m01s
    from 10.0.0.254, via 10.0.0.2, VNI 100, RT 65000:100, sequence 3, local-pref 100,
      originator 10.0.0.2, clusters 10.0.0.254, 1m01s
"
    );
}

#[test]
fn an_explanation_is_a_story() {
    assert_eq!(
        Renderer::default().page(&Reply::Explanation(explanation())),
        "VNI 100, MAC 02:00:00:00:ab:01

1. this host's bridge
  does not know it behind one of its ports

2. BGP paths
  * 10.0.0.2:100 [2]:[0]:[48]:[02:00:00:00:ab:01] via 10.0.0.2, from 10.0.0.254: best

3. the choice among them (RFC 7432 §15)
  VTEP 10.0.0.2: the only one

two have it at once
  192.0.2.1 is at two MACs at once

4. the kernel row, as evpnd keeps it
  wanted     dst 10.0.0.2
  installed  no row
  status     failed: No space left on device, retried in 3 s

its addresses: what ARP and ND are answered with on this host
  192.0.2.1 is answered with 02:00:00:00:00:01: in sync

5. the kernel itself, asked just now
  has no row for this MAC

So: frames are flooded, because the kernel refuses the row
"
    );
}

#[test]
fn status_shows_what_counts() {
    assert_eq!(
        Renderer::default().page(&Reply::Status(status())),
        "evpnd 0.1.0, up for 1m30s
AS 65000, router-id 10.0.0.1, VTEP 10.0.0.1
  file         /etc/evpnd/evpnd.toml
  neighbors    1 of 2 established
  VNIs         3 of 3 ready, 5 remote VTEPs
  BGP table    10 routes, 20 paths
  MACs         1 local, 2 remote
  kernel rows  7 wanted, 7 in sync
counters
  loops  2
warnings
  - neighbor 10.0.0.253 is down
"
    );
}

#[test]
fn an_empty_difference_is_no_output() {
    assert_eq!(Renderer::default().page(&Reply::Diff(Page::last(Vec::new()))), "");
}

#[test]
fn page_sizes_have_bounds() {
    assert_eq!([page_size(None), page_size(Some(0)), page_size(Some(u32::MAX))], [1000, 1, 10_000]);
}

/// Every key in `value`, however deep; names of counters are data.
fn keys(value: &serde_json::Value, found: &mut std::collections::BTreeSet<String>) {
    match value {
        serde_json::Value::Object(object) => {
            for (key, value) in object {
                found.insert(key.clone());
                if key != "counters" {
                    keys(value, found);
                }
            }
        }
        serde_json::Value::Array(list) => list.iter().for_each(|value| keys(value, found)),
        _ => {}
    }
}

#[test]
fn every_key_is_documented() {
    let full = VniAdd {
        device: Some(String::new()),
        bridge: Some(String::new()),
        rd: Some(String::new()),
        import: Some(Vec::new()),
        export: Some(Vec::new()),
        neighbor_suppression: Some(true),
        mtu: Some(1),
        existing: true,
        group: Some("239.1.1.1".parse().unwrap()),
        caller: Some(String::new()),
        ..VniAdd::new(vni(1))
    };
    let moved = Event::MacMoved {
        vni: vni(1),
        mac: mac(1),
        from: Place::Port(String::new()),
        to: Place::Vtep("::".parse().unwrap()),
        sequence: 1,
    };
    let mut found = std::collections::BTreeSet::new();
    keys(&serde_json::to_value(Request::VniAdd(full)).unwrap(), &mut found);
    for reply in [
        Reply::Status(status()),
        Reply::Neighbors(Page::last(vec![neighbor_view()])),
        Reply::Vnis(Page::last(vec![vni_view()])),
        Reply::Vteps(Page::last(vec![VtepView { address: "::1".parse().unwrap(), vnis: vec![vni(1)], macs: 1 }])),
        Reply::Macs(Page::last(vec![mac_view(1)])),
        Reply::Routes(Page::last(vec![route_view(true, "10.0.0.254")])),
        Reply::Explanation(explanation()),
        Reply::Event(MonitorLine::new(1, moved)),
    ] {
        keys(&serde_json::to_value(reply).unwrap(), &mut found);
    }
    let text = include_str!("../../docs/CONTROL.md");
    let missing: Vec<_> =
        found.iter().filter(|key| !text.contains(&format!("`{key}`")) && !text.contains(&format!("\"{key}\":"))).collect();
    assert!(missing.is_empty(), "not in docs/CONTROL.md: {missing:?}");
}

/// Every event and every key of it, read from where they are declared.
#[test]
fn every_event_is_documented_with_its_keys() {
    let declared = include_str!("event.rs").split("pub enum Event {").nth(1).unwrap().split("\n}").next().unwrap();
    let mut events: Vec<(String, Vec<&str>)> = Vec::new();
    for line in declared.lines() {
        if let Some(name) = line.strip_prefix("    ").and_then(|line| line.strip_suffix(" {")) {
            let mut snake = String::new();
            for c in name.chars() {
                if c.is_ascii_uppercase() && !snake.is_empty() {
                    snake.push('_');
                }
                snake.push(c.to_ascii_lowercase());
            }
            events.push((snake, Vec::new()));
        } else if let Some(key) = line.strip_prefix("        ").filter(|line| !line.starts_with('/')) {
            events.last_mut().unwrap().1.push(key.split(':').next().unwrap());
        }
    }
    assert!(events.len() > 30 && events.iter().all(|(_, keys)| !keys.is_empty()), "{events:?}");
    let text = include_str!("../../docs/CONTROL.md");
    for (event, keys) in events {
        let names = |line: &&str| {
            line.starts_with("| `") && line.split('|').nth(1).is_some_and(|name| name.contains(&format!("`{event}`")))
        };
        let row = text.lines().find(names).unwrap_or_else(|| panic!("{event} is not in docs/CONTROL.md"));
        for key in keys {
            assert!(row.contains(&format!("`{key}`")), "{key} of {event} is not in docs/CONTROL.md");
        }
    }
}
