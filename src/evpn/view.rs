//! Instances, MACs and VTEPs as people see them, and the counters.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::config::InstanceConfig;
use super::event::Place;
use super::import::export_targets;
use super::instance::Evpn;
use super::macs::NONE;
use crate::base::{InternId, MacAddr, Vni};
use crate::rib::{AttrId, Rib};
use crate::wire::ext_community::RouteTarget;

/// What was met. All only grow. A route that comes again is counted again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EvpnStats {
    /// Our own routes coming back (RD with our identifier, originator our VTEP); not used.
    pub own_routes: u64,
    /// Routes of others whose next hop or tunnel endpoint is our own VTEP; not used.
    pub own_next_hop: u64,
    /// No next hop, or one that no host can have; not used.
    pub no_next_hop: u64,
    /// An IPv6 next hop and an IPv4 VTEP, or the other way; not used.
    pub other_family: u64,
    /// Tunnel types without VXLAN; not used.
    pub unknown_encapsulation: u64,
    /// MACs that no station can own (zero, multicast), remote or local; not used.
    pub martian_macs: u64,
    /// Label 0 where the VNI should be; not used.
    pub zero_labels: u64,
    /// An Ethernet tag other than 0 (VLAN-aware bundle); not used.
    pub ethernet_tags: u64,
    /// Type 3 without a PMSI tunnel of ingress replication; not flooded to.
    pub not_ingress_replication: u64,
    /// Type 2 with a second label (L3 VNI): used, the label is not.
    pub second_labels: u64,
    /// Type 2 with an Ethernet segment: used by its next hop alone.
    pub multihomed: u64,
    /// Claims for MACs and addresses that may not move.
    pub sticky_violations: u64,
    /// Moves between hosts, from and to anywhere.
    pub moves: u64,
    /// Moves between local ports.
    pub local_moves: u64,
    /// Remote routes for a MAC that stayed ours.
    pub local_kept: u64,
    /// Remote MACs beyond the limit of a VNI.
    pub macs_over_limit: u64,
    /// Local MACs beyond the limit of a VNI.
    pub local_macs_over_limit: u64,
    /// Local MACs beyond the limit of a port.
    pub port_macs_over_limit: u64,
    /// Routes beyond the limit of a MAC.
    pub routes_over_limit: u64,
    /// MAC/IP routes that name an address which no host can have.
    pub martian_ips: u64,
    /// MAC/IP routes beyond what is kept of one address.
    pub address_routes_over_limit: u64,
    /// Addresses of local MACs beyond the limit of a MAC.
    pub local_ips_over_limit: u64,
    /// Addresses of MACs not heard yet, beyond what can be remembered.
    pub addresses_not_parked: u64,
    /// Claims of an address that is at two MACs at once.
    pub address_conflicts: u64,
    /// Addresses found to be at two MACs at once.
    pub conflicts_found: u64,
    /// Moves of addresses that could not be watched, and claims to ones that may not move, because there are too many.
    pub conflicts_unwatched: u64,
    /// Questions to hosts whether they have an address, beyond what can wait.
    pub questions_over_limit: u64,
    /// Addresses of MACs whose routes went, beyond what is remembered in case they come here.
    pub departed_not_kept: u64,
    /// Addresses that went over to another MAC.
    pub address_moves: u64,
    /// Of these, those to a MAC of another host that guests of this one were told of.
    pub address_moves_told: u64,
    /// Those that they were not, because the address moved too often lately, or too many did at once.
    pub address_moves_untold: u64,
    /// Type 3 routes beyond the limit.
    pub flood_over_limit: u64,
    /// Events that nobody fetched in time.
    pub events_dropped: u64,
    /// Instances beyond 65,534.
    pub instances_refused: u64,
    /// MACs found to be duplicates.
    pub duplicates_found: u64,
    /// Of these, those that became as any other when their time was over.
    pub duplicates_recovered: u64,
    /// Moves that could not be watched, because too many MACs move.
    pub duplicates_unwatched: u64,
    /// Moves of frozen MACs that were not followed.
    pub frozen_moves: u64,
    /// Rows of MACs that may not move, taken by a port again within a second: put back when it is over.
    pub put_back_later: u64,
    /// Such rows beyond what can be remembered: the bridge is asked again.
    pub put_back_refused: u64,
    /// Sequence numbers of our own MACs left out of what is kept over a restart, because there are too many; each time it is written.
    pub sequences_not_kept: u64,
}

/// One instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceView<'a> {
    /// As configured.
    pub config: &'a InstanceConfig,
    /// Whether it announces itself.
    pub ready: bool,
    /// VTEPs on the flood list.
    pub vteps: usize,
    /// MACs that others announce, those included that are ours nevertheless.
    pub remote_macs: usize,
    /// MACs of our bridge, those included that a remote host won.
    pub local_macs: usize,
    /// How often a limit refused a local MAC, of the VNI or of its port.
    pub refused_local_macs: u64,
    /// How often a limit refused a remote MAC.
    pub refused_remote_macs: u64,
    /// How often a MAC had more routes than are kept.
    pub refused_routes: u64,
    /// How often a local MAC had more addresses than are announced.
    pub refused_addresses: u64,
    /// Something may be waiting for room now.
    pub at_limit: bool,
}

