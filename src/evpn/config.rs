//! What an instance is told: names and numbers only. Every limit on what peers and tenants can grow stands here.

use std::net::IpAddr;

use crate::base::{Asn, BgpIdentifier, MacAddr, Vni};
pub use crate::config::{DuplicateDetection, ExportTarget, Flood, ImportTarget};
use crate::wire::rd::Rd;

/// What all instances share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvpnConfig {
    /// Our AS: its low 16 bits stand in automatic route targets.
    pub asn: Asn,
    /// Our identifier: routes whose RD carries it are our own coming back.
    pub router_id: BgpIdentifier,
    /// The local tunnel address; `None` on a mere reflector, which announces nothing and installs nothing.
    pub vtep: Option<IpAddr>,
    /// Keys the hashes, because tenants choose MACs.
    pub seed: u64,
    /// Limits.
    pub limits: EvpnLimits,
    /// When a MAC counts as a duplicate.
    pub duplicates: DuplicateDetection,
}

/// What a peer or a tenant may grow. Each limit has a counter in `EvpnStats`. What was refused is looked at again when there
/// is room (`room`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EvpnLimits {
    /// MACs of one VNI that remote hosts announce; further ones are not installed.
    pub remote_macs_per_vni: usize,
    /// MACs of one VNI that are learned locally; further ones are not announced.
    pub local_macs_per_vni: usize,
    /// Of these, MACs of one port; further ones are not announced.
    pub local_macs_per_port: usize,
    /// Routes (hosts times IP addresses) for one MAC: the best are kept, further ones are not looked at.
    pub routes_per_mac: u16,
    /// Type 3 routes over all VNIs; further ones do not flood.
    pub flood_routes: usize,
    /// Events that wait to be fetched; further ones are dropped.
    pub events: usize,
}

impl Default for EvpnLimits {
    fn default() -> Self {
        Self {
            remote_macs_per_vni: 1 << 20,
            local_macs_per_vni: 1 << 17,
            local_macs_per_port: 1 << 16,
            routes_per_mac: 256,
            flood_routes: 1 << 20,
            events: 1 << 14,
        }
    }
}

/// One MAC-VRF with one broadcast domain: VLAN-based service (RFC 7432 §6.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceConfig {
    /// The VNI.
    pub vni: Vni,
    /// Its route distinguisher, unique on this host and the same after a restart.
    pub rd: Rd,
    /// What it imports.
    pub import: Vec<ImportTarget>,
    /// What its routes carry.
    pub export: Vec<ExportTarget>,
    /// MACs announced as sticky though nobody spoke yet.
    pub static_macs: Vec<MacAddr>,
    /// This host's own MAC and addresses on the bridge are announced.
    pub announce_own: bool,
    /// The bridge answers ARP and ND for the addresses that other hosts announce (`neigh_suppress`).
    pub neighbors: bool,
    /// MACs are announced and those of others get rows; otherwise the kernel learns them from tunnelled frames.
    pub macs: bool,
    /// Hosts without EVPN are on the flood list, too, by rows that are not ours: it is left standing when the instance goes.
    pub beside: bool,
    /// Whether there is a flood list, and how we ask for what others flood (type 3).
    pub flood: Flood,
}
