//! Addresses that two MACs have at once, case by case: what counts, what is told, what a freeze keeps, how it ends; and claims to those that
//! may not move. The host is in `evpn_support`, 10.0.0.9 is the other. See `src/evpn/conflicts.rs` and `violations.rs`.

#![allow(clippy::unwrap_used, missing_docs)]

mod evpn_support;

use evpn_support::*;
use evpnd::fib::HostStation;

const IP: &str = "192.0.2.1";
const RULE: DuplicateDetection = DuplicateDetection { moves: 5, window_secs: 180, freeze: false, recovery_secs: Some(540) };
const FREEZE: DuplicateDetection = DuplicateDetection { freeze: true, ..RULE };

/// A guest with MAC 1 is here, one with MAC 2 at 10.0.0.9.
fn host(rule: DuplicateDetection) -> Host {
    let mut host = Host::new();
    host.set_rule(rule);
    host.hear(mac(1));
    host.announce(&type2(9, mac(2)));
    host.events();
    host
}

/// The other's route, with a number above ours: its guest spoke.
fn they_say(host: &mut Host) {
    let sequence = host.ip_sequence(mac(1), IP).map_or(0, |sequence| sequence + 1);
    host.announce(&type2(9, mac(2)).with_ip(IP).mobility(false, sequence));
}

/// The two speak in turn, `moves` moves in all, ten seconds apart; the first word is the other's.
fn quarrel(host: &mut Host, moves: usize) {
    they_say(host);
    for n in 0..moves {
        host.wait(10);
        if n % 2 == 0 { host.says(mac(1), IP) } else { they_say(host) }
    }
}

fn told(host: &mut Host, what: &str) -> Vec<String> {
    host.events().into_iter().filter(|line| line.contains(what)).collect()
}

/// What `explain` says that two have at once.
fn explained(host: &Host, mac: MacAddr) -> Vec<DuplicateView> {
    host.evpn.explain(&host.rib, &host.fib, vni(100), mac).duplicates
}

/// Who has it, and whether it is marked.
fn state(host: &Host) -> (u8, usize) {
    (host.answered(IP).unwrap().mac.0[5], host.evpn.conflict_count())
}

fn clear(host: &mut Host, number: Option<u8>, text: Option<&str>) -> usize {
    let cleared = host.evpn.clear_conflicts(Some(vni(100)), number.map(mac), text.map(ip));
    host.settle();
    cleared
}

/// One line for one detection, with both MACs and where they are; the moves are followed, the mark stays for its time.
#[test]
fn the_fifth_move_within_three_minutes_is_told_once_and_followed() {
    let mut host = host(RULE);
    quarrel(&mut host, 4);
    assert_eq!((state(&host), told(&mut host, "two MACs").len()), ((2, 0), 0));
    host.says(mac(1), IP);
    assert_eq!(
        told(&mut host, "two MACs"),
        ["VNI 100: 192.0.2.1 moved 5 times within 180 s, last from 02:00:00:00:00:02 at VTEP 10.0.0.9 to 02:00:00:00:00:01 at \
          local port tap3: two MACs have the same address; the one that spoke last has it"]
    );
    assert_eq!(state(&host), (1, 1));
    let found = host.evpn.conflicts().next().unwrap();
    let places = [(mac(2), Some(Place::Vtep(vtep(9)))), (mac(1), Some(Place::Port("tap3".into())))];
    assert_eq!((found.vni, found.ip, found.macs), (vni(100), ip(IP), places.clone()));
    let expected = DuplicateView {
        ip: Some(ip(IP)),
        since: host.now,
        recovers: Some(host.now + Duration::from_secs(540)),
        frozen: false,
        between: places,
        announced: vec![(mac(1), None), (mac(2), Some(vtep(9)))],
        chosen: Some(mac(1)),
    };
    for number in [1, 2] {
        assert_eq!(explained(&host, mac(number)), std::slice::from_ref(&expected), "either of the two is told of it");
    }
    assert_eq!(explained(&host, mac(3)), []);
    for _ in 0..20 {
        they_say(&mut host);
        host.says(mac(1), IP);
    }
    assert_eq!((told(&mut host, "two MACs").len(), host.stats().conflicts_found), (0, 1));
    let contenders = host.evpn.contenders();
    assert_eq!(contenders.into_iter().collect::<Vec<_>>(), [1, 2].map(|n| ((vni(100), mac(n)), vec![ip(IP)])));
    host.wait(540);
    assert_eq!((state(&host), told(&mut host, "no longer").len()), ((1, 0), 1));
    assert_eq!(explained(&host, mac(1)), []);
}

