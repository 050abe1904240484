//! Tests of the whole room: files as people write them, right and wrong. The pieces have their own tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::base::{Asn, Vni};
use crate::control::VniAdd;

const SHORTEST: &str =
    "[router]\nasn = 65000\nvtep = \"10.0.0.1\"\n\n[[neighbor]]\naddress = \"10.0.0.254\"\n\n[[vni]]\nid = 100\n";

/// A file that uses every key.
const FULL: &str = r#"
[router]
asn = "64086.59905"
router-id = "10.0.0.9"
vtep = "2001:db8::9"
listen = ["::1", "0.0.0.0"]
listen-port = 1179
state-directory = "/tmp/state"

[vxlan]
port = 8472
device = "vx{vni}"
bridge = "b{vni}"
mtu = 1450
audit-interval = 300
nexthop-groups = true
adopt = "all"
adopt-vnis = "100-200, 300"
ignore-devices = ["vx9", "lab*"]
fix-devices = true

[control]
socket = "/tmp/evpnd.sock"
group = "netops"

[metrics]
listen = "127.0.0.1:9179"

[[neighbor]]
address = "2001:db8::1"
asn = 65001
port = 1179
local-address = "2001:db8::9"
passive = false
hold-time = 9
connect-retry = 1
password = "geheim"
ttl-security = 2
max-routes = 1000
description = "oben"
enabled = false

[[neighbor]]
listen-range = "10.0.0.0/24"
route-reflector-client = true
graceful-restart = false
password-file = "/etc/evpnd/key"

[[neighbor]]
address = "10.0.0.7" # inside the range: the nearer match
passive = true
multihop = 3
hold-time = 0

[vni-defaults]
device = "d{vni}"
bridge = "e{vni}"
import = ["auto", "*:7"]
export = ["auto", "65000:5"]
neighbor-suppression = false
isolated-ports = true
probe-silent = false
announce-own = false
mtu = 1400
static = ["02:00:00:00:00:07"]
flood = "ingress-replication"
install-lifetime = 60

[[vni]]
id = 16777215
device = "vmax"
bridge = "bmax"
rd = "10.0.0.9:1"
import = ["65000:100", "10.0.0.1:100", "4200000000:100", "*:4294967295"]
export = "auto"
mtu = 9000
probe-silent = true
announce-own = true
static = ["02:00:00:00:00:01"]
learning = false
install-lifetime = 61

[[vni]]
ids = "100-102, 300"
neighbor-suppression = true
isolated-ports = false

[graceful-restart]
enabled = true
restart-time = 4095
stale-time = 600
long-lived-stale-time = 16777215
loss-hold-time = 0

[duplicate-detection]
moves = 3
seconds = 60
action = "freeze"
recovery-seconds = 600

[limits]
dynamic-neighbors = 10
pending-connections = 11
attribute-octets-per-neighbor = 1000000
routes-per-neighbor = 20
local-macs-per-vni = 30
local-macs-per-port = 31
remote-macs-per-vni = 32
ips-per-mac = 33
paths-per-route = 34
vnis = 40
control-connections = 50
event-buffer = 60000
on-demand-rows = 61
"#;

fn vni(number: u32) -> Vni {
    Vni::new(number).unwrap()
}

