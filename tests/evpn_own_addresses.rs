//! Addresses of MACs of our own bridge: announced, moved, contested, withdrawn. Each case has a line of words. See
//! `src/evpn/own_addresses.rs`.

#![allow(clippy::unwrap_used)]

#[path = "evpn_support/mod.rs"]
mod support;

use evpnd::fib::Binding;
use evpnd::wire::ext_community::arp_nd;
use support::*;

fn with(number: u8) -> Option<Binding> {
    Some(Binding { mac: mac(number), router: false })
}

/// What a host says of its address is announced beside its MAC, answered here, and goes with the MAC.
#[test]
fn an_address_is_announced_while_its_mac_is_ours() {
    let mut host = Host::new();
    host.hear(mac(1));
    host.says(mac(1), "192.0.2.1");
    host.says(mac(1), "2001:db8::1");
    for text in ["192.0.2.1", "2001:db8::1"] {
        assert_eq!((host.ip_sequence(mac(1), text), host.answered(text)), (Some(0), with(1)));
    }
    assert_eq!(host.announced(mac(1)), Some((false, 0)), "beside the MAC-only route");
    assert_eq!(host.evpn.ips(&host.rib, vni(100), mac(1)), [ip("192.0.2.1"), ip("2001:db8::1")]);
    host.forget(mac(1));
    for text in ["192.0.2.1", "2001:db8::1"] {
        assert_eq!((host.ip_sequence(mac(1), text), host.answered(text)), (None, None));
    }
    assert_eq!((host.evpn.remote_address_count(), host.fib.neighbor_count()), (0, 0), "nothing is kept");
}

/// The frame may be read before the bridge's word of its MAC: it counts when that comes, and not for ever.
#[test]
fn an_address_may_come_before_its_mac() {
    let mut host = Host::new();
    host.says(mac(1), "192.0.2.1");
    assert_eq!(host.ip_sequence(mac(1), "192.0.2.1"), None);
    host.hear(mac(1));
    assert_eq!(host.ip_sequence(mac(1), "192.0.2.1"), Some(0));
    host.says(mac(2), "192.0.2.2");
    host.wait(11);
    host.hear(mac(2));
    assert_eq!(host.ip_sequence(mac(2), "192.0.2.2"), None, "what was said long ago may be wrong");
}

/// A MAC that is nobody's here has no address here, whatever is said.
#[test]
fn of_a_remote_mac_nothing_is_announced() {
    let mut host = Host::new();
    host.announce(&type2(1, mac(1)));
    host.says(mac(1), "192.0.2.1");
    assert_eq!((host.ip_sequence(mac(1), "192.0.2.1"), host.answered("192.0.2.1")), (None, None));
}

/// A router says so in its advertisements, and later that it is none.
#[test]
fn the_router_flag_is_announced() {
    let mut host = Host::new();
    host.hear(mac(1));
    host.says(mac(1), "2001:db8::1");
    let flags = |host: &Host| host.announced_ip(mac(1), "2001:db8::1").unwrap().arp_nd_flags();
    assert_eq!(flags(&host), None);
    host.says_as(mac(1), "2001:db8::1", Some(true));
    assert_eq!(flags(&host), Some(arp_nd::ROUTER));
    assert_eq!(host.answered("2001:db8::1"), Some(Binding { mac: mac(1), router: true }));
    host.says(mac(1), "2001:db8::1");
    assert_eq!(flags(&host), Some(arp_nd::ROUTER), "a solicitation says nothing of it");
    host.says_as(mac(1), "2001:db8::1", Some(false));
    assert_eq!(flags(&host), None);
}

/// An address goes over to another MAC of this host: one route for it, with the next number.
#[test]
fn an_address_moves_between_macs_of_this_host() {
    let mut host = Host::new();
    host.hear(mac(1));
    host.hear(mac(2));
    host.says(mac(1), "192.0.2.1");
    host.says(mac(2), "192.0.2.1");
    assert_eq!((host.ip_sequence(mac(1), "192.0.2.1"), host.ip_sequence(mac(2), "192.0.2.1")), (None, Some(1)));
    assert_eq!((host.answered("192.0.2.1"), host.stats().address_moves), (with(2), 1));
}

