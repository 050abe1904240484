//! What EVPN does with each route that a peer announces and each MAC that a bridge hears, one line of words each.
//! Moves are in `evpn_mobility.rs`, the host in `evpn_support`.

#![allow(clippy::unwrap_used, missing_docs)]

mod evpn_support;

use evpn_support::*;

// --- type 2 of others ---

#[test]
fn a_mac_of_another_host_becomes_a_row_and_leaves_with_its_route() {
    let mut host = Host::new();
    let route = type2(2, mac(1));
    host.announce(&route);
    assert_eq!(host.row(mac(1)), to(2));
    host.withdraw(&route);
    assert_eq!(host.row(mac(1)), None);
    assert_eq!(
        host.events(),
        ["VNI 100: 02:00:00:00:00:01 is at VTEP 10.0.0.2 (sequence 0)", "VNI 100: 02:00:00:00:00:01 is gone from VTEP 10.0.0.2"]
    );
    assert_eq!(host.evpn.remote_mac_count(), 0);
}

#[test]
fn a_mac_with_several_ips_is_installed_once_and_leaves_with_the_last() {
    let mut host = Host::new();
    let routes = [
        type2(2, mac(1)),
        type2(2, mac(1)).with_ip("192.0.2.1"),
        type2(2, mac(1)).with_ip("192.0.2.2"),
        type2(2, mac(1)).with_ip("2001:db8::1"),
    ];
    for route in &routes {
        host.announce(route);
    }
    assert_eq!(host.write().len(), 1);
    for (left, route) in routes.iter().enumerate().map(|(n, route)| (routes.len() - 1 - n, route)) {
        host.withdraw(route);
        assert_eq!(host.row(mac(1)).is_some(), left > 0);
    }
    assert_eq!(host.write().len(), 1, "one delete");
}

#[test]
fn a_route_without_a_matching_target_is_not_imported() {
    let mut host = Host::new();
    host.announce(&type2(2, mac(1)).attributes(|a| a.ext_communities[0] = target(101)));
    assert_eq!(host.row(mac(1)), None);
}

#[test]
fn a_route_whose_target_changes_leaves_and_comes() {
    let mut host = Host::new();
    host.add(auto(200));
    host.announce(&type2(2, mac(1)));
    host.announce(&type2(2, mac(1)).attributes(|a| a.ext_communities[0] = target(200)));
    assert_eq!((host.row(mac(1)), host.row_in(200, mac(1)).map(|r| r.ip)), (None, Some(vtep(2))));
    host.announce(&type2(2, mac(1)));
    assert_eq!((host.row(mac(1)), host.row_in(200, mac(1))), (to(2), None));
}

#[test]
fn several_instances_may_import_one_route() {
    let mut host = Host::new();
    let import = vec![ImportTarget::Exact(RouteTarget::As2 { asn: 65000, number: 100 })];
    host.add(InstanceConfig { import, ..auto(200) });
    host.add(InstanceConfig { import: vec![ImportTarget::AnyAs { number: 100 }], ..auto(300) });
    let route = type2(2, mac(1));
    host.announce(&route);
    assert_eq!(host.row(mac(1)), to(2));
    let with_vni = Some(Remote { ip: vtep(2), vni: Some(vni(100)) });
    assert_eq!((host.row_in(200, mac(1)), host.row_in(300, mac(1))), (with_vni, with_vni), "the route's VNI is used");
    host.withdraw(&route);
    assert_eq!((host.row(mac(1)), host.row_in(200, mac(1)), host.row_in(300, mac(1))), (None, None, None));
}

#[test]
fn a_label_that_differs_from_the_instances_vni_is_the_vni_to_send_with() {
    let mut host = Host::new();
    host.announce(&type2(2, mac(1)).mac_ip(|route| route.label1 = 70_000));
    assert_eq!(host.row(mac(1)), Some(Remote { ip: vtep(2), vni: Some(vni(70_000)) }));
    host.announce(&type2(2, mac(1)));
    assert_eq!(host.row(mac(1)), to(2));
}

