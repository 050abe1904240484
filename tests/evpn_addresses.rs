//! MAC/IP routes of others: what ARP and ND are answered with. Each case has a line of words. See `src/evpn/addresses.rs`.

#![allow(clippy::unwrap_used)]

#[path = "evpn_support/mod.rs"]
mod support;

use evpnd::fib::Binding;
use evpnd::wire::ext_community::arp_nd;
use support::*;

fn with(number: u8) -> Option<Binding> {
    Some(Binding { mac: mac(number), router: false })
}
fn flags(announcement: Announcement, flags: u8) -> Announcement {
    announcement.attributes(|attributes| attributes.ext_communities.push(ExtCommunity::arp_nd(flags)))
}

/// An address of either family is answered with the MAC of its route, until the route goes; a MAC-only route answers nothing.
#[test]
fn a_mac_ip_route_answers_for_its_address() {
    let mut host = Host::new();
    host.announce(&type2(1, mac(1)));
    assert_eq!(host.fib.neighbor_count(), 0);
    for text in ["192.0.2.1", "2001:db8::1", "fe80::1"] {
        let route = type2(1, mac(1)).with_ip(text);
        host.announce(&route);
        assert_eq!(host.answered(text), with(1));
        host.withdraw(&route);
        assert_eq!(host.answered(text), None);
    }
    assert_eq!((host.fib.neighbor_count(), host.evpn.remote_address_count()), (0, 0));
}

/// The router flag of RFC 9047 is carried to where advertisements are made, and its change too.
#[test]
fn the_router_flag_is_carried() {
    let mut host = Host::new();
    host.announce(&flags(type2(1, mac(1)).with_ip("2001:db8::1"), arp_nd::ROUTER | arp_nd::OVERRIDE));
    assert_eq!(host.answered("2001:db8::1"), Some(Binding { mac: mac(1), router: true }));
    host.announce(&type2(1, mac(1)).with_ip("2001:db8::1"));
    assert_eq!(host.answered("2001:db8::1"), with(1));
}

/// A machine that moves takes its address along: the answer stays while either host's route stands.
#[test]
fn a_move_of_the_mac_changes_no_answer() {
    let mut host = Host::new();
    let (before, after) = (type2(1, mac(1)).with_ip("192.0.2.1"), type2(2, mac(1)).with_ip("192.0.2.1").mobility(false, 1));
    host.announce(&before);
    host.write();
    host.announce(&after);
    host.withdraw(&before);
    assert_eq!(host.answered("192.0.2.1"), with(1));
    assert_eq!(host.stats().address_moves, 0);
    host.hear(mac(1));
    assert_eq!(host.answered("192.0.2.1"), with(1), "it came here, and the address with it");
    host.withdraw(&after);
    assert_eq!(host.answered("192.0.2.1"), None);
}

/// Two MACs claim one address: the higher number wins (RFC 9721), whatever the order; the loser's answer is back when the winner
/// goes.
#[test]
fn the_higher_number_has_the_address() {
    let old = type2(1, mac(1)).with_ip("192.0.2.1");
    let new = type2(2, mac(2)).with_ip("192.0.2.1").mobility(false, 1);
    for order in [[&old, &new], [&new, &old]] {
        let mut host = Host::new();
        order.into_iter().for_each(|route| host.announce(route));
        assert_eq!(host.answered("192.0.2.1"), with(2));
        host.withdraw(&new);
        assert_eq!(host.answered("192.0.2.1"), with(1));
    }
}

/// An immutable binding (RFC 9047 §3.3) and a sticky MAC keep their address against any number.
#[test]
fn an_immutable_binding_stays() {
    for first in
        [flags(type2(1, mac(1)).with_ip("192.0.2.1"), arp_nd::IMMUTABLE), type2(1, mac(1)).with_ip("192.0.2.1").mobility(true, 0)]
    {
        let mut host = Host::new();
        host.announce(&first);
        host.announce(&type2(2, mac(2)).with_ip("192.0.2.1").mobility(false, 9));
        assert_eq!(host.answered("192.0.2.1"), with(1));
    }
}

/// Addresses that no host can be asked for are counted and not answered; their MACs are installed all the same.
#[test]
fn addresses_of_nobody_are_not_answered() {
    let mut host = Host::new();
    for (n, text) in ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "::", "::1", "ff02::1"].into_iter().enumerate() {
        host.announce(&type2(1, mac(n as u8 + 1)).with_ip(text));
    }
    assert_eq!((host.fib.neighbor_count(), host.stats().martian_ips), (0, 7));
    assert_eq!(host.row(mac(1)), to(1));
}

/// Where ARP and ND are not answered here nothing is kept of addresses; turned on and off, they come and go.
#[test]
fn without_suppression_nothing_is_answered() {
    let mut host = Host::bare(EvpnLimits::default());
    host.add(InstanceConfig { neighbors: false, ..auto(100) });
    host.announce(&type2(1, mac(1)).with_ip("192.0.2.1"));
    assert_eq!((host.fib.neighbor_count(), host.evpn.remote_address_count()), (0, 0));
    host.add(auto(100));
    assert_eq!(host.answered("192.0.2.1"), with(1));
    host.add(InstanceConfig { neighbors: false, ..auto(100) });
    assert_eq!((host.fib.neighbor_count(), host.evpn.remote_address_count()), (0, 0));
}

/// Of one address the best routes are kept, so that who wins does not depend on who came first; room is filled again.
#[test]
fn of_one_address_the_best_routes_are_kept() {
    let mut host = Host::new();
    for n in 1..=100 {
        host.announce(&type2(1, mac(n)).with_ip("192.0.2.1").mobility(false, u32::from(n)));
    }
    assert_eq!(host.answered("192.0.2.1"), with(100));
    assert_eq!(host.stats().address_routes_over_limit, 36);
    for n in (31..=100).rev() {
        host.withdraw(&type2(1, mac(n)).with_ip("192.0.2.1"));
        host.wait(6);
    }
    assert_eq!(host.answered("192.0.2.1"), with(30), "what was not kept is found again when there is room");
}

/// The instance goes, and so do its answers; another's stay.
#[test]
fn an_instance_takes_its_answers_along() {
    let mut host = Host::new();
    host.add(InstanceConfig { import: vec![ImportTarget::Exact(RouteTarget::As2 { asn: 65000, number: 100 })], ..auto(200) });
    host.announce(&type2(1, mac(1)).with_ip("192.0.2.1"));
    assert_eq!(host.fib.neighbor_count(), 2);
    host.evpn.remove_instance(host.now, &mut host.rib, &mut host.fib, vni(200));
    assert_eq!((host.fib.neighbor_count(), host.answered("192.0.2.1")), (1, with(1)));
}
