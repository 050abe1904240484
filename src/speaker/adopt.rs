//! `adopt = "all"`: VNIs of devices that nobody declared. Each is a VNI at run time that this rule holds (`on_demand`): with its device it comes
//! and goes, and a restart has it back before its device is told of.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::{Time, Vni};
use crate::control::{Level, Reply, VniAdd};
use crate::fib::FoundDevice;

use super::Speaker;

/// Who holds their VNIs, in the words of `show vnis`.
const HOLDER: &str = "adopt = \"all\"";

/// The devices of the host that somebody else made.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// `None`: nothing was told yet.
    devices: Option<Vec<FoundDevice>>,
    /// VNIs that could not be had, each told once.
    refused: BTreeSet<Vni>,
}

impl Speaker {
    /// The kernel room told of the devices there are.
    pub(super) fn devices_found(&mut self, now: Time, devices: Vec<FoundDevice>) {
        self.found.devices = Some(devices);
        self.adopt_found(now);
    }

    /// Takes the devices that the configuration says, and gives up those that are gone, or taken no more.
    pub(super) fn adopt_found(&mut self, now: Time) {
        let Some(taken) = self.taken() else { return };
        let held = self.kept.run_time.iter().filter(|(_, kept)| kept.callers.contains(HOLDER));
        let held: BTreeSet<Vni> = held.map(|(&vni, _)| vni).collect();
        for vni in held.iter().filter(|vni| !taken.contains_key(vni)) {
            self.vni_del(now, *vni, Some(HOLDER));
        }
        self.found.refused.retain(|vni| taken.contains_key(vni));
        self.adopt(now, taken.into_values().filter(|found| !held.contains(&found.vni)));
    }

    /// A VNI went: what could not be had beside it is tried again.
    pub(super) fn adopt_refused(&mut self, now: Time) {
        let refused = self.found.refused.clone();
        if let Some(taken) = self.taken().filter(|_| !refused.is_empty()) {
            self.adopt(now, taken.into_values().filter(|found| refused.contains(&found.vni)));
        }
    }

    /// The devices that the configuration says, where they are known.
    fn taken(&self) -> Option<BTreeMap<Vni, FoundDevice>> {
        let devices = self.found.devices.clone().filter(|_| !self.stopping && self.drain.is_none())?;
        let rule = &self.config.vxlan.adopt;
        let taken = devices.into_iter().filter(|found| self.config.router.vtep.is_some() && rule.takes(found.vni, &found.device));
        Some(taken.map(|found| (found.vni, found)).collect())
    }

    fn adopt(&mut self, now: Time, devices: impl Iterator<Item = FoundDevice>) {
        for found in devices {
            let vni = found.vni;
            if self.vnis.get(&vni).is_some_and(|state| !state.run_time) {
                continue;
            }
            let request = VniAdd {
                device: Some(found.device.clone()),
                bridge: Some(found.bridge),
                existing: true,
                caller: Some(HOLDER.to_owned()),
                ..VniAdd::new(vni)
            };
            match self.vni_add(now, &request) {
                Reply::Refused { message } if self.found.refused.insert(vni) => {
                    self.events.note(Level::Warn, format!("{} (VNI {vni}) is not adopted: {message}", found.device));
                }
                Reply::Refused { .. } => {}
                _ => {
                    self.found.refused.remove(&vni);
                }
            }
        }
    }
}