#[test]
fn an_instance_that_comes_later_imports_what_the_rib_holds() {
    let mut host = Host::bare(EvpnLimits::default());
    host.announce(&type2(2, mac(1)));
    host.announce(&type3(2));
    assert!(host.fib.is_empty());
    host.add(auto(100));
    assert_eq!((host.row(mac(1)), host.flood()), (to(2), vec![to(2).unwrap()]));
}

#[test]
fn an_instance_that_goes_withdraws_its_routes_and_clears_its_rows_only() {
    let mut host = Host::new();
    host.add(InstanceConfig { import: vec![ImportTarget::AnyAs { number: 100 }], ..auto(200) });
    host.announce(&type2(2, mac(1)));
    host.announce(&type3(2));
    host.hear(mac(9));
    host.write();
    host.evpn.remove_instance(NOW, &mut host.rib, &mut host.fib, vni(100));
    host.settle();
    assert_eq!((host.row(mac(1)), host.flood()), (None, vec![]));
    assert!(host.row_in(200, mac(1)).is_some(), "the other instance keeps it");
    assert_eq!(host.announced(mac(9)), None);
    host.withdraw(&type2(2, mac(1)));
    assert_eq!(host.row_in(200, mac(1)), None);
    host.add(auto(100));
    assert_eq!(host.flood(), vec![to(2).unwrap()]);
}

#[test]
fn an_instance_given_again_with_other_targets_keeps_its_local_macs_and_rows() {
    let mut host = Host::new();
    host.announce(&type2(2, mac(1)));
    host.announce(&type3(2));
    host.hear(mac(9));
    host.write();
    let exact = RouteTarget::As2 { asn: 1, number: 1 };
    let config = InstanceConfig { export: vec![ExportTarget::Exact(exact)], ..auto(100) };
    host.evpn.add_instance(NOW, &mut host.rib, &mut host.fib, config);
    host.settle();
    assert_eq!(host.write(), [], "no row is touched");
    let key = RouteKey::MacIp { rd: Rd::from_ipv4(id(5), 100), tag: 0, mac: mac(9), ip: None };
    assert_eq!(host.ours(&key).unwrap().route_targets().collect::<Vec<_>>(), [exact]);
}

#[test]
fn ipv6_targets_of_four_octet_as_form_are_imported() {
    let mut host = Host::new();
    let as4 = ExtCommunity::route_target(RouteTarget::As4 { asn: 4_200_000_000, number: 100 });
    host.announce(&type2(2, mac(1)).attributes(|a| a.ext_communities[0] = as4));
    assert_eq!(host.row(mac(1)), to(2));
}

// --- routes that are not used: each has a counter ---

fn refused(route: &Announcement, counter: impl Fn(&EvpnStats) -> u64) -> Host {
    let mut host = Host::new();
    host.announce(route);
    assert!(host.fib.is_empty(), "no row");
    assert_eq!(counter(&host.stats()), 1);
    host.withdraw(route);
    assert!(host.fib.is_empty());
    host
}

#[test]
fn a_second_label_is_kept_and_does_not_matter() {
    let mut host = Host::new();
    host.announce(&type2(2, mac(1)).mac_ip(|route| route.label2 = Some(5000)));
    assert_eq!((host.row(mac(1)), host.stats().second_labels), (to(2), 1));
    let key = RouteKey::MacIp { rd: Rd::from_ipv4(id(2), 100), tag: 0, mac: mac(1), ip: None };
    assert_eq!(host.rib.best(host.rib.find(&key).unwrap()).unwrap().label2, Some(5000));
}

