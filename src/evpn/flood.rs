//! Type 3 routes of others: the flood list of each VNI.
//!
//! One entry per VTEP and its VNI, though several type 3 routes may name it; it leaves with the last of them.

use std::net::IpAddr;

use super::config::Flood;
use super::event::Event;
use super::facts::is_host;
use super::instance::Evpn;
use super::remote::is_ours;
use crate::base::{Time, Vni};
use crate::fib::{Fib, Remote};
use crate::rib::{DestId, PeerId, Rib, RouteKey};

/// PMSI tunnel type of ingress replication (RFC 6514 §5).
const INGRESS_REPLICATION: u8 = 6;
/// The tunnel type of VXLAN (RFC 8365 §11).
const VXLAN: u16 = 8;

/// What one type 3 route adds to flood lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ImetUse {
    pub instances: Vec<u16>,
    pub vtep: IpAddr,
    /// The VNI to send with.
    pub vni: Vni,
    /// It joined this group, and needs a copy of its own only from who is not in it.
    pub group: Option<IpAddr>,
}

impl Evpn {
    /// A destination that is not a type 2 changed. Types 1, 4, 5 and unknown ones are no matter of a MAC-VRF without
    /// multihoming and routing; they are reflected all the same.
    pub(super) fn handle_imet(&mut self, now: Time, rib: &Rib, fib: &mut Fib, dest: DestId) {
        let RouteKey::Imet { rd, tag, originator } = rib.key(dest) else { return };
        let mut new = self.read_imet(rib, dest, is_ours(rd, &self.config) || Some(originator) == self.config.vtep, tag);
        let old = self.imets.get(&dest).cloned();
        if old.is_none() && new.is_some() && self.imets.len() >= self.config.limits.flood_routes {
            self.stats.flood_over_limit += 1;
            new = None;
        }
        if new == old {
            return;
        }
        // First what is new, so that a list does not lose a VTEP that both name.
        if let Some(new) = &new {
            for &number in &new.instances {
                self.flood_to(now, fib, number, new);
            }
            self.imets.insert(dest, new.clone());
        } else {
            self.imets.remove(&dest);
        }
        for &number in old.iter().flat_map(|old| &old.instances) {
            if let Some(old) = &old {
                self.do_not_flood_to(now, fib, number, old);
            }
        }
    }

    /// What a type 3 asks for; `None` where it is of no use to us. Each reason has its counter.
    fn read_imet(&mut self, rib: &Rib, dest: DestId, ours: bool, tag: u32) -> Option<ImetUse> {
        let best = rib.best(dest).filter(|best| best.peer != PeerId::LOCAL)?;
        let facts = self.facts.facts(rib, best.attr, &self.targets, &self.config);
        let instances = self.facts.set(facts.set()).to_vec();
        if instances.is_empty() {
            return None;
        }
        let attributes = rib.attributes(best.attr);
        let stats = &mut self.stats;
        let reason = if ours {
            &mut stats.own_routes
        } else if tag != 0 {
            &mut stats.ethernet_tags
        } else if attributes.encapsulation().is_some() && !attributes.has_encapsulation(VXLAN) {
            &mut stats.unknown_encapsulation
        } else if let Some(pmsi) = attributes.pmsi.as_ref().filter(|pmsi| pmsi.tunnel_type == INGRESS_REPLICATION) {
            // RFC 7432 §11.2, RFC 6514 §5: the tunnel identifier is the endpoint. Where it is none, the next hop is.
            let next_hop = attributes.next_hop.filter(is_host);
            match (pmsi.endpoint().filter(is_host).or(next_hop), Vni::new(pmsi.label)) {
                (None, _) => &mut stats.no_next_hop,
                (Some(vtep), _) if Some(vtep) == self.config.vtep => &mut stats.own_next_hop,
                (Some(vtep), _) if self.config.vtep.is_some_and(|own| own.is_ipv6() != vtep.is_ipv6()) => &mut stats.other_family,
                (Some(_), None) => &mut stats.zero_labels,
                (Some(vtep), Some(vni)) => return Some(ImetUse { instances, vtep, vni, group: None }),
            }
        } else if let Some((group, label)) = attributes.pmsi.as_ref().and_then(|pmsi| Some((pmsi.group()?, pmsi.label))) {
            // A tree of PIM names no endpoint: its sender is where the route comes from.
            match (attributes.next_hop.filter(is_host), Vni::new(label)) {
                (None, _) => &mut stats.no_next_hop,
                (Some(vtep), _) if Some(vtep) == self.config.vtep => &mut stats.own_next_hop,
                (Some(vtep), _) if self.config.vtep.is_some_and(|own| own.is_ipv6() != vtep.is_ipv6()) => &mut stats.other_family,
                (Some(_), None) => &mut stats.zero_labels,
                (Some(vtep), Some(vni)) => return Some(ImetUse { instances, vtep, vni, group: Some(group) }),
            }
        } else {
            &mut stats.not_ingress_replication
        };
        *reason += 1;
        None
    }

    fn flood_to(&mut self, now: Time, fib: &mut Fib, number: u16, imet: &ImetUse) {
        let Some(instance) = self.slot_mut(number).filter(|instance| needs_copy(instance.config.flood, imet)) else { return };
        let vni = instance.config.vni;
        let remote = remote_of(imet, vni);
        let known = instance.flood.keys().any(|other| other.ip == remote.ip);
        let users = instance.flood.entry(remote).or_insert(0);
        *users += 1;
        if *users == 1 {
            fib.set_flood(now, vni, remote);
            if !known {
                self.events.push(Event::VtepAppeared { vni, vtep: remote.ip });
            }
        }
    }

    fn do_not_flood_to(&mut self, now: Time, fib: &mut Fib, number: u16, imet: &ImetUse) {
        let Some(instance) = self.slot_mut(number).filter(|instance| needs_copy(instance.config.flood, imet)) else { return };
        let vni = instance.config.vni;
        let remote = remote_of(imet, vni);
        let Some(users) = instance.flood.get_mut(&remote) else { return };
        *users -= 1;
        if *users == 0 {
            instance.flood.remove(&remote);
            // Beside hosts without EVPN one that withdraws may be such a host again.
            if instance.config.beside {
                fib.leave_flood(now, vni, remote)
            } else {
                fib.clear_flood(now, vni, remote)
            }
            if !instance.flood.keys().any(|other| other.ip == remote.ip) {
                self.events.push(Event::VtepGone { vni, vtep: remote.ip });
            }
        }
    }
}

/// Whether who announces itself so needs a copy of its own of what we flood.
fn needs_copy(flood: Flood, imet: &ImetUse) -> bool {
    match flood {
        Flood::None => false,
        // Both are in the group, or it is not.
        Flood::Multicast(group) => imet.group != Some(group),
        Flood::IngressReplication => true,
    }
}

fn remote_of(imet: &ImetUse, vni: Vni) -> Remote {
    Remote { ip: imet.vtep, vni: Some(imet.vni).filter(|other| *other != vni) }
}
