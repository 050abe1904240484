//! Addresses of MACs of our own bridge: heard at a port or found in the bridge's neighbour table, announced as MAC/IP routes
//! beside the MAC-only one (RFC 7432 §10), with the router flag (RFC 9047).
//!
//! An address is ours while its MAC is. It goes when the MAC goes, when another MAC claims it (here, or elsewhere with a better
//! route), or when its host no longer answers for it. Claimed here while another MAC has it elsewhere, it is announced with a number
//! above that one's (RFC 9721 §6.2, "IP moves"). One that is claimed by two MACs in turn is a conflict (`conflicts`).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use smallvec::SmallVec;

use super::addresses::is_host;
use super::instance::Evpn;
use super::lately::Lately;
use super::mobility::Claim;
use crate::base::{MacAddr, Time, Vni, compare_sequences, next_sequence};
use crate::fib::Fib;
use crate::rib::{DestId, Rib, RouteKey};
use crate::wire::esi::Esi;
use crate::wire::ext_community::{ExtCommunity, arp_nd};

/// MACs whose addresses are remembered until the bridge tells of them: a port's frame may be read before the bridge's word.
const PARKED: usize = 4096;
/// Addresses remembered of one such MAC.
const PARKED_OF_MAC: usize = 4;
/// For so long.
const PARKED_FOR: Duration = Duration::from_secs(10);
/// MACs of other hosts whose addresses are remembered after their routes went, in case they come here: a machine that is
/// stopped there and started here says at first only that it is here.
const DEPARTED: usize = 4096;
/// For so long.
const DEPARTED_SECS: u64 = 60;
/// A machine that was stopped there may be starting here, and about to find out whether its addresses are free: an ARP probe of ours at
/// that moment would be somebody else's claim to it (RFC 5227 §2.1.1), and it would give the address up. That is over by then.
const ASK_AFTER: Duration = Duration::from_secs(10);
/// Questions that may wait to be asked.
const TO_ASK: usize = 1 << 14;

/// A MAC of ours has an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Own {
    pub mac: MacAddr,
    pub router: bool,
    pub sequence: u32,
}

/// Addresses, each with what its host said of being a router, and since when they wait.
pub(super) type Parked = BTreeMap<(u16, MacAddr), (Time, SmallVec<[(IpAddr, Option<bool>); PARKED_OF_MAC]>)>;

/// Some addresses of one MAC.
type Few = SmallVec<[IpAddr; PARKED_OF_MAC]>;

/// Addresses of MACs whose routes went lately.
pub(super) type Departed = Lately<(u16, MacAddr), Few, DEPARTED, DEPARTED_SECS>;

/// Addresses of MACs of ours whose VNI went lately.
pub(super) type Left = Lately<(Vni, MacAddr), Few, DEPARTED, DEPARTED_SECS>;

impl Evpn {
    /// A MAC/IP route of another host went.
    pub(super) fn address_departed(&mut self, now: Time, rib: &Rib, number: u16, ip: IpAddr, dest: DestId) {
        let Some((_, _, mac, _)) = rib.mac_ip(dest) else { return };
        match self.departed.renew(now, (number, mac)) {
            Some(ips) if ips.contains(&ip) => {}
            Some(ips) if ips.len() < PARKED_OF_MAC => ips.push(ip),
            _ => self.stats.departed_not_kept += 1,
        }
    }

    /// A VNI goes. It may be back in a moment, with another device or in another bridge, and its guests have nothing to say.
    pub(super) fn leave_addresses(&mut self, now: Time, number: u16, vni: Vni) {
        let left = &mut self.left;
        for ((_, mac), ips) in self.own_ips.range((number, MacAddr::ZERO)..).take_while(|((other, _), _)| *other == number) {
            match left.renew(now, (vni, *mac)) {
                Some(few) => *few = ips.iter().copied().take(PARKED_OF_MAC).collect(),
                None => self.stats.departed_not_kept += 1,
            }
        }
    }

    /// A host said that it has an address. `park`: its MAC may be told of in a moment.
    #[allow(clippy::too_many_arguments, reason = "an event of the kernel with the rooms it concerns")]
    pub fn handle_local_address(
        &mut self,
        now: Time,
        rib: &mut Rib,
        fib: &mut Fib,
        vni: Vni,
        (mac, ip): (MacAddr, IpAddr),
        router: Option<bool>,
        park: bool,
    ) {
        let Some(&number) = self.by_vni.get(&vni) else { return };
        if !self.slot(number).is_some_and(|instance| instance.config.neighbors) {
            return;
        }
        if self.locals.get(&(number, mac)).is_some_and(|local| local.of_host) {
            // What the host itself has is told whole (`handle_host`): a neighbour with its MAC is another's address.
            return;
        }
        if !is_host(ip) {
            self.stats.martian_ips += 1;
        } else if self.locals.get(&(number, mac)).is_some_and(|local| local.owned) {
            self.claim_address(now, rib, fib, number, vni, (mac, ip), router);
        } else if park {
            self.park(now, (number, mac), ip, router);
        }
    }