#[test]
fn an_unknown_tunnel_type_is_not_installed_and_none_at_all_is_vxlan() {
    let mpls = ExtCommunity([3, 0x0c, 0, 0, 0, 0, 0, 10]);
    refused(&type2(2, mac(1)).attributes(|a| a.ext_communities[1] = mpls), |s| s.unknown_encapsulation);
    refused(&type3(2).attributes(|a| a.ext_communities[1] = mpls), |s| s.unknown_encapsulation);
    let mut host = Host::new();
    host.announce(&type2(2, mac(1)).attributes(|a| a.ext_communities.truncate(1)));
    assert_eq!(host.row(mac(1)), to(2), "absent: VXLAN");
    host.announce(&type2(2, mac(1)).attributes(|a| a.ext_communities.push(mpls)));
    assert_eq!(host.row(mac(1)), to(2), "VXLAN among others");
    host.announce(&type2(2, mac(1)).attributes(|a| a.ext_communities[1] = mpls));
    assert_eq!(host.row(mac(1)), None, "a route that becomes unusable leaves");
}

#[test]
fn our_own_routes_coming_back_are_not_used() {
    refused(&type2(5, mac(1)), |s| s.own_routes);
    let mut other_number = type3(5);
    other_number.route = EvpnRoute::Imet(Imet { rd: Rd::from_ipv4(id(5), 101), tag: 0, originator: vtep(5) });
    refused(&other_number, |s| s.own_routes);
    let mut host = Host::new();
    host.hear(mac(1));
    host.announce(&type2(5, mac(1)).mobility(false, 9));
    assert_eq!(host.announced(mac(1)), Some((false, 0)), "nor do they replace what we say now");
}

#[test]
fn a_next_hop_that_is_our_own_vtep_is_not_used() {
    refused(&type2(2, mac(1)).attributes(|a| a.next_hop = Some(vtep(5))), |s| s.own_next_hop);
    let pmsi = Some(PmsiTunnel::ingress_replication(100, vtep(5)));
    refused(&type3(2).attributes(|a| a.pmsi = pmsi), |s| s.own_next_hop);
}

#[test]
fn martian_macs_are_not_used() {
    refused(&type2(2, MacAddr::ZERO), |s| s.martian_macs);
    refused(&type2(2, MacAddr([1, 0, 0x5e, 0, 0, 1])), |s| s.martian_macs);
    refused(&type2(2, MacAddr([0xff; 6])), |s| s.martian_macs);
    let mut host = Host::new();
    host.hear(MacAddr([1, 0, 0, 0, 0, 1]));
    assert_eq!((host.announced(MacAddr([1, 0, 0, 0, 0, 1])), host.stats().martian_macs), (None, 1));
}

#[test]
fn label_0_is_not_used() {
    refused(&type2(2, mac(1)).mac_ip(|route| route.label1 = 0), |s| s.zero_labels);
    let pmsi = Some(PmsiTunnel::ingress_replication(0, vtep(2)));
    refused(&type3(2).attributes(|a| a.pmsi = pmsi), |s| s.zero_labels);
}

#[test]
fn a_next_hop_that_no_host_can_have_is_not_used() {
    let route = type2(2, mac(1)).attributes(|a| a.next_hop = Some(ip("127.0.0.1")));
    refused(&route, |s| s.no_next_hop);
}

#[test]
fn an_ethernet_tag_is_not_used() {
    refused(&type2(2, mac(1)).mac_ip(|route| route.tag = 7), |s| s.ethernet_tags);
    let mut route = type3(2);
    route.route = EvpnRoute::Imet(Imet { rd: Rd::from_ipv4(id(2), 100), tag: 7, originator: vtep(2) });
    refused(&route, |s| s.ethernet_tags);
}

#[test]
fn an_ipv6_remote_on_an_ipv4_vtep_is_not_used() {
    refused(&type2(2, mac(1)).attributes(|a| a.next_hop = Some(ip("2001:db8::2"))), |s| s.other_family);
    let pmsi = Some(PmsiTunnel::ingress_replication(100, ip("2001:db8::2")));
    refused(&type3(2).attributes(|a| a.pmsi = pmsi), |s| s.other_family);
}

#[test]
fn a_route_with_an_ethernet_segment_is_installed_by_its_next_hop() {
    let mut host = Host::new();
    host.announce(&type2(2, mac(1)).mac_ip(|route| route.esi = Esi([1; 10])));
    assert_eq!((host.row(mac(1)), host.stats().multihomed), (to(2), 1));
}

// --- type 3 ---

