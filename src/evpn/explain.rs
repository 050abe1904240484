//! Why a MAC is where it is: every route for it in the RIB with what became of it, the local side, and the row.

use std::net::IpAddr;

use super::event::Place;
use super::facts::Verdict;
use super::instance::Evpn;
use super::mobility::{self, Claim, Step, compare, local_stays};
use super::remote::is_ours;
use crate::base::{InternId, MacAddr, Time, Vni};
use crate::fib::{Fib, RowView};
use crate::rib::{DestId, PathView, PeerId, Rib, RouteKey};
use crate::wire::rd::Rd;

/// Why a route that would win does not.
const FROZEN: &str = "not followed: the MAC is frozen as a duplicate";
/// Why no route for a MAC is used.
const BRIDGES_OWN: &str = "not used: this host's own bridge has the MAC";

/// One route for the MAC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CandidateView {
    /// Its key as `show routes` has it.
    pub route: String,
    /// Its route distinguisher.
    pub rd: Rd,
    /// The next hop.
    pub vtep: Option<IpAddr>,
    /// Its label: the VNI to send with.
    pub label: u32,
    /// Sequence number.
    pub sequence: u32,
    /// May not move.
    pub sticky: bool,
    /// Whose path the RIB prefers.
    pub peer: PeerId,
    /// When that path came.
    pub received: Time,
    /// How many paths the RIB has for this route.
    pub paths: usize,
    /// Every path with the step of the RIB's decision at which it lost, or "best".
    pub rib_decision: Vec<(PathView, String)>,
    /// It gave the MAC its row.
    pub chosen: bool,
    /// "best", the numbered step at which it lost, or why it is not used at all.
    pub why: String,
}

/// The local side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalView {
    /// Where.
    pub place: Place,
    /// Sequence number that is, or was, announced.
    pub sequence: u32,
    /// Static at the port or in the configuration.
    pub is_static: bool,
    /// It is ours.
    pub owned: bool,
    /// Its type 2 is announced: it is ours, and the device is ready.
    pub announced: bool,
    /// "ours", or the numbered step at which it lost.
    pub why: String,
}

/// A MAC that two hosts have at once, or an address that two MACs have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DuplicateView {
    /// The address; `None`: the MAC itself.
    pub ip: Option<IpAddr>,
    /// When it was found.
    pub since: Time,
    /// When the mark goes by itself; `None`: never.
    pub recovers: Option<Time>,
    /// Its moves are not followed.
    pub frozen: bool,
    /// Between which it moved last: from, to. Of a MAC twice itself; no place: it is nowhere now.
    pub between: [(MacAddr, Option<Place>); 2],
    /// Who announces the address now: for which MAC, from which VTEP (`None`: this host). Empty of a MAC, whose routes are candidates.
    pub announced: Vec<(MacAddr, Option<IpAddr>)>,
    /// The MAC that the address counts as now.
    pub chosen: Option<MacAddr>,
}

/// All that decides about one MAC of one VNI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MacExplanation {
    /// Which VNI.
    pub vni: Vni,
    /// Which MAC.
    pub mac: MacAddr,
    /// Whether there is such an instance.
    pub configured: bool,
    /// Where the MAC is; `None`: nowhere.
    pub place: Option<Place>,
    /// The local side, if the bridge has it.
    pub local: Option<LocalView>,
    /// It is frozen as a duplicate: it stays where it is, whatever the routes say (RFC 7432 §15.1).
    pub frozen: bool,
    /// This host's own bridge has it.
    pub bridges_own: bool,
    /// It, or an address that it has or claims, is at two places at once.
    pub duplicates: Vec<DuplicateView>,
    /// Every route for it, our own too, in the order of keys.
    pub candidates: Vec<CandidateView>,
    /// What the FIB wants and holds.
    pub row: Option<RowView>,
}

