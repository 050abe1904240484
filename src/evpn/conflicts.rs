//! Addresses that two MACs have at once: two guests of one host, or guests of two hosts, were given the same one. Neither of them can
//! know, for the probes with which a host looks whether its address is free (RFC 5227, RFC 4862 §5.4) are answered by the bridge, or
//! not carried. So the address goes to and fro between them, with each word of either (RFC 9721 §6.2), and is found as a MAC is that
//! does so (`duplicates`): by the same rule, from the first claim that is heard here, and it ends in the same way.
//!
//! Found and `freeze`: what a port says of it is not followed while another MAC has it. Routes of others are: all hosts go on
//! answering alike, which for a MAC no freeze can have. When it ends, a guest that was not followed is asked, for it may have it now.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::config::DuplicateDetection;
use super::event::{Event, Place};
use super::instance::Evpn;
use super::tracks::{Noted, Tracks};
use crate::base::{MacAddr, Time, Vni};

/// What is noted of an address that moves.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Contest {
    /// The MACs between which it moved last: from, to.
    pub between: Option<(MacAddr, MacAddr)>,
    /// One of ours whose claim was not followed.
    missed: Option<MacAddr>,
}

/// The addresses that moved lately.
pub(super) type Conflicts = Tracks<IpAddr, Contest>;

/// An instance's number and an address.
type Key = (u16, IpAddr);

/// An address that two MACs have at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// In which VNI.
    pub vni: Vni,
    /// The address.
    pub ip: IpAddr,
    /// The two, with where they are now; `None`: nowhere.
    pub macs: [(MacAddr, Option<Place>); 2],
}

impl Evpn {
    /// A MAC of ours claims an address that another has. Whether that is followed.
    pub(super) fn follows_address(&mut self, now: Time, key: Key, vni: Vni, (from, to): (MacAddr, MacAddr)) -> bool {
        self.address_moves(now, key, vni, (from, to), true);
        if !self.conflicts.is_found(&key) {
            return true;
        }
        self.stats.address_conflicts += 1;
        let frozen = self.conflicts.rule.freeze;
        if frozen && let Some(contest) = self.conflicts.value_mut(&key) {
            contest.missed = Some(to);
        }
        !frozen
    }

    /// An address goes over from one MAC to another while the first still claims it. `here`: a port of ours heard that.
    pub(super) fn address_moves(&mut self, now: Time, key: Key, vni: Vni, (from, to): (MacAddr, MacAddr), here: bool) {
        let noted = self.conflicts.note(now, key, here);
        if let Some(contest) = self.conflicts.value_mut(&key) {
            contest.between = Some((from, to));
        }
        match noted {
            Noted::Unremarkable => return,
            Noted::NoRoom => {
                self.stats.conflicts_unwatched += 1;
                return;
            }
            Noted::Found => {}
        }
        self.stats.conflicts_found += 1;
        let rule = self.conflicts.rule;
        let place = |mac| self.mac(vni, mac).map(|view| view.place);
        self.events.push(Event::DuplicateAddress {
            vni,
            ip: key.1,
            moves: rule.moves,
            seconds: rule.window_secs.into(),
            from_mac: from,
            from: place(from),
            to_mac: to,
            to: place(to),
            frozen: rule.freeze,
            recovery_secs: rule.recovery_secs.map(u64::from),
        });
    }

    /// A found address is as any other from now on. Whether it was found.
    fn end_conflict(&mut self, key: Key, reason: &'static str) -> bool {
        let Some(contest) = self.conflicts.end(&key) else { return false };
        if let Some(vni) = self.slot(key.0).map(|instance| instance.config.vni) {
            self.ask_missed(key, vni, contest.missed);
            self.events.push(Event::DuplicateAddressEnded { vni, ip: key.1, reason: reason.to_owned() });
        }
        true
    }

    /// Nobody has an address any more: there is nothing to keep.
    pub(super) fn address_is_free(&mut self, key: Key) {
        if self.conflicts.is_frozen(&key) {
            self.end_conflict(key, "nobody has it any more");
        }
    }

    /// A guest of ours that was not followed has its say, where it still has the address.
    fn ask_missed(&mut self, (number, ip): Key, vni: Vni, missed: Option<MacAddr>) {
        if let Some(mac) = missed.filter(|mac| self.locals.get(&(number, *mac)).is_some_and(|local| local.owned)) {
            self.ask((vni, mac, ip));
        }
    }