#[test]
fn a_type_3_without_ingress_replication_does_not_flood() {
    refused(&type3(2).attributes(|a| a.pmsi = None), |s| s.not_ingress_replication);
    let pmsi = Some(PmsiTunnel { tunnel_type: 3, ..PmsiTunnel::ingress_replication(100, vtep(2)) });
    refused(&type3(2).attributes(|a| a.pmsi = pmsi), |s| s.not_ingress_replication);
}

#[test]
fn a_vtep_is_on_the_flood_list_once_and_leaves_with_its_last_type_3() {
    let mut host = Host::new();
    let first = type3(2);
    let mut second = type3(2);
    second.route = EvpnRoute::Imet(Imet { rd: Rd::from_ipv4(id(2), 101), tag: 0, originator: vtep(2) });
    host.announce(&first);
    host.announce(&second);
    assert_eq!(host.write().len(), 1);
    host.withdraw(&first);
    assert_eq!(host.flood(), vec![to(2).unwrap()]);
    host.withdraw(&second);
    assert_eq!(host.flood(), vec![]);
    assert_eq!(host.events(), ["VNI 100: VTEP 10.0.0.2 joined", "VNI 100: VTEP 10.0.0.2 left"]);
}

#[test]
fn the_tunnel_identifier_is_where_to_flood_and_the_next_hop_where_it_is_none() {
    let mut host = Host::new();
    host.announce(&type3(2).attributes(|a| a.next_hop = Some(vtep(9))));
    assert_eq!(host.flood(), vec![to(2).unwrap()]);
    let unspecified = Some(PmsiTunnel::ingress_replication(100, ip("0.0.0.0")));
    host.announce(&type3(2).attributes(|a| {
        a.next_hop = Some(vtep(9));
        a.pmsi = unspecified;
    }));
    assert_eq!(host.flood(), vec![to(9).unwrap()]);
}

#[test]
fn a_flood_entry_carries_the_vni_of_the_pmsi_label() {
    let mut host = Host::new();
    let pmsi = Some(PmsiTunnel::ingress_replication(200, vtep(2)));
    host.announce(&type3(2).attributes(|a| a.pmsi = pmsi));
    assert_eq!(host.flood(), vec![Remote { ip: vtep(2), vni: Some(vni(200)) }]);
    host.announce(&type3(2));
    assert_eq!(host.flood(), vec![to(2).unwrap()]);
    assert_eq!(host.evpn.vteps().len(), 1);
}

#[test]
fn we_announce_ourselves_while_the_device_is_ready() {
    let mut host = Host::new();
    let key = RouteKey::Imet { rd: Rd::from_ipv4(id(5), 100), tag: 0, originator: vtep(5) };
    let attributes = host.ours(&key).unwrap();
    assert_eq!(attributes.next_hop, Some(vtep(5)));
    assert_eq!(attributes.ext_communities, [target(100), ExtCommunity::vxlan()]);
    assert_eq!(attributes.pmsi, Some(PmsiTunnel::ingress_replication(100, vtep(5))));
    host.hear(mac(1));
    host.evpn.device_down(NOW, &mut host.rib, vni(100));
    host.settle();
    assert!(host.ours(&key).is_none());
    assert_eq!(host.announced(mac(1)), None, "frames for it could not reach us");
    host.evpn.device_up(NOW, &mut host.rib, vni(100));
    host.settle();
    assert!(host.ours(&key).is_some());
    assert_eq!(host.announced(mac(1)), Some((false, 0)));
}

// --- local MACs ---

#[test]
fn a_local_mac_is_announced_with_all_it_needs_and_withdrawn_when_it_ages() {
    let mut host = Host::new();
    host.hear(mac(1));
    let key = RouteKey::MacIp { rd: Rd::from_ipv4(id(5), 100), tag: 0, mac: mac(1), ip: None };
    let best = host.rib.best(host.rib.find(&key).unwrap()).unwrap();
    assert_eq!((best.label1, best.label2), (100, None));
    let attributes = host.ours(&key).unwrap();
    assert_eq!((attributes.next_hop, attributes.pmsi.is_none()), (Some(vtep(5)), true));
    assert_eq!(attributes.ext_communities, [target(100), ExtCommunity::vxlan()], "no mobility while it never moved");
    host.forget(mac(1));
    assert_eq!(host.announced(mac(1)), None);
    assert_eq!(
        host.events(),
        [
            "VNI 100: 02:00:00:00:00:01 is at local port tap3 (sequence 0)",
            "VNI 100: 02:00:00:00:00:01 is gone from local port tap3"
        ]
    );
}

