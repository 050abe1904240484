//! Type 2 routes of others: each MAC of an instance has one row, for the best of its routes, while it is not ours.
//!
//! ```text
//!              route for it                     local port speaks (sequence + 1 announced)
//!   (nowhere) ─────────────► remote: row set ◄──────────────────────────► local: row cleared, type 2 announced
//!       ▲                        │          remote wins (withdrawn)           │
//!       └── last route gone ─────┘                     └── aged, no route ────┘
//! ```

use std::net::IpAddr;

use smallvec::SmallVec;

use super::event::{Event, Place};
use super::facts::Verdict;
use super::instance::Evpn;
use super::kept::Last;
use super::macs::NONE;
use super::mobility::{self, Claim, local_stays};
use super::pace::Key;
use super::room::Limit;
use crate::base::{InternId, MacAddr, Time, Vni, compare_sequences};
use crate::fib::{Fib, Remote};
use crate::rib::{DestId, PeerId, Rib};
use crate::wire::rd::Rd;

/// A route that may give a MAC its row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    pub dest: DestId,
    pub claim: Claim,
    /// The route's VNI where it is not the instance's.
    pub vni: Option<Vni>,
    /// The interned remote, where `vni` is `None`.
    remote: Option<InternId>,
}

impl Evpn {
    /// A destination changed its best path: rows and flood lists follow. From `Rib::next_change`, before the next one.
    pub fn handle_change(&mut self, now: Time, rib: &mut Rib, fib: &mut Fib, dest: DestId) {
        if self.by_vni.is_empty() {
            return;
        }
        let Some((rd, tag, mac, ip)) = rib.mac_ip(dest) else {
            self.handle_imet(now, rib, fib, dest);
            return;
        };
        let new = self.import_mac(rib, dest, rd, tag, mac);
        let at = dest.0 as usize;
        let old = self.imported.get(at).and_then(|set| set.checked_sub(1)).map(InternId);
        if new.is_none() && old.is_none() {
            return;
        }
        let new_set: SmallVec<[u16; 4]> = new.map_or(SmallVec::new(), |set| self.facts.set(set).into());
        if new != old {
            if self.imported.len() <= at {
                self.imported.resize(at + 1, 0);
            }
            new.inspect(|set| self.facts.sets.retain(*set));
            self.imported[at] = new.map_or(0, |set| set.0 + 1);
            if let Some(old) = old {
                let left: SmallVec<[u16; 4]> = self.facts.set(old).into();
                for number in left.into_iter().filter(|number| !new_set.contains(number)) {
                    self.remove_route(now, rib, fib, number, (mac, ip), dest);
                }
                self.facts.sets.release(old);
            }
        }
        for number in new_set {
            self.add_route(now, rib, fib, number, (mac, ip), dest);
        }
    }

    /// The set of instances that take a type 2, `None` where none does or it cannot be used. Each reason has its counter.
    fn import_mac(&mut self, rib: &Rib, dest: DestId, rd: Rd, tag: u32, mac: MacAddr) -> Option<InternId> {
        let best = rib.best(dest).filter(|best| best.peer != PeerId::LOCAL)?;
        let facts = self.facts.facts(rib, best.attr, &self.targets, &self.config);
        if self.facts.set(facts.set()).is_empty() {
            return None;
        }
        let stats = &mut self.stats;
        let reason = if is_ours(rd, &self.config) {
            &mut stats.own_routes
        } else if tag != 0 {
            // A VLAN-aware bundle (RFC 7432 §6.3): the tag names a broadcast domain that we do not have.
            &mut stats.ethernet_tags
        } else if !mac.is_station() {
            &mut stats.martian_macs
        } else if best.label1 == 0 {
            &mut stats.zero_labels
        } else {
            match facts.verdict {
                Verdict::NoNextHop => &mut stats.no_next_hop,
                Verdict::OwnNextHop => &mut stats.own_next_hop,
                Verdict::OtherFamily => &mut stats.other_family,
                Verdict::NotVxlan => &mut stats.unknown_encapsulation,
                Verdict::Usable => {
                    stats.second_labels += u64::from(best.label2.is_some());
                    // RFC 7432 §8.4: several hosts may serve the segment. Ours: the next hop alone, until multihoming.
                    stats.multihomed += u64::from(!best.esi.is_zero());
                    return Some(facts.set());
                }
            }
        };
        *reason += 1;
        None
    }