/// An address comes from another host's MAC to one of ours (RFC 9721, an IP that moves): above its number. The other host's
/// answer, with a number above ours, takes it back and ours is withdrawn.
#[test]
fn an_address_moves_between_hosts() {
    let mut host = Host::new();
    host.announce(&type2(1, mac(1)).with_ip("192.0.2.1").mobility(false, 4));
    host.hear(mac(2));
    host.says(mac(2), "192.0.2.1");
    assert_eq!((host.ip_sequence(mac(2), "192.0.2.1"), host.answered("192.0.2.1")), (Some(5), with(2)));
    host.announce(&type2(1, mac(1)).with_ip("192.0.2.1").mobility(false, 6));
    assert_eq!((host.ip_sequence(mac(2), "192.0.2.1"), host.answered("192.0.2.1")), (None, with(1)));
    assert_eq!(host.announced(mac(2)), Some((false, 0)), "its MAC stays ours");
}

/// Who had an address and says it again is believed, so its words are not old news from then on: another of this host took it, or one
/// elsewhere. One that gave it up or went has nothing to say.
#[test]
fn whose_address_was_taken_is_listened_to_at_once() {
    let mut host = Host::new();
    host.hear(mac(1));
    host.hear(mac(2));
    host.says(mac(1), "192.0.2.1");
    assert_eq!(host.evpn.take_taken(), []);
    host.says(mac(2), "192.0.2.1");
    assert_eq!(host.evpn.take_taken(), [(vni(100), mac(1), ip("192.0.2.1"))]);
    host.says(mac(1), "192.0.2.1");
    assert_eq!(host.evpn.take_taken(), [(vni(100), mac(2), ip("192.0.2.1"))]);
    host.announce(&type2(9, mac(3)).with_ip("192.0.2.1").mobility(false, 9));
    assert_eq!((host.evpn.take_taken(), host.answered("192.0.2.1")), (vec![(vni(100), mac(1), ip("192.0.2.1"))], with(3)));
    host.says(mac(1), "192.0.2.1");
    assert_eq!(host.answered("192.0.2.1"), with(1));
    host.denies(mac(1), "192.0.2.1");
    host.says(mac(2), "192.0.2.2");
    host.forget(mac(2));
    assert_eq!(host.evpn.take_taken(), []);
}

/// A machine that comes here is asked for the addresses that it had elsewhere; its answer announces them above the old route.
#[test]
fn a_machine_that_comes_here_is_asked_for_its_addresses() {
    let mut host = Host::new();
    host.announce(&type2(1, mac(1)));
    host.announce(&type2(1, mac(1)).with_ip("192.0.2.1").mobility(false, 2));
    host.hear(mac(1));
    assert_eq!(host.evpn.take_questions(), [(vni(100), mac(1), ip("192.0.2.1"))]);
    assert_eq!(host.evpn.take_questions(), []);
    host.says(mac(1), "192.0.2.1");
    assert_eq!((host.announced(mac(1)), host.ip_sequence(mac(1), "192.0.2.1")), (Some((false, 3)), Some(3)));
}

/// While the device was gone nobody listened: what hosts had before is announced again, and each is asked whether that is still so.
#[test]
fn hosts_are_asked_when_their_device_is_back() {
    let mut host = Host::new();
    host.hear(mac(1));
    host.says(mac(1), "192.0.2.1");
    host.evpn.device_down(host.now, &mut host.rib, vni(100));
    host.settle();
    assert_eq!(host.ip_sequence(mac(1), "192.0.2.1"), None);
    host.evpn.device_up(host.now, &mut host.rib, vni(100));
    host.settle();
    assert_eq!(host.ip_sequence(mac(1), "192.0.2.1"), Some(0));
    for asked in [vec![(vni(100), mac(1), ip("192.0.2.1"))], Vec::new()] {
        host.dump(&[mac(1)]);
        assert_eq!(host.evpn.take_questions(), asked, "once");
    }
}

/// The same where the VNI itself went and is back: a device that was found, and made anew or moved to another bridge.
#[test]
fn hosts_are_asked_when_their_vni_is_back() {
    for (pause, asked) in [(10, 1), (90, 0)] {
        let mut host = Host::new();
        host.hear(mac(1));
        host.says(mac(1), "192.0.2.1");
        host.evpn.remove_instance(host.now, &mut host.rib, &mut host.fib, vni(100));
        host.settle();
        host.wait(pause);
        host.evpn.add_instance(host.now, &mut host.rib, &mut host.fib, auto(100));
        host.settle();
        host.hear(mac(1));
        assert_eq!(host.evpn.take_questions(), vec![(vni(100), mac(1), ip("192.0.2.1")); asked], "after {pause} s");
    }
}