#[test]
fn a_static_mac_is_announced_as_sticky_and_so_is_one_of_the_configuration() {
    let mut host = Host::bare(EvpnLimits::default());
    host.add(InstanceConfig { static_macs: vec![mac(2)], ..auto(100) });
    let heard = LocalMac { is_static: true, ..host.heard(mac(1)) };
    host.hear_as(&heard);
    assert_eq!(host.announced(mac(1)), Some((true, 0)));
    assert_eq!(host.announced(mac(2)), Some((true, 0)));
    host.hear(mac(1));
    assert_eq!(host.announced(mac(1)), Some((false, 0)), "no longer static");
    host.hear(mac(2));
    host.forget(mac(2));
    assert_eq!(host.announced(mac(2)), Some((true, 0)), "the configuration stays");
}

#[test]
fn a_move_between_local_ports_keeps_the_sequence() {
    let mut host = Host::new();
    host.hear(mac(1));
    let heard = LocalMac { port: 4, port_name: "tap4".into(), ..host.heard(mac(1)) };
    host.hear_as(&heard);
    assert_eq!((host.announced(mac(1)), host.stats().local_moves, host.stats().moves), (Some((false, 0)), 1, 0));
    assert!(host.events()[1].contains("moved from local port tap3 to local port tap4"));
}

#[test]
fn a_port_that_gets_another_name_is_the_same_port() {
    let mut host = Host::new();
    host.hear(mac(1));
    assert_eq!(host.events().len(), 1);
    host.hear_as(&LocalMac { port_name: "web1".into(), ..host.heard(mac(1)) });
    assert_eq!((host.stats().local_moves, host.events()), (0, Vec::new()));
    host.hear_as(&LocalMac { port: 4, port_name: "tap4".into(), ..host.heard(mac(1)) });
    let told = host.events();
    assert!(told[0].contains("moved from local port web1 to local port tap4"), "{told:?}");
}

#[test]
fn a_full_set_of_local_macs_takes_away_what_is_not_in_it() {
    let mut host = Host::new();
    host.hear(mac(1));
    host.hear(mac(2));
    let all = [host.heard(mac(2)), host.heard(mac(3))];
    host.evpn.handle_local_macs(NOW, &mut host.rib, &mut host.fib, vni(100), &all);
    host.settle();
    let announced: Vec<bool> = (1..=3).map(|n| host.announced(mac(n)).is_some()).collect();
    assert_eq!(announced, [false, true, true]);
    assert_eq!(host.evpn.local_mac_count(), 2);
}

// --- limits ---

#[test]
fn limits_hold_and_are_counted_and_told_once() {
    let limits = EvpnLimits {
        remote_macs_per_vni: 2,
        local_macs_per_vni: 2,
        local_macs_per_port: 9,
        routes_per_mac: 2,
        flood_routes: 1,
        events: 4,
    };
    let mut host = Host::with_limits(limits);
    for n in 1..=4 {
        host.announce(&type2(2, mac(n)));
    }
    assert_eq!((host.evpn.remote_mac_count(), host.stats().macs_over_limit), (2, 2));
    host.withdraw(&type2(2, mac(4)));
    host.withdraw(&type2(2, mac(1)));
    host.announce(&type2(2, mac(3)).mobility(false, 1));
    assert_eq!(host.row(mac(3)), to(2), "a route that was refused is looked at again when it changes");
    for address in ["192.0.2.1", "192.0.2.2", "192.0.2.3"] {
        host.announce(&type2(2, mac(2)).with_ip(address));
    }
    assert_eq!(host.stats().routes_over_limit, 2);
    host.withdraw(&type2(2, mac(2)));
    host.withdraw(&type2(2, mac(2)).with_ip("192.0.2.2"));
    assert_eq!(host.row(mac(2)), to(2));
    host.withdraw(&type2(2, mac(2)).with_ip("192.0.2.1"));
    assert_eq!(host.row(mac(2)), None);
    for n in 5..=7 {
        host.hear(mac(n));
    }
    assert_eq!((host.stats().local_macs_over_limit, host.announced(mac(7))), (1, None));
    host.announce(&type3(2));
    host.announce(&type3(3));
    assert_eq!((host.flood(), host.stats().flood_over_limit), (vec![to(2).unwrap()], 1));
    assert_eq!(host.events().len(), 4);
    assert!(host.stats().events_dropped > 0);
}

