//! How large the tables and queues of the daemon are now: what must not grow without bound, whatever peers, tenants and
//! the kernel do. Counters only grow; these come back down.

use std::collections::BTreeMap;

use super::Speaker;
use crate::base::Time;

/// Sizes now, by name. Entries, but for those in octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sizes {
    /// Destinations of the BGP table that have a path, or that some peer is yet to hear the end of.
    pub destinations: u64,
    /// Blocks of attributes, each shared by all routes that carry it.
    pub attribute_blocks: u64,
    /// The BGP table with what peers are yet to hear, octets, about.
    pub rib_octets: u64,
    /// MACs that others announce, over all VNIs.
    pub remote_macs: u64,
    /// MACs of our bridges, over all VNIs.
    pub local_macs: u64,
    /// Addresses that others announce, over all VNIs.
    pub remote_addresses: u64,
    /// The MAC-VRFs, octets, about.
    pub evpn_octets: u64,
    /// Rows wanted, standing, or on their way out.
    pub rows: u64,
    /// Destinations that rows point to.
    pub row_remotes: u64,
    /// Neighbours of bridges wanted, standing, or on their way out.
    pub neighbors: u64,
    /// Rows to be written.
    pub rows_waiting: u64,
    /// Rows and neighbours that somebody undoes again and again.
    pub rows_fought: u64,
    /// The rows, octets, about.
    pub fib_octets: u64,
    /// Events that nobody has fetched.
    pub events_waiting: u64,
    /// Actions that the rim has not taken.
    pub actions_waiting: u64,
    /// Control requests that wait for the kernel.
    pub requests_waiting: u64,
}

impl Sizes {
    /// Every size with its name.
    pub fn named(&self) -> BTreeMap<String, u64> {
        let Self {
            destinations,
            attribute_blocks,
            rib_octets,
            remote_macs,
            local_macs,
            remote_addresses,
            evpn_octets,
            rows,
            row_remotes,
            neighbors,
            rows_waiting,
            rows_fought,
            fib_octets,
            events_waiting,
            actions_waiting,
            requests_waiting,
        } = *self;
        [
            ("rib_destinations", destinations),
            ("rib_attribute_blocks", attribute_blocks),
            ("rib_octets", rib_octets),
            ("evpn_remote_macs", remote_macs),
            ("evpn_local_macs", local_macs),
            ("evpn_remote_addresses", remote_addresses),
            ("evpn_octets", evpn_octets),
            ("fib_rows", rows),
            ("fib_remotes", row_remotes),
            ("fib_neighbors", neighbors),
            ("fib_rows_waiting", rows_waiting),
            ("fib_rows_fought", rows_fought),
            ("fib_octets", fib_octets),
            ("speaker_events_waiting", events_waiting),
            ("speaker_actions_waiting", actions_waiting),
            ("speaker_requests_waiting", requests_waiting),
        ]
        .map(|(name, size)| (name.to_owned(), size))
        .into()
    }
}

impl Speaker {
    /// How large everything is now. Walks the blocks of attributes and the neighbours of bridges: not for every turn.
    pub fn sizes(&self, now: Time) -> Sizes {
        let rib = self.rib.memory();
        Sizes {
            destinations: rib.destinations as u64,
            attribute_blocks: rib.attribute_blocks as u64,
            rib_octets: (rib.table_octets + rib.attribute_octets + rib.export_octets) as u64,
            remote_macs: self.evpn.remote_mac_count() as u64,
            local_macs: self.evpn.local_mac_count() as u64,
            remote_addresses: self.evpn.remote_address_count() as u64,
            evpn_octets: self.evpn.memory() as u64,
            rows: self.fib.len() as u64,
            row_remotes: self.fib.remote_count() as u64,
            neighbors: self.fib.neighbor_count() as u64,
            rows_waiting: self.fib.dirty_count() as u64,
            rows_fought: self.fib.fought_count(now) as u64,
            fib_octets: self.fib.memory() as u64,
            events_waiting: self.events.len() as u64,
            actions_waiting: self.actions.len() as u64,
            requests_waiting: self.requests.len() as u64,
        }
    }
}