    pub(super) fn add_route(
        &mut self,
        now: Time,
        rib: &mut Rib,
        fib: &mut Fib,
        number: u16,
        (mac, ip): (MacAddr, Option<IpAddr>),
        dest: DestId,
    ) {
        if !self.slot(number).is_some_and(|instance| instance.config.macs) {
            return;
        }
        let id = match self.macs.find(number, mac) {
            Some(id) => {
                if !self.macs.add_route(id, dest, self.config.limits.routes_per_mac)
                    && !self.replace_worst(now, rib, fib, number, id, dest)
                {
                    return;
                }
                id
            }
            None => {
                let limit = self.config.limits.remote_macs_per_vni;
                match self.slot_mut(number) {
                    Some(instance) if instance.remote_macs < limit => instance.remote_macs += 1,
                    Some(_) => return self.refuse(number, Limit::RemoteMacs),
                    None => return,
                }
                self.macs.insert(number, mac, dest)
            }
        };
        self.decide(now, rib, fib, id, Some(dest), None);
        if let Some(ip) = ip {
            self.add_address(now, rib, fib, number, ip, dest);
        }
    }

    fn remove_route(
        &mut self,
        now: Time,
        rib: &mut Rib,
        fib: &mut Fib,
        number: u16,
        (mac, ip): (MacAddr, Option<IpAddr>),
        dest: DestId,
    ) {
        if let Some(ip) = ip {
            self.remove_address(now, rib, fib, number, ip, dest);
        }
        let Some(id) = self.macs.find(number, mac) else { return };
        if self.macs.remove_route(id, dest) {
            if self.macs.entry(id).routes + 1 == self.config.limits.routes_per_mac {
                self.made_room(now, number, false);
            }
            self.decide(now, rib, fib, id, None, None);
            return;
        }
        let gone = self.uninstall(now, fib, id, false);
        let sequence = self.macs.entry(id).sequence;
        self.macs.remove(id);
        let Some(instance) = self.slot_mut(number) else { return };
        instance.remote_macs -= 1;
        let vni = instance.config.vni;
        self.note_last_sequence(now, (vni, mac), Last::Remote(sequence));
        self.made_room(now, number, false);
        if self.duplicates.is_frozen(&(number, mac)) {
            self.thaw(now, (number, mac), "no other host announces it any more");
        }
        if !self.restore_local(now, rib, fib, number, mac)
            && let Some(remote) = gone
        {
            self.events.push(Event::MacGone { vni, mac, place: Place::Vtep(remote.ip) });
        }
    }

    /// A MAC has as many routes as it may: the best are kept, so that a move is followed whatever the old host left behind.
    /// Whether this route is among them.
    fn replace_worst(&mut self, now: Time, rib: &mut Rib, fib: &mut Fib, number: u16, id: u32, dest: DestId) -> bool {
        self.refuse(number, Limit::RoutesOfMac);
        let Some(vni) = self.slot(number).map(|instance| instance.config.vni) else { return false };
        let Some(new) = self.candidate(rib, vni, dest) else { return false };
        let dests: Vec<DestId> = self.macs.routes(id).collect();
        let others: Vec<(DestId, Option<Claim>)> =
            dests.into_iter().map(|dest| (dest, self.candidate(rib, vni, dest).map(|candidate| candidate.claim))).collect();
        let worst = others.iter().min_by(|a, b| match (&a.1, &b.1) {
            (Some(a), Some(b)) => mobility::compare(a, b).0,
            (a, b) => a.is_some().cmp(&b.is_some()),
        });
        match worst {
            Some(&(worst, claim)) if claim.is_none_or(|claim| mobility::compare(&new.claim, &claim).0.is_gt()) => {
                // The limit is at least 2, so the entry keeps a route.
                if let Some(ip) = rib.mac_ip(worst).and_then(|(_, _, _, ip)| ip) {
                    self.remove_address(now, rib, fib, number, ip, worst);
                }
                self.macs.remove_route(id, worst) && self.macs.add_route(id, dest, self.config.limits.routes_per_mac)
            }
            _ => false,
        }
    }

    /// Looks at one route of a MAC.
    pub(super) fn candidate(&mut self, rib: &Rib, vni: Vni, dest: DestId) -> Option<Candidate> {
        let best = rib.best(dest)?;
        let facts = self.facts.facts(rib, best.attr, &self.targets, &self.config);
        let vtep = self.facts.remotes.value(facts.remote()?)?.ip;
        let claim = Claim { sticky: facts.sticky, sequence: facts.sequence, stale: facts.stale, vtep };
        let other = Vni::new(best.label1).filter(|label| *label != vni);
        let remote = if other.is_none() { facts.remote() } else { None };
        Some(Candidate { dest, claim, vni: other, remote })
    }