    /// A DHCP server, or who speaks as one, gave a host an address. That is believed at once where nobody else has the address, and never takes
    /// it from anybody: the host is asked once it has had the time to configure it, and keeps it or gets it by its own word.
    pub fn handle_lease(&mut self, now: Time, rib: &mut Rib, fib: &mut Fib, vni: Vni, mac: MacAddr, ip: IpAddr) {
        let Some(&number) = self.by_vni.get(&vni) else { return };
        let listens = self.slot(number).is_some_and(|instance| instance.config.neighbors);
        let before = self.addresses.get(&(number, ip)).and_then(|address| address.own);
        if !listens || !is_host(ip) || before.is_some_and(|own| own.mac == mac) {
            return;
        }
        self.ask_later(now, (vni, mac, ip));
        let ours = self.locals.get(&(number, mac)).is_some_and(|local| local.owned);
        if ours && before.is_none() && self.words(rib, number, vni, ip).iter().all(|word| word.binding.mac == mac) {
            self.claim_address(now, rib, fib, number, vni, (mac, ip), None);
        }
    }

    /// A host does not answer for an address any more.
    pub fn handle_local_address_gone(&mut self, now: Time, rib: &mut Rib, fib: &mut Fib, vni: Vni, mac: MacAddr, ip: IpAddr) {
        let Some(&number) = self.by_vni.get(&vni) else { return };
        self.end_violation((number, ip), mac, "it does not answer for the address any more");
        let own = self.addresses.get(&(number, ip)).and_then(|address| address.own);
        if own.is_some_and(|own| own.mac == mac) {
            self.drop_own(rib, number, ip, mac);
            self.decide_address(now, rib, fib, number, vni, ip);
            self.ask_rival((number, ip), vni, mac);
        }
    }

    /// Asks a station at once whether it has an address.
    pub(super) fn ask(&mut self, question: (Vni, MacAddr, IpAddr)) {
        if self.to_ask.len() < TO_ASK {
            self.to_ask.push(question);
        } else {
            self.stats.questions_over_limit += 1;
        }
    }

    /// Nobody listened to the hosts of a VNI for a while: each is asked whether it still has what it had.
    pub(super) fn ask_all(&mut self, number: u16, vni: Vni) {
        for mac in self.owned_macs(number) {
            for ip in self.own_ips.get(&(number, mac)).cloned().into_iter().flatten() {
                self.ask((vni, mac, ip));
            }
        }
    }

    fn ask_later(&mut self, now: Time, question: (Vni, MacAddr, IpAddr)) {
        if self.to_ask_later.len() < TO_ASK {
            self.to_ask_later.push_back((now + ASK_AFTER, question));
        } else {
            self.stats.questions_over_limit += 1;
        }
    }

    /// Stations to be asked whether they have addresses, since the last time.
    pub fn take_questions(&mut self) -> Vec<(Vni, MacAddr, IpAddr)> {
        std::mem::take(&mut self.to_ask)
    }

    /// Stations from which another MAC took an address, since the last time.
    pub fn take_taken(&mut self) -> Vec<(Vni, MacAddr, IpAddr)> {
        std::mem::take(&mut self.taken)
    }

    /// Another MAC has an address of ours now. Of more than can be told at once the rest is heard again in its time.
    pub(super) fn is_taken(&mut self, rib: &mut Rib, number: u16, vni: Vni, ip: IpAddr, mac: MacAddr) {
        self.drop_own(rib, number, ip, mac);
        if self.taken.len() < TO_ASK {
            self.taken.push((vni, mac, ip));
        } else {
            self.stats.questions_over_limit += 1;
        }
    }

