//! Addresses that may not move, claimed by guests of ours: a segment's gateway above all, or whatever a static MAC has (RFC 9047 §3.3).
//!
//! Such a claim changes nothing here or elsewhere, but the guests beside the one that claims it believe it: it is told, for an address at
//! most once in [`QUIET_SECS`], and stands until the guest goes, has the address no longer, or may have it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use super::event::{Event, Place};
use super::instance::Evpn;
use super::lately::Lately;
use crate::base::{MacAddr, Time, Vni};

/// Claims that stand at a time: a guest may invent MACs to claim one address with.
const AT_MOST: usize = 4096;
/// After one was told, further ones to the same address are not for so long.
const QUIET_SECS: u64 = 60;

/// An instance's number and an address.
type Key = (u16, IpAddr);

#[derive(Debug, Clone, Copy)]
struct Claimed {
    /// Who has it for good.
    owner: MacAddr,
    /// There was an event.
    told: bool,
}

/// The claims that stand.
#[derive(Debug, Default)]
pub(super) struct Violations {
    /// By the MAC that claims the address.
    claims: BTreeMap<(Key, MacAddr), Claimed>,
    by_mac: BTreeSet<(u16, MacAddr, IpAddr)>,
    told: Lately<Key, (), AT_MOST, QUIET_SECS>,
}

/// A guest's claim to an address that is another MAC's for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// In which VNI.
    pub vni: Vni,
    /// The address.
    pub ip: IpAddr,
    /// Whose it is, and where that is now; `None`: nowhere.
    pub owner: (MacAddr, Option<Place>),
    /// Who claims it.
    pub claimed_by: (MacAddr, Option<Place>),
}

impl Violations {
    pub fn is_empty(&self) -> bool {
        self.claims.is_empty()
    }

    /// How many addresses are claimed.
    pub fn addresses(&self) -> usize {
        let mut keys: Vec<Key> = self.claims.keys().map(|(key, _)| *key).collect();
        keys.dedup();
        keys.len()
    }

    /// Who claims an address, and whose each takes it for.
    fn of(&self, key: Key) -> Vec<(MacAddr, MacAddr)> {
        let all = self.claims.range((key, MacAddr::ZERO)..).take_while(|((other, _), _)| *other == key);
        all.map(|((_, mac), claimed)| (*mac, claimed.owner)).collect()
    }

    fn take(&mut self, key: Key, mac: MacAddr) -> Option<Claimed> {
        self.by_mac.remove(&(key.0, mac, key.1));
        self.claims.remove(&(key, mac))
    }
}

impl Evpn {
    /// A MAC of ours claims an address that another has for good: nothing changes.
    pub(super) fn address_violated(&mut self, now: Time, key: Key, vni: Vni, (owner, claimed_by): (MacAddr, MacAddr)) {
        self.stats.sticky_violations += 1;
        let standing = &mut self.violations;
        let known = standing.claims.contains_key(&(key, claimed_by));
        if !known && standing.claims.len() >= AT_MOST {
            self.stats.conflicts_unwatched += 1;
            return;
        }
        standing.by_mac.insert((key.0, claimed_by, key.1));
        let claimed = standing.claims.entry((key, claimed_by)).or_insert(Claimed { owner, told: false });
        claimed.owner = owner;
        // One that came while another was fresh is told when it goes on after that.
        if !claimed.told && standing.told.get(now, &key).is_none() && standing.told.renew(now, key).is_some() {
            claimed.told = true;
            let Violation { owner, claimed_by, .. } = self.violation_view(vni, key.1, owner, claimed_by);
            self.events.push(Event::AddressViolation {
                vni,
                ip: key.1,
                owner_mac: owner.0,
                owner: owner.1,
                claimed_by_mac: claimed_by.0,
                claimed_by: claimed_by.1,
            });
        }
    }