    /// The best route of a MAC. Equal claims are one VTEP's: the instance's own VNI first, then the lower.
    pub(super) fn best_route(&mut self, rib: &Rib, vni: Vni, id: u32) -> Option<Candidate> {
        if let Some(dest) = self.macs.only_route(id) {
            return self.candidate(rib, vni, dest);
        }
        self.best_route_at(rib, vni, id, None)
    }

    /// The best of the routes of a MAC that come from one VTEP, or of all.
    pub(super) fn best_route_at(&mut self, rib: &Rib, vni: Vni, id: u32, vtep: Option<IpAddr>) -> Option<Candidate> {
        let dests: SmallVec<[DestId; 8]> = self.macs.routes(id).collect();
        let found = dests.into_iter().filter_map(|dest| self.candidate(rib, vni, dest));
        let candidates: SmallVec<[Candidate; 8]> = found.filter(|c| vtep.is_none_or(|vtep| vtep == c.claim.vtep)).collect();
        mobility::winner(&candidates, |candidate| &candidate.claim, |a, b| (b.vni, b.dest).cmp(&(a.vni, a.dest))).copied()
    }

    /// The highest sequence number that any route for a MAC has (RFC 9721): what a port that hears it must beat.
    pub(super) fn highest_sequence(&mut self, rib: &Rib, vni: Vni, id: u32) -> Option<u32> {
        let dests: SmallVec<[DestId; 8]> = self.macs.routes(id).collect();
        let sequences = dests.into_iter().filter_map(|dest| Some(self.candidate(rib, vni, dest)?.claim.sequence));
        sequences.max_by(|a, b| compare_sequences(*a, *b))
    }

    /// Decides where a MAC with remote routes is. `changed`: the route that came or changed. `from`: where it was, if that was
    /// here.
    pub(super) fn decide(
        &mut self,
        now: Time,
        rib: &mut Rib,
        fib: &mut Fib,
        id: u32,
        changed: Option<DestId>,
        from: Option<Place>,
    ) {
        let entry = *self.macs.entry(id);
        let Some(instance) = self.slot(entry.instance) else { return };
        let (vni, bridges_own) = (instance.config.vni, instance.host.as_ref().is_some_and(|host| host.mac == entry.mac));
        let Some(mut best) = self.best_route(rib, vni, id) else {
            self.uninstall(now, fib, id, false);
            return;
        };
        let key = (entry.instance, entry.mac);
        let owned = if self.locals.is_empty() { None } else { self.locals.get(&key).filter(|local| local.owned) };
        let owned = owned.copied();
        if self.duplicates.is_frozen(&key) {
            if best.claim.sticky {
                self.thaw(now, key, "it is static at another host");
            } else if owned.is_some() {
                self.stats.frozen_moves += u64::from(changed == Some(best.dest));
                return;
            } else if let Some(route) = self.frozen_route(rib, vni, id) {
                self.stats.frozen_moves += u64::from(changed == Some(best.dest) && route.claim.vtep != best.claim.vtep);
                best = route;
            } else {
                self.thaw(now, key, "its host announces it no more");
            }
        }
        let (Some(local), Some(vtep)) = (owned, self.config.vtep) else {
            if best.claim.sticky && changed.is_some_and(|changed| changed != best.dest) {
                self.check_sticky(now, rib, key, vni, &best, changed);
            }
            if changed == Some(best.dest) && !self.duplicates.is_idle() && !self.follows_to_remote(now, rib, key, vni, id, &best)
            {
                return;
            }
            if bridges_own {
                self.uninstall(now, fib, id, true);
            } else {
                self.install(now, fib, vni, id, &best, from);
            }
            return;
        };
        let claim = Claim::of_ours(local.is_static(), local.sequence, vtep);
        let place = self.place_of(&local);
        let (stays, _) = local_stays(&claim, &best.claim);
        if stays {
            self.stats.local_kept += 1;
            if claim.sticky && changed == Some(best.dest) && !Self::is_same_gateway(&local, &best.claim) {
                self.violation(now, key, vni, place, Place::Vtep(best.claim.vtep));
            }
            return;
        }
        if !best.claim.sticky && !self.follows(now, key, vni, place.clone(), Place::Vtep(best.claim.vtep), false) {
            return;
        }
        // RFC 7432 §15: the remote host has it now; ours is withdrawn. Writing the row takes the bridge's entry over.
        if let Some(local) = self.locals.get_mut(&key) {
            local.owned = false;
            // Should it come back, it must beat what beat it.
            local.sequence = best.claim.sequence;
            self.kept.changed |= claim.sequence > 0;
        }
        self.withdraw(now, rib, fib, entry.instance, entry.mac);
        self.install(now, fib, vni, id, &best, Some(place));
    }

