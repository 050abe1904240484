//! Duplicate MACs, RFC 7432 §15.1, case by case: what counts, what a freeze keeps, how it ends. The host is in `evpn_support`.

#![allow(clippy::unwrap_used, missing_docs)]

mod evpn_support;

use evpn_support::*;

const RULE: DuplicateDetection = DuplicateDetection { moves: 5, window_secs: 180, freeze: false, recovery_secs: Some(540) };
const FREEZE: DuplicateDetection = DuplicateDetection { freeze: true, ..RULE };

fn host(rule: DuplicateDetection) -> Host {
    let mut host = Host::new();
    host.set_rule(rule);
    host
}

/// 10.0.0.9 announces the MAC with the sequence above ours.
fn they_speak(host: &mut Host) {
    let sequence = host.announced(mac(1)).map_or(0, |(_, sequence)| sequence + 1);
    host.announce(&type2(9, mac(1)).mobility(false, sequence));
    host.write();
}

/// The MAC moves here and there, `moves` times in all, ten seconds apart.
fn quarrel(host: &mut Host, moves: usize) {
    they_speak(host);
    for n in 0..moves {
        host.wait(10);
        if n % 2 == 0 { host.hear(mac(1)) } else { they_speak(host) }
    }
}

fn told(host: &mut Host, what: &str) -> Vec<String> {
    host.events().into_iter().filter(|line| line.contains(what)).collect()
}

// --- what counts ---

#[test]
fn the_fifth_move_within_three_minutes_is_told_once_and_followed() {
    let mut host = host(RULE);
    quarrel(&mut host, 4);
    assert!(!host.is_duplicate(mac(1)) && told(&mut host, "two hosts").is_empty());
    host.hear(mac(1));
    assert_eq!(
        told(&mut host, "two hosts"),
        ["VNI 100: 02:00:00:00:00:01 moved 5 times within 180 s, last from VTEP 10.0.0.9 to local port tap3: \
          two hosts use it at once; its moves are still followed"]
    );
    assert_eq!((host.announced(mac(1)), host.is_duplicate(mac(1))), (Some((false, 5)), true));
    for _ in 0..20 {
        they_speak(&mut host);
        host.hear(mac(1));
    }
    assert_eq!((told(&mut host, "two hosts").len(), host.stats().duplicates_found), (0, 1), "one line for one detection");
    host.wait(540);
    assert_eq!((host.is_duplicate(mac(1)), host.stats().duplicates_recovered), (false, 1));
    assert_eq!(told(&mut host, "no longer").len(), 1);
}

#[test]
fn slow_moves_and_moves_among_other_hosts_are_no_duplicate() {
    let mut host = host(FREEZE);
    for _ in 0..10 {
        they_speak(&mut host);
        host.wait(45);
        host.hear(mac(1));
        host.wait(45);
    }
    assert_eq!(host.stats().duplicates_found, 0, "four moves in any 180 s");
    for sequence in 0..20 {
        host.announce(&type2(2 + sequence as u8 % 2, mac(2)).mobility(false, sequence));
    }
    assert_eq!((host.stats().duplicates_found, host.row(mac(2))), (0, to(3)), "those that hear it can act");
}

#[test]
fn moves_within_this_host_and_a_machine_that_comes_and_goes_do_not_count() {
    let mut host = host(FREEZE);
    for n in 0..20 {
        host.hear_as(&LocalMac { port: 3 + n % 2, port_name: format!("tap{}", 3 + n % 2), ..host.heard(mac(1)) });
    }
    for _ in 0..20 {
        host.forget(mac(1));
        host.hear(mac(1));
    }
    assert_eq!(host.stats().duplicates_found, 0);
}

#[test]
fn no_detection_where_none_is_wanted() {
    let mut host = host(DuplicateDetection { moves: 0, ..FREEZE });
    quarrel(&mut host, 50);
    assert_eq!((host.stats().duplicates_found, host.row(mac(1))), (0, to(9)));
}

// --- freeze ---

#[test]
fn frozen_at_a_remote_host_it_is_not_announced_and_its_row_is_put_back_once_a_second() {
    let mut host = host(FREEZE);
    quarrel(&mut host, 5);
    assert_eq!((host.announced(mac(1)), host.row(mac(1))), (None, to(9)), "the fifth move is not followed");
    assert_eq!(host.write().len(), 1, "and the bridge's entry is taken back from the port");
    let mut writes = 0;
    for _ in 0..100 {
        host.hear(mac(1));
        writes += host.write().len();
        host.wait_millis(100);
        writes += host.write().len();
    }
    assert!((9..=11).contains(&writes), "{writes} writes in ten seconds");
    assert_eq!((host.announced(mac(1)), host.evpn.local_mac_count()), (None, 1), "only what was known of its port before");
    assert_eq!(told(&mut host, "two hosts").len(), 1);
}