    #[allow(clippy::too_many_arguments, reason = "as above")]
    fn claim_address(
        &mut self,
        now: Time,
        rib: &mut Rib,
        fib: &mut Fib,
        number: u16,
        vni: Vni,
        (mac, ip): (MacAddr, IpAddr),
        router: Option<bool>,
    ) {
        let Some(local) = self.locals.get(&(number, mac)).copied() else { return };
        let before = self.addresses.get(&(number, ip)).and_then(|address| address.own);
        if let Some(own) = before.filter(|own| own.mac == mac) {
            if router.is_some_and(|router| router != own.router) {
                let router = router.unwrap_or(own.router);
                self.set_own(number, ip, Own { router, ..own });
                self.announce_address(now, rib, number, ip);
                self.decide_address(now, rib, fib, number, vni, ip);
            }
            return;
        }
        if let Some(own) = before.filter(|own| self.locals.get(&(number, own.mac)).is_some_and(|local| local.of_host)) {
            self.address_violated(now, (number, ip), vni, (own.mac, mac));
            return;
        }
        let others = self.words(rib, number, vni, ip);
        let others = || others.iter().filter(|word| word.binding.mac != mac);
        let chosen = self.addresses.get(&(number, ip)).and_then(|address| address.chosen).map(|binding| binding.mac);
        let chosen = chosen.filter(|chosen| *chosen != mac);
        let sticky = others().find(|word| word.claim.sticky).filter(|_| !local.is_static());
        if let Some(sticky) = sticky {
            // RFC 9047 §3.3: the address may not move.
            self.address_violated(now, (number, ip), vni, (chosen.unwrap_or(sticky.binding.mac), mac));
            return;
        }
        let count = self.own_ips.get(&(number, mac)).map_or(0, SmallVec::len);
        if count >= usize::from(self.config.limits.routes_per_mac) {
            self.refuse_address(now, number, mac);
            return;
        }
        if let Some(other) = before.map(|own| own.mac).or_else(|| others().map(|word| word.binding.mac).next()) {
            let from = chosen.unwrap_or(other);
            // What the operator says here counts, as with MACs.
            if !self.follows_address(now, (number, ip), vni, (from, mac)) && !local.is_static() {
                return;
            }
        }
        let highest = others().map(|word| word.claim.sequence).chain(before.map(|own| own.sequence));
        let highest = highest.max_by(|a, b| compare_sequences(*a, *b)).map(next_sequence);
        let sequence = highest.into_iter().chain([local.sequence]).max_by(|a, b| compare_sequences(*a, *b)).unwrap_or(0);
        if let Some(before) = before {
            self.is_taken(rib, number, vni, ip, before.mac);
        }
        self.set_own(number, ip, Own { mac, router: router.unwrap_or(false), sequence });
        self.own_ips.entry((number, mac)).or_default().push(ip);
        self.announce_address(now, rib, number, ip);
        self.decide_address(now, rib, fib, number, vni, ip);
    }

    fn set_own(&mut self, number: u16, ip: IpAddr, own: Own) {
        self.addresses.entry((number, ip)).or_default().own = Some(own);
    }

    /// Our claim to an address, where its MAC is ours.
    pub(super) fn own_claim(&self, number: u16, own: &Own) -> Option<Claim> {
        let local = self.locals.get(&(number, own.mac)).filter(|local| local.owned)?;
        Some(Claim::of_ours(local.is_static(), own.sequence, self.config.vtep?))
    }

    /// Announces an address of ours, or changes its route.
    pub(super) fn announce_address(&mut self, now: Time, rib: &mut Rib, number: u16, ip: IpAddr) {
        let Some(own) = self.addresses.get(&(number, ip)).and_then(|address| address.own) else { return };
        let Some(local) = self.locals.get(&(number, own.mac)) else { return };
        let Some(instance) = self.slot(number) else { return };
        // One of `static` that is the host's own is there for the MAC.
        if !instance.ready || !local.owned || (local.of_host && !instance.config.announce_own) {
            return;
        }
        let mut attributes = instance.attributes.clone();
        if own.sequence > 0 || local.is_static() {
            attributes.ext_communities.push(ExtCommunity::mac_mobility(local.is_static(), own.sequence));
        }
        if own.router {
            attributes.ext_communities.push(ExtCommunity::arp_nd(arp_nd::ROUTER));
        }
        let key = RouteKey::MacIp { rd: instance.config.rd, tag: 0, mac: own.mac, ip: Some(ip) };
        rib.originate(now, &key, &attributes, instance.config.vni.get(), None, Esi::default());
    }

    /// Announces all addresses of a MAC: none has a lower number than the MAC itself.
    pub(super) fn announce_addresses(&mut self, now: Time, rib: &mut Rib, number: u16, mac: MacAddr) {
        if self.own_ips.is_empty() {
            return;
        }
        let Some(local) = self.locals.get(&(number, mac)).map(|local| local.sequence) else { return };
        for ip in self.own_ips.get(&(number, mac)).cloned().unwrap_or_default() {
            if let Some(own) = self.addresses.get_mut(&(number, ip)).and_then(|address| address.own.as_mut())
                && compare_sequences(own.sequence, local).is_lt()
            {
                own.sequence = local;
            }
            self.announce_address(now, rib, number, ip);
        }
    }

