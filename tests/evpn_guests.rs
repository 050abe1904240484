//! What guests of a host are told of addresses that move: by a MAC of another host, once for each move and once again, and never of anything else.
//! Each case has a line of words. See `src/evpn/guests.rs`.

#![allow(clippy::unwrap_used)]

#[path = "evpn_support/mod.rs"]
mod support;

use evpnd::fib::{Binding, KernelNeighbor, MovedAddress, NeighborOwner};
use evpnd::wire::ext_community::arp_nd;
use support::*;

const VIP: &str = "192.0.2.1";

/// The address is at MAC `number` now.
fn told(number: u8) -> Vec<MovedAddress> {
    vec![MovedAddress { vni: vni(100), ip: ip(VIP), binding: Binding { mac: mac(number), router: false } }]
}

/// Host `last` says that its MAC has the address.
fn at(last: u8, sequence: u32) -> Announcement {
    type2(last, mac(last)).with_ip(VIP).mobility(false, sequence)
}

/// An address goes from one other host to another: told at once, once again after 2 s, and then no more.
#[test]
fn a_move_between_other_hosts_is_told_twice() {
    let mut host = Host::new();
    host.announce(&at(1, 0));
    assert_eq!(host.evpn.take_moves(), [], "it is new, and nobody has it in a cache");
    host.announce(&at(2, 1));
    assert_eq!((host.evpn.take_moves(), host.evpn.take_moves()), (told(2), vec![]));
    host.withdraw(&at(1, 0));
    host.announce(&at(2, 1));
    host.wait_millis(1900);
    assert_eq!(host.evpn.take_moves(), [], "it is where it was");
    host.wait_millis(100);
    assert_eq!(host.evpn.take_moves(), told(2));
    host.wait(60);
    host.announce(&at(2, 2));
    assert_eq!((host.evpn.take_moves(), host.stats().address_moves_told), (vec![], 1), "the same MAC with another number");
}

/// The second time says what is so then: nothing where the address went on, the flag that came later.
#[test]
fn what_is_told_again_is_what_is_so_by_then() {
    let mut host = Host::new();
    host.announce(&at(1, 0));
    host.announce(&at(2, 1));
    host.wait(1);
    host.announce(&at(1, 2));
    assert_eq!(host.evpn.take_moves(), [told(2), told(1)].concat());
    host.wait(1);
    assert_eq!(host.evpn.take_moves(), [], "it is at the second no more");
    host.announce(&at(1, 2).attributes(|a| a.ext_communities.push(ExtCommunity::arp_nd(arp_nd::ROUTER))));
    host.wait(1);
    assert_eq!(host.evpn.take_moves()[0].binding, Binding { mac: mac(1), router: true });
    // It came here meanwhile.
    host.announce(&at(2, 3));
    host.evpn.take_moves();
    host.hear(mac(7));
    host.says(mac(7), VIP);
    host.wait(2);
    assert_eq!(host.evpn.take_moves(), []);
}

/// Guests of the host that loses it are told too; those of the host that gets it hear its own word through their bridge.
#[test]
fn of_moves_from_and_to_a_local_mac_only_the_first_is_told() {
    let mut host = Host::new();
    host.hear(mac(7));
    host.says(mac(7), VIP);
    host.announce(&at(1, 1));
    assert_eq!((host.answered(VIP).unwrap().mac, host.evpn.take_moves()), (mac(1), told(1)));
    host.says(mac(7), VIP);
    assert_eq!((host.answered(VIP).unwrap().mac, host.evpn.take_moves()), (mac(7), vec![]));
    host.hear(mac(8));
    host.says(mac(8), VIP);
    assert_eq!((host.answered(VIP).unwrap().mac, host.evpn.take_moves()), (mac(8), vec![]), "within this host");
}

/// A machine that moves takes its address along: the MAC is the same, and nothing is told.
#[test]
fn a_machine_that_moves_is_not_told_of() {
    let mut host = Host::new();
    let routes = [type2(1, mac(1)), at(1, 0)];
    routes.iter().for_each(|route| host.announce(route));
    let routes = [type2(2, mac(1)).mobility(false, 1), type2(2, mac(1)).with_ip(VIP).mobility(false, 1)];
    routes.iter().for_each(|route| host.announce(route));
    host.hear(mac(1));
    host.says(mac(1), VIP);
    assert_eq!((host.evpn.take_moves(), host.stats().address_moves), (vec![], 0));
}