#[test]
fn frozen_here_it_stays_here_whatever_others_announce() {
    let mut host = host(DuplicateDetection { moves: 2, ..FREEZE });
    they_speak(&mut host);
    host.hear(mac(1));
    they_speak(&mut host);
    assert_eq!((host.announced(mac(1)), host.row(mac(1))), (Some((false, 1)), None), "the second move is not followed");
    host.announce(&type2(2, mac(1)).mobility(false, 100));
    host.withdraw(&type2(2, mac(1)));
    assert_eq!((host.announced(mac(1)), host.row(mac(1)), host.write().len()), (Some((false, 1)), None, 0));
    assert_eq!(host.stats().frozen_moves, 2);
    let why = host.evpn.explain(&host.rib, &host.fib, vni(100), mac(1));
    assert!(why.frozen && why.candidates.iter().any(|route| route.why == "not followed: the MAC is frozen as a duplicate"));
    let [found] = &why.duplicates[..] else { panic!("{:?}", why.duplicates) };
    let places = [Place::Port("tap3".into()), Place::Vtep(vtep(9))].map(|place| (mac(1), Some(place)));
    assert_eq!((found.ip, found.frozen, &found.between), (None, true, &places));
}

/// Where its moves are followed as well, and both places while only one of them is heard of.
#[test]
fn explain_tells_of_a_mac_at_two_hosts_and_since_when() {
    let mut host = host(RULE);
    quarrel(&mut host, 5);
    let since = host.now;
    let explained = |host: &Host| host.evpn.explain(&host.rib, &host.fib, vni(100), mac(1)).duplicates;
    host.wait(3);
    let view = explained(&host).pop().unwrap();
    assert_eq!((view.since, view.recovers, view.frozen), (since, Some(since + Duration::from_secs(540)), false));
    let here_last = [Place::Vtep(vtep(9)), Place::Port("tap3".into())].map(|place| (mac(1), Some(place)));
    assert_eq!(view.between, here_last);
    they_speak(&mut host);
    let there_last = [here_last[1].clone(), here_last[0].clone()];
    assert_eq!((explained(&host)[0].since, &explained(&host)[0].between), (since, &there_last), "its last move is shown");
    host.wait(540);
    assert_eq!(explained(&host), []);
}

// --- how it ends ---

#[test]
fn after_recovery_a_mac_that_is_here_yields_to_the_better_route() {
    let mut host = host(DuplicateDetection { moves: 2, ..FREEZE });
    quarrel(&mut host, 2);
    host.wait(539);
    assert_eq!(host.row(mac(1)), None);
    host.wait(1);
    assert_eq!((host.announced(mac(1)), host.row(mac(1))), (None, to(9)));
    assert_eq!(told(&mut host, "no longer: its recovery time is over").len(), 1);
    host.hear(mac(1));
    assert_eq!(host.announced(mac(1)), Some((false, 3)), "and comes back when its port hears it");
}

#[test]
fn after_recovery_a_mac_that_stayed_remote_is_asked_for_at_the_ports() {
    let mut host = host(DuplicateDetection { moves: 3, ..FREEZE });
    quarrel(&mut host, 3);
    assert_eq!((host.announced(mac(1)), host.evpn.take_resync()), (None, false));
    host.write();
    host.wait(540);
    host.wait(0);
    assert_eq!((host.row(mac(1)), host.evpn.take_resync()), (to(9), true), "nothing changes by itself, but a port had heard it");
    host.dump(&[mac(1)]);
    assert_eq!((host.announced(mac(1)), host.row(mac(1))), (Some((false, 3)), None));
}

#[test]
fn after_recovery_a_mac_that_is_gone_is_nothing() {
    let mut host = host(DuplicateDetection { moves: 3, ..FREEZE });
    quarrel(&mut host, 3);
    host.withdraw(&type2(9, mac(1)));
    assert_eq!(host.row(mac(1)), None);
    assert_eq!(told(&mut host, "no longer: no other host announces it any more").len(), 1);
    host.wait(600);
    assert_eq!((host.evpn.mac(vni(100), mac(1)), host.evpn.duplicates()), (None, (0, true)));
}

#[test]
fn a_frozen_mac_whose_port_forgets_it_is_withdrawn_and_leads_to_the_other_host() {
    let mut host = host(DuplicateDetection { moves: 2, ..FREEZE });
    quarrel(&mut host, 2);
    host.forget(mac(1));
    assert_eq!((host.announced(mac(1)), host.row(mac(1)), host.is_duplicate(mac(1))), (None, to(9), false));
    assert_eq!(told(&mut host, "no longer: its port forgot it").len(), 1);
}

