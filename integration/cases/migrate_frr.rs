//! From FRR to evpnd on the same host and back, host by host, with every frame counted: evpnd comes beside FRR on one of the two
//! reflectors, has the VNI, and then FRR ends without a word; with one reflector by a second address, or where the reflector keeps
//! what it has lost (docs/platforms/migration.md). `integration/stop-frr` does it under systemd.

use std::net::IpAddr;

use crate::harness::evpnd::{Config, Evpnd};
use crate::harness::fabric::{Fabric, Family, Guest, Host};
use crate::harness::mesh::Mesh;
use crate::harness::watch::RowWatch;
use crate::harness::{ensure, wait_until};
use crate::interop::frr::{Frr, Neighbor, Role};

use super::migrate::{convert, expect_nothing_lost, migrate};
use super::scenario::{ASN, VNI};

/// Hosts with FRR, a VXLAN device that somebody made, and a guest each.
struct Hosts {
    fabric: Fabric,
    hosts: Vec<Host>,
}

/// What is notified of the rows of all hosts while one of them changes hands.
struct Kept {
    watches: Vec<RowWatch>,
}

impl Kept {
    /// From FRR to evpnd: on no host was a row deleted, and none that leads to a guest was written.
    #[track_caller]
    fn expect_all(mut self, step: &str, guests: &[Guest]) {
        for (number, watch) in (1..).zip(&mut self.watches) {
            let seen = watch.seen();
            assert_eq!(seen.deleted, 0, "{step}: on host {number}: {seen:?}");
        }
        self.expect_guests(step, guests);
    }

    /// And back: none that leads to a guest was deleted or written. zebra may, as it starts, delete a row of a flood list that stands, and write
    /// it again.
    #[track_caller]
    fn expect_guests(mut self, step: &str, guests: &[Guest]) {
        for (number, watch) in (1..).zip(&mut self.watches) {
            let seen = watch.seen();
            let touched: Vec<_> = guests.iter().map(Guest::mac).filter(|mac| seen.macs.contains(mac)).collect();
            assert!(touched.is_empty(), "{step}: rows of guests {touched:?} changed on host {number}: {seen:?}");
            println!("{step}: rows on host {number}: {} written, {} deleted", seen.written, seen.deleted);
        }
    }
}

impl Hosts {
    fn new(count: u8) -> Self {
        let fabric = Fabric::new();
        let hosts: Vec<Host> = (1..=count).map(|number| fabric.host(number)).collect();
        hosts.iter().for_each(|host| host.make_vxlan(VNI, host.v4()));
        Self { fabric, hosts }
    }

    fn guests(&self) -> Vec<Guest> {
        self.hosts.iter().map(|host| self.fabric.guest_at(host, VNI)).collect()
    }

    fn watch(&self) -> Kept {
        Kept { watches: self.hosts.iter().map(|host| RowWatch::new(host, VNI)).collect() }
    }

    fn expect_rows(&self, guests: &[Guest]) {
        for host in &self.hosts {
            let others = guests.iter().zip(&self.hosts).filter(|(_, other)| other.number != host.number);
            host.expect_remote_macs(VNI, &others.map(|(guest, other)| (guest, other.v4())).collect::<Vec<_>>());
        }
    }
}

/// FRR of a host is ended once it may be.
#[track_caller]
fn stop_frr(host: &Host) {
    wait_until("FRR may go", 30, || {
        let output = migrate(host, &["--stop-frr", "--apply"]);
        ensure(output.status.success(), || format!("{output:?}"))
    });
}

/// A neighbor, as `Config` writes it.
fn neighbor(address: IpAddr) -> String {
    format!("[[neighbor]]\naddress = \"{address}\"\nconnect-retry = 1\n\n")
}

/// Changes the configuration that stands, which `evpnctl migrate` has written into.
#[track_caller]
fn edit(host: &Host, daemon: &Evpnd<'_>, change: impl Fn(&str) -> String) {
    let text = std::fs::read_to_string(host.path("evpnd.toml")).expect("the configuration");
    let changed = change(&text);
    assert_ne!(changed, text);
    daemon.rewrite_text(&changed);
    daemon.say(&["reload"]);
}

/// Waits until the FRR of a host knows the guests of the others, and its reflector the one of this host by it. It announces more than
/// guests once it finds a bridge with ports: their own MACs.
#[track_caller]
fn expect_taken_over(frr: &Frr<'_>, reflector: Option<&Frr<'_>>, guests: &[Guest], host: &Host, family: Family) {
    let (own, others): (Vec<&Guest>, Vec<&Guest>) = guests.iter().partition(|guest| guest.number / 10 == host.number);
    let routes_of = |host: &Host| format!("show bgp l2vpn evpn neighbors {} routes", host.address(family));
    let mut all = vec![(frr, format!("show evpn mac vni {VNI}"), &others)];
    if let Some(reflector) = reflector {
        all.extend([(frr, routes_of(reflector.host()), &others), (reflector, routes_of(host), &own)]);
    }
    for (asked, command, guests) in all {
        wait_until("FRR has taken over", 30, || {
            let known = asked.show(&command);
            ensure(guests.iter().all(|guest| known.contains(&guest.mac())), || format!("{command}: {known}"))
        });
    }
}

