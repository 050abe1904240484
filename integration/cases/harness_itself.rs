//! The harness proved with FRR alone: when these fail, look at the harness before you look at evpnd.

use crate::harness::fabric::Fabric;
use crate::interop::{frr, gobgp};

const VNI: u32 = 100;

#[test]
fn frr_hypervisors_behind_an_frr_reflector_reach_each_other() {
    let fabric = Fabric::new();
    let hosts = [1, 2, 3].map(|number| fabric.host(number));
    let reflector = fabric.host(254);
    let clients: Vec<_> = hosts.iter().map(|host| frr::Neighbor::new(host.v4(), 65000)).collect();
    let _reflector = frr::Frr::start(&reflector, frr::Role::Reflector, 65000, &clients);
    prove(&fabric, &hosts, |_| 65000, frr::Neighbor::new(reflector.v4(), 65000));
}

#[test]
fn frr_hypervisors_behind_an_frr_spine_reach_each_other() {
    let fabric = Fabric::new();
    let hosts = [1, 2, 3].map(|number| fabric.host(number));
    let spine = fabric.host(254);
    let clients: Vec<_> = hosts.iter().map(|host| frr::Neighbor::new(host.v4(), 65000 + u32::from(host.number))).collect();
    let _spine = frr::Frr::start(&spine, frr::Role::Spine, 65100, &clients);
    prove(&fabric, &hosts, |number| 65000 + u32::from(number), frr::Neighbor::new(spine.v4(), 65100));
}

#[test]
fn frr_hypervisors_behind_a_gobgp_reflector_reach_each_other() {
    let fabric = Fabric::new();
    let hosts = [1, 2, 3].map(|number| fabric.host(number));
    let reflector = fabric.host(254);
    let clients: Vec<_> = hosts.iter().map(|host| (host.v4(), 65000)).collect();
    let _reflector = gobgp::Gobgp::start(&reflector, gobgp::Role::Reflector, 65000, &clients);
    prove(&fabric, &hosts, |_| 65000, frr::Neighbor::new(reflector.v4(), 65000));
}

#[test]
fn frr_hypervisors_behind_a_gobgp_route_server_reach_each_other() {
    let fabric = Fabric::new();
    let hosts = [1, 2, 3].map(|number| fabric.host(number));
    let server = fabric.host(254);
    let clients: Vec<_> = hosts.iter().map(|host| (host.v4(), 65000 + u32::from(host.number))).collect();
    let _server = gobgp::Gobgp::start(&server, gobgp::Role::RouteServer, 65100, &clients);
    prove(&fabric, &hosts, |number| 65000 + u32::from(number), frr::Neighbor::new(server.v4(), 65100));
}

/// Rows, flood lists and traffic among three FRR hypervisors that all have `middle` for a neighbour; a guest that moves and one that goes.
fn prove(fabric: &Fabric, hosts: &[crate::harness::fabric::Host; 3], asn: impl Fn(u8) -> u32, middle: frr::Neighbor<'_>) {
    let [a, b, c] = hosts;
    hosts.iter().for_each(|host| host.make_vxlan(VNI, host.v4()));
    let _daemons = [a, b, c].map(|host| frr::Frr::start(host, frr::Role::Hypervisor, asn(host.number), &[middle]));
    let [mut g1, mut g2, mut g3] = [11, 21, 31].map(|number| fabric.guest(number));
    g1.plug(a, VNI);
    g2.plug(b, VNI);
    g3.plug(c, VNI);
    a.expect_flood_list(VNI, &[b.v4(), c.v4()]);
    b.expect_flood_list(VNI, &[a.v4(), c.v4()]);
    c.expect_flood_list(VNI, &[a.v4(), b.v4()]);
    a.expect_remote_macs(VNI, &[(&g2, b.v4()), (&g3, c.v4())]);
    b.expect_remote_macs(VNI, &[(&g1, a.v4()), (&g3, c.v4())]);
    g1.expect_ping(&g2);
    g1.expect_ping(&g3);
    g2.expect_ping(&g3);
    g1.plug(c, VNI);
    a.expect_remote_macs(VNI, &[(&g1, c.v4()), (&g2, b.v4()), (&g3, c.v4())]);
    b.expect_remote_macs(VNI, &[(&g1, c.v4()), (&g3, c.v4())]);
    g1.expect_ping(&g2);
    g1.unplug();
    a.expect_remote_macs(VNI, &[(&g2, b.v4()), (&g3, c.v4())]);
}