#[test]
fn a_frozen_mac_whose_host_withdraws_leads_to_the_next_and_never_to_a_host_without_a_route() {
    let mut host = host(DuplicateDetection { moves: 3, ..FREEZE });
    quarrel(&mut host, 3);
    host.announce(&type2(2, mac(1)).mobility(false, 100));
    assert_eq!(host.row(mac(1)), to(9), "not followed");
    host.withdraw(&type2(9, mac(1)));
    assert_eq!((host.row(mac(1)), host.is_duplicate(mac(1))), (to(2), false));
    assert_eq!(told(&mut host, "no longer: its host announces it no more").len(), 1);
}

#[test]
fn the_frozen_host_may_change_its_own_route() {
    let mut host = host(DuplicateDetection { moves: 3, ..FREEZE });
    quarrel(&mut host, 3);
    host.write();
    host.announce(&type2(9, mac(1)).mobility(false, 50).with_ip("192.0.2.1"));
    host.withdraw(&type2(9, mac(1)));
    assert_eq!((host.row(mac(1)), host.is_duplicate(mac(1))), (to(9), true));
    assert_eq!(host.evpn.mac(vni(100), mac(1)).unwrap().sequence, 50);
}

#[test]
fn the_operator_clears_one_those_of_a_vni_or_all() {
    for (vni, who, cleared) in [
        (None, None, 1),
        (Some(100), None, 1),
        (Some(100), Some(mac(1)), 1),
        (None, Some(mac(1)), 1),
        (Some(100), Some(mac(2)), 0),
    ] {
        let mut host = host(DuplicateDetection { moves: 2, recovery_secs: None, ..FREEZE });
        quarrel(&mut host, 2);
        host.wait(1_000_000);
        assert!(host.is_duplicate(mac(1)), "without a recovery time it waits for the operator");
        assert_eq!(host.clear(vni, who), cleared);
        assert_eq!(host.row(mac(1)), if cleared == 1 { to(9) } else { None });
    }
    assert_eq!(host(FREEZE).clear(Some(999), None), 0, "no such VNI");
}

#[test]
fn cleared_it_is_counted_from_zero() {
    let mut host = host(RULE);
    quarrel(&mut host, 5);
    assert_eq!(host.clear(None, None), 1);
    quarrel(&mut host, 4);
    assert_eq!((host.stats().duplicates_found, host.is_duplicate(mac(1))), (1, false));
}

#[test]
fn static_here_or_there_it_is_a_duplicate_no_longer() {
    let mut here = host(DuplicateDetection { moves: 3, ..FREEZE });
    quarrel(&mut here, 3);
    here.hear_as(&LocalMac { is_static: true, ..here.heard(mac(1)) });
    assert_eq!((here.announced(mac(1)), here.is_duplicate(mac(1))), (Some((true, 3)), false));
    let mut there = host(DuplicateDetection { moves: 2, ..FREEZE });
    quarrel(&mut there, 2);
    there.announce(&type2(2, mac(1)).mobility(true, 0));
    assert_eq!((there.row(mac(1)), there.is_duplicate(mac(1))), (to(2), false));
}

#[test]
fn another_rule_takes_effect_at_once() {
    let mut host = host(DuplicateDetection { moves: 2, ..FREEZE });
    quarrel(&mut host, 2);
    host.set_rule(DuplicateDetection { moves: 2, ..RULE });
    assert_eq!((host.row(mac(1)), host.is_duplicate(mac(1))), (to(9), true), "warn: it is followed, and still marked");
    host.set_rule(DuplicateDetection { moves: 2, ..FREEZE });
    host.hear(mac(1));
    assert_eq!((host.announced(mac(1)), host.row(mac(1))), (None, to(9)), "freeze: it stays where it is");
    host.set_rule(DuplicateDetection { moves: 2, recovery_secs: Some(1), ..FREEZE });
    host.wait(1);
    assert!(!host.is_duplicate(mac(1)), "its time is counted from when it was found");
    quarrel(&mut host, 2);
    host.set_rule(DuplicateDetection { moves: 0, ..FREEZE });
    assert!(!host.is_duplicate(mac(1)));
}

#[test]
fn a_vni_that_goes_takes_its_duplicates_with_it() {
    let mut host = host(DuplicateDetection { moves: 2, ..FREEZE });
    quarrel(&mut host, 2);
    host.evpn.remove_instance(host.now, &mut host.rib, &mut host.fib, vni(100));
    assert_eq!(host.evpn.duplicates(), (0, true));
    host.add(auto(100));
    assert_eq!(host.row(mac(1)), to(9));
}