/// The old owner may be gone before the new one speaks: caches do not know. For five minutes.
#[test]
fn an_address_that_was_nobodys_for_a_while_moved_all_the_same() {
    for (pause, mac_after, moves) in [(20, 2, told(2)), (20, 1, vec![]), (301, 2, vec![])] {
        let mut host = Host::new();
        host.announce(&at(1, 0));
        host.withdraw(&at(1, 0));
        assert_eq!(host.answered(VIP), None);
        host.wait(pause);
        host.announce(&at(mac_after, 0));
        assert_eq!(host.evpn.take_moves(), moves, "{mac_after} after {pause} s");
    }
    // Of ours, too.
    let mut host = Host::new();
    host.hear(mac(7));
    host.says(mac(7), VIP);
    host.forget(mac(7));
    host.announce(&at(1, 0));
    assert_eq!(host.evpn.take_moves(), told(1));
}

/// While the daemon has only begun, and while an instance is new, what is found out is no move; afterwards it is.
#[test]
fn what_is_found_out_at_the_beginning_is_not_told() {
    let mut host = Host::new();
    host.evpn.hush_moves(true);
    host.announce(&at(1, 0));
    host.announce(&at(2, 1));
    host.evpn.hush_moves(false);
    host.wait(2);
    assert_eq!(host.evpn.take_moves(), []);
    host.announce(&at(1, 2));
    assert_eq!(host.evpn.take_moves(), told(1));
    // Two hosts have it, and the VNI comes.
    let mut host = Host::bare(EvpnLimits::default());
    host.announce(&at(1, 0));
    host.announce(&at(2, 1));
    host.add(auto(100));
    host.add(InstanceConfig { static_macs: vec![mac(9)], ..auto(100) });
    host.wait(2);
    assert_eq!((host.answered(VIP).unwrap().mac, host.evpn.take_moves()), (mac(2), vec![]));
    host.announce(&at(1, 2));
    assert_eq!(host.evpn.take_moves(), told(1));
    // Nothing of it is left for an instance that is made anew.
    host.evpn.remove_instance(host.now, &mut host.rib, &mut host.fib, vni(100));
    host.add(auto(100));
    host.wait(2);
    assert_eq!(host.evpn.take_moves(), []);
}

/// Two hosts with one address: guests hear of four moves in the window, whatever is done about the conflict, and of the next when it is over.
#[test]
fn guests_hear_no_more_of_a_conflict_than_of_moves() {
    for (moves, most) in [(5, 4), (3, 2), (0, 4)] {
        let mut host = Host::new();
        host.set_rule(DuplicateDetection { moves, freeze: false, ..DuplicateDetection::default() });
        for number in 0..40 {
            host.announce(&at(1 + number as u8 % 2, number));
            host.wait(1);
        }
        let counted = (host.stats().address_moves_told, host.stats().address_moves_untold);
        assert_eq!(counted, (most, 39 - most), "{moves} moves");
        assert!(host.evpn.take_moves().len() as u64 <= 2 * most);
        host.wait(200);
        host.announce(&at(1, 50));
        assert_eq!(host.evpn.take_moves(), told(1));
    }
}

/// An address of a MAC that is found at two hosts is not told of.
#[test]
fn an_address_of_a_duplicate_mac_is_not_told() {
    let mut host = Host::new();
    host.announce(&at(1, 0));
    for sequence in 1..20 {
        host.hear(mac(2));
        host.announce(&type2(2, mac(2)).mobility(false, 2 * sequence));
    }
    assert!(host.is_duplicate(mac(2)));
    host.announce(&at(2, 100));
    assert_eq!((host.answered(VIP).unwrap().mac, host.evpn.take_moves()), (mac(2), vec![]));
}

/// A host that goes with very many addresses: so many are told as can be told again, the others are counted.
#[test]
fn moves_at_once_are_bounded() {
    let mut host = Host::new();
    let routes = |last: u8, sequence| {
        (0..5000u32).map(move |n| {
            let [_, _, a, b] = n.to_be_bytes();
            let mac = MacAddr([2, 0, last, 0, a, b]);
            type2(last, mac).with_ip(&format!("10.1.{a}.{b}")).mobility(false, sequence)
        })
    };
    routes(1, 0).for_each(|route| host.announce(&route));
    routes(2, 1).for_each(|route| host.announce(&route));
    assert_eq!((host.evpn.take_moves().len(), host.stats().address_moves_untold), (4096, 904));
    host.wait(2);
    assert_eq!(host.evpn.take_moves().len(), 4096);
    routes(1, 2).take(10).for_each(|route| host.announce(&route));
    assert_eq!(host.evpn.take_moves().len(), 10, "there is room again");
}

/// What the bridge has of an address as an earlier run wrote it: MAC `number`.
fn found(address: &str, number: u8) -> KernelNeighbor {
    let binding = Some(Binding { mac: mac(number), router: false });
    KernelNeighbor { ip: ip(address), binding, owner: NeighborOwner::Ours }
}