impl Evpn {
    /// Explains one MAC. Walks the whole RIB: for people, not for the path of a route.
    pub fn explain(&self, rib: &Rib, fib: &Fib, vni: Vni, mac: MacAddr) -> MacExplanation {
        let number = self.by_vni.get(&vni).copied();
        let view = self.mac(vni, mac);
        let local = number.and_then(|number| self.locals.get(&(number, mac)));
        let claims = self.usable_claims(rib, number, vni, mac);
        let frozen = number.is_some_and(|number| self.duplicates.is_frozen(&(number, mac)));
        let bridges_own = number.is_some_and(|number| self.is_bridges_own(number, mac));
        let stays_at = if frozen { self.remote_vtep(vni, mac) } else { None };
        let fit: Vec<_> = claims.iter().copied().filter(|claim| stays_at.is_none_or(|vtep| claim.1.vtep == vtep)).collect();
        let best = mobility::winner(&fit, |claim| &claim.1, |a, b| (b.2, b.0).cmp(&(a.2, a.0))).copied();
        let own = local.filter(|local| local.owned).zip(self.config.vtep);
        let own = own.map(|(local, vtep)| Claim::of_ours(local.is_static(), local.sequence, vtep));
        let dests = rib.dests().filter(|dest| rib.mac_ip(*dest).is_some_and(|(_, _, other, _)| other == mac));
        let mut candidates: Vec<(RouteKey, CandidateView)> = dests
            .filter_map(|dest| {
                let mut view = self.candidate_view(rib, dest)?;
                view.why = match claims.iter().find(|claim| claim.0 == dest) {
                    None => self.why_not_used(rib, number, vni, dest),
                    Some((_, claim, _)) => match (best, own) {
                        (_, Some(own)) if frozen && !local_stays(&own, claim).0 => FROZEN.to_owned(),
                        (Some(best), None) if frozen && best.1.vtep != claim.vtep => FROZEN.to_owned(),
                        (Some(_), None) if bridges_own => BRIDGES_OWN.to_owned(),
                        (_, Some(own)) => local_stays(&own, claim).1.why_lost().to_owned(),
                        (Some(best), None) if best.0 == dest => {
                            view.chosen = true;
                            "best".to_owned()
                        }
                        (Some(best), None) => compare(&best.1, claim).1.why_lost().to_owned(),
                        (None, None) => Step::Same.why_lost().to_owned(),
                    },
                };
                Some((rib.key(dest), view))
            })
            .collect();
        candidates.sort_by(|a, b| a.0.cmp(&b.0));
        let instance = number.and_then(|number| self.slot(number)).filter(|instance| instance.ready);
        let local = local.map(|local| LocalView {
            place: self.place_of(local),
            sequence: local.sequence,
            is_static: local.is_static(),
            owned: local.owned,
            announced: instance.is_some_and(|instance| local.is_announced(instance.config.announce_own)),
            why: if local.owned { "ours".to_owned() } else { "lost to the remote route that is best".to_owned() },
        });
        MacExplanation {
            vni,
            mac,
            configured: number.is_some(),
            place: view.map(|view| view.place),
            local,
            frozen,
            bridges_own,
            duplicates: number.map(|number| self.duplicates_of(rib, (number, vni), mac)).unwrap_or_default(),
            candidates: candidates.into_iter().map(|(_, view)| view).collect(),
            row: fib.unicast(vni, mac),
        }
    }

    /// What is at two places at once of a MAC: itself, addresses it contends for, and those that it has beside the two that moved last.
    fn duplicates_of(&self, rib: &Rib, (number, vni): (u16, Vni), mac: MacAddr) -> Vec<DuplicateView> {
        let frozen = self.duplicates.rule.freeze;
        let itself = self.duplicates.found_one(&(number, mac)).and_then(|(since, recovers, twofold)| {
            let between = twofold.between.clone()?.map(|place| (mac, Some(place)));
            Some(DuplicateView { ip: None, since, recovers, frozen, between, announced: Vec::new(), chosen: None })
        });
        let has = self.ips(rib, vni, mac);
        let addresses = self.conflicts.all_found().filter_map(|(key, contest)| {
            let (from, to) = contest.between.filter(|_| key.0 == number)?;
            if from != mac && to != mac && has.binary_search(&key.1).is_err() {
                return None;
            }
            let (since, recovers, _) = self.conflicts.found_one(key)?;
            let between = [from, to].map(|mac| (mac, self.mac(vni, mac).map(|view| view.place)));
            let announced = self.announcers(rib, key);
            let chosen = self.addresses.get(key).and_then(|address| address.chosen).map(|binding| binding.mac);
            Some(DuplicateView { ip: Some(key.1), since, recovers, frozen, between, announced, chosen })
        });
        itself.into_iter().chain(addresses).collect()
    }

