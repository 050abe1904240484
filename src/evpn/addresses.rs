//! MAC/IP routes of others: which MAC each address of a segment is answered with.
//!
//! Where a MAC is and which MAC an address has are two questions: a machine that moves takes its address along, and the answer
//! stays. So an address keeps all its routes, whatever became of their MACs, and the best of them says the MAC: by the same
//! rules as for MACs (RFC 7432 §15, RFC 9721 §4: the number of a MAC/IP route also orders the MACs of one address), an
//! immutable one (RFC 9047 §3.3) as a sticky one; among equals the one heard last.

use std::collections::BTreeMap;
use std::net::IpAddr;

use smallvec::SmallVec;

use super::instance::Evpn;
use super::mobility::{self, Claim, local_stays};
use super::own_addresses::Own;
use super::room::Limit;
use crate::base::{Time, Vni};
use crate::fib::{Binding, Fib};
use crate::rib::{DestId, Rib};

/// Routes that are kept of one address: many more than hosts can disagree about it, few enough to be looked at with each.
const ROUTES: usize = 64;

/// What is known of one address of one instance.
#[derive(Debug, Default)]
pub(super) struct Address {
    pub routes: SmallVec<[DestId; 2]>,
    /// What it is answered with.
    pub chosen: Option<Binding>,
    /// A MAC of ours that has it.
    pub own: Option<Own>,
}

/// By instance and address.
pub(super) type Addresses = BTreeMap<(u16, IpAddr), Address>;

/// One route's word about an address.
#[derive(Debug, Clone, Copy)]
pub(super) struct Word {
    pub claim: Claim,
    pub binding: Binding,
    /// When it was heard, then its number.
    last: (Time, DestId),
}

impl Evpn {
    /// A MAC/IP route came or changed.
    pub(super) fn add_address(&mut self, now: Time, rib: &mut Rib, fib: &mut Fib, number: u16, ip: IpAddr, dest: DestId) {
        let Some(vni) = self.slot(number).filter(|instance| instance.config.neighbors).map(|instance| instance.config.vni) else {
            return;
        };
        if !is_host(ip) {
            self.stats.martian_ips += 1;
            return;
        }
        let address = self.addresses.entry((number, ip)).or_default();
        if !address.routes.contains(&dest) {
            if address.routes.len() < ROUTES {
                address.routes.push(dest);
            } else if !self.replace_worst_word(rib, number, vni, ip, dest) {
                return;
            }
        }
        self.decide_address(now, rib, fib, number, vni, ip);
    }

    /// A MAC/IP route went.
    pub(super) fn remove_address(&mut self, now: Time, rib: &mut Rib, fib: &mut Fib, number: u16, ip: IpAddr, dest: DestId) {
        let Some(address) = self.addresses.get_mut(&(number, ip)) else { return };
        let before = address.routes.len();
        address.routes.retain(|other| *other != dest);
        if address.routes.len() == before {
            return;
        }
        self.address_departed(now, rib, number, ip, dest);
        let Some(vni) = self.slot(number).map(|instance| instance.config.vni) else { return };
        self.decide_address(now, rib, fib, number, vni, ip);
        if before == ROUTES {
            self.made_room(now, number, false);
        }
    }

    /// An instance goes.
    pub(super) fn forget_addresses(&mut self, now: Time, fib: &mut Fib, number: u16, vni: Vni) {
        let ips: Vec<IpAddr> = self.addresses_of(number).map(|(ip, _)| ip).collect();
        for ip in ips {
            self.addresses.remove(&(number, ip));
            fib.clear_neighbor(now, vni, ip);
        }
        self.moves.forget_instance(number, vni);
        self.own_ips.retain(|(other, _), _| *other != number);
        self.parked.retain(|(other, _), _| *other != number);
        self.departed.forget(|(other, _)| *other == number);
    }

