//! The addresses of one VNI's local stations: when each was last heard, and which are to be asked now.
//!
//! A bridge forgets a station that says nothing for its ageing time, and remote hosts would lose it though it is only silent. So
//! each address is asked for when a third of that time has passed without a word of it: the answer keeps both
//! the address and, because the bridge hears it, the MAC. An address that leaves three questions unanswered is gone; its MAC is
//! the bridge's to forget. Pure: time is an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::packets::{Heard, link_local};
use crate::base::MacAddr;

/// Addresses of one VNI; more are told to the core all the same, but not asked for.
const LIMIT: usize = 1 << 16;
/// Addresses of one MAC that are asked for: a spoofer must not have us send for it.
const PER_MAC: usize = 64;
/// Questions that may stay unanswered.
const QUESTIONS: u8 = 3;
/// An address that goes on being heard is told again after so long, in case the core could not use it before.
const TELL_AGAIN: Duration = Duration::from_secs(10);
/// So soon where another MAC took it since: who is right says so again, and two that never cease are no storm.
const TELL_BACK: Duration = Duration::from_secs(1);
/// A station that its port forgot is asked at once, after this time, and after twice as much again: by then a bridge or a port that was
/// set down for a moment is up. Not for longer: a machine that starts may be about to find out whether its address is free.
const LOST_AGAIN: Duration = Duration::from_secs(1);
/// Between two questions for addresses that were found, where they are so few that all are asked for in time.
const PACE: Duration = Duration::from_millis(10);

#[derive(Debug, Clone, Copy)]
struct Known {
    router: Option<bool>,
    /// `None`: the next word of it is news.
    told: Option<Instant>,
    /// Another MAC took it since then.
    taken: bool,
    /// When it is asked for next, and how often it was in vain.
    ask: Instant,
    asked: u8,
}

/// The addresses that were heard.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    known: BTreeMap<(MacAddr, IpAddr), Known>,
    due: BTreeSet<(Instant, MacAddr, IpAddr)>,
    /// Stations of which no address is known, and when they are asked for the one they may have made themselves.
    silent: BTreeMap<MacAddr, Instant>,
    silent_due: BTreeSet<(Instant, MacAddr)>,
    /// Stations that their ports forgot a moment ago, and those ports.
    lost: BTreeMap<MacAddr, u32>,
    /// How often a limit was met, since somebody took the number.
    pub over_limit: u64,
}

/// What is to be done about an address whose time has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// Ask its host.
    Ask(MacAddr, IpAddr),
    /// It does not answer.
    Gone(MacAddr, IpAddr),
}

impl Addresses {
    /// A host spoke. Whether that is worth telling.
    pub(super) fn heard(&mut self, now: Instant, heard: &Heard, ageing: Duration) -> bool {
        let key = (heard.mac, heard.ip);
        let ask = now + ageing / 3;
        if let Some(known) = self.known.get_mut(&key) {
            let changed = heard.router.is_some() && heard.router != known.router;
            let pause = if known.taken { TELL_BACK } else { TELL_AGAIN };
            let tell = changed || known.told.is_none_or(|told| now.duration_since(told) >= pause);
            self.due.remove(&(known.ask, heard.mac, heard.ip));
            let told = if tell { Some(now) } else { known.told };
            *known = Known { router: heard.router.or(known.router), told, taken: known.taken && !tell, ask, asked: 0 };
            self.due.insert((ask, heard.mac, heard.ip));
            return tell;
        }
        if self.is_full(heard.mac) {
            self.over_limit += 1;
            return true;
        }
        self.known.insert(key, Known { router: heard.router, told: Some(now), taken: false, ask, asked: 0 });
        self.due.insert((ask, heard.mac, heard.ip));
        true
    }

    /// A station is here that may never say what address it has.
    pub(super) fn arrived(&mut self, now: Instant, mac: MacAddr, ageing: Duration) {
        if self.silent.contains_key(&mac) {
            return;
        }
        if self.silent.len() >= LIMIT {
            self.over_limit += 1;
            return;
        }
        let at = now + ageing / 3;
        self.silent.insert(mac, at);
        self.silent_due.insert((at, mac));
    }