#[test]
fn a_limit_that_is_reached_is_an_event() {
    let mut host = Host::with_limits(EvpnLimits { remote_macs_per_vni: 1, ..EvpnLimits::default() });
    for n in 1..=3 {
        host.announce(&type2(2, mac(n)));
    }
    let told = host.events().into_iter().filter(|line| line.contains("limit")).count();
    assert_eq!(told, 1);
}

// --- for people ---

#[test]
fn explain_says_of_every_route_why_it_won_or_lost() {
    let mut host = Host::new();
    host.announce(&type2(2, mac(1)).mobility(false, 3));
    host.announce(&type2(3, mac(1)).mobility(false, 3));
    host.announce(&type2(4, mac(1)).mobility(false, 2));
    host.announce(&type2(6, mac(1)).attributes(|a| a.ext_communities[0] = target(7)));
    host.announce(&type2(7, mac(1)).mac_ip(|route| route.label1 = 0));
    host.write();
    let told = host.evpn.explain(&host.rib, &host.fib, vni(100), mac(1));
    let whys: Vec<&str> = told.candidates.iter().map(|candidate| candidate.why.as_str()).collect();
    assert_eq!(
        whys,
        [
            "best",
            "5: higher VTEP address",
            "3: lower sequence",
            "not imported: no route target of it is imported by VNI 100",
            "not used: label is 0"
        ]
    );
    assert!(told.candidates[0].chosen);
    assert_eq!(told.candidates[0].rib_decision.len(), 1);
    assert_eq!(told.place, Some(Place::Vtep(vtep(2))));
    assert_eq!(told.row.unwrap().status, Status::InSync);
    host.hear(mac(1));
    let told = host.evpn.explain(&host.rib, &host.fib, vni(100), mac(1));
    assert!(told.local.unwrap().announced);
    assert_eq!(told.candidates.iter().filter(|candidate| candidate.why == "our own").count(), 1);
    assert_eq!(told.candidates.iter().filter(|candidate| candidate.why == "3: lower sequence").count(), 3);
    assert!(!host.evpn.explain(&host.rib, &host.fib, vni(999), mac(1)).configured);
}

#[test]
fn macs_and_vteps_are_listed() {
    let mut host = Host::new();
    host.announce(&type2(2, mac(1)));
    host.announce(&type2(3, mac(2)).mobility(true, 4));
    host.announce(&type3(3));
    host.hear(mac(3));
    let macs: Vec<_> = host.evpn.macs(vni(100)).map(|view| (view.mac, view.sequence, view.sticky)).collect();
    assert_eq!(macs, [(mac(3), 0, false), (mac(1), 0, false), (mac(2), 4, true)]);
    let vteps: Vec<_> = host.evpn.vteps().into_iter().map(|view| (view.vtep, view.flood.len(), view.macs)).collect();
    assert_eq!(vteps, [(vtep(2), 0, 1), (vtep(3), 1, 1)]);
    let view = host.evpn.instance(vni(100)).unwrap();
    assert_eq!((view.remote_macs, view.local_macs, view.vteps, view.ready), (2, 1, 1, true));
    assert!(matches!(host.evpn.poll_event(), Some(Event::MacLearned { .. })));
}