    pub(super) fn addresses_of(&self, number: u16) -> impl Iterator<Item = (IpAddr, &Address)> {
        let first = (number, IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED));
        self.addresses.range(first..).take_while(move |((other, _), _)| *other == number).map(|((_, ip), address)| (*ip, address))
    }

    /// What the routes of others say about an address.
    pub(super) fn words(&mut self, rib: &Rib, number: u16, vni: Vni, ip: IpAddr) -> SmallVec<[Word; 2]> {
        let routes = self.addresses.get(&(number, ip)).map(|address| address.routes.clone()).unwrap_or_default();
        routes.into_iter().filter_map(|dest| self.word(rib, vni, dest)).collect()
    }

    /// Chooses the MAC of an address anew: a MAC of ours that has it stays against worse routes.
    pub(super) fn decide_address(&mut self, now: Time, rib: &mut Rib, fib: &mut Fib, number: u16, vni: Vni, ip: IpAddr) {
        let words = self.words(rib, number, vni, ip);
        let best = mobility::winner(&words, |word| &word.claim, |a, b| a.last.cmp(&b.last));
        let immovable = best.filter(|best| best.claim.sticky).map(|best| best.binding.mac);
        let own = self.addresses.get(&(number, ip)).and_then(|address| address.own);
        let own_claim = own.and_then(|own| self.own_claim(number, &own));
        let had_own = own.is_some();
        let (best, remote) = match (best, own.zip(own_claim)) {
            (Some(best), Some((own, claim))) if !local_stays(&claim, &best.claim).0 => {
                // It is at another host by now.
                self.is_taken(rib, number, vni, ip, own.mac);
                (Some(best.binding), true)
            }
            (_, Some((own, _))) => (Some(Binding { mac: own.mac, router: own.router }), false),
            (best, None) => (best.map(|best| best.binding), true),
        };
        let of_host = own.is_some_and(|own| self.locals.get(&(number, own.mac)).is_some_and(|local| local.of_host));
        let is_own = self.addresses.get(&(number, ip)).is_some_and(|address| address.own.is_some());
        let Some(address) = self.addresses.get_mut(&(number, ip)) else { return };
        let before = std::mem::replace(&mut address.chosen, best);
        if address.routes.is_empty() && address.own.is_none() {
            self.addresses.remove(&(number, ip));
        }
        match best {
            // The kernel answers for itself.
            Some(_) if is_own && of_host => fib.clear_neighbor(now, vni, ip),
            Some(binding) if is_own => fib.set_own_neighbor(now, vni, ip, binding),
            Some(binding) => fib.set_neighbor(now, vni, ip, binding),
            None => fib.clear_neighbor(now, vni, ip),
        }
        if let Some((before, best)) = before.zip(best).filter(|(before, best)| before.mac != best.mac) {
            self.stats.address_moves += 1;
            let is_claimed = || had_own || words.iter().any(|word| word.binding.mac == before.mac);
            if !is_own && !self.conflicts.is_idle() && is_claimed() {
                self.address_moves(now, (number, ip), vni, (before.mac, best.mac), false);
            }
        }
        if best.is_none() {
            self.address_is_free((number, ip));
        }
        if !self.violations.is_empty() {
            let ours = own.filter(|_| own_claim.is_some_and(|claim| claim.sticky)).map(|own| own.mac);
            self.check_violations((number, ip), vni, if is_own { ours } else { immovable });
        }
        self.note_chosen(now, (number, vni, ip), before, best, remote);
    }

    fn word(&mut self, rib: &Rib, vni: Vni, dest: DestId) -> Option<Word> {
        let candidate = self.candidate(rib, vni, dest)?;
        let (_, _, mac, _) = rib.mac_ip(dest)?;
        let best = rib.best(dest)?;
        let facts = self.facts.facts(rib, best.attr, &self.targets, &self.config);
        let claim = Claim { sticky: facts.sticky || facts.immutable, ..candidate.claim };
        Some(Word { claim, binding: Binding { mac, router: facts.router }, last: (best.received, dest) })
    }

    /// An address has as many routes as are kept: the best are. Whether this route is among them.
    fn replace_worst_word(&mut self, rib: &Rib, number: u16, vni: Vni, ip: IpAddr, dest: DestId) -> bool {
        self.stats.address_routes_over_limit += 1;
        self.refuse(number, Limit::RoutesOfMac);
        let Some(new) = self.word(rib, vni, dest) else { return false };
        let Some(routes) = self.addresses.get(&(number, ip)).map(|address| address.routes.clone()) else { return false };
        let mut worst: Option<(usize, Word)> = None;
        for (at, dest) in routes.into_iter().enumerate() {
            let Some(word) = self.word(rib, vni, dest) else { continue };
            if worst.is_none_or(|(_, worst)| mobility::compare(&word.claim, &worst.claim).0.is_lt()) {
                worst = Some((at, word));
            }
        }
        let Some((at, worst)) = worst else { return false };
        let better = mobility::compare(&new.claim, &worst.claim).0.is_gt();
        if let Some(address) = self.addresses.get_mut(&(number, ip)).filter(|_| better) {
            address.routes[at] = dest;
        }
        better
    }
}

/// Whether a host of a segment can have this address and be asked for it: link-local ones too.
pub(super) fn is_host(ip: IpAddr) -> bool {
    super::facts::is_host(&ip) && !matches!(ip, IpAddr::V4(v4) if v4.octets()[0] == 0)
}