    /// Stations that are still without an address a third of the ageing time after they came are asked for the link-local one that
    /// IPv6 makes of a MAC. One that answers has an address from then on, and is asked like any other.
    fn suspect_silent(&mut self, now: Instant, is_here: impl Fn(MacAddr) -> bool) {
        while let Some(&(at, mac)) = self.silent_due.first()
            && at <= now
        {
            self.silent_due.pop_first();
            self.silent.remove(&mac);
            if is_here(mac) && !self.knows(mac) {
                self.suspect(now, mac, link_local(mac).into());
            }
        }
    }

    /// The next address whose time has come. `is_here`: its MAC still stands at a local port.
    pub(super) fn poll(&mut self, now: Instant, ageing: Duration, is_here: impl Fn(MacAddr) -> bool) -> Option<Due> {
        self.suspect_silent(now, &is_here);
        while let Some(&(at, mac, ip)) = self.due.first()
            && at <= now
        {
            self.due.pop_first();
            let Some(known) = self.known.get_mut(&(mac, ip)) else { continue };
            if !is_here(mac) {
                if known.asked < QUESTIONS && self.lost.contains_key(&mac) {
                    known.asked += 1;
                    known.ask = now + LOST_AGAIN * u32::from(known.asked);
                    self.due.insert((known.ask, mac, ip));
                    return Some(Due::Ask(mac, ip));
                }
                self.known.remove(&(mac, ip));
                if !self.knows(mac) {
                    self.lost.remove(&mac);
                }
                continue;
            }
            if known.asked >= QUESTIONS {
                self.known.remove(&(mac, ip));
                return Some(Due::Gone(mac, ip));
            }
            known.asked += 1;
            // All questions fit into the time that the bridge still keeps the station.
            known.ask = now + ageing / 6;
            self.due.insert((known.ask, mac, ip));
            return Some(Due::Ask(mac, ip));
        }
        None
    }

    /// A host may have an address: it is asked for next, and its answer is told, also where it is known already and the core may not
    /// have followed it. One that is being asked has its time to answer.
    pub(super) fn suspect(&mut self, now: Instant, mac: MacAddr, ip: IpAddr) {
        if let Some(known) = self.known.get_mut(&(mac, ip)) {
            if known.asked == 0 {
                self.due.remove(&(known.ask, mac, ip));
                *known = Known { told: None, ask: now, ..*known };
                self.due.insert((now, mac, ip));
            }
        } else if self.is_full(mac) {
            self.over_limit += 1;
        } else {
            self.known.insert((mac, ip), Known { router: None, told: None, taken: false, ask: now, asked: 0 });
            self.due.insert((now, mac, ip));
        }
    }

    /// Another MAC has the address now: a further word of this one is news soon.
    pub(super) fn taken(&mut self, mac: MacAddr, ip: IpAddr) {
        if let Some(known) = self.known.get_mut(&(mac, ip)) {
            known.taken = true;
        }
    }

    /// Addresses that the bridge's neighbours give to stations. For how long these have been silent nobody knows, nor whether they
    /// still have them: each that is not asked for yet is so as soon as may be, one after the other.
    pub(super) fn found(&mut self, now: Instant, mut found: Vec<(MacAddr, IpAddr)>, ageing: Duration) {
        found.retain(|key| !self.known.contains_key(key));
        let count = u32::try_from(found.len()).unwrap_or(u32::MAX);
        let pace = PACE.min(ageing / 3 / count.max(1));
        for (nth, (mac, ip)) in (0..count).zip(found) {
            self.suspect(now + pace * nth, mac, ip);
        }
    }

    /// Whether no further address of a MAC is asked for.
    fn is_full(&self, mac: MacAddr) -> bool {
        self.known.len() >= LIMIT || self.of(mac).count() >= PER_MAC
    }

