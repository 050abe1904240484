//! The gateway of a segment on a host's own bridge: known to the other hosts, answered for there, and each host's own where all have it.

use std::net::IpAddr;

use evpnd::base::MacAddr;
use evpnd::lab::packet::{Frame, Outgoing};

use crate::harness::evpnd::{Config, Evpnd, client};
use crate::harness::fabric::{Capture, Family, Guest, Host};
use crate::harness::{ensure, wait_until};

use super::bare::expect_address;
use super::scenario::{ASN, Site, VNI};
use super::suppression::questions;

const MAC: &str = "02:00:5e:00:01:01";
const ADDRESSES: [&str; 2] = ["192.168.0.1", "fd01::1"];

/// A bridge of the operator's with the gateway's addresses, which evpnd adopts.
fn make_gateway(host: &Host) {
    let [v4, v6] = ADDRESSES;
    host.namespace.ip_batch(&format!(
        "link add br100 type bridge\nlink set br100 addrgenmode none\nlink set br100 address {MAC} up\naddr add {v4}/24 dev br100\naddr add {v6}/64 dev br100 nodad\n"
    ));
}

fn start<'a>(site: &Site, host: &'a Host, family: Family, more: &str) -> Evpnd<'a> {
    let config = Config::hypervisor(host, ASN, family).neighbor(site.middle.address(family), "").vni(VNI, more);
    let daemon = Evpnd::start(host, &config);
    daemon.expect_established(site.middle.address(family));
    daemon
}

/// A guest with an address of each family.
fn guest_of(site: &Site, host: &Host) -> Guest {
    let mut guest = site.fabric.guest(host.number * 10 + 1);
    guest.plug(host, VNI);
    guest.namespace.ip(&format!("addr add fd01::{}/64 dev eth0 nodad", guest.number));
    guest
}

/// Waits until the gateway answers at both addresses, each time from an empty neighbour table.
fn expect_gateway(guest: &Guest) {
    for target in ADDRESSES {
        guest.namespace.output("ip", ["neigh", "flush", "dev", "eth0", "nud", "all"]);
        wait_until(&format!("guest {} reaches {target}", guest.number), 30, || {
            ensure(guest.namespace.succeeds("ping", ["-n", "-c", "1", "-W", "1", target]), || "no answer".to_owned())
        });
    }
}

/// Waits until a host answers for an address of the gateway: with these words, or not at all.
fn expect_answer(host: &Host, address: &str, words: Option<&str>) {
    wait_until(&format!("host {} answers for {address}: {words:?}", host.number), 30, || {
        let shown = host.namespace.output("ip", ["neigh", "show", address, "dev", "br100"]);
        let line = shown.lines().find(|line| line.contains("proto 179"));
        ensure(line.is_some() == words.is_some() && words.is_none_or(|words| shown.contains(words)), || shown.clone())
    });
}

/// Frames in the tunnel for the gateway's MAC.
fn for_the_gateway(frames: &[Vec<u8>]) -> usize {
    let inner = frames.iter().filter_map(|frame| match Frame::classify(frame, 4789) {
        Outgoing::Vxlan { inner, .. } => Some(inner[..6] == [2, 0, 0x5e, 0, 1, 1]),
        _ => None,
    });
    inner.filter(|ours| *ours).count()
}

/// The bridge has its own MAC for itself, and no row for it leads elsewhere.
fn expect_own_entry(host: &Host) {
    let shown = host.namespace.output("bridge", ["fdb", "show", "br", "br100"]);
    let at = |device: &str| shown.lines().any(|line| line.starts_with(&format!("{MAC} dev {device} ")));
    assert!(at("br100") && !at("vxlan100"), "{shown}");
}

/// The bridge of another host gets the gateway's MAC and no address: `show vnis`, `show status` and doctor say so, while it is so.
fn expect_told_black_hole(host: &Host, daemon: &Evpnd<'_>, mac: &str) {
    let own = MacAddr(host.mac_of("br100"));
    let words = format!("br100 has the MAC {mac}, which VTEP ");
    let told = || {
        let doctor = client(host, &["doctor"]);
        [
            daemon.say(&["show", "vnis", "100"]),
            daemon.say(&["show", "status"]),
            String::from_utf8_lossy(&doctor.stdout).into_owned(),
        ]
    };
    for (mac, swallows) in [(mac, true), (&own.to_string(), false)] {
        host.namespace.ip(&format!("link set br100 address {mac}"));
        wait_until("the black hole is told of while it is one", 60, || {
            let told = told();
            ensure(told.iter().all(|text| text.contains(&words) == swallows), || told.join("\n"))
        });
    }
}

fn addresses() -> [IpAddr; 2] {
    ADDRESSES.map(|text| text.parse().expect("an address"))
}

