//! What no VNI wants any more: interfaces with the mark of evpnd are told, and the rows and neighbours that an earlier run wrote are read so
//! that the core can have them deleted. Nothing is removed here unasked: another evpnd of this namespace may have it.

use std::collections::BTreeSet;

use super::dumper::{Finished, Job};
use super::links::{Link, LinkKind, Links, VxlanInfo};
use super::worker::Worker;
use crate::base::Vni;
use crate::fib::{KernelEvent, Leftover, MarkedLink};

/// Interfaces with the mark of evpnd that `wanted` VNIs and `names` do not use, in order.
fn marked(links: &Links, wanted: &dyn Fn(Vni) -> bool, names: &dyn Fn(&str) -> bool) -> Vec<MarkedLink> {
    let vni_of = |link: &Link| match &link.kind {
        LinkKind::Vxlan(VxlanInfo { vni, .. }) => *vni,
        _ => None,
    };
    let of = |link: &Link| {
        if names(&link.name) {
            return None;
        }
        let told = |vni, ports| Some(MarkedLink { vni, ifindex: link.ifindex, name: link.name.clone(), ports });
        match &link.kind {
            LinkKind::Vxlan(_) => vni_of(link).filter(|vni| !wanted(*vni)).and_then(|vni| told(Some(vni), Vec::new())),
            LinkKind::Bridge { .. } if links.members(link.ifindex).all(|port| vni_of(port).is_none_or(|vni| !wanted(vni))) => {
                let ports = links.members(link.ifindex).filter(|port| !port.made);
                told(None, ports.map(|port| port.name.clone()).collect())
            }
            _ => None,
        }
    };
    let mut all: Vec<MarkedLink> = links.made().filter_map(of).collect();
    all.sort_unstable();
    all
}

impl Worker {
    /// Interfaces changed: tells which of ours nobody wants, where that changed.
    pub(super) fn tell_marked(&mut self) {
        let wanted = |vni: Vni| self.managed.contains_key(&vni);
        let links = marked(&self.links, &wanted, &|name| self.names.contains_key(name));
        if self.marked.as_ref() != Some(&links) {
            self.marked = Some(links.clone());
            self.out.push(KernelEvent::Marked { links });
        }
    }

    /// From now on rows and neighbours of these are read where they are asked for, though they are not wanted.
    pub(super) fn open_leftovers(&mut self, leftovers: Vec<Leftover>) {
        self.leftovers.extend(leftovers.into_iter().map(|leftover| (leftover.vni, leftover)));
    }

    /// What is asked for of a leftover: a job over its interface, or nothing where that is not there any more, is another one, or
    /// is ours and goes with its rows.
    pub(super) fn begin_leftover(&mut self, job: Job) -> Option<Finished> {
        let (vni, listed) = match &job {
            Job::Stations { .. } => return None,
            Job::Rows { vni, .. } => (*vni, self.leftover_device(*vni)),
            Job::Neighbors { vni, .. } => (*vni, self.leftovers.get(vni).map(|leftover| leftover.bridge_ifindex)),
        };
        if let Some(ifindex) = listed.filter(|ifindex| self.links.link(*ifindex).is_some()) {
            return self.dumper.begin(job, [ifindex].into());
        }
        let why = |what: &str| format!("VNI {vni} has no {what} that is ready");
        let is_known = self.leftovers.contains_key(&vni);
        Some(match job {
            Job::Rows { token, vni, .. } => {
                let rows = if is_known { Ok(Vec::new()) } else { Err(why("device")) };
                Finished::Rows { token, vni, rows, other_form: false }
            }
            Job::Neighbors { token, vni } => {
                let neighbors = if is_known { Ok(Vec::new()) } else { Err(why("bridge")) };
                Finished::Neighbors { token, vni, neighbors }
            }
            Job::Stations { .. } => return None,
        })
    }

    /// The VXLAN device of a leftover that somebody else made, where it is still the same.
    fn leftover_device(&self, vni: Vni) -> Option<u32> {
        let leftover = self.leftovers.get(&vni)?;
        let link = self.links.vxlans(vni).find(|link| link.ifindex == leftover.ifindex)?;
        (!link.made && link.name == leftover.device).then_some(link.ifindex)
    }

    /// The interfaces of a leftover that is forgotten with this, besides its VXLAN device.
    pub(super) fn close_leftover(&mut self, vni: Vni) -> Option<u32> {
        self.marked = None;
        self.retune = true;
        self.leftovers.remove(&vni).map(|leftover| leftover.bridge_ifindex)
    }

    /// VNIs that are wanted again are no leftovers.
    pub(super) fn keep_leftovers(&mut self) {
        let wanted: BTreeSet<Vni> = self.managed.keys().copied().collect();
        self.leftovers.retain(|vni, _| !wanted.contains(vni));
    }

    /// Whether a leftover is in no bridge: its rows have one half only.
    pub(super) fn is_bare_leftover(&self, vni: Vni) -> bool {
        self.leftovers.get(&vni).is_some_and(|leftover| leftover.bridge_ifindex == leftover.ifindex)
    }
}
