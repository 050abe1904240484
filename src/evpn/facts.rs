//! What a block of attributes means for EVPN, worked out once per block and kept by its id.
//!
//! Thousands of type 2 routes share one block; for each of them the answer is an array index.

use std::net::IpAddr;

use super::config::EvpnConfig;
use super::import::Targets;
use crate::base::{InternId, Interner};
use crate::fib::Remote;
use crate::rib::{AttrId, Rib};
use crate::wire::attribute::Attributes;
use crate::wire::ext_community::arp_nd;

/// The tunnel type of VXLAN (RFC 8365 §11, IANA BGP tunnel encapsulation types).
const VXLAN: u16 = 8;

/// Why routes with these attributes are not installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Usable,
    /// There is no next hop, or none that a host can have.
    NoNextHop,
    /// The next hop is our own VTEP.
    OwnNextHop,
    /// An IPv6 next hop and an IPv4 VTEP, or the other way.
    OtherFamily,
    /// The encapsulation community names tunnel types, and VXLAN is not among them. Absent: VXLAN.
    NotVxlan,
}

/// What is kept of a block.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts {
    generation: u32,
    /// Interned set of the instances that import it; `None` where the slot is empty.
    set: Option<InternId>,
    /// Interned remote with this next hop and the device's VNI.
    remote: Option<InternId>,
    pub sequence: u32,
    pub sticky: bool,
    /// LLGR_STALE is there (RFC 9494).
    pub stale: bool,
    /// ARP/ND flags (RFC 9047 §2): the host of a MAC/IP route is a router.
    pub router: bool,
    /// The address may not move to another MAC.
    pub immutable: bool,
    pub verdict: Verdict,
}

impl Facts {
    /// The interned set of importing instances.
    pub fn set(&self) -> InternId {
        self.set.unwrap_or(InternId(u32::MAX))
    }

    /// The interned remote of routes whose label is the instance's own VNI.
    pub fn remote(&self) -> Option<InternId> {
        self.remote
    }
}

/// The facts by attribute id, and what they name: sets of instances and remotes, each interned.
#[derive(Debug)]
pub(super) struct FactTable {
    slots: Vec<Option<Facts>>,
    pub sets: Interner<Box<[u16]>>,
    pub remotes: Interner<Remote>,
}

impl FactTable {
    pub fn new(seed: u64) -> Self {
        Self { slots: Vec::new(), sets: Interner::new(seed), remotes: Interner::new(seed) }
    }

    /// The facts of a block: an array index where it was seen before.
    pub fn facts(&mut self, rib: &Rib, attr: AttrId, targets: &Targets, config: &EvpnConfig) -> Facts {
        let generation = rib.attr_generation(attr);
        let at = attr.0 as usize;
        if let Some(Some(facts)) = self.slots.get(at)
            && facts.generation == generation
        {
            return *facts;
        }
        if self.slots.len() <= at {
            self.slots.resize(at + 1, None);
        }
        let attributes = rib.attributes(attr);
        let set = self.sets.acquire(targets.instances(attributes.route_targets()).into());
        let verdict = judge(attributes, config);
        let remote = match attributes.next_hop {
            Some(ip) if verdict == Verdict::Usable => Some(self.remotes.acquire(Remote { ip, vni: None })),
            _ => None,
        };
        let (sticky, sequence) = attributes.mac_mobility().unwrap_or((false, 0));
        let flags = attributes.arp_nd_flags().unwrap_or(0);
        let (router, immutable) = (flags & arp_nd::ROUTER != 0, flags & arp_nd::IMMUTABLE != 0);
        let stale = rib.is_long_lived_stale(attr);
        let facts = Facts { generation, set: Some(set), remote, sequence, sticky, stale, router, immutable, verdict };
        if let Some(old) = self.slots[at].replace(facts) {
            self.forget(&old);
        }
        facts
    }

    /// Forgets everything, because the instances changed.
    pub fn clear(&mut self) {
        for facts in std::mem::take(&mut self.slots).into_iter().flatten() {
            self.forget(&facts);
        }
    }

    fn forget(&mut self, facts: &Facts) {
        facts.set.map(|set| self.sets.release(set));
        facts.remote.map(|remote| self.remotes.release(remote));
    }

    pub fn set(&self, id: InternId) -> &[u16] {
        self.sets.value(id).map_or(&[], |set| set)
    }

    pub fn memory(&self) -> usize {
        self.slots.capacity() * size_of::<Option<Facts>>()
    }
}

pub(super) fn judge(attributes: &Attributes, config: &EvpnConfig) -> Verdict {
    let Some(next_hop) = attributes.next_hop.filter(is_host) else { return Verdict::NoNextHop };
    if config.vtep == Some(next_hop) {
        return Verdict::OwnNextHop;
    }
    if config.vtep.is_some_and(|vtep| vtep.is_ipv6() != next_hop.is_ipv6()) {
        return Verdict::OtherFamily;
    }
    if attributes.encapsulation().is_some() && !attributes.has_encapsulation(VXLAN) {
        return Verdict::NotVxlan;
    }
    Verdict::Usable
}

/// Whether a host on the underlay can have this address.
pub(super) fn is_host(address: &IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    !(address.is_unspecified() || address.is_multicast() || address.is_loopback() || broadcast)
}
