//! FRR's configuration, line by line: what each line becomes. The documents in `tests/vectors/frr/` are what FRR 8.4.4 itself writes
//! (`vtysh -c 'show running-config'`); each case below is one line, put where FRR has it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::IpAddr;

use evpnd::base::Vni;
use evpnd::config::parse;
use evpnd::import::{Device, Fate, Host, Import, ImportError, MAX_LINES, MAX_OCTETS, frr};
use proptest::prelude::*;

/// Where a line stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Top,
    Router,
    Evpn,
    Vni,
}
use At::{Evpn, Router, Top, Vni as Segment};
use Fate::{Carried, NotCarried, NotNeeded};

/// The address of the neighbor that every case has.
const PEER: &str = "neighbor 10.0.0.254";

fn document(at: At, line: &str) -> String {
    let here = |place| if at == place { line } else { "!" };
    format!(
        "frr version 8.4.4\n{}\n!\nrouter bgp 65000\n bgp router-id 10.0.0.1\n {PEER} remote-as 65000\n {}\n !\n address-family l2vpn evpn\n  \
         {PEER} activate\n  advertise-all-vni\n  {}\n  vni 100\n   {}\n  exit-vni\n exit-address-family\nexit\n!\nend\n",
        here(Top),
        here(Router),
        here(Evpn),
        here(Segment)
    )
}

fn host() -> Host {
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    let device =
        |name: &str, vni| Device { name: name.to_owned(), vni: Vni::new(vni).unwrap(), local: Some(address("10.0.0.1")) };
    Host {
        addresses: vec![("lo".to_owned(), address("10.0.0.1")), ("eth0".to_owned(), address("2001:db8::1"))],
        devices: vec![device("vx100", 100), device("onebr.200", 200), device("brvx-201", 201)],
        vtep: None,
    }
}

/// What comes of a document, which must be something that `evpnd check` accepts.
#[track_caller]
fn accepted(text: &str, host: &Host) -> Import {
    let import = frr("frr.conf", text.as_bytes(), host, "evpnd.toml").unwrap();
    assert_eq!(import.mistakes, None, "{text}\n{}", import.toml);
    parse("evpnd.toml", &import.toml).unwrap();
    import
}

/// Every line that says something is told of once.
#[track_caller]
fn every_line_is_told_of(text: &str, import: &Import) {
    let mut findings = import.findings.iter().peekable();
    let mut covered = 0;
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let first = line.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\0');
        let word = first.split_ascii_whitespace().next().unwrap_or("!");
        let structure =
            word.starts_with(['!', '#']) || word.starts_with("exit") || matches!(word, "end" | "quit" | "Building" | "Current");
        if findings.peek().is_some_and(|finding| finding.line == number) {
            covered = findings.next().map_or(0, |finding| finding.last_line);
        } else {
            assert!(structure || number <= covered, "line {number} is not told of: {line:?}\n{text}");
        }
    }
    assert_eq!(findings.next(), None, "a finding without a line");
}