    /// A route for a MAC that is remote leads to another host than before, while that one still announces it: a move.
    fn follows_to_remote(&mut self, now: Time, rib: &Rib, key: Key, vni: Vni, id: u32, best: &Candidate) -> bool {
        let (to, before) = (best.claim.vtep, InternId(self.macs.entry(id).remote));
        let Some(from) = self.facts.remotes.value(before).map(|remote| remote.ip).filter(|from| *from != to) else { return true };
        if best.claim.sticky || self.best_route_at(rib, vni, id, Some(from)).is_none() {
            return true;
        }
        self.follows(now, key, vni, Place::Vtep(from), Place::Vtep(to), false)
    }

    /// A dynamic claim for a MAC that is sticky elsewhere is counted (RFC 7432 §15.2).
    fn check_sticky(&mut self, now: Time, rib: &Rib, key: Key, vni: Vni, best: &Candidate, changed: Option<DestId>) {
        let Some(claim) = changed.and_then(|dest| self.candidate(rib, vni, dest)).map(|other| other.claim) else { return };
        if !claim.sticky && claim.vtep != best.claim.vtep {
            self.violation(now, key, vni, Place::Vtep(best.claim.vtep), Place::Vtep(claim.vtep));
        }
    }

    /// Somebody claims a MAC that may not move. Every claim is counted, one that goes on is told once.
    pub(super) fn violation(&mut self, now: Time, key: Key, vni: Vni, owner: Place, claimed_by: Place) {
        self.stats.sticky_violations += 1;
        if self.pace.is_news(now, key) {
            self.events.push(Event::StickyViolation { vni, mac: key.1, owner, claimed_by });
        }
    }

    /// Points the row of a MAC to a route's host. `from`: where it was, if that was here.
    fn install(&mut self, now: Time, fib: &mut Fib, vni: Vni, id: u32, best: &Candidate, from: Option<Place>) {
        let Claim { sticky, sequence, vtep, .. } = best.claim;
        let wanted = Remote { ip: vtep, vni: best.vni };
        let remotes = &mut self.facts.remotes;
        let remote = match best.remote {
            Some(remote) => {
                remotes.retain(remote);
                remote
            }
            None => remotes.acquire(wanted),
        };
        let entry = self.macs.entry_mut(id);
        let old = std::mem::replace(&mut entry.remote, remote.0);
        // Two hosts have it for good, as gateways do, and the better of them came later: nothing moved (RFC 7432 §15.2).
        let both_have_it = entry.sticky && sticky && entry.sequence == sequence;
        entry.sequence = sequence;
        entry.sticky = sticky;
        let mac = entry.mac;
        let was = remotes.value(InternId(old)).copied();
        if old != NONE {
            remotes.release(InternId(old));
        }
        if old == remote.0 {
            return;
        }
        fib.set_unicast(now, vni, mac, wanted);
        if matches!(from, Some(Place::Port(_))) {
            // On demand or not: the bridge must give up the port where it was.
            fib.keep_awake(now, vni, mac);
        }
        let to = Place::Vtep(vtep);
        match from.or(was.map(|was| Place::Vtep(was.ip))) {
            None => self.events.push(Event::MacLearned { vni, mac, place: to, sequence, sticky }),
            Some(Place::Vtep(_)) if both_have_it => {
                self.events.push(Event::MacLearned { vni, mac, place: to, sequence, sticky });
            }
            Some(from) if from != to => {
                self.stats.moves += 1;
                self.events.push(Event::MacMoved { vni, mac, from, to, sequence });
            }
            Some(_) => {}
        }
    }

    /// Takes the row of a MAC away, where it has one. Gives back where it pointed.
    pub(super) fn uninstall(&mut self, now: Time, fib: &mut Fib, id: u32, became_local: bool) -> Option<Remote> {
        let entry = self.macs.entry_mut(id);
        let remote = InternId(std::mem::replace(&mut entry.remote, NONE));
        let (number, mac) = (entry.instance, entry.mac);
        let was = self.facts.remotes.value(remote).copied()?;
        self.facts.remotes.release(remote);
        if let Some(instance) = self.slot(number) {
            fib.clear_unicast(now, instance.config.vni, mac, became_local);
        }
        Some(was)
    }
}

/// Whether an RD carries our identifier (type 1): the route is ours, coming back.
pub(super) fn is_ours(rd: Rd, config: &super::config::EvpnConfig) -> bool {
    rd.kind() == 1 && rd.0[2..6] == config.router_id.0.octets()
}