/// One that is stopped elsewhere and started here is asked too, for a while: its old routes went before it spoke here.
#[test]
fn a_machine_that_was_stopped_elsewhere_is_asked_for_its_addresses() {
    for (pause, asked) in [(30, 1), (90, 0)] {
        let mut host = Host::new();
        for route in [type2(1, mac(1)), type2(1, mac(1)).with_ip("192.0.2.1")] {
            host.announce(&route);
            host.withdraw(&route);
        }
        host.wait(pause);
        host.hear(mac(1));
        assert_eq!(host.evpn.take_questions().len(), 0, "it may be looking whether its address is free");
        host.wait(10);
        assert_eq!(host.evpn.take_questions().len(), asked, "after {pause} s");
    }
    // A host that goes with all it has is remembered in part.
    let mut host = Host::new();
    for n in 0..5000u32 {
        let [_, _, a, b] = n.to_be_bytes();
        let route = type2(1, MacAddr([2, 0, 0, 1, a, b])).with_ip(&format!("10.1.{a}.{b}"));
        host.announce(&route);
        host.withdraw(&route);
    }
    host.hear(MacAddr([2, 0, 0, 1, 0, 9]));
    host.wait(10);
    assert_eq!(host.evpn.take_questions().len(), 1);
}

/// A lease is announced before its host speaks, and the host is asked for it. But anybody can send what a server sends: it takes an
/// address from nobody, neither at another host nor here, whatever the MAC is, until that MAC's own word.
#[test]
fn a_lease_takes_an_address_from_nobody() {
    for is_static in [false, true] {
        let mut host = Host::new();
        host.hear(mac(1));
        host.is_given(mac(1), "192.0.2.1");
        assert_eq!((host.ip_sequence(mac(1), "192.0.2.1"), host.answered("192.0.2.1")), (Some(0), with(1)));
        host.wait(10);
        assert_eq!(host.evpn.take_questions(), [(vni(100), mac(1), ip("192.0.2.1"))]);
        host.is_given(mac(1), "192.0.2.1");
        host.wait(10);
        assert_eq!(host.evpn.take_questions(), [], "it has it");

        let heard = LocalMac { is_static, ..host.heard(mac(2)) };
        host.hear_as(&heard);
        host.announce(&type2(1, mac(3)).with_ip("192.0.2.3"));
        for (text, owner) in [("192.0.2.1", 1), ("192.0.2.3", 3)] {
            host.is_given(mac(2), text);
            assert_eq!((host.ip_sequence(mac(2), text), host.answered(text)), (None, with(owner)), "{text}");
            host.wait(10);
            assert_eq!(host.evpn.take_questions(), [(vni(100), mac(2), ip(text))]);
        }
        host.says(mac(2), "192.0.2.3");
        assert_eq!((host.ip_sequence(mac(2), "192.0.2.3"), host.answered("192.0.2.3")), (Some(1), with(2)));
    }
}

/// A machine that leaves takes its addresses along: nothing of it is announced from here.
#[test]
fn a_machine_that_leaves_takes_its_addresses_along() {
    let mut host = Host::new();
    host.hear(mac(1));
    host.says(mac(1), "192.0.2.1");
    host.announce(&type2(1, mac(1)).mobility(false, 1));
    assert_eq!((host.announced(mac(1)), host.ip_sequence(mac(1), "192.0.2.1")), (None, None));
    assert_eq!(host.answered("192.0.2.1"), None, "until its new host says so");
    host.hear(mac(1));
    assert_eq!(host.ip_sequence(mac(1), "192.0.2.1"), None, "back, it has to say so itself");
}

/// No answer for an address withdraws it and leaves the MAC; a word of another MAC's address changes nothing.
#[test]
fn an_address_that_is_not_answered_for_goes() {
    let mut host = Host::new();
    host.hear(mac(1));
    host.says(mac(1), "192.0.2.1");
    host.denies(mac(2), "192.0.2.1");
    assert_eq!(host.ip_sequence(mac(1), "192.0.2.1"), Some(0));
    host.denies(mac(1), "192.0.2.1");
    assert_eq!((host.ip_sequence(mac(1), "192.0.2.1"), host.announced(mac(1))), (None, Some((false, 0))));
    assert_eq!(host.answered("192.0.2.1"), None);
}