fn guests_of_other_hosts_reach_it(family: Family, more: &str) {
    let site = Site::new();
    let _reflector = Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN));
    let [a, b, c] = &site.hosts;
    make_gateway(a);
    let first = start(&site, a, family, more);
    let others = [b, c].map(|host| start(&site, host, family, more));
    [b, c].into_iter().for_each(|host| ADDRESSES.into_iter().for_each(|ip| expect_answer(host, ip, Some(MAC))));
    let captures = site.hosts.each_ref().map(|host| site.fabric.capture(host));
    let guests = [b, c].map(|host| guest_of(&site, host));
    guests.iter().for_each(expect_gateway);
    let frames = captures.each_ref().map(Capture::frames);
    for frames in &frames {
        let (flooded, tunnelled) = questions(frames, &addresses());
        assert_eq!(flooded, 0, "of {tunnelled} tunnelled frames");
    }
    assert!(frames[1..].iter().all(|frames| for_the_gateway(frames) >= 2), "the pings themselves were seen");
    let macs = others[0].json(&["show", "macs", "--vni", "100", "--mac", MAC]);
    assert_eq!(macs[0]["sticky"], true, "{macs}");

    // A router from when it forwards, and no longer.
    for (value, router) in [("1", true), ("0", false)] {
        a.namespace.sysctl("net/ipv6/conf/br100/forwarding", value);
        wait_until("the router flag", 20, || {
            let shown = b.namespace.output("ip", ["neigh", "show", "fd01::1", "dev", "br100"]);
            ensure(shown.contains(" router") == router, || shown.clone())
        });
    }
    // Its addresses and its MAC come and go.
    a.namespace.ip("addr del 192.168.0.1/24 dev br100");
    expect_answer(b, "192.168.0.1", None);
    expect_address(&others[0], "192.168.0.1", false);
    a.namespace.ip("addr add 192.168.0.1/24 dev br100");
    expect_answer(b, "192.168.0.1", Some(MAC));
    a.namespace.ip("link set br100 address 02:00:5e:00:01:02");
    expect_answer(b, "192.168.0.1", Some("02:00:5e:00:01:02"));
    guests.iter().for_each(expect_gateway);
    wait_until("the old MAC is gone", 20, || {
        let macs = others[0].json(&["show", "macs", "--vni", "100"]).to_string();
        ensure(!macs.contains(MAC), || macs.clone())
    });
    std::iter::once(&first).chain(&others).for_each(Evpnd::expect_no_difference);
    expect_told_black_hole(b, &others[0], "02:00:5e:00:01:02");
    // A restart is nothing to the others; and it may be kept to oneself.
    assert!(first.stop().success());
    let first = start(&site, a, family, more);
    guests.iter().for_each(expect_gateway);
    first.rewrite(
        &Config::hypervisor(a, ASN, family)
            .neighbor(site.middle.address(family), "")
            .vni(VNI, &format!("{more}announce-own = false\n")),
    );
    first.say(&["reload"]);
    expect_answer(b, "192.168.0.1", None);
    std::iter::once(&first).chain(&others).for_each(Evpnd::expect_no_difference);
}

#[test]
fn a_gateway_is_reached_where_nothing_is_flooded() {
    guests_of_other_hosts_reach_it(Family::V4, "flood = \"none\"\n");
}

#[test]
fn no_question_for_a_gateway_crosses_the_underlay_over_ipv4() {
    guests_of_other_hosts_reach_it(Family::V4, "");
}

#[test]
fn no_question_for_a_gateway_crosses_the_underlay_over_ipv6() {
    guests_of_other_hosts_reach_it(Family::V6, "");
}

