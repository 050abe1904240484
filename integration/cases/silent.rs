//! Hosts that say nothing unless they are asked: their bridge would forget them, so evpnd asks, and other hosts hear nothing of it.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::harness::evpnd::{Config, Evpnd};
use crate::harness::fabric::{Family, Guest, Host};
use crate::harness::rows::{self, mac, text};
use crate::harness::watch::RowWatch;
use crate::harness::{ensure, raw, wait_until};

use super::scenario::{ASN, Site, VNI};

/// How long the bridge keeps a station that says nothing.
const AGEING: Duration = Duration::from_secs(6);

/// Two hosts whose daemons know each other through the reflector, the first with a bridge that keeps silent stations for `ageing`.
fn start<'a>(site: &'a Site, more: &str, ageing: Duration) -> [Evpnd<'a>; 2] {
    let [a, b, _] = &site.hosts;
    let daemons = [a, b].map(|host| {
        let config = Config::hypervisor(host, ASN, Family::V4).neighbor(site.middle.v4(), "").vni(VNI, more);
        let daemon = Evpnd::start(host, &config);
        daemon.expect_established(site.middle.v4());
        daemon
    });
    let hundredths = ageing.as_millis() / 10;
    a.namespace.ip(&format!("link set br100 type bridge ageing_time {hundredths}"));
    daemons
}

/// A guest of IPv4 only, which says nothing but answers.
fn silent_guest(site: &Site) -> Guest {
    let mut guest = site.fabric.guest(11);
    guest.namespace.sysctl("net/ipv6/conf/all/disable_ipv6", "1");
    guest.plug(&site.hosts[0], VNI);
    guest
}

/// A guest says once that it is there. Over more than three ageing times the other host's row for it stands, and is not even written again;
/// once it answers no longer, it goes.
fn a_silent_guest_stays(more: &str) {
    let site = Site::new();
    let _reflector = Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN));
    let [a, b, _] = &site.hosts;
    let daemons = start(&site, more, AGEING);
    let guest = silent_guest(&site);
    b.expect_remote_macs(VNI, &[(&guest, a.v4())]);
    let mut watch = RowWatch::new(b, VNI);
    std::thread::sleep(AGEING * 3 + AGEING / 2);
    let seen = watch.seen().clone();
    assert!(!seen.macs.contains(&guest.mac()), "its row changed: {seen:?}");
    b.expect_remote_macs(VNI, &[(&guest, a.v4())]);
    daemons.iter().for_each(Evpnd::expect_no_difference);
    // The control: it does not answer.
    guest.namespace.ip("link set eth0 arp off");
    wait_until("the row of a guest that is gone goes", 40, || {
        let gone = watch.seen().deleted > 0 && watch.seen().macs.contains(&guest.mac());
        ensure(gone, || format!("{:?}", watch.seen()))
    });
    b.expect_remote_macs(VNI, &[]);
    daemons.iter().for_each(Evpnd::expect_no_difference);
}

#[test]
fn a_silent_guest_stays_at_the_other_hosts() {
    a_silent_guest_stays("");
}

#[test]
fn a_silent_guest_stays_where_neighbors_are_not_answered_for() {
    a_silent_guest_stays("neighbor-suppression = false\n");
}

#[test]
fn a_silent_guest_stays_beside_multicast() {
    a_silent_guest_stays("flood = \"multicast\"\ngroup = \"239.1.1.1\"\n");
}

#[test]
fn a_silent_guest_stays_beside_a_list() {
    a_silent_guest_stays("learning = \"beside\"\n");
}

/// Whether a host answers for an address.
fn answers_for(host: &Host, address: Ipv4Addr) -> Result<(), String> {
    let known = host.namespace.output("ip", ["neigh", "show", "dev", "br100"]);
    ensure(known.lines().any(|line| line.starts_with(&format!("{address} lladdr"))), || known.clone())
}

/// A bridge or a port that is set down for a moment, and whoever empties the bridge's table, makes the bridge forget guests that have
/// nothing to say: they are asked where they were.
#[test]
fn a_silent_guest_that_its_bridge_forgot_is_asked_and_stays() {
    let site = Site::new();
    let _reflector = Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN));
    let [a, b, _] = &site.hosts;
    let daemons = start(&site, "", Duration::from_secs(300));
    let guest = silent_guest(&site);
    let (mac, port) = (guest.mac(), guest.port.as_str());
    wait_until("its address is known", 20, || answers_for(b, guest.address()));
    for how in [
        format!("ip link set {port} type bridge_slave fdb_flush"),
        format!("bridge fdb del {mac} dev {port} master"),
        "ip link set br100 down; sleep 0.3; ip link set br100 up".to_owned(),
        format!("ip link set {port} down; sleep 0.3; ip link set {port} up"),
    ] {
        a.namespace.output("sh", ["-ec", &how]);
        wait_until(&format!("it is there again after: {how}"), 20, || {
            let stations = a.namespace.output("bridge", ["fdb", "show", "dev", port]);
            ensure(stations.contains(&mac), || stations.clone())?;
            answers_for(b, guest.address())
        });
        b.expect_remote_macs(VNI, &[(&guest, a.v4())]);
    }
    daemons.iter().for_each(Evpnd::expect_no_difference);
}