/// Two hosts with one address: told once; with freeze the address stays where it was found.
#[test]
fn two_hosts_with_one_address_are_told_of_once() {
    for freeze in [false, true] {
        let mut host = Host::new();
        host.set_rule(DuplicateDetection { freeze, ..DuplicateDetection::default() });
        host.hear(mac(1));
        host.hear(mac(2));
        host.events();
        for _ in 0..10 {
            for number in [1, 2] {
                host.says(mac(number), "192.0.2.1");
                host.wait(1);
            }
        }
        let told = host.events().into_iter().filter(|event| event.contains("two MACs have the same address")).count();
        assert_eq!((told, host.evpn.conflict_count()), (1, 1), "freeze {freeze}");
        let holder = host.answered("192.0.2.1");
        assert_eq!(holder, if freeze { with(1) } else { with(2) });
        assert!(host.stats().address_conflicts > 5);
        host.wait(540);
        host.says(mac(2), "192.0.2.1");
        host.says(mac(1), "192.0.2.1");
        assert_eq!(host.answered("192.0.2.1"), with(1), "after its time a move is a move again");
    }
}

/// A binding that may not move stays its owner's; a static MAC of ours is believed all the same.
#[test]
fn an_immutable_binding_is_not_claimed() {
    let immutable = type2(1, mac(1)).with_ip("192.0.2.1");
    let immutable = immutable.attributes(|a| a.ext_communities.push(ExtCommunity::arp_nd(arp_nd::IMMUTABLE)));
    let mut host = Host::new();
    host.announce(&immutable);
    host.hear(mac(2));
    host.says(mac(2), "192.0.2.1");
    assert_eq!((host.ip_sequence(mac(2), "192.0.2.1"), host.answered("192.0.2.1")), (None, with(1)));
    assert_eq!(host.stats().sticky_violations, 1);
}

/// A MAC may have so many addresses: one that invents them is refused, and counted.
#[test]
fn a_mac_has_no_more_addresses_than_the_limit_allows() {
    let mut host = Host::with_limits(EvpnLimits { routes_per_mac: 4, ..EvpnLimits::default() });
    host.hear(mac(1));
    for n in 1..=10 {
        host.says(mac(1), &format!("192.0.2.{n}"));
    }
    assert_eq!((host.fib.neighbor_count(), host.stats().local_ips_over_limit), (4, 6));
    host.denies(mac(1), "192.0.2.1");
    host.says(mac(1), "192.0.2.9");
    assert_eq!(host.ip_sequence(mac(1), "192.0.2.9"), Some(0), "there is room again");
}

/// That limit is told once and shown, until the MAC has fewer; who gives up one and takes another all the time is no flood of lines.
#[test]
fn the_limit_of_addresses_is_told_once_until_there_is_room() {
    let mut host = Host::with_limits(EvpnLimits { routes_per_mac: 4, ..EvpnLimits::default() });
    let told =
        |host: &mut Host| host.events().into_iter().filter(|line| line.contains("limit of 4 addresses of one local")).count();
    let view = |host: &Host| host.evpn.instance(vni(100)).map(|view| (view.refused_addresses, view.at_limit)).unwrap();
    host.hear(mac(1));
    (1..=10).for_each(|n| host.says(mac(1), &format!("192.0.2.{n}")));
    assert_eq!((told(&mut host), view(&host)), (1, (6, true)));
    for n in 0..50 {
        host.denies(mac(1), &format!("192.0.2.{}", n + 1));
        host.says(mac(1), &format!("192.0.2.{}", n + 5));
        host.says(mac(1), "192.0.2.99");
        host.dump(&[mac(1)]);
        host.wait_millis(100);
    }
    assert_eq!((told(&mut host), view(&host)), (0, (56, true)), "in five seconds");
    host.denies(mac(1), "192.0.2.54");
    host.wait(5);
    assert_eq!((view(&host), host.evpn.poll_timeout()), ((56, false), None));
    ["192.0.2.61", "192.0.2.62"].into_iter().for_each(|text| host.says(mac(1), text));
    assert_eq!((told(&mut host), view(&host)), (1, (57, true)), "told again, because there was room");
    host.forget(mac(1));
    host.wait(5);
    assert_eq!((view(&host), host.evpn.poll_timeout()), ((57, false), None));
}