/// A line, where it stands, what becomes of it, and how the new file says it (of a carried one).
const CASES: &[(&str, At, &str, Fate, &[&str])] = &[
    // The router.
    ("a neighbor that does not speak EVPN", Router, "neighbor 192.0.2.1 remote-as 65001", NotCarried, &[]),
    ("timers of everybody", Router, "timers bgp 5 15", Carried, &["hold-time = 15"]),
    ("no keepalives", Router, "timers bgp 0 0", Carried, &["hold-time = 0"]),
    ("a hold time that RFC 4271 does not know", Router, "timers bgp 1 2", NotCarried, &[]),
    ("everybody is shut down", Router, "bgp shutdown", Carried, &["enabled = false"]),
    ("how many may come through ranges", Router, "bgp listen limit 500", Carried, &["[limits]", "dynamic-neighbors = 500"]),
    ("more than evpnd takes", Router, "bgp listen limit 65535", NotCarried, &[]),
    ("a cluster id of its own", Router, "bgp cluster-id 10.9.9.9", NotCarried, &[]),
    ("the cluster id is the router-id", Router, "bgp cluster-id 10.0.0.1", NotNeeded, &[]),
    ("a cluster id as a number", Router, "bgp cluster-id 167772161", NotNeeded, &[]),
    ("only EVPN", Router, "no bgp default ipv4-unicast", NotNeeded, &[]),
    ("EVPN for all", Router, "bgp default l2vpn-evpn", NotNeeded, &[]),
    ("eBGP without policy", Router, "no bgp ebgp-requires-policy", NotNeeded, &[]),
    ("how equal paths are chosen", Router, "bgp bestpath as-path multipath-relax", NotNeeded, &[]),
    ("a word in the log", Router, "bgp log-neighbor-changes", NotNeeded, &[]),
    ("confederations", Router, "bgp confederation identifier 65100", NotCarried, &[]),
    ("local preference", Router, "bgp default local-preference 200", NotCarried, &[]),
    ("something new", Router, "bgp frobnicate 7", NotCarried, &[]),
    // Graceful restart.
    ("it is on", Router, "bgp graceful-restart", NotNeeded, &[]),
    ("it is off", Router, "bgp graceful-restart-disable", Carried, &["[graceful-restart]", "enabled = false"]),
    ("how long neighbors keep ours", Router, "bgp graceful-restart restart-time 200", Carried, &["restart-time = 200"]),
    ("a restart time of nothing", Router, "bgp graceful-restart restart-time 0", NotCarried, &[]),
    ("how long we keep theirs", Router, "bgp graceful-restart stalepath-time 700", Carried, &["stale-time = 700"]),
    ("rows stay", Router, "bgp graceful-restart preserve-fw-state", NotNeeded, &[]),
    ("how long the first decision waits", Router, "bgp graceful-restart select-defer-time 30", NotCarried, &[]),
    ("how long zebra's rows stay", Router, "bgp graceful-restart rib-stale-time 100", NotCarried, &[]),
    ("long-lived", Router, "bgp long-lived-graceful-restart stale-time 3600", Carried, &["long-lived-stale-time = 3600"]),
    ("at the top, as newer versions have it", Top, "bgp graceful-restart stalepath-time 700", Carried, &["stale-time = 700"]),
    // Neighbors.
    ("a password, blanks and all", Router, "neighbor 10.0.0.254 password s3\"cret x", Carried, &["password = \"s3\\\"cret x\""]),
    ("another port", Router, "neighbor 10.0.0.254 port 1179", Carried, &["port = 1179"]),
    ("no port", Router, "neighbor 10.0.0.254 port 0", NotCarried, &[]),
    ("a description", Router, "neighbor 10.0.0.254 description the  first", Carried, &["description = \"the  first\""]),
    ("shut down with a message", Router, "neighbor 10.0.0.254 shutdown message maintenance", Carried, &["enabled = false"]),
    ("only accepted", Router, "neighbor 10.0.0.254 passive", Carried, &["passive = true"]),
    ("its timers", Router, "neighbor 10.0.0.254 timers 3 9", Carried, &["hold-time = 9"]),
    ("attempts to connect", Router, "neighbor 10.0.0.254 timers connect 2", Carried, &["connect-retry = 2"]),
    ("GTSM", Router, "neighbor 10.0.0.254 ttl-security hops 2", Carried, &["ttl-security = 2"]),
    ("from an address", Router, "neighbor 10.0.0.254 update-source 10.0.0.1", Carried, &["local-address = \"10.0.0.1\""]),
    ("from an interface", Router, "neighbor 10.0.0.254 update-source lo", Carried, &["local-address = \"10.0.0.1\""]),
    ("from an interface of the other family", Router, "neighbor 10.0.0.254 update-source eth0", NotCarried, &[]),
    ("from an interface that is not here", Router, "neighbor 10.0.0.254 update-source eth7", NotCarried, &[]),
    ("without graceful restart", Router, "neighbor 10.0.0.254 graceful-restart-disable", Carried, &["graceful-restart = false"]),
    ("BFD", Router, "neighbor 10.0.0.254 bfd", NotCarried, &[]),
    ("another AS for one", Router, "neighbor 10.0.0.254 local-as 65009", NotCarried, &[]),
    ("how often", Router, "neighbor 10.0.0.254 advertisement-interval 0", NotNeeded, &[]),
    ("over any route", Router, "neighbor 10.0.0.254 disable-connected-check", NotNeeded, &[]),
    ("a range without a group", Router, "bgp listen range 10.0.0.0/24 peer-group NOBODY", NotCarried, &[]),
    ("unnumbered", Router, "neighbor eth1 interface remote-as external", NotCarried, &[]),
    ("a name", Router, "neighbor rr1.example.org remote-as 65000", NotCarried, &[]),
    // Neighbors, in the family.
    ("our client", Evpn, "neighbor 10.0.0.254 route-reflector-client", Carried, &["route-reflector-client = true"]),
    ("how many routes", Evpn, "neighbor 10.0.0.254 maximum-prefix 5000", Carried, &["max-routes = 5000"]),
    ("how many routes, and a warning", Evpn, "neighbor 10.0.0.254 maximum-prefix 5000 80 warning-only", NotCarried, &[]),
    (
        "how many routes, for how long",
        Evpn,
        "neighbor 10.0.0.254 maximum-prefix 5000 80 restart 5",
        Carried,
        &["max-routes = 5000"],
    ),
    ("keeps what it hears", Evpn, "neighbor 10.0.0.254 soft-reconfiguration inbound", NotNeeded, &[]),
    ("communities", Evpn, "neighbor 10.0.0.254 send-community extended", NotNeeded, &[]),
    ("the next hop stays", Evpn, "neighbor 10.0.0.254 attribute-unchanged next-hop", NotNeeded, &[]),
    ("the next hop does not stay", Evpn, "neighbor 10.0.0.254 next-hop-self", NotCarried, &[]),
    ("the own AS again", Evpn, "neighbor 10.0.0.254 allowas-in 1", NotCarried, &[]),
    ("filters", Evpn, "neighbor 10.0.0.254 route-map EVPN in", NotCarried, &[]),
    ("taken back", Evpn, "no neighbor 192.0.2.7 activate", NotNeeded, &[]),
    // The family.
    (
        "RFC 8365's targets",
        Evpn,
        "autort rfc8365-compatible",
        Carried,
        &["id = 100\nexport = [\"65000:268435556\"]", "id = 200\nexport"],
    ),
    ("no flooding", Evpn, "flooding disable", Carried, &["[vni-defaults]\nflood = \"none\""]),
    ("flooding", Evpn, "flooding head-end-replication", NotNeeded, &[]),
    ("duplicates as RFC 7432 has it", Evpn, "dup-addr-detection", NotNeeded, &[]),
    ("no duplicates", Evpn, "no dup-addr-detection", Carried, &["[duplicate-detection]\nmoves = 0"]),
    ("fewer moves", Evpn, "dup-addr-detection max-moves 3 time 60", Carried, &["moves = 3\nseconds = 60"]),
    ("frozen for good", Evpn, "dup-addr-detection freeze permanent", Carried, &["action = \"freeze\"\nrecovery-seconds = 0"]),
    ("frozen for a time", Evpn, "dup-addr-detection freeze 600", Carried, &["action = \"freeze\"\nrecovery-seconds = 600"]),
    ("the bridge's own MAC", Evpn, "advertise-svi-ip", NotNeeded, &[]),
    ("prefixes", Evpn, "advertise ipv4 unicast", NotCarried, &[]),
    ("Ethernet segments", Evpn, "ead-es-route-target export 65000:1", NotCarried, &[]),
    // A VNI.
    ("its route distinguisher", Segment, "rd 10.0.0.1:7", Carried, &["rd = \"10.0.0.1:7\""]),
    ("one with a 4-octet AS", Segment, "rd 4200000000:7", Carried, &["rd = \"4200000000:7\""]),
    ("none", Segment, "rd 1.2.3", NotCarried, &[]),
    ("what is taken", Segment, "route-target import 65001:100", Carried, &["import = [\"65001:100\"]"]),
    ("what is given", Segment, "route-target export 10.0.0.1:100", Carried, &["export = [\"10.0.0.1:100\"]"]),
    ("both", Segment, "route-target both 65000:7", Carried, &["import = [\"65000:7\"]\nexport = [\"65000:7\"]"]),
    ("of any AS", Segment, "route-target import *:100", Carried, &["import = [\"*:100\"]"]),
    ("several", Segment, "route-target import 65000:1 65000:2", Carried, &["import = [\"65000:1\", \"65000:2\"]"]),
    ("none", Segment, "route-target import 65000:99999999999", NotCarried, &[]),
    ("given to any AS", Segment, "route-target export *:100", NotCarried, &[]),
    ("the gateway's MAC", Segment, "advertise-default-gw", NotNeeded, &[]),
    ("its subnet", Segment, "advertise-subnet", NotCarried, &[]),
    // The rest of the file.
    ("a name", Top, "hostname hv1", NotNeeded, &[]),
    ("a log", Top, "log syslog informational", NotNeeded, &[]),
    ("timers of a datacenter", Top, "frr defaults datacenter", Carried, &["hold-time = 9"]),
    ("a route", Top, "ip route 10.9.0.0/16 10.0.0.254", NotCarried, &[]),
    ("a list", Top, "ip prefix-list ALL seq 5 permit any", NotCarried, &[]),
    ("multihoming", Top, "evpn mh startup-delay 10", NotCarried, &[]),
    ("SNMP", Top, "agentx", NotCarried, &[]),
    ("an L3 VNI of the default VRF", Top, "vni 4001", NotCarried, &[]),
    ("another protocol", Top, "router ospf", NotCarried, &[]),
    ("something new", Top, "frobnicate", NotCarried, &[]),
];