/// A daemon that begins again knows of the guest only what its predecessor wrote into the bridge. It asks from then on: what is true stays,
/// over three ageing times, and what is not any more goes.
#[test]
fn a_silent_guest_stays_over_a_restart_and_an_address_that_it_lost_meanwhile_does_not() {
    let site = Site::new();
    let _reflector = Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN));
    let [a, b, _] = &site.hosts;
    // Nobody asks while no daemon runs.
    let ageing = AGEING * 2;
    let [first, other] = start(&site, "probe-silent = false\n", ageing);
    let guest = silent_guest(&site);
    let lost = Ipv4Addr::new(192, 168, 0, 99);
    guest.namespace.ip(&format!("addr add {lost}/24 dev eth0"));
    guest.send(vec![raw::gratuitous_arp([2, 0, 0, 0, 0, guest.number], lost.octets())]);
    for (host, address) in [(a, guest.address()), (a, lost), (b, guest.address()), (b, lost)] {
        wait_until("the address is known", 20, || answers_for(host, address));
    }
    assert!(first.stop().success());
    guest.namespace.ip(&format!("addr del {lost}/24 dev eth0"));
    let again = Evpnd::start_again(a);
    again.expect_established(site.middle.v4());
    let mut watch = RowWatch::new(b, VNI);
    wait_until("the lost address is announced no more", 40, || {
        let known = answers_for(b, lost);
        ensure(known.is_err(), || format!("{known:?}"))
    });
    std::thread::sleep(ageing * 2);
    let seen = watch.seen().clone();
    assert!(!seen.macs.contains(&guest.mac()), "its row changed: {seen:?}");
    answers_for(b, guest.address()).expect("the other address");
    [&again, &other].into_iter().for_each(Evpnd::expect_no_difference);
}

/// What a platform writes at a port is its word, for as long as it stands there: over three ageing times in which a MAC that the port only heard goes,
/// nobody answers for it, and its row at the other host is not even written again.
fn a_static_entry_stays(more: &str) {
    let site = Site::new();
    let _reflector = Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN));
    let [a, b, _] = &site.hosts;
    let ageing = Duration::from_secs(2);
    let daemons = start(&site, more, ageing);
    let guest = silent_guest(&site);
    // Nobody has these MACs.
    let (written, heard) = (text(mac(9, 1)), text(mac(9, 2)));
    a.namespace.bridge_batch(&format!("fdb add {written} dev {} master static\n", guest.port));
    guest.send(vec![raw::plain_frame(mac(9, 2), [0xff; 6])]);
    let has_rows = |wanted: &[&String]| {
        wait_until(&format!("host 2 has rows for {wanted:?}"), 20, || {
            let rows = rows::remote_macs(&b.namespace, "vxlan100")?;
            let right = [&written, &heard].iter().all(|mac| rows.contains_key(*mac) == wanted.contains(mac));
            ensure(right && rows.values().all(|vtep| *vtep == a.v4()), || format!("{rows:?}"))
        });
    };
    has_rows(&[&written, &heard]);
    let mut watch = RowWatch::new(b, VNI);
    std::thread::sleep(ageing * 3 + ageing / 2);
    has_rows(&[&written]);
    let seen = watch.seen().clone();
    assert!(seen.macs.contains(&heard) && !seen.macs.contains(&written), "{seen:?}");
    let view = daemons[0].mac(&written);
    assert!(view["kind"] == "local" && view["sticky"] == true, "{view}");
    daemons.iter().for_each(Evpnd::expect_no_difference);
    a.namespace.bridge_batch(&format!("fdb del {written} dev {} master\n", guest.port));
    has_rows(&[]);
    daemons.iter().for_each(Evpnd::expect_no_difference);
}

#[test]
fn a_static_entry_at_a_port_stays_though_nobody_answers_for_it() {
    a_static_entry_stays("");
}

#[test]
fn a_static_entry_at_a_port_stays_where_nobody_is_asked() {
    a_static_entry_stays("neighbor-learning = false\n");
}