/// A third guest with the address, of which the last move was not, is told as well. What the other host took back is not said to be announced.
#[test]
fn explain_names_who_announces_it_and_whoever_has_it() {
    let mut host = host(RULE);
    quarrel(&mut host, 5);
    host.announce(&type2(8, mac(3)).with_ip(IP));
    assert_eq!(explained(&host, mac(3))[0].between.each_ref().map(|(mac, _)| *mac), [mac(2), mac(1)]);
    host.withdraw(&type2(8, mac(3)).with_ip(IP));
    host.withdraw(&type2(9, mac(2)).with_ip(IP));
    assert_eq!(explained(&host, mac(3)), []);
    assert_eq!(explained(&host, mac(2))[0].announced, [(mac(1), None)]);
}

/// Both guests are of this host: its own ports are told of as well.
#[test]
fn two_guests_of_one_host_with_one_address_are_found() {
    let mut host = host(RULE);
    host.hear_as(&LocalMac { port: 4, port_name: "tap4".into(), ..host.heard(mac(3)) });
    for n in 0..6 {
        host.says(mac([1, 3][n % 2]), IP);
    }
    let told = told(&mut host, "two MACs");
    assert!(told.len() == 1 && told[0].contains("at local port tap3") && told[0].contains("at local port tap4"), "{told:?}");
}

/// A service address that goes over now and then, one that goes over once its owner gave it up, and one that moves among other hosts.
#[test]
fn slow_moves_moves_of_what_was_given_up_and_moves_elsewhere_are_no_conflict() {
    let mut host = host(FREEZE);
    for _ in 0..10 {
        they_say(&mut host);
        host.wait(45);
        host.says(mac(1), IP);
        host.wait(45);
    }
    for n in 0..20 {
        host.denies(mac(1), IP);
        host.withdraw(&type2(9, mac(2)).with_ip(IP));
        if n % 2 == 0 { host.says(mac(1), IP) } else { they_say(&mut host) }
    }
    for sequence in 0..20 {
        let number = 2 + sequence as u8 % 2;
        host.announce(&type2(number, mac(number)).with_ip("192.0.2.7").mobility(false, sequence));
    }
    assert_eq!((host.stats().conflicts_found, host.evpn.conflict_count()), (0, 0));
}

#[test]
fn no_detection_where_none_is_wanted() {
    let mut host = host(DuplicateDetection { moves: 0, ..FREEZE });
    quarrel(&mut host, 51);
    assert_eq!((host.stats().conflicts_found, state(&host)), (0, (1, 0)));
}

/// A freeze: no port takes it from another host any more. Others' routes are followed, so that all hosts answer alike.
#[test]
fn frozen_it_stays_with_the_other_until_the_operator_clears_it() {
    let mut host = host(DuplicateDetection { recovery_secs: None, ..FREEZE });
    quarrel(&mut host, 5);
    assert_eq!((state(&host), host.ip_sequence(mac(1), IP)), ((2, 1), None));
    assert!(told(&mut host, "until evpnctl clear duplicate").len() == 1);
    for _ in 0..10 {
        host.wait(1000);
        host.says(mac(1), IP);
    }
    assert_eq!(state(&host), (2, 1));
    assert_eq!(host.stats().address_conflicts, 11);
    host.evpn.take_questions();
    // Not this address, not this MAC.
    assert_eq!((clear(&mut host, None, Some("192.0.2.2")), clear(&mut host, Some(7), None)), (0, 0));
    assert_eq!((clear(&mut host, Some(1), None), clear(&mut host, None, None)), (1, 0));
    assert_eq!(host.evpn.take_questions(), [(vni(100), mac(1), ip(IP))], "who was not heard has his say");
    host.says(mac(1), IP);
    assert_eq!((state(&host), host.ip_sequence(mac(1), IP).is_some()), ((1, 0), true));
}

/// A guest whose MAC the operator made static has the address, frozen or not, and others leave it.
#[test]
fn frozen_it_goes_to_a_static_mac_all_the_same() {
    let mut host = host(FREEZE);
    quarrel(&mut host, 5);
    host.hear_as(&LocalMac { is_static: true, ..host.heard(mac(1)) });
    host.says(mac(1), IP);
    assert_eq!(state(&host), (1, 1));
    assert_eq!(host.announced_ip(mac(1), IP).unwrap().mac_mobility().map(|(sticky, _)| sticky), Some(true));
}

/// The other gives it up: there is nothing left to keep, and who is left has it.
#[test]
fn frozen_it_is_free_when_its_host_withdraws_it() {
    let mut host = host(FREEZE);
    quarrel(&mut host, 5);
    host.evpn.take_questions();
    host.withdraw(&type2(9, mac(2)).with_ip(IP));
    assert_eq!((host.answered(IP), host.evpn.conflict_count()), (None, 0));
    assert_eq!(host.evpn.take_questions(), [(vni(100), mac(1), ip(IP))]);
    host.says(mac(1), IP);
    assert_eq!(state(&host), (1, 0));
}