    /// A claim is over. Whether it stood.
    pub(super) fn end_violation(&mut self, key: Key, claimed_by_mac: MacAddr, reason: &'static str) -> bool {
        let Some(claimed) = self.violations.take(key, claimed_by_mac) else { return false };
        if claimed.told
            && let Some(vni) = self.slot(key.0).map(|instance| instance.config.vni)
        {
            self.events.push(Event::AddressViolationEnded { vni, ip: key.1, claimed_by_mac, reason: reason.to_owned() });
        }
        true
    }

    /// A MAC is ours no more: what it claimed, neither.
    pub(super) fn end_violations_of(&mut self, number: u16, mac: MacAddr) {
        if self.violations.is_empty() {
            return;
        }
        let first = (number, mac, IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let all = self.violations.by_mac.range(first..).take_while(|(other, claims, _)| (*other, *claims) == (number, mac));
        let ips: Vec<IpAddr> = all.map(|(.., ip)| *ip).collect();
        for ip in ips {
            self.end_violation((number, ip), mac, "it is not here any more");
        }
    }

    /// An instance goes, or is made anew: its guests' claims are heard again there, and its number may be another's next.
    pub(super) fn end_violations_in(&mut self, number: u16) {
        let all: Vec<(Key, MacAddr)> =
            self.violations.claims.keys().filter(|((other, _), _)| *other == number).copied().collect();
        for (key, mac) in all {
            self.end_violation(key, mac, "its VNI leaves, or is set up anew");
        }
        self.violations.told.forget(|(other, _)| *other == number);
    }

    /// An address was decided anew. `holder`: who has it for good. One of ours that claimed it while another had it so is asked, for it may
    /// have it now.
    pub(super) fn check_violations(&mut self, key: Key, vni: Vni, holder: Option<MacAddr>) {
        for (mac, owner) in self.violations.of(key) {
            if holder == Some(owner) {
                continue;
            }
            self.end_violation(key, mac, "whose the address was has it no longer");
            if holder != Some(mac) && self.locals.get(&(key.0, mac)).is_some_and(|local| local.owned) {
                self.ask((vni, mac, key.1));
            }
        }
    }

    /// As [`Evpn::clear_conflicts`] does for what two MACs have in turn. Gives back how many addresses.
    pub(super) fn clear_violations(&mut self, vni: Option<Vni>, mac: Option<MacAddr>, ip: Option<IpAddr>) -> usize {
        let before = self.violations.addresses();
        let concerned = self.violations.claims.iter().filter(|(((number, address), by), claimed)| {
            let has_vni = || self.slot(*number).map(|instance| instance.config.vni);
            let concerns = |mac| mac == *by || mac == claimed.owner;
            ip.is_none_or(|ip| ip == *address) && mac.is_none_or(concerns) && vni.is_none_or(|vni| has_vni() == Some(vni))
        });
        let keys: Vec<(Key, MacAddr)> = concerned.map(|(key, _)| *key).collect();
        for (key, mac) in keys {
            self.end_violation(key, mac, "cleared by the operator");
        }
        before - self.violations.addresses()
    }

    fn violation_view(&self, vni: Vni, ip: IpAddr, owner: MacAddr, claimed_by: MacAddr) -> Violation {
        let [owner, claimed_by] = [owner, claimed_by].map(|mac| (mac, self.mac(vni, mac).map(|view| view.place)));
        Violation { vni, ip, owner, claimed_by }
    }

    /// How many addresses that may not move are claimed by guests of ours.
    pub fn violation_count(&self) -> usize {
        self.violations.addresses()
    }

    /// Claims of guests of ours to addresses that may not move, in order.
    pub fn violations(&self) -> impl Iterator<Item = Violation> + '_ {
        self.violations.claims.iter().filter_map(|(((number, ip), mac), claimed)| {
            let vni = self.slot(*number)?.config.vni;
            Some(self.violation_view(vni, *ip, claimed.owner, *mac))
        })
    }
}