/// One MAC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MacView {
    /// The MAC.
    pub mac: MacAddr,
    /// Where it is.
    pub place: Place,
    /// Its sequence number.
    pub sequence: u32,
    /// May not move.
    pub sticky: bool,
    /// How many remote routes there are for it.
    pub routes: usize,
    /// It is found to be a duplicate (RFC 7432 §15.1).
    pub duplicate: bool,
}

/// One remote VTEP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VtepView {
    /// Its address.
    pub vtep: IpAddr,
    /// VNIs in which we flood to it.
    pub flood: Vec<Vni>,
    /// MACs whose row points to it, over all VNIs.
    pub macs: usize,
}

impl EvpnStats {
    /// Every counter with its name.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("own_routes", self.own_routes),
            ("own_next_hop", self.own_next_hop),
            ("no_next_hop", self.no_next_hop),
            ("other_family", self.other_family),
            ("unknown_encapsulation", self.unknown_encapsulation),
            ("martian_macs", self.martian_macs),
            ("zero_labels", self.zero_labels),
            ("ethernet_tags", self.ethernet_tags),
            ("not_ingress_replication", self.not_ingress_replication),
            ("second_labels", self.second_labels),
            ("multihomed", self.multihomed),
            ("sticky_violations", self.sticky_violations),
            ("moves", self.moves),
            ("local_moves", self.local_moves),
            ("local_kept", self.local_kept),
            ("macs_over_limit", self.macs_over_limit),
            ("local_macs_over_limit", self.local_macs_over_limit),
            ("routes_over_limit", self.routes_over_limit),
            ("martian_ips", self.martian_ips),
            ("address_routes_over_limit", self.address_routes_over_limit),
            ("local_ips_over_limit", self.local_ips_over_limit),
            ("addresses_not_parked", self.addresses_not_parked),
            ("address_conflicts", self.address_conflicts),
            ("conflicts_found", self.conflicts_found),
            ("conflicts_unwatched", self.conflicts_unwatched),
            ("questions_over_limit", self.questions_over_limit),
            ("departed_not_kept", self.departed_not_kept),
            ("address_moves", self.address_moves),
            ("address_moves_told", self.address_moves_told),
            ("address_moves_untold", self.address_moves_untold),
            ("flood_over_limit", self.flood_over_limit),
            ("events_dropped", self.events_dropped),
            ("instances_refused", self.instances_refused),
            ("port_macs_over_limit", self.port_macs_over_limit),
            ("duplicates_found", self.duplicates_found),
            ("duplicates_recovered", self.duplicates_recovered),
            ("duplicates_unwatched", self.duplicates_unwatched),
            ("frozen_moves", self.frozen_moves),
            ("put_back_later", self.put_back_later),
            ("put_back_refused", self.put_back_refused),
            ("sequences_not_kept", self.sequences_not_kept),
        ]
    }
}