/// Two guests of this host have it, found or not found yet. The one that was heard last goes, or gives it up: the other is asked, for nobody
/// has it otherwise until it speaks by itself.
#[test]
fn when_one_of_two_guests_goes_the_other_is_asked() {
    for (rounds, goes) in [(1, true), (6, true), (6, false)] {
        let mut host = host(RULE);
        host.hear(mac(3));
        for _ in 0..rounds {
            for n in [1, 3] {
                host.wait(10);
                host.says(mac(n), IP);
            }
        }
        host.evpn.take_questions();
        if goes {
            host.forget(mac(3))
        } else {
            host.denies(mac(3), IP)
        }
        assert_eq!(host.evpn.take_questions(), [(vni(100), mac(1), ip(IP))], "{rounds} {goes}");
        host.says(mac(1), IP);
        // Where another host has it, nobody is asked.
        they_say(&mut host);
        host.forget(mac(1));
        assert_eq!((host.answered(IP).unwrap().mac, host.evpn.take_questions()), (mac(2), vec![]));
    }
}

/// Another rule holds for what is marked, too; none takes the marks away. A VNI that goes takes its own along.
#[test]
fn another_rule_holds_for_what_is_found() {
    let mut frozen = host(FREEZE);
    quarrel(&mut frozen, 5);
    frozen.set_rule(RULE);
    assert_eq!((state(&frozen), frozen.evpn.take_questions().len()), ((2, 1), 1));
    frozen.says(mac(1), IP);
    assert_eq!(state(&frozen), (1, 1), "warn: it is followed, and still marked");
    frozen.set_rule(DuplicateDetection { recovery_secs: Some(10), ..RULE });
    frozen.wait(10);
    assert_eq!(state(&frozen), (1, 0));
    let mut off = host(FREEZE);
    quarrel(&mut off, 5);
    off.set_rule(DuplicateDetection { moves: 0, ..RULE });
    assert_eq!(off.evpn.conflict_count(), 0);
    let mut gone = host(FREEZE);
    quarrel(&mut gone, 5);
    gone.evpn.remove_instance(gone.now, &mut gone.rib, &mut gone.fib, vni(100));
    assert_eq!((gone.evpn.conflict_count(), gone.evpn.contenders().len(), gone.evpn.conflicts().count()), (0, 0, 0));
}

/// The gateway, MAC 9 at 10.0.0.9, and a guest of ours with MAC 1.
fn beside_a_gateway() -> Host {
    let mut host = Host::new();
    gateway(&mut host, true);
    host.hear(mac(1));
    host.events();
    host
}

fn gateway(host: &mut Host, stands: bool) {
    let routes = [type2(9, mac(9)).mobility(true, 0), type2(9, mac(9)).with_ip(IP).mobility(true, 0)];
    for route in &routes {
        if stands { host.announce(route) } else { host.withdraw(route) }
    }
}

/// Which MACs claim what is somebody's for good, and which MACs are marked.
fn claims(host: &Host) -> (Vec<u8>, Vec<u8>) {
    let claims = host.evpn.violations().map(|claim| claim.claimed_by.0.0[5]).collect();
    (claims, host.evpn.contenders().into_keys().map(|(_, mac)| mac.0[5]).collect())
}

const NONE: (Vec<u8>, Vec<u8>) = (vec![], vec![]);

/// A guest that claims the address of the gateway gets nothing, and is told of: once while it stands, and for an address at most once a
/// minute.
#[test]
fn a_guest_that_claims_the_gateways_address_is_told_of_and_marked() {
    let mut host = beside_a_gateway();
    for _ in 0..100 {
        host.says(mac(1), IP);
        host.wait(10);
    }
    assert_eq!(
        told(&mut host, IP),
        [
            "VNI 100: 02:00:00:00:00:01 at local port tap3 claims 192.0.2.1, which 02:00:00:00:00:09 at VTEP 10.0.0.9 has for good: \
          ignored, but guests beside it may believe it"
        ]
    );
    assert_eq!((claims(&host), host.evpn.violation_count()), ((vec![1], vec![1, 9]), 1));
    assert_eq!(
        (host.answered(IP).unwrap().mac, host.ip_sequence(mac(1), IP), host.stats().sticky_violations),
        (mac(9), None, 100)
    );
    // It comes and goes, and others claim the same.
    for number in (1..4).cycle().take(60) {
        host.hear(mac(number));
        host.says(mac(number), IP);
        host.wait(1);
        host.forget(mac(number));
        host.wait(1);
    }
    let lines = told(&mut host, IP);
    let begun = lines.iter().filter(|line| line.contains("for good")).count();
    assert_eq!((begun, lines.len() - begun, claims(&host)), (2, 3, NONE), "{lines:?}");
}

