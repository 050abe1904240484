//! What `explain` says of a MAC that two hosts have at once, or that contends for an address with another MAC: since when, who, what is
//! announced, what follows of it, and what ends it.

use std::net::IpAddr;

use crate::base::{MacAddr, Time, Vni};
use crate::control::render::age;
use crate::evpn::{DuplicateView, Place};

/// What is at two places at once: since when, where, what is announced, what follows of it and what ends it.
pub(super) fn in_words(view: &DuplicateView, now: Time, vni: Vni, mac: MacAddr) -> String {
    let at = |(mac, place): &(MacAddr, Option<Place>)| match place {
        Some(place) => format!("{mac} at {place}"),
        None => format!("{mac} (nowhere now)"),
    };
    let found = age(now.secs_since(view.since));
    let [from, to] = &view.between;
    let (what, follows, mend, clear, gone) = match view.ip {
        None => {
            let place = |(_, place): &(MacAddr, Option<Place>)| place.as_ref().map(Place::to_string).unwrap_or_default();
            let what = format!("the MAC itself is at two hosts at once, found {found} ago: {} and {}", place(from), place(to));
            let follows = if view.frozen { format!("it stays at {}", place(from)) } else { "its moves are followed".to_owned() };
            (what, follows, "find the cloned machine or the loop", format!("mac {mac}"), "when it is gone from there")
        }
        Some(ip) => {
            let by = |(mac, vtep): &(MacAddr, Option<IpAddr>)| match vtep {
                Some(vtep) => format!("from VTEP {vtep} for {mac}"),
                None => format!("from here for {mac}"),
            };
            let announced: Vec<String> = view.announced.iter().map(by).collect();
            let announced = if announced.is_empty() { "by nobody".to_owned() } else { announced.join(" and ") };
            let chosen = view.chosen.map_or_else(String::new, |chosen| format!(", and counts as that of {chosen}"));
            let what = format!(
                "{ip} is at two MACs at once, found {found} ago: {} and {}; it is announced {announced}{chosen}",
                at(from),
                at(to)
            );
            let follows = if view.frozen { "no port here takes it from another" } else { "the one that spoke last has it" };
            (what, follows.to_owned(), "give one of the two another address", format!("ip {ip}"), "when nobody has it any more")
        }
    };
    let recovers = view.recovers.map(|at| format!("in {} by itself, ", age(at.secs_since(now))));
    // What is followed is marked for all its time, wherever it went.
    let gone = view.frozen.then(|| format!("{gone}, "));
    let ends: String = recovers.into_iter().chain(gone).collect();
    let or = if ends.is_empty() { "" } else { "or " };
    format!("{what}; {follows}; {mend}: the mark ends {ends}{or}at once with: evpnctl clear duplicate vni {vni} {clear}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const MACS: [MacAddr; 2] = [MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 2])];

    fn said(view: &DuplicateView) -> String {
        in_words(view, Time::from_secs(100), Vni::new(100).unwrap(), MACS[0])
    }

    #[test]
    fn an_address_of_two_macs_is_said_with_all_that_is_known_of_it() {
        let ip = Some("192.0.2.1".parse().unwrap());
        let there: IpAddr = "10.0.0.2".parse().unwrap();
        let between = [(MACS[1], Some(Place::Vtep(there))), (MACS[0], Some(Place::Port("tap1".to_owned())))];
        let announced = vec![(MACS[0], None), (MACS[1], Some(there))];
        let (since, recovers) = (Time::from_secs(65), Some(Time::from_secs(605)));
        let view = DuplicateView { ip, since, recovers, frozen: false, between, announced, chosen: Some(MACS[0]) };
        assert_eq!(
            said(&view),
            "192.0.2.1 is at two MACs at once, found 35 s ago: 02:00:00:00:00:02 at VTEP 10.0.0.2 and 02:00:00:00:00:01 at local port tap1; \
             it is announced from here for 02:00:00:00:00:01 and from VTEP 10.0.0.2 for 02:00:00:00:00:02, and counts as that of \
             02:00:00:00:00:01; the one that spoke last has it; give one of the two another address: the mark ends in 8m25s by itself, \
             or at once with: evpnctl clear duplicate vni 100 ip 192.0.2.1"
        );
        let between = [(MACS[1], None), view.between[1].clone()];
        let gone = DuplicateView { recovers: None, frozen: true, between, announced: Vec::new(), chosen: None, ..view };
        assert_eq!(
            said(&gone),
            "192.0.2.1 is at two MACs at once, found 35 s ago: 02:00:00:00:00:02 (nowhere now) and 02:00:00:00:00:01 at local port tap1; \
             it is announced by nobody; no port here takes it from another; give one of the two another address: the mark ends when \
             nobody has it any more, or at once with: evpnctl clear duplicate vni 100 ip 192.0.2.1"
        );
    }

    #[test]
    fn a_mac_at_two_hosts_is_said_with_both() {
        let places = [Place::Vtep("10.0.0.2".parse().unwrap()), Place::Port("tap1".to_owned())];
        let between = places.map(|place| (MACS[0], Some(place)));
        let since = Time::from_secs(99);
        let view = DuplicateView { ip: None, since, recovers: None, frozen: false, between, announced: Vec::new(), chosen: None };
        assert_eq!(
            said(&view),
            "the MAC itself is at two hosts at once, found 1 s ago: VTEP 10.0.0.2 and local port tap1; its moves are followed; \
             find the cloned machine or the loop: the mark ends at once with: evpnctl clear duplicate vni 100 mac 02:00:00:00:00:01"
        );
        let frozen = said(&DuplicateView { frozen: true, recovers: Some(Time::from_secs(130)), ..view });
        assert!(frozen.contains("; it stays at VTEP 10.0.0.2; "), "{frozen}");
        assert!(frozen.contains("the mark ends in 30 s by itself, when it is gone from there, or at once with: "), "{frozen}");
    }
}