fn read(text: &str) -> Config {
    parse("evpnd.toml", text).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn the_shortest_file_has_the_documented_defaults() {
    let config = read(SHORTEST);
    assert_eq!(config.router.router_id.to_string(), "10.0.0.1");
    assert_eq!(config.router.listen, ["0.0.0.0".parse::<IpAddr>().unwrap()]);
    assert_eq!((config.router.listen_port, config.vxlan.port, config.vxlan.nexthop_groups), (179, 4789, false));
    let neighbor = &config.neighbors[0];
    assert_eq!((neighbor.asn, neighbor.port, neighbor.hold_time_secs, neighbor.connect_retry_secs), (Asn(65000), 179, 90, 5));
    assert!(neighbor.enabled && !neighbor.passive && !neighbor.route_reflector_client);
    let config = &config.vnis[&vni(100)];
    assert_eq!((config.settings.device.as_str(), config.settings.bridge.as_str()), ("vxlan100", "br100"));
    assert_eq!(
        (config.settings.import.as_slice(), config.settings.export.as_slice()),
        ([ImportTarget::Auto].as_slice(), [ExportTarget::Auto].as_slice())
    );
    assert!(config.settings.neighbor_suppression && config.settings.mtu.is_none());
    assert!(config.settings.announce_own.is_none() && config.settings.announces_own(), "on, and nobody said so");
}

#[test]
fn every_key_is_read() {
    let config = read(FULL);
    assert_eq!(config.router.asn, Asn(4_200_000_001));
    assert_eq!(config.vnis.keys().map(|vni| vni.get()).collect::<Vec<_>>(), [100, 101, 102, 300, 16_777_215]);
    assert_eq!(config.neighbors[0].password, Some(Password::Text(Secret::new("geheim"))));
    assert_eq!(config.neighbors[0].ttl_security, Some(2));
    assert!(config.vxlan.nexthop_groups);
    assert!(config.neighbors[1].passive);
    assert!(!format!("{config:?}").contains("geheim"));
    let last = &config.vnis[&vni(16_777_215)];
    assert_eq!((last.settings.device.as_str(), last.settings.bridge.as_str()), ("vmax", "bmax"));
    assert_eq!(last.settings.import[3], ImportTarget::AnyAs { number: u32::MAX });
    assert!(!last.settings.neighbor_suppression && config.vnis[&vni(100)].settings.neighbor_suppression);
    let said = |vni| (config.vnis[&vni].settings.announce_own, config.vnis[&vni].settings.announces_own());
    assert_eq!(
        (said(last.vni), said(vni(100))),
        ((Some(true), true), (Some(false), false)),
        "its own word, and that of the defaults"
    );
    assert!(last.settings.isolated_ports && !config.vnis[&vni(100)].settings.isolated_ports);
    assert_eq!(config.vnis[&vni(100)].settings.import, [ImportTarget::Auto, ImportTarget::AnyAs { number: 7 }]);
    assert_eq!((last.settings.mtu, config.vnis[&vni(100)].settings.mtu), (Some(9000), Some(1400)));
    assert_eq!(config.limits.control_connections, 50);
    let limits = &config.limits;
    let macs = (limits.local_macs_per_vni, limits.local_macs_per_port, limits.remote_macs_per_vni);
    assert_eq!((macs, limits.ips_per_mac, limits.paths_per_route), ((30, 31, 32), 33, 34));
    let rule = DuplicateDetection { moves: 3, window_secs: 60, freeze: true, recovery_secs: Some(600) };
    assert_eq!((config.duplicate_detection, read(SHORTEST).duplicate_detection), (rule, DuplicateDetection::default()));
}

/// Each key makes a difference: without its line the file says something else, or is wrong.
#[test]
fn every_key_has_its_value() {
    let full = read(FULL);
    let lines: Vec<&str> = FULL.lines().collect();
    for section in keys::SECTIONS {
        for key in section.keys {
            let mut inside = false;
            let counts = |at: &usize| {
                let without: Vec<&str> =
                    lines.iter().enumerate().filter(|(other, _)| other != at).map(|(_, line)| *line).collect();
                parse("evpnd.toml", &without.join("\n")).ok().as_ref() != Some(&full)
            };
            let places = lines.iter().enumerate().filter_map(|(at, line)| {
                if line.starts_with('[') {
                    inside = *line == section.header();
                }
                (inside && line.split(" = ").next() == Some(key)).then_some(at)
            });
            let places: Vec<usize> = places.collect();
            // What follows needs it to be on, which it is by default. How a VNI floods and learns has tests of its own: not every
            // value goes with every other.
            let on = (section.name, *key) == ("graceful-restart", "enabled") && places.len() == 1;
            let mode = ["flood", "group", "learning", "neighbor-learning", "install"].contains(key);
            assert!(places.iter().any(counts) || on || mode, "{} {key} in FULL", section.header());
        }
    }
    assert!(!read(&format!("{SHORTEST}[graceful-restart]\nenabled = false\n")).graceful_restart.enabled);
}

#[test]
fn the_examples_are_right() {
    let hypervisor = read(include_str!("../../config/hypervisor.toml"));
    assert_eq!((hypervisor.neighbors.len(), hypervisor.vnis.len()), (2, 102));
    let gateway = read(include_str!("../../config/gateway.toml"));
    assert_eq!(gateway.vnis[&vni(100)].settings.static_macs.len(), 1);
    let reflector = read(include_str!("../../config/reflector.toml"));
    assert!(reflector.vnis.is_empty() && reflector.router.vtep.is_none());
    assert_eq!(reflector.router.listen.len(), 2, "both families are needed");
}

/// What has to be replaced in `SHORTEST` to make the mistake, and where and what the complaint is.
#[test]
fn every_mistake_is_found_where_it_is() {
    let neighbor = "address = \"10.0.0.254\"\n";
    let id = "id = 100\n";
    let vtep = "vtep = \"10.0.0.1\"\n";
    let asn = "asn = 65000\n";
    let table: &[(&str, &str, usize, usize, &str)] = &[
        // [router]
        (asn, "", 1, 1, "asn is missing"),
        (asn, "asn = 0\n", 2, 7, "out of bounds"),
        (asn, "asn = 4294967296\n", 2, 7, "out of bounds"),
        (asn, "asn = \"x\"\n", 2, 7, "not an AS number"),
        (asn, "asn = \n", 2, 7, ""),
        (asn, "asn = 65000\nasm = 1\n", 3, 1, "unknown key \"asm\""),
        (vtep, "", 7, 1, "a VNI needs a VTEP"),
        (vtep, "vtep = \"2001:db8::1\"\n", 3, 8, "cannot be taken from an IPv6 VTEP"),
        (vtep, "vtep = \"10.0.0\"\n", 3, 8, "not an IP address"),
        (vtep, "vtep = \"127.0.0.1\"\n", 3, 8, "loopback"),
        (vtep, "vtep = \"239.0.0.1\"\n", 3, 8, "multicast"),
        (vtep, "vtep = \"::ffff:10.0.0.1\"\n", 3, 8, "IPv4 address written as IPv6"),
        (vtep, "vtep = 10\n", 3, 8, "vtep is a whole number"),
        (vtep, "vtep = \"10.0.0.1\"\nrouter-id = \"0.0.0.0\"\n", 4, 13, "not a router-id"),
        (vtep, "vtep = \"10.0.0.1\"\nlisten = [\"::\", \"::\"]\n", 4, 17, "twice"),
        (vtep, "vtep = \"10.0.0.1\"\nlisten-port = 65536\n", 4, 15, "out of bounds"),
        (vtep, "vtep = \"10.0.0.1\"\nstate-directory = \"state\"\n", 4, 19, "not an absolute path"),
        ("[router]\n", "[rooter]\n", 1, 2, "unknown section"),
        ("[router]\n", "[[router]]\n", 1, 1, "router is written [router]"),
        // [[neighbor]]
        (neighbor, "", 5, 1, "no address"),
        (neighbor, "address = \"rr1.example.net\"\n", 6, 11, "not an IP address"),
        (neighbor, "address = \"10.0.0.1\"\n", 6, 11, "this neighbor is this host"),
        (neighbor, "address = \"fe80::1\"\n", 6, 11, "link-local"),
        (neighbor, "address = \"10.0.0.2\"\nlisten-range = \"10.0.0.0/24\"\n", 7, 1, "not both"),
        (neighbor, "listen-range = \"10.0.0.1/24\"\n", 6, 16, "bits set behind"),
        (neighbor, "listen-range = \"10.0.0.0/24\"\nport = 179\n", 7, 1, "nobody connects"),
        (neighbor, "address = \"10.0.0.2\"\n[[neighbor]]\naddress = \"10.0.0.2\"\n", 8, 11, "given twice"),
        (neighbor, "listen-range = \"10.0.0.0/8\"\n[[neighbor]]\nlisten-range = \"10.1.0.0/16\"\n", 8, 16, "overlap"),
        (neighbor, "address = \"10.0.0.2\"\nhold-time = 2\n", 7, 13, "not allowed"),
        (neighbor, "address = \"10.0.0.2\"\nhold-time = \"9\"\n", 7, 13, "hold-time is a string"),
        (neighbor, "address = \"10.0.0.2\"\npassword = \"a\"\npassword-file = \"/a\"\n", 8, 1, "exclude one another"),
        (neighbor, "address = \"10.0.0.2\"\npassword = \"\"\n", 7, 12, "0 octets"),
        (neighbor, "address = \"10.0.0.2\"\nttl-security = 1\nmultihop = 2\n", 8, 1, "exclude one another"),
        (neighbor, "address = \"10.0.0.2\"\nlocal-address = \"::1\"\n", 7, 17, "different families"),
        (neighbor, "address = \"10.0.0.2\"\nasn = 65001\nroute-reflector-client = true\n", 8, 26, "in our own AS"),
        (neighbor, "address = \"10.0.0.2\"\nmax-routes = 0\n", 7, 14, "out of bounds"),
        (neighbor, "address = \"10.0.0.2\"\nenabled = \"yes\"\n", 7, 11, "enabled is a string"),
        (neighbor, "address = \"10.0.0.2\"\naddress = \"10.0.0.3\"\n", 7, 1, "duplicate key"),
        ("[[neighbor]]\n", "[neighbor]\n", 5, 1, "neighbor is written [[neighbor]]"),
        // [[vni]]
        (id, "", 8, 1, "no id"),
        (id, "id = 0\n", 9, 6, "out of bounds"),
        (id, "id = 16777216\n", 9, 6, "out of bounds"),
        (id, "id = 100\n[[vni]]\nid = 100\n", 11, 6, "VNI 100 is given twice"),
        (id, "id = 100\n[[vni]]\nids = \"99-101\"\n", 11, 7, "VNI 100 is given twice"),
        (id, "ids = \"200-100\"\n", 9, 7, "wrong way round"),
        (id, "ids = \"1-16777215\"\n", 9, 7, "more VNIs than"),
        (id, "ids = \"1,2,x\"\n", 9, 7, "not a VNI"),
        (id, "ids = \"1-2\"\nrd = \"10.0.0.1:1\"\n", 10, 6, "cannot serve several"),
        (id, "ids = \"1-2\"\nbridge = \"br\"\n", 10, 1, "also a device or bridge of VNI 1"),
        (id, "id = 1\nbridge = \"a\"\ndevice = \"a\"\n", 10, 1, "also a device or bridge of VNI 1"),
        (id, "id = 16777215\ndevice = \"much-vxlan{vni}\"\n", 10, 1, "18 octets"),
        (id, "id = 1\ndevice = \"a/b\"\n", 10, 10, "'/'"),
        (id, "id = 1\ndevice = \"a{vln}\"\n", 10, 10, "brace"),
        (id, "id = 1\nrd = \"1:2:3\"\n", 10, 6, "not a route distinguisher"),
        (id, "id = 1\nrd = \"1:2\"\n[[vni]]\nid = 2\nrd = \"1:2\"\n", 13, 6, "same route distinguisher"),
        (id, "id = 1\nimport = [\"auto\", \"65000\"]\n", 10, 19, "not a route target"),
        (id, "id = 1\nexport = [\"*:100\"]\n", 10, 11, "names no AS"),
        (id, "id = 1\nexport = []\n", 10, 1, "imported by nobody"),
        (id, "id = 1\nstatic = [\"01:00:5e:00:00:01\"]\n", 10, 11, "no host can own"),
        (id, "id = 1\nstatic = \"02:00:00:00:00:01\"\n", 10, 10, "static is a string"),
        (id, "id = 1\nmtu = 100\n", 10, 7, "out of bounds"),
        (id, "id = 1\nflood = \"multicast\"\n", 10, 9, "needs a group"),
        (id, "id = 1\nflood = \"multicast\"\ngroup = \"10.0.0.9\"\n", 11, 9, "not a multicast address"),
        (id, "id = 1\nflood = \"multicast\"\ngroup = \"ff05::1\"\n", 11, 9, "another address family"),
        (id, "id = 1\nflood = \"none\"\ngroup = \"239.0.0.1\"\n", 11, 9, "has no meaning"),
        (id, "id = 1\nflood = \"nowhere\"\n", 10, 9, "no way to flood"),
        (id, "id = 1\nflood = \"none\"\nlearning = true\n", 11, 1, "no host is ever found"),
        (id, "id = 1\ninstall = \"on-demand\"\n", 10, 1, "no row would ever be written"),
        (id, "id = 1\nbridge = \"none\"\n", 10, 1, "serves known hosts only"),
        (id, "id = 1\nbridge = \"none\"\nflood = \"none\"\ninstall = \"on-demand\"\n", 10, 1, "serves known hosts only"),
        (id, "id = 1\ninstall = \"never\"\n", 10, 11, "no time to write rows"),
        (id, "id = 1\ninstall-lifetime = 9\n", 10, 20, "install-lifetime"),
        (id, "id = 1\nflood = \"none\"\nlearning = \"beside\"\n", 11, 1, "no host is ever found"),
        (id, "id = 1\nlearning = \"both\"\n", 10, 12, "no way to find MACs"),
        (id, "id = 1\nneighbor-suppression = false\nflood = \"none\"\n", 10, 1, "no host is ever found"),
        (id, "id = 1\nflood = \"none\"\n[vni-defaults]\nlearning = true\n", 10, 1, "no host is ever found"),
        (id, "id = 1\ngroup = \"239.0.0.1\"\n", 10, 9, "a group without flood"),
        // the others
        (id, "id = 1\n[vxlan]\nadopt = \"some\"\n", 11, 9, "names no devices"),
        (id, "id = 1\n[vxlan]\nadopt-vnis = \"1\"\n", 11, 14, "adopt-vnis has no meaning"),
        (id, "id = 1\n[vxlan]\nignore-devices = \"x\"\n", 11, 18, "ignore-devices has no meaning"),
        (id, "id = 1\n[vxlan]\nadopt = \"all\"\nadopt-vnis = \"9-1\"\n", 12, 14, "wrong way round"),
        (id, "id = 1\n[vxlan]\nnexthop-groups = \"yes\"\n", 11, 18, "nexthop-groups is a string"),
        (id, "id = 1\n[metrics]\nlisten = \"::1\"\n", 11, 10, "not an address with a port"),
        (id, "id = 1\n[metrics]\nlisten = [\"[::1]:80\", \"[::1]:80\"]\n", 11, 23, "already"),
        (id, "id = 1\n[metrics]\nlisten = \"[::]:0\"\n", 11, 10, "names no port"),
        (id, "id = 1\n[vni-defaults]\nrd = \"1:2\"\n", 11, 1, "unknown key \"rd\""),
        (id, "id = 1\n[control]\nsocket = \"a\"\n", 11, 10, "not an absolute path"),
        (id, "ids = \"1-3\"\n[limits]\nvnis = 2\n", 9, 7, "more VNIs than"),
        (id, "id = 1\n[limits]\nips-per-mac = 1\n", 11, 15, "out of bounds"),
        (id, "id = 1\n[duplicate-detection]\naction = \"shoot\"\n", 11, 10, "is not an action"),
        (id, "id = 1\n[duplicate-detection]\nseconds = 0\n", 11, 11, "out of bounds"),
        (id, "id = 1\n[duplicate-detection]\nmoves = 1001\n", 11, 9, "out of bounds"),
        ("[router]\n", "hold-time = 3\n[router]\n", 1, 1, "unknown section \"hold-time\""),
    ];
    for (from, to, line, column, message) in table {
        let text = SHORTEST.replacen(from, to, 1);
        let error = parse("evpnd.toml", &text).err().unwrap_or_else(|| panic!("accepted: {text}"));
        assert_eq!((error.line(), error.column()), (*line, *column), "{error}\n{text}");
        assert!(error.summary().contains(message), "{message:?} is not in\n{error}");
        assert!(error.to_string().starts_with(&format!("evpnd.toml:{line}:{column}: ")) && error.to_string().contains('^'));
    }
}

#[test]
fn an_empty_file_says_how_to_begin() {
    let error = parse("evpnd.toml", "").unwrap_err();
    assert_eq!((error.line(), error.count()), (1, 1));
    assert!(error.to_string().contains("begin with [router]"), "{error}");
}

#[test]
fn several_mistakes_are_shown_at_once() {
    let text = SHORTEST.replace("65000", "0").replace("id = 100", "id = 0");
    assert_eq!(parse("evpnd.toml", &text).unwrap_err().count(), 2);
}

#[test]
fn a_report_reads_like_this() {
    let text = format!("{SHORTEST}\n[[vni]]\nids = \"50-150\"\n");
    let error = parse("/etc/evpnd/evpnd.toml", &text).unwrap_err();
    let expected = "\
/etc/evpnd/evpnd.toml:12:7: VNI 100 is given twice
   |
12 | ids = \"50-150\"
   |       ^^^^^^^^ given again
   |
 9 | id = 100
   |      --- first given (/etc/evpnd/evpnd.toml:9:6)
   = take one of the two away";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_passive_neighbor_needs_somebody_to_listen() {
    let text = SHORTEST.replace("[[neighbor]]\n", "[[neighbor]]\npassive = true\n").replace("asn =", "listen = [\"::\"]\nasn =");
    let error = parse("evpnd.toml", &text).unwrap_err();
    assert!(error.summary().contains("can never come up"), "{error}");
}

#[test]
fn nothing_differs_from_itself() {
    let config = read(FULL);
    assert!(difference(&config, &config).is_empty());
    assert!(difference(&config, &config).changes().is_empty());
}

#[test]
fn the_difference_names_what_changed_and_nothing_else() {
    let old = read(FULL);
    let text = FULL
        .replace("description = \"oben\"", "description = \"unten\"")
        .replace("multihop = 3", "multihop = 4")
        .replace("ids = \"100-102, 300\"", "ids = \"101-103\"")
        .replace("export = \"auto\"", "export = \"65000:1\"")
        .replace("mtu = 9000", "mtu = 8000")
        .replace("listen-port = 1179", "listen-port = 179")
        .replace("action = \"freeze\"", "action = \"warn\"")
        .replace("vnis = 40", "vnis = 41");
    let found = difference(&old, &read(&text));
    assert_eq!(found.neighbors_changed.iter().map(|change| change.cost).collect::<Vec<_>>(), [Cost::Nothing, Cost::Session]);
    assert_eq!(found.vnis_added.iter().map(|vni| vni.vni.get()).collect::<Vec<_>>(), [103]);
    assert_eq!(found.vnis_removed, [vni(100), vni(300)]);
    assert_eq!(found.vnis_changed[0].keys, ["export", "mtu"]);
    assert!(found.vnis_changed[0].device && found.vnis_changed[0].instance);
    assert_eq!(
        found.changes().join("; "),
        "neighbor 2001:db8::1: description changed; neighbor 10.0.0.7: multihop changed, session reset; VNI 103 added; VNIs 100, 300 removed; \
         VNI 16777215 changed (export, mtu); [duplicate-detection] changed; [limits] changed"
    );
    assert_eq!(found.needs_restart, ["listen-port from 1179 to 179"]);
}

#[test]
fn the_difference_adds_and_removes_neighbors() {
    let old = read(SHORTEST);
    let new = read(&SHORTEST.replace("10.0.0.254", "10.0.0.253"));
    let found = difference(&old, &new);
    assert_eq!((found.neighbors_added.len(), found.neighbors_removed.len(), found.neighbors_changed.len()), (1, 1, 0));
    assert!(found.needs_restart.is_empty());
    let found = difference(&old, &read(&format!("{SHORTEST}[vxlan]\nnexthop-groups = true\n")));
    assert_eq!(found.changes(), ["rows are written again, by nexthop groups"]);
    let found = difference(&old, &read(&SHORTEST.replace("10.0.0.1\"", "10.0.0.2\"")));
    assert_eq!(found.needs_restart, ["router-id from 10.0.0.1 to 10.0.0.2", "vtep from 10.0.0.1 to 10.0.0.2"]);
}

#[test]
fn a_vni_has_its_way_to_flood_and_to_learn() {
    let config = read(&format!("{SHORTEST}flood = \"none\"\n[[vni]]\nid = 200\nlearning = true\n"));
    let [first, second] = [100, 200].map(|id| &config.vnis[&vni(id)]);
    assert_eq!((first.settings.flood, first.settings.learning, first.suppresses()), (Flood::None, Learning::Off, true));
    assert_eq!(
        (second.settings.flood, second.settings.learning, second.suppresses()),
        (Flood::IngressReplication, Learning::Alone, false)
    );
    let config = read(&format!("{SHORTEST}flood = \"none\"\ninstall = \"on-demand\"\n"));
    assert_eq!(config.vnis[&vni(100)].on_demand(), Some(std::time::Duration::from_secs(300)));
    assert_eq!(first.on_demand(), None, "never the default");
    // Either changes routes on a reload, and learning the device as well.
    let found = difference(&read(SHORTEST), &read(&format!("{SHORTEST}flood = \"none\"\n")));
    assert!(found.vnis_changed[0].instance && !found.vnis_changed[0].device, "{found:?}");
    let found = difference(&read(SHORTEST), &read(&format!("{SHORTEST}learning = true\n")));
    assert!(found.vnis_changed[0].instance && found.vnis_changed[0].device, "{found:?}");
    let found = difference(&read(SHORTEST), &read(&format!("{SHORTEST}neighbor-suppression = false\n")));
    assert!(found.vnis_changed[0].instance && found.vnis_changed[0].device, "{found:?}");
}

#[test]
fn a_vni_at_run_time_passes_the_same_checks() {
    let config = read(FULL);
    let add = |change: &dyn Fn(&mut VniAdd)| {
        let mut add = VniAdd::new(vni(500));
        change(&mut add);
        vni_at_run_time(&config, &config.vnis, &add)
    };
    let made = add(&|_| {}).unwrap();
    assert_eq!((made.settings.device.as_str(), made.settings.bridge.as_str(), made.settings.mtu), ("d500", "e500", Some(1400)));
    assert!(!made.settings.neighbor_suppression);
    assert_eq!(add(&|add| add.export = Some(vec!["65000:1".to_owned()])).unwrap().settings.export.len(), 1);
    for (change, complaint) in [
        ((&|add: &mut VniAdd| add.vni = vni(100)) as &dyn Fn(&mut VniAdd), "exists already"),
        (&|add| add.bridge = Some("e100".to_owned()), "belongs to VNI 100"),
        (&|add| add.device = Some("a b".to_owned()), "holds ' '"),
        (&|add| add.rd = Some("10.0.0.9:1".to_owned()), "VNI 16777215 has"),
        (&|add| add.rd = Some("x".to_owned()), "not a route distinguisher"),
        (&|add| add.import = Some(vec!["x".to_owned()]), "not a route target"),
        (&|add| add.export = Some(vec!["*:1".to_owned()]), "not a route target"),
        (&|add| add.mtu = Some(1), "out of bounds"),
        (&|add| (add.device, add.bridge) = (Some("x".to_owned()), Some("x".to_owned())), "cannot both"),
    ] {
        let error = add(change).unwrap_err();
        assert!(error.contains(complaint), "{complaint:?} is not in {error:?}");
    }
    // Names that nobody makes are in nobody's way.
    let theirs = add(&|add| (add.existing, add.bridge) = (true, Some("e100".to_owned()))).unwrap();
    assert!(theirs.existing);
    let mut vnis = config.vnis.clone();
    vnis.insert(theirs.vni, theirs);
    let ours = VniAdd { device: Some("d500".to_owned()), ..VniAdd::new(vni(600)) };
    assert!(vni_at_run_time(&config, &vnis, &ours).is_ok());
    let reflector = read(include_str!("../../config/reflector.toml"));
    assert!(vni_at_run_time(&reflector, &reflector.vnis, &VniAdd::new(vni(1))).unwrap_err().contains("no VTEP"));
}

/// Puts `piece` in place of `length` characters at `at`.
fn mutated(text: &str, changes: &[(usize, usize, String)]) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    for (at, length, piece) in changes {
        let at = at % (characters.len() + 1);
        let end = (at + length).min(characters.len());
        characters.splice(at..end, piece.chars());
    }
    characters.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Whatever a slip of the fingers makes of a file, it is read or refused at a line of it, and never a panic.
    #[test]
    fn mutations_never_panic(changes in prop::collection::vec((any::<usize>(), 0_usize..12, "[ -~\n\"=\\[\\]{}.ä\t\r\u{0}]{0,3}|-?[0-9]{0,22}|\\[\\[vni\\]\\]\n"), 1..6)) {
        let text = mutated(FULL, &changes);
        if let Err(error) = parse("evpnd.toml", &text) {
            let lines = text.matches('\n').count() + 1;
            prop_assert!(error.line() >= 1 && error.line() <= lines, "{error}");
            let line = text.split('\n').nth(error.line() - 1).unwrap_or_default();
            prop_assert!(error.column() >= 1 && error.column() <= line.chars().count() + 1, "{error}");
            prop_assert!(error.to_string().contains('^'));
        }
    }
}