/// The same of this host's own gateway, and where the guest has all the addresses already that it may have.
#[test]
fn a_guest_that_claims_the_address_of_this_hosts_bridge_is_told_of() {
    let mut host = Host::with_limits(EvpnLimits { routes_per_mac: 1, ..EvpnLimits::default() });
    let station = HostStation { mac: mac(8), port: 2, port_name: "br100".into(), addresses: vec![(ip(IP), false)] };
    host.evpn.handle_host(host.now, &mut host.rib, &mut host.fib, vni(100), Some(&station));
    host.hear(mac(1));
    host.says(mac(1), "192.0.2.77");
    host.says(mac(1), IP);
    assert_eq!(claims(&host), (vec![1], vec![1, 8]));
    assert!(told(&mut host, IP).last().unwrap().contains("which 02:00:00:00:00:08 at local port br100 has for good"));
    gateway(&mut host, true);
    host.says(mac(1), "192.0.2.78");
    assert_eq!((host.stats().local_ips_over_limit, claims(&host).0), (1, vec![1]));
}

/// It ends when the guest goes or answers for the address no longer, when it may have it, and when somebody says so.
#[test]
fn a_claim_to_the_gateways_address_ends() {
    type Ends = fn(&mut Host);
    let ends: [(Ends, &str); 5] = [
        (|host| host.forget(mac(1)), "it is not here any more"),
        (|host| host.announce(&type2(9, mac(1)).mobility(false, 7)), "it is not here any more"),
        (|host| host.denies(mac(1), IP), "it does not answer for the address any more"),
        (|host| gateway(host, false), "whose the address was has it no longer"),
        (|host| assert_eq!((clear(host, Some(7), None), clear(host, None, Some(IP))), (0, 1)), "cleared by the operator"),
    ];
    for (end, why) in ends {
        let mut host = beside_a_gateway();
        host.says(mac(1), IP);
        host.evpn.take_questions();
        host.events();
        end(&mut host);
        assert_eq!((claims(&host), host.evpn.violation_count()), (NONE, 0), "{why}");
        assert_eq!(told(&mut host, "claims 192.0.2.1 no longer"), [format!("VNI 100: {} claims {IP} no longer: {why}", mac(1))]);
        let asked: &[_] = if why.starts_with("whose") { &[(vni(100), mac(1), ip(IP))] } else { &[] };
        assert_eq!(host.evpn.take_questions(), asked, "{why}: who may have it is asked");
    }
    let mut host = beside_a_gateway();
    host.says(mac(1), IP);
    host.events();
    host.evpn.remove_instance(host.now, &mut host.rib, &mut host.fib, vni(100));
    assert_eq!((claims(&host), host.evpn.violation_count()), (NONE, 0));
    let why = "its VNI leaves, or is set up anew";
    assert_eq!(told(&mut host, "claims 192.0.2.1 no longer"), [format!("VNI 100: {} claims {IP} no longer: {why}", mac(1))]);
}

/// A guest that comes back within the minute in which the last claim was told, and goes on: its claim is told when that is over.
#[test]
fn a_claim_that_goes_on_is_told_after_the_minute() {
    let mut host = beside_a_gateway();
    host.says(mac(1), IP);
    assert_eq!(told(&mut host, IP).len(), 1);
    host.wait(20);
    host.forget(mac(1));
    assert_eq!(told(&mut host, "no longer").len(), 1);
    host.hear(mac(1));
    for _ in 0..3 {
        host.says(mac(1), IP);
        host.wait(10);
    }
    assert_eq!((told(&mut host, IP), claims(&host).0), (vec![], vec![1]), "it stands, untold");
    host.wait(15);
    host.says(mac(1), IP);
    host.says(mac(1), IP);
    assert_eq!(told(&mut host, "which 02:00:00:00:00:09").len(), 1);
    host.forget(mac(1));
    assert_eq!(told(&mut host, "no longer").len(), 1);
}

/// A guest that invents MACs to claim it with costs no more than so much.
#[test]
fn claims_to_the_gateways_address_are_bounded_and_counted() {
    let mut host = beside_a_gateway();
    let liars: Vec<MacAddr> = (0..4100_u16).map(|n| MacAddr([2, 1, 0, 0, n.to_be_bytes()[0], n.to_be_bytes()[1]])).collect();
    for &liar in &liars {
        host.hear(liar);
        host.says(liar, IP);
    }
    assert_eq!((host.evpn.violations().count(), host.evpn.violation_count(), host.stats().conflicts_unwatched), (4096, 1, 4));
    assert_eq!(told(&mut host, "for good").len(), 1);
    liars.iter().for_each(|liar| host.forget(*liar));
    assert_eq!(claims(&host), NONE);
}
