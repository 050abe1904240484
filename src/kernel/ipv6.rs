//! Bridges that refuse neighbours of IPv6 because IPv6 is off there (EINVAL, "IPv6 is disabled on this device"; `ndisc_allow_add`, Linux ≥ 5.6).
//!
//! One that we made, or that somebody else made and that may be mended (`fix`), gets the filter of `closed` and then IPv6, once somebody
//! announces an address of IPv6. Any other is its owner's: that it is off is told once, in the state of the device, and looked at now and
//! then, for the kernel tells nobody when it is turned on (only the routes of multicast come and go with it; seen on 6.18). What a VNI that
//! leaves had opened on somebody's bridge is closed again. Why: `docs/decisions/0005-neighbours.md`.

use std::time::Duration;

use super::closed;
use super::warnings::{self, Ipv6Off};
use super::worker::{Worker, now};
use crate::base::Vni;
use crate::fib::{Batch, BatchDone, DeviceState, KernelEvent, OpKind, ReadyDevice};

/// Between two looks at bridges that had IPv6 off: a file of /proc for each.
const LOOK_EVERY: Duration = Duration::from_secs(5);

impl Worker {
    /// Carries out a batch; IPv6 neighbours that a bridge refuses because IPv6 is turned off on it are written again where it may be
    /// turned on. Where not, that is told before the result.
    pub(super) fn write_opening(&mut self, batch: &Batch) -> BatchDone {
        let mut done = self.write(batch);
        let refused = |batch: &Batch, (index, errno): &(u32, i32)| {
            let op = &batch.ops[*index as usize];
            matches!(*errno, libc::EINVAL | libc::EAFNOSUPPORT)
                && matches!(op.kind, OpKind::ReplaceNeighbor { .. })
                && op.remote.ip.is_ipv6()
        };
        let again: Vec<u32> = done.errors.iter().filter(|error| refused(batch, error)).map(|(index, _)| *index).collect();
        let mut bridges: Vec<u32> = again.iter().map(|index| batch.ops[*index as usize].ifindex).collect();
        bridges.sort_unstable();
        bridges.dedup();
        bridges.retain(|bridge| self.open_to_nd(*bridge));
        let again: Vec<u32> = again.into_iter().filter(|index| bridges.contains(&batch.ops[*index as usize].ifindex)).collect();
        if again.is_empty() {
            return done;
        }
        let ops = again.iter().map(|index| batch.ops[*index as usize]).collect();
        let second = self.write(&Batch { id: batch.id, ops });
        done.fatal = done.fatal.or(second.fatal);
        done.errors.retain(|(index, _)| again.binary_search(index).is_err());
        done.errors.extend(second.errors.into_iter().map(|(at, errno)| (again[at as usize], errno)));
        done.errors.sort_unstable();
        done
    }

    /// Whether IPv6 may be turned on at a bridge, and was not yet: it is turned on once, and who turns it off again means it.
    fn may_open(&self, vni: Vni, bridge: u32) -> bool {
        let made = self.links.link(bridge).is_some_and(|link| link.made);
        let managed = self.managed.get(&vni).filter(|managed| !managed.spec.bare);
        managed.is_some_and(|managed| made || managed.spec.fix) && !self.nd_tried.contains(&bridge)
    }

    /// Turns IPv6 on, without an address, so that a bridge takes IPv6 neighbours; and first has everything of IPv6 dropped that
    /// would go from the bridge up to this host, so that its tenants reach no more of it than before. Where that cannot be, IPv6 stays
    /// off, and ND is flooded as if nothing were known. Whether it was turned on; told and tried once.
    fn open_to_nd(&mut self, bridge: u32) -> bool {
        let Some(vni) = self.bridges.get(&bridge).copied() else { return false };
        if !self.may_open(vni, bridge) {
            self.note_ipv6_off(bridge, None);
            return false;
        }
        let Some((name, made)) = self.links.link(bridge).map(|link| (link.name.clone(), link.made)) else { return false };
        if closed::has_ipv6(&name).is_none() {
            self.note_ipv6_off(bridge, None);
            return false;
        }
        self.nd_tried.insert(bridge);
        let ports = self.vxlan_ports();
        match closed::open_to_nd(&mut self.requests, &name, bridge, made, &ports) {
            Ok(()) => {
                if !made {
                    tracing::info!(
                        bridge = name,
                        "IPv6 turned on, without an address and behind a filter, so that ND can be answered"
                    );
                    self.note_opened(vni, bridge);
                    self.closed.insert(bridge, ports);
                }
                true
            }
            Err(said) => {
                tracing::warn!(
                    bridge = name,
                    error = said.text,
                    "IPv6 stays off on this bridge, because what tenants send to this host could not be blocked: \
                     neighbour discovery is flooded, not answered here (a kernel with CONFIG_NET_CLS_BPF would do)"
                );
                self.note_ipv6_off(bridge, Some(said.text));
                false
            }
        }
    }