#[test]
fn each_line_becomes_what_it_says() {
    for (words, at, line, fate, wanted) in CASES {
        let text = document(*at, line);
        let import = accepted(&text, &host());
        every_line_is_told_of(&text, &import);
        let finding =
            import.findings.iter().find(|finding| text.lines().nth(finding.line - 1).is_some_and(|l| l.trim() == *line));
        let finding = finding.unwrap_or_else(|| panic!("{words}: {line} is not told of"));
        assert_eq!(finding.fate, *fate, "{words}: {line}: {finding:?}");
        for piece in *wanted {
            assert!(import.toml.contains(piece), "{words}: {line}: expected {piece:?} in\n{}", import.toml);
        }
        assert_eq!(
            finding.fate == NotCarried,
            !finding.instead.is_empty(),
            "what is lost has a way out, and nothing else: {finding:?}"
        );
    }
}

/// The patterns of what a line becomes are of no use twice, and the documents are FRR's own.
#[test]
fn what_frr_writes_is_told_of_to_the_last_line() {
    for name in ["everything", "hypervisor", "leaf", "reflector"] {
        let path = format!("{}/tests/vectors/frr/{name}.conf", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).unwrap();
        let import = frr(name, text.as_bytes(), &host(), "evpnd.toml").unwrap();
        every_line_is_told_of(&text, &import);
        let unknown: Vec<_> = import.findings.iter().filter(|finding| finding.why.contains("does not know")).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
        assert!(import.findings.iter().all(|finding| !finding.text.contains("s3cret") && !finding.why.contains("s3cret")));
    }
}