    /// An address is a MAC of ours' no more: its route is withdrawn. What it is answered with is the caller's to decide anew.
    pub(super) fn drop_own(&mut self, rib: &mut Rib, number: u16, ip: IpAddr, mac: MacAddr) {
        if let Some(address) = self.addresses.get_mut(&(number, ip)) {
            address.own = None;
        }
        if let Some(ips) = self.own_ips.get_mut(&(number, mac)) {
            ips.retain(|other| *other != ip);
            if ips.is_empty() {
                self.own_ips.remove(&(number, mac));
            }
        }
        if let Some(instance) = self.slot(number).filter(|instance| instance.ready) {
            rib.withdraw_local(&RouteKey::MacIp { rd: instance.config.rd, tag: 0, mac, ip: Some(ip) });
        }
    }

    /// A MAC is ours no more, and its addresses neither.
    pub(super) fn lose_addresses(&mut self, now: Time, rib: &mut Rib, fib: &mut Fib, number: u16, mac: MacAddr) {
        self.end_violations_of(number, mac);
        if self.own_ips.is_empty() {
            return;
        }
        let Some(vni) = self.slot(number).map(|instance| instance.config.vni) else { return };
        for ip in self.own_ips.get(&(number, mac)).cloned().unwrap_or_default() {
            self.drop_own(rib, number, ip, mac);
            self.decide_address(now, rib, fib, number, vni, ip);
            self.ask_rival((number, ip), vni, mac);
        }
    }

    /// A MAC became ours: what was heard of its addresses before counts now, and those that it had at another host are asked for
    /// (RFC 9721 §6.1: they come along, but only the host knows).
    pub(super) fn came_here(&mut self, now: Time, rib: &mut Rib, fib: &mut Fib, number: u16, mac: MacAddr) {
        let Some(vni) = self.slot(number).filter(|instance| instance.config.neighbors).map(|instance| instance.config.vni) else {
            return;
        };
        if let Some((since, ips)) = self.parked.remove(&(number, mac))
            && now.since(since) < PARKED_FOR
        {
            for (ip, router) in ips {
                self.claim_address(now, rib, fib, number, vni, (mac, ip), router);
            }
        }
        for ip in self.departed.take(now, &(number, mac)).into_iter().flatten() {
            self.ask_later(now, (vni, mac, ip));
        }
        // It has been here all the time.
        for ip in self.left.take(now, &(vni, mac)).into_iter().flatten() {
            self.ask((vni, mac, ip));
        }
        // One that is announced elsewhere yet came as it runs.
        let routes = self.macs.find(number, mac).into_iter().flat_map(|id| self.macs.routes(id));
        let ips: Few = routes.filter_map(|dest| rib.mac_ip(dest)?.3).collect();
        ips.into_iter().for_each(|ip| self.ask((vni, mac, ip)));
    }

    /// The addresses of ours in an instance that is made anew with another configuration.
    pub(super) fn own_addresses(&self, number: u16) -> Vec<(IpAddr, Own)> {
        self.addresses_of(number).filter_map(|(ip, address)| Some((ip, address.own?))).collect()
    }

    pub(super) fn put_own(&mut self, now: Time, rib: &mut Rib, fib: &mut Fib, number: u16, own: Vec<(IpAddr, Own)>) {
        let Some(vni) = self.slot(number).filter(|instance| instance.config.neighbors).map(|instance| instance.config.vni) else {
            return;
        };
        for (ip, own) in own {
            if self.locals.get(&(number, own.mac)).is_some_and(|local| local.owned) {
                self.set_own(number, ip, own);
                self.own_ips.entry((number, own.mac)).or_default().push(ip);
                self.decide_address(now, rib, fib, number, vni, ip);
            }
        }
    }

    fn park(&mut self, now: Time, key: (u16, MacAddr), ip: IpAddr, router: Option<bool>) {
        if !key.1.is_station() {
            return;
        }
        if self.parked.len() >= PARKED && !self.parked.contains_key(&key) {
            self.parked.retain(|_, (since, _)| now.since(*since) < PARKED_FOR);
            if self.parked.len() >= PARKED {
                self.stats.addresses_not_parked += 1;
                return;
            }
        }
        let (since, ips) = self.parked.entry(key).or_insert_with(|| (now, SmallVec::new()));
        *since = now;
        ips.retain(|(other, _)| *other != ip);
        if ips.len() == PARKED_OF_MAC {
            ips.remove(0);
            self.stats.addresses_not_parked += 1;
        }
        ips.push((ip, router));
    }
}