/// On a bridge that evpnd made: IPv4 is heard and announced at once. IPv6 is shut off by evpnd's own filter, so it is not announced, which is
/// said with what helps; that done, it is.
#[test]
fn a_gateway_on_a_bridge_of_evpnds_is_announced_as_far_as_guests_reach_it() {
    let site = Site::new();
    let _reflector = Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN));
    let [a, b, _] = &site.hosts;
    let daemons = [a, b].map(|host| start(&site, host, Family::V4, ""));
    let guests = [a, b].map(|host| guest_of(&site, host));
    wait_until("VNI 100 is ready", 20, || {
        let view = &daemons[0].json(&["show", "vnis", "100"])[0];
        ensure(view["state"] == "ready", || view.to_string())
    });
    let [v4, v6] = ADDRESSES;
    a.namespace.ip_batch(&format!("link set br100 address {MAC}\naddr add {v4}/24 dev br100\n"));
    expect_answer(b, v4, Some(MAC));
    let reaches = |guest: &Guest, target: &str| guest.namespace.succeeds("ping", ["-n", "-c", "1", "-W", "1", target]);
    for guest in &guests {
        wait_until("the gateway answers", 30, || ensure(reaches(guest, v4), || "no answer".to_owned()));
    }

    a.namespace.sysctl("net/ipv6/conf/br100/disable_ipv6", "0");
    a.namespace.ip(&format!("addr add {v6}/64 dev br100 nodad"));
    let warning = || daemons[0].json(&["show", "vnis", "100"])[0]["warnings"][0].as_str().map(str::to_owned);
    let mut told = String::new();
    wait_until("a warning", 20, || {
        told = warning().ok_or("none")?;
        Ok(())
    });
    assert!(told.starts_with(&format!("guests do not reach {v6} on br100, and it is not announced: ")), "{told}");
    assert!(daemons[0].log().contains(&told), "the log says it as well");
    expect_address(&daemons[1], v6, false);
    guests.iter().for_each(|guest| assert!(!reaches(guest, v6)));
    let remedy = told.split(": ").find_map(|part| part.starts_with("tc ").then(|| part.split(';').next())).flatten();
    a.namespace.output("sh", ["-ec", remedy.unwrap_or_default()]);
    expect_answer(b, v6, Some(MAC));
    guests.iter().for_each(expect_gateway);
    wait_until("no warning", 20, || ensure(warning().is_none(), || warning().unwrap_or_default()));
    daemons.iter().for_each(Evpnd::expect_no_difference);
}

/// One MAC and one address on the bridges of two hosts: guests use that of their own host, nothing moves, and what one host withdraws takes
/// nothing from the other, whose bridge goes on hearing.
#[test]
fn a_gateway_that_two_hosts_have_is_each_hosts_own() {
    let site = Site::new();
    let _reflector = Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN));
    let [a, b, c] = &site.hosts;
    [a, b].into_iter().for_each(make_gateway);
    let [first, mut second, third] = site.hosts.each_ref().map(|host| start(&site, host, Family::V4, ""));
    // The MAC alone and with either address, of both hosts.
    let expect_routes = |wanted| {
        wait_until(&format!("{wanted} routes of the gateway"), 20, || {
            let routes = first.json(&["show", "routes", "--type", "2"]);
            let routes = routes.as_array().map_or(&[][..], Vec::as_slice);
            let found = routes.iter().filter(|route| route.to_string().contains(MAC)).count();
            ensure(found == wanted, || format!("{found}: {routes:?}"))
        });
    };
    expect_routes(6);
    let captures = [a, b].map(|host| site.fabric.capture(host));
    let [one, two] = [a, b].map(|host| guest_of(&site, host));
    [&one, &two].into_iter().for_each(expect_gateway);
    for frames in captures.each_ref().map(Capture::frames) {
        assert_eq!((questions(&frames, &addresses()).0, for_the_gateway(&frames)), (0, 0), "each is answered at home");
        assert!(!frames.is_empty(), "the capture saw something");
    }
    let three = guest_of(&site, c);
    expect_gateway(&three);
    [a, b].into_iter().for_each(expect_own_entry);
    for daemon in [&first, &second, &third] {
        for counter in ["moves", "sticky_violations", "duplicates_found", "address_conflicts"] {
            assert_eq!(daemon.status(&format!("/counters/evpn_{counter}")), 0, "{counter}");
        }
        daemon.expect_no_difference();
    }
    second.say(&["drain"]);
    second.wait(crate::harness::patience(10));
    expect_routes(3);
    expect_own_entry(a);
    [&one, &three].into_iter().for_each(expect_gateway);
    [&first, &third].into_iter().for_each(Evpnd::expect_no_difference);
}

/// Another host announces the MAC of a gateway's bridge and withdraws it: the row that was written for it took the bridge's own entry along, and
/// the gateway heard none of its guests any more.
#[test]
fn a_gateway_goes_on_hearing_when_another_host_withdraws_its_mac() {
    let site = Site::new();
    let _reflector = Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN));
    let [a, b, _] = &site.hosts;
    make_gateway(a);
    let first = start(&site, a, Family::V4, "");
    let guest = guest_of(&site, a);
    expect_gateway(&guest);
    let expect_route = |wanted| {
        wait_until(&format!("the other host's route is here: {wanted}"), 20, || {
            let routes = first.json(&["show", "routes", "--type", "2"]);
            let theirs = |route: &serde_json::Value| {
                let text = route.to_string();
                text.contains(MAC) && text.contains(&b.v4().to_string())
            };
            ensure(routes.as_array().is_some_and(|routes| routes.iter().any(theirs)) == wanted, || routes.to_string())
        });
    };
    let mut second = start(&site, b, Family::V4, &format!("static = [\"{MAC}\"]\n"));
    expect_route(true);
    first.expect_no_difference();
    second.say(&["drain"]);
    second.wait(crate::harness::patience(10));
    expect_route(false);
    first.expect_no_difference();
    expect_own_entry(a);
    expect_gateway(&guest);
}