    /// Who announces an address: this host, then others in the order in which their routes came.
    fn announcers(&self, rib: &Rib, key: &(u16, IpAddr)) -> Vec<(MacAddr, Option<IpAddr>)> {
        let (Some(address), Some(instance)) = (self.addresses.get(key), self.slot(key.0)) else { return Vec::new() };
        let own = address.own.map(|own| own.mac).filter(|mac| {
            let route = RouteKey::MacIp { rd: instance.config.rd, tag: 0, mac: *mac, ip: Some(key.1) };
            rib.find(&route).and_then(|dest| rib.best(dest)).is_some_and(|best| best.peer == PeerId::LOCAL)
        });
        let others = address.routes.iter().filter_map(|dest| {
            let (best, (_, _, mac, _)) = rib.best(*dest).zip(rib.mac_ip(*dest))?;
            Some((mac, Some(rib.attributes(best.attr).next_hop?)))
        });
        own.map(|mac| (mac, None)).into_iter().chain(others).collect()
    }

    /// The routes that are in the instance's table for the MAC, with claim and foreign VNI.
    fn usable_claims(&self, rib: &Rib, number: Option<u16>, vni: Vni, mac: MacAddr) -> Vec<(DestId, Claim, Option<Vni>)> {
        let Some(id) = number.and_then(|number| self.macs.find(number, mac)) else { return Vec::new() };
        let claim = |dest| {
            let best = rib.best(dest)?;
            let attributes = rib.attributes(best.attr);
            let (sticky, sequence) = attributes.mac_mobility().unwrap_or((false, 0));
            let other = Vni::new(best.label1).filter(|label| *label != vni);
            let stale = rib.is_long_lived_stale(best.attr);
            Some((dest, Claim { sticky, sequence, stale, vtep: attributes.next_hop? }, other))
        };
        self.macs.routes(id).filter_map(claim).collect()
    }

    fn candidate_view(&self, rib: &Rib, dest: DestId) -> Option<CandidateView> {
        let best = rib.best(dest)?;
        let (rd, ..) = rib.mac_ip(dest)?;
        let attributes = rib.attributes(best.attr);
        let (sticky, sequence) = attributes.mac_mobility().unwrap_or((false, 0));
        let rib_decision = rib.why_best(dest);
        Some(CandidateView {
            route: rib.key(dest).to_string(),
            rd,
            vtep: attributes.next_hop,
            label: best.label1,
            sequence,
            sticky,
            peer: best.peer,
            received: best.received,
            paths: rib_decision.len(),
            rib_decision,
            chosen: false,
            why: String::new(),
        })
    }

    /// Why a route for the MAC is not in the table of the instance.
    fn why_not_used(&self, rib: &Rib, number: Option<u16>, vni: Vni, dest: DestId) -> String {
        let (Some(best), Some((rd, tag, mac, _))) = (rib.best(dest), rib.mac_ip(dest)) else { return String::new() };
        if best.peer == PeerId::LOCAL {
            let ours = number.and_then(|number| self.slot(number)).is_some_and(|instance| instance.config.rd == rd);
            return if ours { "our own" } else { "our own, of another VNI" }.to_owned();
        }
        let attributes = rib.attributes(best.attr);
        if number.is_none_or(|number| !self.targets.instances(attributes.route_targets()).contains(&number)) {
            return format!("not imported: no route target of it is imported by VNI {vni}");
        }
        let verdict = super::facts::judge(attributes, &self.config);
        let why = if is_ours(rd, &self.config) {
            "our own route coming back"
        } else if tag != 0 {
            "Ethernet tag is not 0 (VLAN-aware bundle)"
        } else if !mac.is_station() {
            "no station can own this MAC"
        } else if best.label1 == 0 {
            "label is 0"
        } else {
            match verdict {
                Verdict::NoNextHop => "no usable next hop",
                Verdict::OwnNextHop => "the next hop is our own VTEP",
                Verdict::OtherFamily => "the next hop is of the other address family than our VTEP",
                Verdict::NotVxlan => "its tunnel types do not include VXLAN",
                Verdict::Usable => "a limit was reached",
            }
        };
        format!("not used: {why}")
    }

    /// Where the row of a remote MAC points, for tests and `show`.
    pub fn remote_vtep(&self, vni: Vni, mac: MacAddr) -> Option<IpAddr> {
        let id = self.macs.find(*self.by_vni.get(&vni)?, mac)?;
        Some(self.facts.remotes.value(InternId(self.macs.entry(id).remote))?.ip)
    }
}