/// What is to be asked and what is remembered has a bound; beyond, it is counted.
#[test]
fn questions_and_memories_beyond_their_bounds_are_counted() {
    let mut host = Host::new();
    for n in 0..20_000_u32 {
        let [_, _, a, b] = n.to_be_bytes();
        host.is_given(MacAddr([2, 0, 0, 1, a, b]), &format!("10.1.{a}.{b}"));
    }
    // One question is of 10.1.0.0, which is a host's address like any other.
    assert_eq!(host.stats().questions_over_limit, 20_000 - (1 << 14));
    host.wait(10);
    assert_eq!(host.evpn.take_questions().len(), 1 << 14);
    for n in 0..5000_u32 {
        let [_, _, a, b] = n.to_be_bytes();
        let route = type2(1, MacAddr([2, 0, 0, 2, a, b])).with_ip(&format!("10.2.{a}.{b}"));
        host.announce(&route);
        host.withdraw(&route);
    }
    assert_eq!(host.stats().departed_not_kept, 5000 - 4096);
    (1..=6).for_each(|n| host.says(mac(1), &format!("192.0.2.{n}")));
    assert_eq!(host.stats().addresses_not_parked, 2);
}

/// The device goes and comes back: the routes do too. Another configuration keeps what was heard.
#[test]
fn addresses_outlive_their_device_and_a_reload() {
    let mut host = Host::new();
    host.hear(mac(1));
    host.says(mac(1), "192.0.2.1");
    host.evpn.device_down(host.now, &mut host.rib, vni(100));
    host.settle();
    assert_eq!(host.ip_sequence(mac(1), "192.0.2.1"), None);
    host.evpn.device_up(host.now, &mut host.rib, vni(100));
    host.settle();
    assert_eq!(host.ip_sequence(mac(1), "192.0.2.1"), Some(0));
    host.add(InstanceConfig { export: vec![ExportTarget::Exact(RouteTarget::As2 { asn: 1, number: 1 })], ..auto(100) });
    let targets: Vec<_> = host.announced_ip(mac(1), "192.0.2.1").unwrap().route_targets().collect();
    assert_eq!((targets.len(), host.answered("192.0.2.1")), (1, with(1)));
    host.add(InstanceConfig { neighbors: false, ..auto(100) });
    assert_eq!((host.ip_sequence(mac(1), "192.0.2.1"), host.fib.neighbor_count()), (None, 0), "not answered, not announced");
}

/// Whatever is said and announced in whatever order: each address has one MAC, our routes are those of MACs that are ours, and when
/// all is gone nothing is left.
#[test]
fn random_histories_keep_one_mac_for_an_address() {
    for seed in 0..300 {
        let mut random = evpnd::base::Random::new(seed);
        let mut host = Host::new();
        for _ in 0..150 {
            let (number, last) = (random.below(3) as u8 + 1, random.below(3) as u8 + 1);
            let text = format!("192.0.2.{last}");
            let route = type2(random.below(2) as u8 + 1, mac(number)).mobility(false, random.below(4) as u32);
            match random.below(10) {
                0 => host.hear(mac(number)),
                1 => host.forget(mac(number)),
                2..=4 => host.says(mac(number), &text),
                5 => host.denies(mac(number), &text),
                6 => host.announce(&route.with_ip(&text)),
                7 => host.withdraw(&route.with_ip(&text)),
                8 => host.announce(&route),
                _ => host.withdraw(&route),
            }
            host.write();
            for last in 1..=3 {
                let text = format!("192.0.2.{last}");
                let ours: Vec<u8> = (1..=3).filter(|n| host.announced_ip(mac(*n), &text).is_some()).collect();
                assert!(ours.len() <= 1, "seed {seed}: {text} is announced for {ours:?}");
                if let [number] = ours[..] {
                    assert!(host.announced(mac(number)).is_some(), "seed {seed}: {text} without its MAC");
                    assert_eq!(host.answered(&text).map(|b| b.mac), Some(mac(number)), "seed {seed}: {text}");
                }
            }
        }
        for number in 1..=3 {
            host.forget(mac(number));
            for vtep in 1..=2 {
                host.withdraw(&type2(vtep, mac(number)));
                for last in 1..=3 {
                    host.withdraw(&type2(vtep, mac(number)).with_ip(&format!("192.0.2.{last}")));
                }
            }
        }
        host.write();
        assert_eq!((host.evpn.remote_address_count(), host.fib.neighbor_count()), (0, 0), "seed {seed}");
    }
}