    /// A neighbour of IPv6 is gone from a bridge, as all of them are when IPv6 is turned off there: then nothing is to be put back.
    pub(super) fn lost_neighbor(&mut self, vni: Vni, bridge: u32) {
        let known = self.managed.get(&vni).is_none_or(|managed| managed.known.ipv6_off.is_some());
        if !known && self.seen.ipv6_looked_at.insert(bridge) && !self.may_open(vni, bridge) {
            self.note_ipv6_off(bridge, None);
        }
    }

    /// Tells that IPv6 is off at a bridge, where it is. `unblocked`: why it was not turned on.
    fn note_ipv6_off(&mut self, bridge: u32, unblocked: Option<String>) {
        let Some(vni) = self.bridges.get(&bridge).copied() else { return };
        let Some(link) = self.links.link(bridge) else { return };
        let Some(managed) = self.managed.get_mut(&vni) else { return };
        let off = match (closed::has_ipv6(&link.name), unblocked) {
            (Some(true), _) => return,
            (None, _) if closed::has_ipv6("default").is_none() => Ipv6Off::Missing,
            // Gone, or called otherwise by now: its notification waits.
            (None, _) => return,
            (Some(false), Some(text)) => Ipv6Off::Unblocked(text),
            (Some(false), None) => Ipv6Off::Setting,
        };
        if managed.known.ipv6_off.is_some() {
            return;
        }
        let warning = warnings::ipv6_off(&managed.spec, link, &off);
        managed.known.ipv6_off = Some(off);
        self.ipv6_at.get_or_insert(now() + LOOK_EVERY);
        // At once, and not with the next verdict: what is refused after this is no news.
        if let Some(DeviceState::Ready(ready)) = &managed.told {
            let warnings = ready.warnings.iter().cloned().chain(warning).collect();
            let state = DeviceState::Ready(ReadyDevice { ipv6_off: true, warnings, ..ready.clone() });
            managed.told = Some(state.clone());
            self.out.push(KernelEvent::Device(state));
        }
    }

    /// Looks whether IPv6 was turned on where it was off, or may be by now.
    pub(super) fn look_at_ipv6(&mut self) {
        let now = now();
        if self.ipv6_at.is_none_or(|at| at > now) {
            return;
        }
        let mut left = false;
        let off: Vec<Vni> =
            self.managed.iter().filter(|(_, managed)| managed.known.ipv6_off.is_some()).map(|(vni, _)| *vni).collect();
        for vni in off {
            let Some(bridge) = self.bridge_of(vni) else { continue };
            let on = self.links.link(bridge).is_some_and(|link| closed::has_ipv6(&link.name) == Some(true));
            if !on && !self.may_open(vni, bridge) {
                left = true;
                continue;
            }
            if let Some(managed) = self.managed.get_mut(&vni) {
                managed.known.ipv6_off = None;
            }
            self.dirty.insert(vni);
        }
        self.ipv6_at = left.then(|| now + LOOK_EVERY);
    }

    /// A bridge of somebody's is ready: an earlier run may have opened it, one before that was kept among them.
    pub(super) fn recall_opened(&mut self, vni: Vni, bridge: u32) {
        let ours = self.links.link(bridge).is_some_and(|link| link.made);
        let known = self.managed.get(&vni).is_none_or(|managed| managed.opened == Some(bridge));
        if !ours && !known && closed::stands_with_any_ports(&mut self.requests, bridge) {
            self.note_opened(vni, bridge);
        }
    }

    /// The one that was open before is its owner's again, where no VNI has it: the device moved on.
    fn note_opened(&mut self, vni: Vni, bridge: u32) {
        let Some(managed) = self.managed.get_mut(&vni) else { return };
        let before = managed.opened.replace(bridge).filter(|before| *before != bridge);
        if let Some(before) = before.filter(|before| !self.bridges.contains_key(before)) {
            self.close_opened(before);
        }
        self.out.push(KernelEvent::Opened { vni, bridge: Some(bridge) });
    }

    /// Nobody wants ND answered at a bridge of somebody's any more: it is as its owner had it.
    pub(super) fn close_opened(&mut self, bridge: u32) {
        self.nd_tried.remove(&bridge);
        self.closed.remove(&bridge);
        let Some(name) = self.links.link(bridge).filter(|link| !link.made).map(|link| link.name.clone()) else { return };
        if let Err(said) = closed::undo(&mut self.requests, &name, bridge) {
            tracing::warn!(
                bridge = name,
                error = said.text,
                "IPv6 stays on at a bridge where evpnd turned it on: sysctl -w net.ipv6.conf.BRIDGE.disable_ipv6=1"
            );
        }
    }
}
