//! What a reload does to devices that stand. Nearly all is changed in place; a group comes and goes in an order in which nobody is
//! missed; and what the kernel lets nobody change is said in the answer, because the device is made anew for it.
//!
//! A host that comes to a group joins it first, and announces [`HEARD`] later that it hears it: until then others send it copies. One that leaves
//! announces at once that it wants copies and writes its own list; the device floods to its group, and the host hears it, [`HEARD`] longer.
//! Meanwhile a broadcast may come twice.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::base::{Time, Vni};
use crate::config::{Flood, VniConfig, phrase};
use crate::fib::DeviceSpec;

use super::Speaker;
use super::kernel::device_spec;

/// So long the others are given to hear of it: some times the way by two reflectors and the writing of a row.
const HEARD: Duration = Duration::from_secs(3);

/// A VNI on its way to a group or from one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Regrouping {
    /// It is in the group; it is announced then.
    Comes(Time),
    /// It is announced as without; the group is taken from the device then.
    Leaves(IpAddr, Time),
}

impl Regrouping {
    /// When it goes on.
    fn at(self) -> Time {
        match self {
            Self::Comes(at) | Self::Leaves(_, at) => at,
        }
    }
}

fn group(config: &VniConfig) -> Option<IpAddr> {
    match config.settings.flood {
        Flood::Multicast(group) => Some(group),
        Flood::IngressReplication | Flood::None => None,
    }
}

impl Speaker {
    /// A VNI is configured in another way. Whether its routes are to be renewed at once.
    pub(super) fn note_regrouping(&mut self, now: Time, before: &VniConfig, after: &VniConfig) -> bool {
        let vni = after.vni;
        // On a device of somebody else the group is that one's matter.
        let ours = self.vnis.get(&vni).and_then(|state| state.ready()).is_some_and(|ready| ready.made_device);
        let earlier = self.regroupings.remove(&vni);
        let next = match (group(before), group(after), earlier) {
            (None, Some(_), None) if ours => Some(Regrouping::Comes(now + HEARD)),
            (Some(group), None, None) if ours => Some(Regrouping::Leaves(group, now + HEARD)),
            // Something else changed meanwhile: what it waits for is as it was.
            (old, new, earlier) if old == new => earlier,
            _ => None,
        };
        if let Some(next) = next {
            self.regroupings.insert(vni, next);
        }
        !matches!(next, Some(Regrouping::Comes(_)))
    }

    /// The group that the device of a VNI keeps for a while.
    pub(super) fn group_kept(&self, vni: Vni) -> Option<IpAddr> {
        match self.regroupings.get(&vni) {
            Some(Regrouping::Leaves(group, _)) => Some(*group),
            _ => None,
        }
    }

    /// When the next is due.
    pub(super) fn regroupings_timeout(&self) -> Option<Time> {
        self.regroupings.values().map(|regrouping| regrouping.at()).min()
    }

    /// Does what is due.
    pub(super) fn continue_regroupings(&mut self, now: Time) {
        if self.regroupings_timeout().is_none_or(|at| at > now) {
            return;
        }
        let due = self.regroupings.iter().filter(|(_, regrouping)| regrouping.at() <= now);
        let done: Vec<(Vni, Regrouping)> = due.map(|(vni, regrouping)| (*vni, *regrouping)).collect();
        let mut come = BTreeSet::new();
        for (vni, regrouping) in done {
            self.regroupings.remove(&vni);
            come.extend(matches!(regrouping, Regrouping::Comes(_)).then_some(vni));
        }
        if !come.is_empty() {
            self.renew_instances(now, &come);
        }
        self.wish_devices();
    }

    /// What is wished of the devices that stand.
    pub(super) fn standing(&self) -> BTreeMap<Vni, DeviceSpec> {
        let ready = self.vnis.values().filter(|state| state.ready().is_some());
        ready.filter_map(|state| Some((state.config.vni, device_spec(&self.config, &state.config)?))).collect()
    }

    /// What a reload does to them, and does not do, beside what their keys say: one phrase each.
    pub(super) fn tell_in_place(&self, before: &BTreeMap<Vni, DeviceSpec>) -> Vec<String> {
        let mut said: BTreeMap<&str, Vec<Vni>> = BTreeMap::new();
        for (vni, old) in before {
            let Some(state) = self.vnis.get(vni) else { continue };
            let (Some(ready), Some(new)) = (state.ready(), device_spec(&self.config, &state.config)) else { continue };
            let anew = old.port != new.port || (new.on_demand && !old.on_demand) || (new.bare && !old.bare);
            let words = if anew && ready.made_device {
                "loses frames for a moment: no kernel changes that on a device that stands, so its device is made anew"
            } else if anew && old.port != new.port {
                "keeps its UDP port: evpnd did not make its device"
            } else if let Some(regrouping) = self.regroupings.get(vni) {
                match regrouping {
                    Regrouping::Comes(_) => "joins its group now and announces some seconds later that it hears it",
                    Regrouping::Leaves(..) => "announces now that it wants copies and leaves its group some seconds later",
                }
            } else if ready.made_device && old.group.is_some() && new.group.is_some() && old.group != new.group {
                "goes from one group to another at once: who still floods to the old one is not heard"
            } else if !new.bare && (old.device != new.device || old.bridge != new.bridge) {
                "keeps its device and bridge: other names are for what is made next"
            } else if old.mtu.is_some() && new.mtu.is_none() {
                "keeps its MTU until its device is made again"
            } else {
                continue;
            };
            said.entry(words).or_default().push(*vni);
        }
        said.into_iter().filter_map(|(words, vnis)| phrase(words, vnis.iter().map(ToString::to_string))).collect()
    }
}
