//! The neighbours of bridges as people see them: status, difference to the kernel, counts. Read `neighbors` first.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::counts::RowCounts;
use super::message::{Binding, KernelNeighbor, NeighborOwner};
use super::neighbors::{Key, Neighbor, Stage};
use super::table::Fib;
use super::view::Status;
use crate::base::Vni;

/// One neighbour, for `explain`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NeighborView {
    /// What the bridge should answer with.
    pub wanted: Option<Binding>,
    /// What it is believed to hold.
    pub installed: Option<Binding>,
    /// Whether it agrees.
    pub status: Status,
}

/// A neighbour where the kernel differs from what is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeighborDifference {
    /// Which VNI.
    pub vni: Vni,
    /// Which address.
    pub ip: IpAddr,
    /// What should stand.
    pub wanted: Option<Binding>,
    /// What stands.
    pub found: Option<Binding>,
    /// What we know of it, in words.
    pub state: String,
}

impl Fib {
    /// Bridges with neighbours that an audit should look at.
    pub fn neighbor_segments(&self) -> Vec<Vni> {
        let mut found: Vec<Vni> = self.neighbors.entries.keys().map(|(vni, _)| *vni).collect();
        found.dedup();
        found.retain(|vni| self.neighbors.ready(*vni).is_some());
        found
    }

    /// What differs between a listing of a bridge and what it should have, in the order of addresses. Changes nothing.
    pub fn diff_neighbors(&self, vni: Vni, existing: &[KernelNeighbor]) -> Vec<NeighborDifference> {
        let standing: BTreeMap<IpAddr, &KernelNeighbor> = existing.iter().map(|neighbor| (neighbor.ip, neighbor)).collect();
        let mut found = Vec::new();
        for (key, entry) in self.neighbors.range(vni) {
            let stands = standing.get(&key.1);
            let theirs = stands.is_some_and(|stands| stands.owner == NeighborOwner::Operator);
            let holds = stands.and_then(|stands| stands.binding);
            let ours = stands.filter(|stands| stands.owner == NeighborOwner::Ours).and_then(|stands| stands.binding);
            let goal = entry.goal();
            // The operator's own, as it is wanted, is no difference; nor is one that nobody wants.
            if ours == goal || (theirs && holds == goal) || (goal.is_none() && (theirs || ours.is_none())) {
                continue;
            }
            let state = self.state_words(self.neighbor_view(*key, entry).status);
            found.push(NeighborDifference { vni, ip: key.1, wanted: goal, found: holds, state });
        }
        let unknown = standing.values().filter(|stands| stands.owner == NeighborOwner::Ours);
        for stands in unknown.filter(|stands| !self.neighbors.entries.contains_key(&(vni, stands.ip))) {
            let state = "not ours to our knowledge; removed at the next audit".to_owned();
            found.push(NeighborDifference { vni, ip: stands.ip, wanted: None, found: stands.binding, state });
        }
        found.sort_by_key(|difference| difference.ip);
        found
    }

    /// Whether the neighbours of a VNI's bridge are known.
    pub fn has_bridge(&self, vni: Vni) -> bool {
        self.neighbors.ready(vni).is_some()
    }

    /// Whether no neighbour of ours is left in a VNI's bridge, and none waits.
    pub(super) fn neighbors_cleared(&self, vni: Vni) -> bool {
        self.neighbors.range(vni).all(|(_, entry)| entry.wanted.is_none() && entry.foreign)
    }

    /// The neighbour of one address.
    pub fn neighbor(&self, vni: Vni, ip: IpAddr) -> Option<NeighborView> {
        let entry = self.neighbors.entries.get(&(vni, ip))?;
        Some(self.neighbor_view((vni, ip), entry))
    }

    fn neighbor_view(&self, key: Key, entry: &Neighbor) -> NeighborView {
        let retry = self.neighbors.retries.get(&key).filter(|_| entry.stage == Stage::Waiting);
        let status = if entry.foreign {
            Status::Operator
        } else if entry.unconfirmed {
            Status::Unconfirmed
        } else if self.neighbors.ready(key.0).is_none() {
            Status::NoDevice
        } else if entry.held {
            Status::Ipv6Off
        } else if let Some(retry) = retry {
            Status::Failed { errno: retry.errno, attempts: retry.attempts, retry: retry.at }
        } else if entry.stage == Stage::InFlight {
            Status::InFlight
        } else if entry.needs_write() {
            Status::Dirty
        } else if entry.asleep {
            Status::OnDemand
        } else {
            Status::InSync
        };
        NeighborView { wanted: entry.wanted, installed: entry.installed, status }
    }

    /// How the neighbours stand: of each VNI that has any, and of all together.
    pub fn neighbor_counts(&self) -> (RowCounts, BTreeMap<Vni, RowCounts>) {
        let (mut all, mut by_vni) = (RowCounts::default(), BTreeMap::<Vni, RowCounts>::new());
        for (key, entry) in &self.neighbors.entries {
            let view = self.neighbor_view(*key, entry);
            for counts in [&mut all, by_vni.entry(key.0).or_default()] {
                counts.wanted += u64::from(view.wanted.is_some() && view.status != Status::Ipv6Off);
                counts.add(view.status);
            }
        }
        (all, by_vni)
    }

    /// How many neighbours are wanted, about to go, or the operator's.
    pub fn neighbor_count(&self) -> usize {
        self.neighbors.entries.len()
    }
}