    /// A MAC of ours does not have an address any more. The other of two that had it at once is asked, where it is ours and nobody has the
    /// address now.
    pub(super) fn ask_rival(&mut self, key: Key, vni: Vni, gone: MacAddr) {
        if self.conflicts.is_idle() || self.addresses.get(&key).is_some_and(|address| address.chosen.is_some()) {
            return;
        }
        let between = self.conflicts.value_mut(&key).and_then(|contest| contest.between);
        let rival = between.and_then(|(from, to)| [(from, to), (to, from)].into_iter().find(|(one, _)| *one == gone));
        self.ask_missed(key, vni, rival.map(|(_, rival)| rival));
    }

    /// Serves recoveries that are due.
    pub(super) fn recover_conflicts(&mut self, now: Time) {
        while let Some(key) = self.conflicts.recovers(now) {
            self.end_conflict(key, "its recovery time is over");
        }
    }

    /// Another rule, as for MACs ([`Evpn::set_duplicate_rule`]).
    pub(super) fn set_conflict_rule(&mut self, rule: DuplicateDetection) {
        let released = self.conflicts.rule.freeze && !rule.freeze;
        for key in self.conflicts.set_rule(rule) {
            if rule.moves == 0 {
                self.end_conflict(key, "duplicates are no longer looked for");
            } else if released {
                let missed = self.conflicts.value_mut(&key).and_then(|contest| contest.missed.take());
                if let Some(vni) = self.slot(key.0).map(|instance| instance.config.vni) {
                    self.ask_missed(key, vni, missed);
                }
            }
        }
    }

    /// Forgets found addresses, and claims to such as may not move, of one VNI or of all, of one address or one MAC or of all, as [`Evpn::clear_duplicates`] does for
    /// MACs. Gives back how many.
    pub fn clear_conflicts(&mut self, vni: Option<Vni>, mac: Option<MacAddr>, ip: Option<IpAddr>) -> usize {
        let found = self.conflicts.all_found().filter(|((number, address), contest)| {
            let has_vni = || self.slot(*number).map(|instance| instance.config.vni);
            let concerns = |mac| contest.between.is_some_and(|(from, to)| from == mac || to == mac);
            ip.is_none_or(|ip| ip == *address) && mac.is_none_or(concerns) && vni.is_none_or(|vni| has_vni() == Some(vni))
        });
        let keys: Vec<Key> = found.map(|(key, _)| *key).collect();
        for &key in &keys {
            self.end_conflict(key, "cleared by the operator");
        }
        keys.len() + self.clear_violations(vni, mac, ip)
    }

    /// How many addresses are found to be at two MACs at once.
    pub fn conflict_count(&self) -> usize {
        self.conflicts.found()
    }

    /// Addresses that are at two MACs at once, in order.
    pub fn conflicts(&self) -> impl Iterator<Item = Conflict> + '_ {
        self.conflicts.all_found().filter_map(|((number, ip), contest)| {
            let vni = self.slot(*number)?.config.vni;
            let (from, to) = contest.between?;
            Some(Conflict { vni, ip: *ip, macs: [from, to].map(|mac| (mac, self.mac(vni, mac).map(|view| view.place))) })
        })
    }

    /// The MACs that contend for an address, each with those addresses: in turn, or while one has it for good.
    pub fn contenders(&self) -> BTreeMap<(Vni, MacAddr), Vec<IpAddr>> {
        let mut contenders: BTreeMap<(Vni, MacAddr), Vec<IpAddr>> = BTreeMap::new();
        for ((number, ip), contest) in self.conflicts.all_found() {
            let (Some(instance), Some((from, to))) = (self.slot(*number), contest.between) else { continue };
            for mac in [from, to] {
                contenders.entry((instance.config.vni, mac)).or_default().push(*ip);
            }
        }
        for claim in self.violations() {
            for (mac, _) in [claim.owner, claim.claimed_by] {
                let ips = contenders.entry((claim.vni, mac)).or_default();
                if ips.last() != Some(&claim.ip) {
                    ips.push(claim.ip);
                }
            }
        }
        contenders
    }
}