/// Whatever is wrong with a file, and wherever: the report does not say a password that stands in it.
#[test]
fn no_report_says_a_password() {
    let begin = "[router]\nasn = 65000\nrouter-id = \"10.0.0.1\"\n\n[[neighbor]]\naddress = \"10.0.0.2\"\n";
    let wrong = [
        // Unknown keys, misspelt keys, keys of other daemons.
        "pasword = \"geheim\"\n",
        "md5 = \"geheim\"\n",
        "authentication-key = \"geheim\"\n",
        "\"pass\\u0077ord\" = \"geheim\"\nfrob = 1\n",
        // Syntax.
        "password = geheim\n",
        "password = \"geheim\n",
        "password = 'geheim\n",
        "password = \"geheim\" x\n",
        "password = \"geheim\\q\"\n",
        "password: \"geheim\"\n",
        "password \"geheim\"\n",
        "password = \"\"\"\ngeheim\n",
        "password = [\"geheim\"\n",
        "password = \"x\"\npassword = \"geheim\"\n",
        // Types, lengths, contradictions.
        "password = [\"geheim\"]\n",
        "password = { geheim = 1 }\n",
        "password = \"geheim12345678901234567890123456789012345678901234567890123456789012345678901234567890\"\n",
        "password = \"geheim\"\npassword-file = \"/etc/key\"\n",
        "password-file = \"geheim\"\n",
        // Where it does not belong.
        "[router.x]\npassword = \"geheim\"\n",
        "[limits]\npassword = \"geheim\"\n",
        "[pasword]\nx = \"geheim\"\n[password]\n",
    ];
    for text in wrong {
        let error = parse("a.toml", &format!("{begin}{text}")).map(|_| ()).expect_err(text);
        for said in [error.to_string(), error.summary(), format!("{error:?}")] {
            assert!(!said.contains("geheim"), "{text:?}: {said}");
        }
    }
    for text in ["password = \"geheim\"\n", "pasword = \"geheim\"\n", "neighbors = [{ key = \"geheim\" }]\n"] {
        let error = parse("a.toml", &format!("{text}{begin}")).map(|_| ()).expect_err(text);
        assert!(!format!("{error}{error:?}").contains("geheim"), "{error}");
    }
    let config = parse("a.toml", &format!("{begin}password = \"geheim\"\n")).unwrap();
    assert!(!format!("{config:?}").contains("geheim"));
}