    /// When [`Self::poll`] has something.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let silent = self.silent_due.first().map(|(at, _)| *at);
        self.due.first().map(|(at, _, _)| *at).into_iter().chain(silent).min()
    }

    /// A port forgot a station, as it does when it is set down for a moment or somebody empties the bridge's table: the station is asked
    /// at that port whether it is there, and its answer, which is told, brings it back.
    pub(super) fn lost(&mut self, now: Instant, mac: MacAddr, port: u32) {
        for ip in self.ips_of(mac) {
            if let Some(known) = self.known.get_mut(&(mac, ip)) {
                self.due.remove(&(known.ask, mac, ip));
                *known = Known { told: None, ask: now, asked: 0, ..*known };
                self.due.insert((now, mac, ip));
                self.lost.insert(mac, port);
            }
        }
    }

    /// The port at which a lost station is asked.
    pub(super) fn lost_port(&self, mac: MacAddr) -> Option<u32> {
        self.lost.get(&mac).copied()
    }

    /// A port heard a station: it is as any other, and what it has not said yet is asked for in its turn.
    pub(super) fn is_back(&mut self, mac: MacAddr) {
        if self.lost.is_empty() || self.lost.remove(&mac).is_none() {
            return;
        }
        for ip in self.ips_of(mac) {
            if let Some(known) = self.known.get_mut(&(mac, ip)) {
                known.asked = 0;
            }
        }
    }

    fn ips_of(&self, mac: MacAddr) -> Vec<IpAddr> {
        self.of(mac).map(|((_, ip), _)| *ip).collect()
    }

    /// A station is gone, and its addresses with it.
    pub(super) fn forget(&mut self, mac: MacAddr) {
        self.lost.remove(&mac);
        if let Some(at) = self.silent.remove(&mac) {
            self.silent_due.remove(&(at, mac));
        }
        if self.known.is_empty() {
            return;
        }
        let ips: Vec<(IpAddr, Instant)> = self.of(mac).map(|((_, ip), known)| (*ip, known.ask)).collect();
        for (ip, ask) in ips {
            self.known.remove(&(mac, ip));
            self.due.remove(&(ask, mac, ip));
        }
    }

    /// Whether a station has said an address.
    pub(super) fn knows(&self, mac: MacAddr) -> bool {
        self.of(mac).next().is_some()
    }

    fn of(&self, mac: MacAddr) -> impl Iterator<Item = (&(MacAddr, IpAddr), &Known)> {
        let first = (mac, IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED));
        self.known.range(first..).take_while(move |((other, _), _)| *other == mac)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods)]
    use super::*;

    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const AGEING: Duration = Duration::from_secs(300);

    fn said(last: u8) -> Heard {
        Heard { mac: MAC, ip: IpAddr::from([192, 0, 2, last]), router: None }
    }

    #[test]
    fn a_host_that_answers_stays_and_one_that_does_not_goes_before_its_mac_does() {
        let (mut addresses, start) = (Addresses::default(), Instant::now());
        let ip = said(1).ip;
        assert!(addresses.heard(start, &said(1), AGEING));
        assert!(!addresses.heard(start, &said(1), AGEING), "no news");
        let mut now = start;
        for _ in 0..5 {
            now = addresses.poll_timeout().unwrap();
            assert_eq!(addresses.poll(now, AGEING, |_| true), Some(Due::Ask(MAC, ip)));
            addresses.heard(now, &said(1), AGEING);
        }
        assert_eq!(now.duration_since(start), Duration::from_secs(500));
        let last = now;
        for _ in 0..3 {
            now = addresses.poll_timeout().unwrap();
            assert_eq!(addresses.poll(now, AGEING, |_| true), Some(Due::Ask(MAC, ip)));
            assert_eq!(addresses.poll(now, AGEING, |_| true), None);
        }
        now = addresses.poll_timeout().unwrap();
        assert_eq!(addresses.poll(now, AGEING, |_| true), Some(Due::Gone(MAC, ip)));
        assert!(now.duration_since(last) < AGEING);
        assert_eq!(addresses.poll_timeout(), None);
    }

    #[test]
    fn a_station_takes_its_addresses_along() {
        let (mut addresses, now) = (Addresses::default(), Instant::now());
        for last in 1..4 {
            addresses.heard(now, &said(last), AGEING);
        }
        addresses.forget(MAC);
        assert_eq!(addresses.poll_timeout(), None);
        addresses.heard(now, &said(1), AGEING);
        assert_eq!(addresses.poll(now + AGEING, AGEING, |_| false), None, "its MAC is not here");
        assert_eq!(addresses.poll_timeout(), None);
    }

    #[test]
    fn one_that_invents_addresses_is_not_asked_for_all_of_them() {
        let (mut addresses, now) = (Addresses::default(), Instant::now());
        for last in 0..200 {
            assert!(addresses.heard(now, &said(last), AGEING));
        }
        assert_eq!((addresses.known.len(), addresses.over_limit), (PER_MAC, 200 - PER_MAC as u64));
    }

    #[test]
    fn one_that_is_asked_out_of_turn_has_its_time_to_answer_and_its_answer_is_told() {
        let (mut addresses, now) = (Addresses::default(), Instant::now());
        addresses.heard(now, &said(1), AGEING);
        let mut asked = 0;
        for _ in 0..10 {
            addresses.suspect(now, MAC, said(1).ip);
            while let Some(due) = addresses.poll(now, AGEING, |_| true) {
                assert_eq!(due, Due::Ask(MAC, said(1).ip), "whoever wants it asked does not make it mute");
                asked += 1;
            }
        }
        assert_eq!(asked, 1);
        assert!(addresses.heard(now, &said(1), AGEING), "the core may not have followed it when it was told before");
        assert_eq!(addresses.poll_timeout(), Some(now + AGEING / 3), "then it is as any other");
    }

    /// An earlier run asked for them; when it did so last nobody knows.
    #[test]
    fn what_the_bridge_knew_before_is_asked_for_soon_and_in_no_burst() {
        for count in [1u32, 100, 30_000] {
            let (mut addresses, start) = (Addresses::default(), Instant::now());
            let nth = |n: u32| {
                let [_, a, b, c] = n.to_be_bytes();
                (MacAddr([2, 0, 0, a, b, c]), IpAddr::from([192, a, b, c]))
            };
            addresses.found(start, (0..count).map(nth).collect(), AGEING);
            let mut asked = BTreeSet::new();
            for second in 0..=100 {
                let before = asked.len();
                while let Some(due) = addresses.poll(start + Duration::from_secs(second), AGEING, |_| true) {
                    assert!(matches!(due, Due::Ask(..)), "{due:?}");
                    if let Due::Ask(mac, ip) = due {
                        asked.insert((mac, ip));
                    }
                }
                assert!(asked.len() - before <= 301, "{} in one second", asked.len() - before);
                assert!(count > 100 || second == 0 || asked.len() == count as usize, "few of them at once");
                addresses.found(start + Duration::from_secs(second), vec![nth(0)], AGEING);
            }
            assert_eq!(asked.len(), count as usize, "within a third of the ageing time");
            let (mac, ip) = nth(0);
            assert!(addresses.heard(start, &Heard { mac, ip, router: None }, AGEING), "the core may not have taken it");
        }
        // One that has it no more.
        let (mut addresses, mut now) = (Addresses::default(), Instant::now());
        addresses.found(now, vec![(MAC, said(1).ip)], AGEING);
        let mut said_of_it = Vec::new();
        while let Some(at) = addresses.poll_timeout() {
            now = at;
            said_of_it.extend(addresses.poll(now, AGEING, |_| true));
        }
        let mut expected = vec![Due::Ask(MAC, said(1).ip); 3];
        expected.push(Due::Gone(MAC, said(1).ip));
        assert_eq!(said_of_it, expected);
    }

    #[test]
    fn what_is_not_asked_for_is_counted() {
        let (mut addresses, now) = (Addresses::default(), Instant::now());
        for n in 0..LIMIT as u32 + 3 {
            let [_, a, b, c] = n.to_be_bytes();
            addresses.arrived(now, MacAddr([2, 0, 0, a, b, c]), AGEING);
        }
        assert_eq!((addresses.silent.len(), addresses.over_limit), (LIMIT, 3));
        for last in 0..200 {
            addresses.suspect(now, MAC, said(last).ip);
        }
        assert_eq!(addresses.over_limit, 3 + 200 - PER_MAC as u64);
    }

    #[test]
    fn one_that_says_no_address_is_asked_for_the_one_it_may_have_made_itself() {
        let (mut addresses, start) = (Addresses::default(), Instant::now());
        addresses.arrived(start, MAC, AGEING);
        addresses.arrived(start + AGEING / 6, MAC, AGEING);
        let at = addresses.poll_timeout().unwrap();
        assert_eq!(at.duration_since(start), AGEING / 3);
        let made: IpAddr = "fe80::ff:fe00:1".parse().unwrap();
        assert_eq!(addresses.poll(at, AGEING, |_| true), Some(Due::Ask(MAC, made)));
        // It answers, and is asked again in its time.
        addresses.heard(at, &Heard { mac: MAC, ip: made, router: None }, AGEING);
        let next = addresses.poll_timeout().unwrap();
        assert_eq!(addresses.poll(next, AGEING, |_| true), Some(Due::Ask(MAC, made)));
        // One that spoke meanwhile is not, nor one that left.
        for (speaks, here) in [(true, true), (false, false)] {
            let (mut addresses, start) = (Addresses::default(), Instant::now());
            addresses.arrived(start, MAC, AGEING);
            if speaks {
                addresses.heard(start + AGEING / 4, &said(1), AGEING);
            }
            assert_eq!(addresses.poll(start + AGEING / 3, AGEING, |_| here), None);
        }
        let mut addresses = Addresses::default();
        addresses.arrived(start, MAC, AGEING);
        addresses.forget(MAC);
        assert_eq!(addresses.poll_timeout(), None);
    }

    #[test]
    fn one_whose_address_another_took_is_heard_when_it_says_it_again() {
        let (mut addresses, start) = (Addresses::default(), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        let mut told = |millis: u64, taken: bool| {
            if taken {
                addresses.taken(MAC, said(1).ip);
            }
            addresses.heard(at(millis), &said(1), AGEING)
        };
        assert!(told(0, false));
        assert!(!told(3000, false), "no news");
        assert!(told(3000, true));
        assert!(!told(3100, false), "it has it again");
        assert_eq!([3200, 3900, 4000].map(|millis| told(millis, true)), [false, false, true], "two that speak all the time");
        assert!(!told(13_900, false));
        assert!(told(14_000, false), "from time to time, as ever");
    }

    /// Its port was set down for a moment, or the bridge's table emptied: three questions at its port, and an answer brings it back.
    #[test]
    fn one_that_its_port_forgot_is_asked_there() {
        let (mut addresses, start) = (Addresses::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        for last in [1, 2] {
            addresses.heard(start, &said(last), AGEING);
        }
        let asked = |addresses: &mut Addresses, seconds: u64, here: bool| {
            std::iter::from_fn(|| addresses.poll(at(seconds), AGEING, |_| here)).collect::<Vec<_>>()
        };
        let both = [1, 2].map(|last| Due::Ask(MAC, said(last).ip));
        addresses.lost(at(5), MAC, 7);
        assert_eq!(addresses.lost_port(MAC), Some(7));
        for (seconds, expected) in [(5, &both[..]), (5, &[]), (6, &both), (7, &[]), (8, &both)] {
            assert_eq!(asked(&mut addresses, seconds, false), expected, "after {seconds} s");
        }
        let mut gone = addresses;
        assert_eq!(asked(&mut gone, 11, false), [], "nothing is told: its MAC is gone");
        assert_eq!((gone.poll_timeout(), gone.lost_port(MAC)), (None, None));
        // The answer to one of them brings it back; the other is asked for in its turn.
        let mut addresses = Addresses::default();
        for last in [1, 2] {
            addresses.heard(start, &said(last), AGEING);
        }
        addresses.lost(at(5), MAC, 7);
        for seconds in [5, 6, 8] {
            assert_eq!(asked(&mut addresses, seconds, false), both);
        }
        assert!(addresses.heard(at(9), &said(1), AGEING), "the core took it for gone");
        addresses.is_back(MAC);
        assert_eq!(addresses.lost_port(MAC), None);
        assert_eq!((asked(&mut addresses, 10, true), asked(&mut addresses, 11, true)), (vec![], vec![both[1]]));
        assert!(addresses.heard(at(11), &said(2), AGEING));
        // One of which nothing is known, and one that another host has now.
        addresses.lost(at(30), MacAddr([2; 6]), 7);
        assert_eq!(addresses.lost_port(MacAddr([2; 6])), None);
        addresses.lost(at(30), MAC, 7);
        addresses.forget(MAC);
        assert_eq!((addresses.poll_timeout(), addresses.lost_port(MAC)), (None, None));
    }

    #[test]
    fn a_router_is_told_of_once() {
        let (mut addresses, now) = (Addresses::default(), Instant::now());
        addresses.heard(now, &said(1), AGEING);
        let router = Heard { router: Some(true), ..said(1) };
        assert_eq!([addresses.heard(now, &router, AGEING), addresses.heard(now, &router, AGEING)], [true, false]);
        assert!(!addresses.heard(now, &said(1), AGEING), "an ARP says nothing of it");
    }
}