fn vector(name: &str) -> String {
    std::fs::read_to_string(format!("{}/tests/vectors/frr/{name}.conf", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

#[test]
fn a_hypervisor_on_its_own_host() {
    let import = accepted(&vector("hypervisor"), &host());
    let config = parse("x", &import.toml).unwrap();
    assert_eq!((config.router.asn.0, config.router.vtep), (65000, Some("10.0.0.1".parse().unwrap())));
    assert!(
        config.vnis.is_empty() && import.toml.contains("[vxlan]\nadopt = \"all\""),
        "the host's devices, as they come and go"
    );
    assert_eq!(config.neighbors.len(), 2);
    for neighbor in &config.neighbors {
        assert_eq!((neighbor.hold_time_secs, neighbor.password.is_some()), (9, true));
    }
}

#[test]
fn elsewhere_nothing_is_taken_from_the_host_that_it_runs_on() {
    let import = accepted(&vector("hypervisor"), &Host::default());
    let lost: Vec<&str> = import.of(NotCarried).map(|finding| &*finding.text).collect();
    assert_eq!(lost, ["ip address 10.0.0.1/32"]);
    // Another host's devices are nobody's business.
    let mut other = host();
    other.addresses = vec![("lo".to_owned(), "10.0.0.2".parse().unwrap())];
    assert_eq!(accepted(&vector("hypervisor"), &other).toml, import.toml);
}

#[test]
fn a_reflector_has_no_vtep_and_its_groups_are_spelt_out() {
    let config = parse("x", &accepted(&vector("reflector"), &Host::default()).toml).unwrap();
    assert_eq!((config.router.vtep, config.router.router_id.to_string()), (None, "10.0.0.254".to_owned()));
    assert_eq!(config.limits.dynamic_neighbors, 5000);
    let who: Vec<String> = config.neighbors.iter().map(|neighbor| neighbor.who.to_string()).collect();
    assert_eq!(who, ["192.0.2.1", "10.0.0.0/16", "2001:db8::/64"]);
    assert!(config.neighbors.iter().all(|neighbor| neighbor.route_reflector_client && neighbor.hold_time_secs == 9));
    let passwords: Vec<bool> = config.neighbors.iter().map(|neighbor| neighbor.password.is_some()).collect();
    assert_eq!(passwords, [true, true, false]);
}

#[test]
fn a_leaf_keeps_its_spines_and_loses_its_links() {
    let import = accepted(&vector("leaf"), &Host::default());
    let config = parse("x", &import.toml).unwrap();
    let spines: Vec<String> = config.neighbors.iter().map(|neighbor| neighbor.who.to_string()).collect();
    assert_eq!(spines, ["10.255.0.1", "10.255.0.2"]);
    for spine in &config.neighbors {
        assert_eq!(
            (spine.asn.0, spine.multihop, spine.local_address),
            (4_200_000_001, Some(2), Some("10.0.0.11".parse().unwrap()))
        );
    }
    assert!(import.of(NotCarried).any(|finding| finding.text.starts_with("neighbor eth1 interface")));
    assert!(import.toml.contains("export = [\"59915:268435756\"]"), "FRR takes the low 16 bits of the AS");
    assert!(import.toml.contains("adopt-vnis = \"1-4000,4002-16777215\""), "the device of an L3 VNI is left alone");
    assert!(import.of(NotCarried).any(|finding| finding.text == "autort rfc8365-compatible"), "of VNIs that are not known here");
}

/// A hard limit in its place would close the session of a reflector that is the only one.
#[test]
fn a_limit_that_only_warns_becomes_no_limit() {
    for lines in [
        "neighbor 10.0.0.254 maximum-prefix 100 warning-only",
        "neighbor 10.0.0.254 maximum-prefix 100 80 warning-only",
        "neighbor 10.0.0.254 maximum-prefix 100\n  neighbor 10.0.0.254 maximum-prefix 200 warning-only",
        "neighbor RR maximum-prefix 100\n  neighbor 10.0.0.254 maximum-prefix 200 warning-only",
    ] {
        let text = document(Evpn, lines)
            .replace("router-id 10.0.0.1\n", "router-id 10.0.0.1\n neighbor RR peer-group\n neighbor 10.0.0.254 peer-group RR\n");
        let import = accepted(&text, &host());
        let config = parse("x", &import.toml).unwrap();
        assert_eq!(config.neighbors.iter().map(|neighbor| neighbor.max_routes).collect::<Vec<_>>(), [None], "{lines}");
        let lost: Vec<&str> = import.of(NotCarried).map(|finding| &*finding.text).collect();
        assert!(lost.len() == 1 && lost[0].ends_with("warning-only"), "{lines}: {lost:?}");
    }
}

#[test]
fn the_device_of_the_default_vrfs_l3_vni_is_left_alone() {
    for line in ["vni 4001", "vni 4001 prefix-routes-only"] {
        let import = accepted(&document(Top, line), &host());
        assert!(import.toml.contains("adopt-vnis = \"1-4000,4002-16777215\""), "{line}:\n{}", import.toml);
    }
}

/// FRR writes a list of addresses as one line each, and lists of BGP after them.
#[test]
fn an_access_list_is_one_line() {
    let lines = [
        "access-list MGMT seq 5 permit 10.0.0.0/8",
        "bgp as-path access-list OWN seq 5 permit ^$",
        "bgp community-list standard GOLD seq 5 permit 65000:1",
    ];
    let import = accepted(&document(Top, &lines.join("\n")), &host());
    for line in lines {
        let finding =
            import.findings.iter().find(|finding| finding.text == line).unwrap_or_else(|| panic!("{line} is not told of"));
        assert!(finding.last_line == finding.line && finding.fate == NotCarried, "{finding:?}");
    }
}

#[test]
fn what_only_the_operator_knows_is_refused_until_it_is_filled_in() {
    let import = frr("frr.conf", vector("everything").as_bytes(), &host(), "evpnd.toml").unwrap();
    let mistakes = import.mistakes.unwrap();
    assert_eq!(mistakes.matches("evpnd.toml:").count(), 1, "{mistakes}");
    assert!(mistakes.contains("asn = \"FILL IN\" is not an AS number"), "{mistakes}");
    let filled = import.toml.replace("\"FILL IN\"", "65007");
    parse("evpnd.toml", &filled).unwrap();
    // A tunnel address, and a router-id.
    let text = "router bgp 65000\n neighbor 10.0.0.254 remote-as 65000\n address-family l2vpn evpn\n  neighbor 10.0.0.254 activate\n  advertise-all-vni\n";
    let import = frr("frr.conf", text.as_bytes(), &Host::default(), "evpnd.toml").unwrap();
    assert!(import.mistakes.unwrap().contains("vtep"));
    let told = Host { vtep: Some("10.0.0.1".parse().unwrap()), ..Host::default() };
    accepted(text, &told);
}

#[test]
fn lines_without_blanks_before_them_stand_where_frr_would_have_them() {
    for name in ["hypervisor", "leaf", "reflector"] {
        let text = vector(name);
        let flat: String = text.lines().map(|line| format!("{}\n", line.trim_start())).collect();
        let (import, flat) = (accepted(&text, &host()), accepted(&flat, &host()));
        assert_eq!(import.toml, flat.toml);
    }
}

#[test]
fn what_is_no_configuration_of_bgp_is_refused() {
    let read = |octets: &[u8]| frr("x", octets, &Host::default(), "y").map(|import| import.toml);
    for octets in
        [&b""[..], b"!\n", b"hostname a\n", b"router bgp 0\n", b"router bgp 65000 vrf red\n", b"\x7fELF\x02\0\0\xff\xfe"]
    {
        assert_eq!(read(octets), Err(ImportError::NoRouter), "{octets:?}");
    }
    assert_eq!(read(&vec![b' '; MAX_OCTETS + 1]), Err(ImportError::TooLarge));
    assert_eq!(read(&b"a\n".repeat(MAX_LINES + 1)), Err(ImportError::TooManyLines));
}

#[test]
fn octets_that_are_no_text_end_in_no_file() {
    let text = document(Router, "neighbor 10.0.0.254 password \u{1}");
    let mut octets = text.into_bytes();
    let at = octets.iter().position(|octet| *octet == 1).unwrap();
    octets[at] = 0xff;
    let import = frr("a\nb", &octets, &host(), "evpnd.toml").unwrap();
    assert_eq!(import.mistakes, None);
    assert!(import.findings.iter().any(|finding| finding.fate == NotCarried && finding.instead.contains("password-file")));
}

/// A large file takes no longer than its size says.
#[test]
fn many_lines_cost_what_one_costs_each() {
    let mut text = String::from("router bgp 65000\n bgp router-id 10.0.0.1\n address-family l2vpn evpn\n  advertise-all-vni\n");
    for number in 1..30_000 {
        text.push_str(&format!("  vni {number}\n   rd 10.0.0.1:{number}\n   route-target both 65000:{number}\n"));
    }
    let import = accepted(&text, &host());
    assert_eq!(parse("x", &import.toml).unwrap().vnis.len(), 29_999);
}

/// Words that lines are made of, right and wrong.
const WORDS: &[&str] = &[
    "router",
    "bgp",
    "65000",
    "neighbor",
    "10.0.0.1",
    "10.0.0.2",
    "fe80::1",
    "2001:db8::1",
    "RR",
    "peer-group",
    "remote-as",
    "internal",
    "external",
    "activate",
    "address-family",
    "l2vpn",
    "evpn",
    "ipv4",
    "unicast",
    "vni",
    "100",
    "200",
    "16777216",
    "rd",
    "10.0.0.1:1",
    "route-target",
    "both",
    "import",
    "export",
    "65000:1",
    "*:7",
    "exit",
    "exit-vni",
    "exit-address-family",
    "no",
    "password",
    "\u{1b}x",
    "timers",
    "3",
    "9",
    "ttl-security",
    "hops",
    "ebgp-multihop",
    "update-source",
    "lo",
    "interface",
    "ip",
    "address",
    "10.0.0.1/32",
    "vrf",
    "red",
    "advertise-all-vni",
    "listen",
    "range",
    "10.0.0.0/8",
    "10.0.0.0/33",
    "route-reflector-client",
    "maximum-prefix",
    "description",
    "\"",
    "\\",
    "router-id",
    "cluster-id",
    "graceful-restart",
    "restart-time",
    "passive",
    "port",
    "shutdown",
    "autort",
    "rfc8365-compatible",
    "flooding",
    "disable",
    "dup-addr-detection",
    "freeze",
    "permanent",
    "max-moves",
    "time",
    "default",
    "l2vpn-evpn",
    "end",
    "!",
    "",
    "\0",
    "é",
];

/// Who a line may be about.
const WHO: &[&str] = &[
    "10.0.0.254",
    "10.0.0.1",
    "2001:db8::1",
    "2001:DB8:0::1",
    "fe80::1",
    "224.0.0.1",
    "RR",
    "NOBODY",
    "eth1",
    "::ffff:10.0.0.7",
];

/// Words at random, or a line of the cases about anybody.
fn some_line() -> impl Strategy<Value = String> {
    let words = (0..4_usize, prop::collection::vec(prop::sample::select(WORDS), 1..6));
    let words = words.prop_map(|(blanks, words)| format!("{}{}", " ".repeat(blanks), words.join(" ")));
    let about = (prop::sample::select(CASES), prop::sample::select(WHO));
    let about = about.prop_map(|((_, at, line, ..), who)| {
        let blanks = match at {
            Top => 0,
            Router => 1,
            Evpn => 2,
            Segment => 3,
        };
        format!("{}{}", " ".repeat(blanks), line.replace("10.0.0.254", who))
    });
    let more = prop::sample::select(
        &[
            "  neighbor {} activate",
            " neighbor {} remote-as external",
            " neighbor {} remote-as 65000",
            " neighbor {} peer-group RR",
            "  vni 100",
            "  vni 200",
            " neighbor {} ebgp-multihop 3",
            " address-family l2vpn evpn",
            " address-family ipv4 unicast",
            "exit",
            "router bgp 65000",
            " bgp listen range 10.0.0.0/8 peer-group RR",
            " bgp listen range 10.1.0.0/16 peer-group RR",
            "interface lo",
            " ip address 10.0.0.1/32",
            " ip address 224.0.0.1/32",
            " bgp router-id 0.0.0.0",
        ][..],
    );
    let more = (more, prop::sample::select(WHO)).prop_map(|(line, who)| line.replace("{}", who));
    prop_oneof![words, about, more]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Whatever the words: every line is told of, and the file is good but for what has to be filled in.
    #[test]
    fn any_lines_make_a_good_file(lines in prop::collection::vec(some_line(), 0..60)) {
        let mut text = String::from("router bgp 65000\n bgp router-id 10.0.0.9\n neighbor RR peer-group\n neighbor RR remote-as 65001\n \
            address-family l2vpn evpn\n  neighbor RR activate\n  advertise-all-vni\n");
        text.extend(lines.iter().map(|line| format!("{line}\n")));
        for host in [Host::default(), host()] {
            let import = frr("frr.conf", text.as_bytes(), &host, "evpnd.toml").unwrap();
            every_line_is_told_of(&text, &import);
            let filled = import.toml.replace("vtep = \"FILL IN\"", "vtep = \"10.77.0.1\"").replace("asn = \"FILL IN\"", "asn = 65007");
            prop_assert!(parse("evpnd.toml", &filled).is_ok(), "{}\n{filled}\n{:?}", text, parse("evpnd.toml", &filled).err());
        }
    }

    #[test]
    fn any_octets_are_read_or_refused(octets in prop::collection::vec(any::<u8>(), 0..2000), behind in any::<bool>()) {
        let mut file = if behind { b"router bgp 65000\n".to_vec() } else { Vec::new() };
        file.extend(octets);
        if let Ok(import) = frr("x", &file, &Host::default(), "y") {
            prop_assert!(!import.toml.chars().any(|c| c.is_control() && c != '\n'));
        }
    }
}