impl Evpn {
    /// The instance of a VNI.
    pub fn instance(&self, vni: Vni) -> Option<InstanceView<'_>> {
        let instance = self.slot(*self.by_vni.get(&vni)?)?;
        Some(InstanceView {
            config: &instance.config,
            ready: instance.ready,
            vteps: instance.flood.len(),
            remote_macs: instance.remote_macs,
            local_macs: instance.local_macs,
            refused_local_macs: instance.refused.times[0] + instance.refused.times[1],
            refused_remote_macs: instance.refused.times[2],
            refused_routes: instance.refused.times[3],
            refused_addresses: instance.refused.times[4],
            at_limit: instance.refused.any(),
        })
    }

    /// All instances in the order of VNIs.
    pub fn instances(&self) -> impl Iterator<Item = InstanceView<'_>> {
        self.by_vni.keys().filter_map(|vni| self.instance(*vni))
    }

    /// The MACs of a VNI: local ones in order, then remote ones in no order that means anything but always the same.
    pub fn macs(&self, vni: Vni) -> impl Iterator<Item = MacView> + '_ {
        let number = self.by_vni.get(&vni).copied();
        let owned = number.into_iter().flat_map(|number| self.local_range(number)).filter(|(_, local)| local.owned);
        let local = owned.map(move |(mac, local)| MacView {
            mac,
            place: self.place_of(local),
            sequence: local.sequence,
            sticky: local.is_static(),
            routes: number.and_then(|n| self.macs.find(n, mac)).map_or(0, |id| usize::from(self.macs.entry(id).routes)),
            duplicate: number.is_some_and(|n| self.duplicates.is_found(&(n, mac))),
        });
        let entries = self.macs.iter().filter(move |(_, entry)| Some(entry.instance) == number && entry.remote != NONE);
        let remote = entries.filter_map(|(_, entry)| {
            Some(MacView {
                mac: entry.mac,
                place: Place::Vtep(self.facts.remotes.value(InternId(entry.remote))?.ip),
                sequence: entry.sequence,
                sticky: entry.sticky,
                routes: usize::from(entry.routes),
                duplicate: self.duplicates.is_found(&(entry.instance, entry.mac)),
            })
        });
        local.chain(remote)
    }

    /// One MAC of a VNI, without a walk.
    pub fn mac(&self, vni: Vni, mac: MacAddr) -> Option<MacView> {
        let number = *self.by_vni.get(&vni)?;
        let entry = self.macs.find(number, mac).map(|id| self.macs.entry(id));
        let routes = entry.map_or(0, |entry| usize::from(entry.routes));
        let duplicate = self.duplicates.is_found(&(number, mac));
        if let Some(local) = self.locals.get(&(number, mac)).filter(|local| local.owned) {
            let (place, sequence, sticky) = (self.place_of(local), local.sequence, local.is_static());
            return Some(MacView { mac, place, sequence, sticky, routes, duplicate });
        }
        let entry = entry?;
        let place = Place::Vtep(self.facts.remotes.value(InternId(entry.remote))?.ip);
        Some(MacView { mac, place, sequence: entry.sequence, sticky: entry.sticky, routes, duplicate })
    }

    /// Remote VTEPs with what goes to them, in the order of addresses. Walks all MACs.
    pub fn vteps(&self) -> Vec<VtepView> {
        let mut vteps: BTreeMap<IpAddr, VtepView> = BTreeMap::new();
        let new = |vtep| VtepView { vtep, flood: Vec::new(), macs: 0 };
        for instance in self.by_vni.values().filter_map(|number| self.slot(*number)) {
            for remote in instance.flood.keys() {
                let flood = &mut vteps.entry(remote.ip).or_insert_with(|| new(remote.ip)).flood;
                if flood.last() != Some(&instance.config.vni) {
                    flood.push(instance.config.vni);
                }
            }
        }
        for (_, entry) in self.macs.iter() {
            if let Some(remote) = self.facts.remotes.value(InternId(entry.remote)) {
                vteps.entry(remote.ip).or_insert_with(|| new(remote.ip)).macs += 1;
            }
        }
        vteps.into_values().collect()
    }

    /// Remote VTEPs that some VNI floods to.
    pub fn flood_vteps(&self) -> BTreeSet<IpAddr> {
        let instances = self.by_vni.values().filter_map(|number| self.slot(*number));
        instances.flat_map(|instance| instance.flood.keys()).map(|remote| remote.ip).collect()
    }

    /// The addresses of a MAC in order: those that routes of other hosts give it, and what was heard here.
    pub fn ips(&self, rib: &Rib, vni: Vni, mac: MacAddr) -> Vec<IpAddr> {
        let entry = self.by_vni.get(&vni).and_then(|number| self.macs.find(*number, mac));
        let routes = entry.into_iter().flat_map(|id| self.macs.routes(id));
        let mut ips: Vec<IpAddr> = routes.filter_map(|dest| rib.mac_ip(dest)?.3).collect();
        if let Some(number) = self.by_vni.get(&vni) {
            ips.extend(self.own_ips.get(&(*number, mac)).into_iter().flatten());
        }
        ips.sort_unstable();
        ips.dedup();
        ips
    }

    /// The route targets that the routes of a VNI carry, spelt out.
    pub fn export_targets(&self, vni: Vni) -> Vec<RouteTarget> {
        let config = self.by_vni.get(&vni).and_then(|number| self.slot(*number)).map(|instance| &instance.config);
        config.map(|config| export_targets(self.config.asn, vni, &config.export)).unwrap_or_default()
    }

    /// Whether the instance of a VNI imports routes with these attributes.
    pub fn imports(&self, rib: &Rib, vni: Vni, attr: AttrId) -> bool {
        let number = self.by_vni.get(&vni);
        number.is_some_and(|number| self.targets.instances(rib.attributes(attr).route_targets()).contains(number))
    }

    /// Counters.
    pub fn stats(&self) -> EvpnStats {
        EvpnStats { events_dropped: self.events.dropped, ..self.stats }
    }

    /// Addresses that others announce, over all VNIs.
    pub fn remote_address_count(&self) -> usize {
        self.addresses.len()
    }

    /// MACs that others announce, over all VNIs.
    pub fn remote_mac_count(&self) -> usize {
        self.macs.len()
    }

    /// The number of the port where a MAC of ours is; 0 for one that no port has.
    pub fn local_port(&self, vni: Vni, mac: MacAddr) -> Option<u32> {
        self.locals.get(&(*self.by_vni.get(&vni)?, mac)).map(|local| local.port)
    }

    /// MACs of our bridges, over all VNIs.
    pub fn local_mac_count(&self) -> usize {
        self.locals.len()
    }

    /// Octets of memory the large tables use, about.
    pub fn memory(&self) -> usize {
        self.macs.memory()
            + self.imported.capacity() * 4
            + self.facts.memory()
            + self.locals.len() * 64
            + self.addresses.len() * 96
    }
}