/// The bridge has the address at MAC `number`.
fn stood(host: &mut Host, number: u8) {
    host.fib.handle_neighbors(host.now, vni(100), 10, &[found(VIP, number)]);
}

/// Everybody has said what he has: what is told then.
fn swept(host: &mut Host) -> Vec<MovedAddress> {
    assert_eq!(host.evpn.take_moves(), [], "nothing before");
    let changed = host.fib.take_changed_neighbors();
    host.evpn.hush_moves(false);
    host.evpn.tell_moves_of_before(host.now, changed);
    host.fib.sweep(host.now);
    host.evpn.take_moves()
}

fn beginning() -> Host {
    let mut host = Host::new();
    host.evpn.hush_moves(true);
    host
}

/// The address moved while the daemon was away: the kernel still answered with the old MAC, whichever is heard of first, the bridge or the route.
#[test]
fn a_move_while_the_daemon_was_away_is_told_when_all_is_known() {
    for bridge_first in [true, false] {
        let mut host = beginning();
        if bridge_first {
            stood(&mut host, 1);
        }
        host.announce(&at(2, 1));
        if !bridge_first {
            stood(&mut host, 1);
        }
        host.wait(5);
        assert_eq!((swept(&mut host), host.stats().address_moves_told), (told(2), 1), "{bridge_first}");
        host.wait(2);
        assert_eq!(host.evpn.take_moves(), told(2), "as every move is");
        assert_eq!(host.fib.take_changed_neighbors().from.len(), 0);
    }
}

/// Everybody has said what he has before the bridge could be read.
#[test]
fn a_move_while_the_daemon_was_away_is_told_when_the_bridge_is_read_last() {
    let mut host = beginning();
    host.announce(&at(2, 1));
    assert_eq!(swept(&mut host), []);
    stood(&mut host, 1);
    let changed = host.fib.take_changed_neighbors();
    host.evpn.tell_moves_of_before(host.now, changed);
    assert_eq!(host.evpn.take_moves(), told(2));
    // What the bridge is found to have later is somebody's doing, and put right.
    stood(&mut host, 1);
    assert_eq!(host.fib.take_changed_neighbors().from.len(), 0);
}

/// It moved on while the daemon was only learning, and once more: told is where it is.
#[test]
fn a_move_before_the_sweep_is_told_once_with_what_came_of_it() {
    let mut host = beginning();
    stood(&mut host, 1);
    host.announce(&at(1, 0));
    host.announce(&at(2, 1));
    host.announce(&at(3, 2));
    assert_eq!((swept(&mut host), host.stats().address_moves_told), (told(3), 1));
}

/// A host that went with very many addresses while the daemon was away: so many are told as can be noted, the others are counted.
#[test]
fn moves_of_before_are_bounded() {
    let mut host = beginning();
    let addresses: Vec<String> = (0..5000u32).map(|n| format!("10.1.{}.{}", n / 256, n % 256)).collect();
    let stands: Vec<KernelNeighbor> = addresses.iter().map(|address| found(address, 1)).collect();
    host.fib.handle_neighbors(host.now, vni(100), 10, &stands);
    for (n, address) in (0u32..).zip(&addresses) {
        let [_, _, a, b] = n.to_be_bytes();
        host.announce(&type2(2, MacAddr([2, 0, 2, 0, a, b])).with_ip(address).mobility(false, 1));
    }
    assert_eq!((swept(&mut host).len(), host.stats().address_moves_untold), (4096, 904));
    assert_eq!(host.stats().address_moves_told, 4096);
}

/// The same MAC as before, one that came back, one that is of this host now, one that nobody has any more, and one that is new.
#[test]
fn what_did_not_move_elsewhere_meanwhile_is_not_told_after_a_start() {
    let mut same = beginning();
    stood(&mut same, 2);
    same.announce(&at(2, 1));
    let mut back = beginning();
    stood(&mut back, 1);
    back.announce(&at(2, 1));
    back.announce(&at(1, 2));
    let mut here = beginning();
    stood(&mut here, 1);
    here.hear(mac(3));
    here.says(mac(3), VIP);
    let mut gone = beginning();
    stood(&mut gone, 1);
    gone.announce(&at(2, 1));
    gone.withdraw(&at(2, 1));
    let mut new = beginning();
    new.announce(&at(2, 1));
    for host in [&mut same, &mut back, &mut here, &mut gone, &mut new] {
        assert_eq!((swept(host), host.stats().address_moves_told), (vec![], 0));
        host.wait(2);
        assert_eq!(host.evpn.take_moves(), []);
    }
}