/// The same once all are FRR's again.
#[track_caller]
fn expect_all_taken_over(frrs: &[Frr<'_>], guests: &[Guest], hosts: &[Host]) {
    frrs.iter().zip(hosts).for_each(|(frr, host)| expect_taken_over(frr, None, guests, host, Family::V4));
}

/// Rows of others on a host stay as they are while one host is converted, and so do its own; and the same on the way back. Sessions are of
/// the family; tunnels are of IPv4, for FRR 8.4 knows no others.
fn there_and_back(count: u8, family: Family) {
    let all = Hosts::new(count);
    let hosts = &all.hosts;
    let reflectors = [all.fabric.host(253), all.fabric.host(254)];
    let [first, second] = reflectors.each_ref().map(|host| host.address(family));
    let clients: Vec<Neighbor<'_>> = hosts.iter().map(|host| Neighbor::new(host.address(family), ASN)).collect();
    // FRR's reflectors drop the routes of a client that they lose at once: nothing hides a gap.
    let middles = reflectors.each_ref().map(|host| Frr::start(host, Role::Reflector, ASN, &clients));
    let both = [first, second].map(|address| Neighbor::new(address, ASN));
    let frrs: Vec<Frr<'_>> = hosts.iter().map(|host| Frr::start(host, Role::Hypervisor, ASN, &both)).collect();
    let guests = all.guests();
    all.expect_rows(&guests);
    let mut mesh = Mesh::start(&guests.iter().collect::<Vec<_>>());
    let mut daemons = Vec::new();
    for (host, frr) in hosts.iter().zip(&frrs) {
        let kept = all.watch();
        let config = Config::hypervisor(host, ASN, Family::V4).router("listen = []").neighbor(first, "");
        mesh.step(format!("host {}: evpnd comes", host.number));
        frr.configure(&[&format!("router bgp {ASN}"), &format!("neighbor {first} shutdown")]);
        let daemon = Evpnd::start(host, &config);
        daemon.expect_established(first);
        let early = migrate(host, &["--stop-frr", "--apply"]);
        assert!(String::from_utf8_lossy(&early.stderr).contains("is FRR's alone"), "{early:?}");
        convert(host, &[]);
        mesh.step(format!("host {}: FRR goes", host.number));
        stop_frr(host);
        mesh.step(format!("host {}: both reflectors", host.number));
        edit(host, &daemon, |text| neighbor(second) + text);
        daemon.expect_established(second);
        daemons.push(daemon);
        kept.expect_all(&format!("host {} to evpnd", host.number), &guests);
    }
    mesh.step("all are evpnd's");
    for host in hosts {
        let others: Vec<_> = hosts.iter().filter(|other| other.number != host.number).map(Host::v4).collect();
        host.expect_flood_list(VNI, &others);
    }
    daemons.iter().for_each(Evpnd::expect_no_difference);
    drop(frrs);
    let mut frrs = Vec::new();
    for (host, daemon) in hosts.iter().zip(daemons) {
        let kept = all.watch();
        mesh.step(format!("host {}: FRR comes back", host.number));
        edit(host, &daemon, |text| text.replacen(&neighbor(first), "", 1));
        let frr = Frr::start(host, Role::Hypervisor, ASN, &[both[0], Neighbor { more: &["shutdown"], ..both[1] }]);
        expect_taken_over(&frr, Some(&middles[0]), &guests, host, family);
        mesh.step(format!("host {}: evpnd goes", host.number));
        assert!(daemon.stop().success());
        mesh.step(format!("host {}: FRR on both", host.number));
        frr.configure(&[&format!("router bgp {ASN}"), &format!("no neighbor {second} shutdown")]);
        // Else the next host is lost to this one as it leaves the first reflector.
        expect_taken_over(&frr, Some(&middles[1]), &guests, host, family);
        kept.expect_guests(&format!("host {} to FRR", host.number), &guests);
        frrs.push(frr);
    }
    mesh.step("all are FRR's");
    expect_all_taken_over(&frrs, &guests, hosts);
    expect_nothing_lost(&mesh.end());
}

#[test]
fn five_hosts_of_frr_become_hosts_of_evpnd_and_of_frr_again() {
    there_and_back(5, Family::V4);
}

#[test]
fn over_ipv6_sessions_three_hosts_of_frr_become_hosts_of_evpnd_and_of_frr_again() {
    there_and_back(3, Family::V6);
}

/// One reflector cannot have two sessions with one address: evpnd has a second one, until the host's own is free.
#[test]
fn with_one_reflector_evpnd_comes_by_a_second_address() {
    let all = Hosts::new(3);
    let hosts = &all.hosts;
    let middle = all.fabric.host(254);
    let second = |host: &Host| IpAddr::from([10, 0, 0, 100 + host.number]);
    let clients: Vec<Neighbor<'_>> =
        hosts.iter().flat_map(|host| [host.v4(), second(host)]).map(|address| Neighbor::new(address, ASN)).collect();
    let reflector = Frr::start(&middle, Role::Reflector, ASN, &clients);
    let one = [Neighbor::new(middle.v4(), ASN)];
    let mut frrs: Vec<Frr<'_>> = hosts.iter().map(|host| Frr::start(host, Role::Hypervisor, ASN, &one)).collect();
    let guests = all.guests();
    all.expect_rows(&guests);
    let mut mesh = Mesh::start(&guests.iter().collect::<Vec<_>>());
    let mut daemons = Vec::new();
    for host in hosts {
        let kept = all.watch();
        mesh.step(format!("host {}: evpnd comes", host.number));
        host.namespace.ip(&format!("addr add {}/24 dev eth0", second(host)));
        let from = format!("local-address = \"{}\"\n", second(host));
        let config = Config::hypervisor(host, ASN, Family::V4).router("listen = []").neighbor(middle.v4(), &from);
        let daemon = Evpnd::start(host, &config);
        daemon.expect_established(middle.v4());
        convert(host, &[]);
        mesh.step(format!("host {}: FRR goes", host.number));
        stop_frr(host);
        daemons.push(daemon);
        kept.expect_all(&format!("host {} to evpnd", host.number), &guests);
    }
    mesh.step("all are evpnd's");
    daemons.iter().for_each(Evpnd::expect_no_difference);
    frrs.clear();
    for (host, daemon) in hosts.iter().zip(daemons) {
        let kept = all.watch();
        mesh.step(format!("host {}: FRR comes back", host.number));
        let frr = Frr::start(host, Role::Hypervisor, ASN, &one);
        expect_taken_over(&frr, Some(&reflector), &guests, host, Family::V4);
        mesh.step(format!("host {}: evpnd goes", host.number));
        assert!(daemon.stop().success());
        kept.expect_guests(&format!("host {} to FRR", host.number), &guests);
        frrs.push(frr);
    }
    mesh.step("all are FRR's");
    expect_all_taken_over(&frrs, &guests, hosts);
    expect_nothing_lost(&mesh.end());
}

/// A reflector of ours keeps what it has lost for `loss-hold-time`: FRR may end before evpnd begins, and the other way round.
#[test]
fn a_reflector_that_keeps_what_it_lost_lets_one_come_after_the_other() {
    let all = Hosts::new(3);
    let hosts = &all.hosts;
    let middle = all.fabric.host(254);
    let reflector = Evpnd::start(&middle, &Config::reflector(&middle, ASN));
    let one = [Neighbor::new(middle.v4(), ASN)];
    let frrs: Vec<Frr<'_>> = hosts.iter().map(|host| Frr::start(host, Role::Hypervisor, ASN, &one)).collect();
    let guests = all.guests();
    all.expect_rows(&guests);
    let mut mesh = Mesh::start(&guests.iter().collect::<Vec<_>>());
    let mut daemons = Vec::new();
    for (host, frr) in hosts.iter().zip(frrs) {
        let kept = all.watch();
        mesh.step(format!("host {}: FRR is killed", host.number));
        // zebra first, then bgpd, with SIGKILL.
        drop(frr);
        reflector.expect_lost(host.v4());
        mesh.step(format!("host {}: evpnd begins", host.number));
        let config = Config::hypervisor(host, ASN, Family::V4).neighbor(middle.v4(), "").vni(VNI, "");
        let daemon = Evpnd::start(host, &config);
        daemon.expect_established(middle.v4());
        daemon.expect_no_difference();
        daemons.push(daemon);
        kept.expect_all(&format!("host {} to evpnd", host.number), &guests);
    }
    mesh.step("all are evpnd's");
    all.expect_rows(&guests);
    daemons.iter().for_each(Evpnd::expect_no_difference);
    let mut frrs = Vec::new();
    for (host, daemon) in hosts.iter().zip(daemons) {
        let kept = all.watch();
        mesh.step(format!("host {}: evpnd ends", host.number));
        assert!(daemon.stop().success());
        mesh.step(format!("host {}: FRR begins", host.number));
        let frr = Frr::start(host, Role::Hypervisor, ASN, &one);
        reflector.expect_established(host.v4());
        kept.expect_guests(&format!("host {} to FRR", host.number), &guests);
        frrs.push(frr);
    }
    mesh.step("all are FRR's");
    expect_all_taken_over(&frrs, &guests, hosts);
    expect_nothing_lost(&mesh.end());
}
