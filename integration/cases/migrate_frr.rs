//! From FRR to evpnd on the same host, host by host, with every frame counted: evpnd comes beside FRR on one of the two reflectors, has
//! the VNI, and then FRR ends without a word (docs/platforms/migration.md).

use crate::harness::evpnd::{Config, Evpnd};
use crate::harness::fabric::{Fabric, Family, Guest, Host};
use crate::harness::mesh::Mesh;
use crate::harness::watch::RowWatch;
use crate::harness::{ensure, wait_until};
use crate::interop::frr::{Frr, Neighbor, Role};

use super::migrate::{convert, expect_nothing_lost, migrate};
use super::scenario::{ASN, VNI};

/// Rows of others on a host stay as they are while one host is converted, and so do its own.
#[test]
fn hosts_of_frr_become_hosts_of_evpnd() {
    let fabric = Fabric::new();
    let hosts: Vec<Host> = (1..=4).map(|number| fabric.host(number)).collect();
    let reflectors = [fabric.host(253), fabric.host(254)];
    hosts.iter().for_each(|host| host.make_vxlan(VNI, host.v4()));
    let clients: Vec<Neighbor<'_>> = hosts.iter().map(|host| Neighbor::new(host.v4(), ASN)).collect();
    // FRR's reflectors drop the routes of a client that they lose at once: nothing hides a gap.
    let _reflectors = reflectors.each_ref().map(|host| Frr::start(host, Role::Reflector, ASN, &clients));
    let both = reflectors.each_ref().map(|host| Neighbor::new(host.v4(), ASN));
    let frrs: Vec<Frr<'_>> = hosts.iter().map(|host| Frr::start(host, Role::Hypervisor, ASN, &both)).collect();
    let guests: Vec<Guest> = hosts
        .iter()
        .map(|host| {
            let mut guest = fabric.guest(host.number * 10 + 1);
            guest.plug(host, VNI);
            guest
        })
        .collect();
    for host in &hosts {
        let others = guests.iter().zip(&hosts).filter(|(_, other)| other.number != host.number);
        host.expect_remote_macs(VNI, &others.map(|(guest, other)| (guest, other.v4())).collect::<Vec<_>>());
    }
    let mut mesh = Mesh::start(&guests.iter().collect::<Vec<_>>());
    let mut daemons = Vec::new();
    for (host, frr) in hosts.iter().zip(&frrs) {
        let mut rows: Vec<RowWatch> = hosts.iter().map(|host| RowWatch::new(host, VNI)).collect();
        let only = |config: Config| config.router("listen = []").neighbor(reflectors[0].v4(), "");
        let config = only(Config::hypervisor(host, ASN, Family::V4));
        mesh.step(format!("host {}: evpnd comes", host.number));
        frr.configure(&[&format!("router bgp {ASN}"), &format!("neighbor {} shutdown", reflectors[0].v4())]);
        let daemon = Evpnd::start(host, &config);
        daemon.expect_established(reflectors[0].v4());
        let early = migrate(host, &["--stop-frr", "--apply"]);
        assert!(String::from_utf8_lossy(&early.stderr).contains("is FRR's alone"), "{early:?}");
        convert(host, &[]);
        mesh.step(format!("host {}: FRR goes", host.number));
        wait_until("FRR may go", 30, || {
            let output = migrate(host, &["--stop-frr", "--apply"]);
            ensure(output.status.success(), || format!("{output:?}"))
        });
        mesh.step(format!("host {}: both reflectors", host.number));
        let text = std::fs::read_to_string(host.path("evpnd.toml")).expect("the configuration");
        let more = format!("[[neighbor]]\naddress = \"{}\"\nconnect-retry = 1\n\n{text}", reflectors[1].v4());
        daemon.rewrite_text(&more);
        daemon.say(&["reload"]);
        daemon.expect_established(reflectors[1].v4());
        daemons.push(daemon);
        for (watch, other) in rows.iter_mut().zip(&hosts) {
            println!("rows of host {} while host {} is converted: {:?}", other.number, host.number, watch.seen());
        }
    }
    mesh.step("all are evpnd's");
    for host in &hosts {
        let others: Vec<_> = hosts.iter().filter(|other| other.number != host.number).map(Host::v4).collect();
        host.expect_flood_list(VNI, &others);
    }
    daemons.iter().for_each(Evpnd::expect_no_difference);
    expect_nothing_lost(&mesh.end());
}
