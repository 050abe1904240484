//! What VNIs leave behind that nobody wants any more: left out of the file while the daemon was not running, added by hand before a
//! restart, deleted a moment before a crash, or deleted while their device could not be used.
//!
//! The state file names every VNI whose device was written to, and that device. What is in there and not wanted is cleared as a VNI that
//! is deleted is: its rows and neighbours go, then the devices that we made and nobody uses. That waits until the rows of all VNIs
//! are swept, so that whoever adds the VNI again after a start finds everything as it was. What somebody else made keeps all that is
//! not just as we write it. An interface with our mark of which the state file knows nothing may be that of another evpnd in this
//! namespace: it is told of, and left.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::{Time, Vni};
use crate::control::Level;
use crate::fib::device::{Leftover, MarkedLink, ReadyDevice, StoodDevice};
use crate::fib::message::{KernelCommand, KernelNeighbor, KernelRow, NeighborOwner};

use super::show_kernel::Token;
use super::{Action, KeptState, Speaker};

/// The pause before a leftover that could not be read is read again.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// What is not deleted by then is read again.
const CLEARED_AFTER: Duration = Duration::from_secs(30);

/// The device of a VNI that was written to, in the state file.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct KeptDevice {
    /// The name of the VXLAN device.
    pub device: String,
    /// Its ifindex: one of the same name may be another's.
    pub ifindex: u32,
    /// That of its bridge; the device's own where it is in none.
    pub bridge_ifindex: u32,
    /// evpnd made the device or its bridge.
    pub made: bool,
    /// Of these, the bridge alone.
    pub made_bridge_only: bool,
}

impl KeptDevice {
    fn new(ready: &ReadyDevice) -> Self {
        Self {
            device: ready.device.clone(),
            ifindex: ready.ifindex,
            bridge_ifindex: ready.bridge_ifindex,
            made: ready.made_device || ready.made_bridge,
            made_bridge_only: ready.made_bridge && !ready.made_device,
        }
    }
}

/// The devices of others that an earlier run worked with. After a boot only their names mean something.
pub(super) fn of_others(kept: &KeptState) -> BTreeMap<Vni, StoodDevice> {
    let others = kept.devices.iter().filter(|(_, device)| !device.made || device.made_bridge_only);
    let stood = |(&vni, device): (&Vni, &KeptDevice)| {
        let bridge_ifindex = Some(device.bridge_ifindex).filter(|bridge| kept.is_restart && *bridge != device.ifindex);
        (vni, StoodDevice { device: device.device.clone(), bridge_ifindex })
    };
    others.map(stood).collect()
}

/// How far a leftover is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// What stands is being read.
    Reading { rows: bool, neighbors: bool },
    /// What stands is being deleted; then its devices are.
    Clearing,
    /// Something of it stays, because somebody uses it.
    Stays,
}

/// What nobody wants any more.
#[derive(Debug, Default)]
pub(super) struct Leftovers {
    /// Interfaces with our mark that no VNI uses, as they were told.
    marked: Vec<MarkedLink>,
    stages: BTreeMap<Vni, Stage>,
    /// There may be more of them than have a stage.
    look: bool,
    /// Some could not be read.
    again_at: Option<Time>,
}

impl Leftovers {
    /// When to look again.
    pub(super) fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        self.again_at.map(|at| (at, "leftovers to read again"))
    }
}

impl Speaker {
    /// A device is ready: what it is stands in the state file as long as it may hold rows of ours.
    pub(super) fn note_device(&mut self, now: Time, ready: &ReadyDevice) {
        let kept = KeptDevice::new(ready);
        if self.kept.devices.get(&ready.vni) != Some(&kept) {
            self.kept.devices.insert(ready.vni, kept);
            self.save_soon(now);
        }
    }

    /// Something may have been left.
    pub(super) fn look_for_leftovers(&mut self) {
        self.leftovers.look = true;
    }

    pub(super) fn leftovers_timer(&mut self, now: Time) {
        if self.leftovers.again_at.is_some_and(|at| at <= now) {
            self.leftovers.again_at = None;
            self.leftovers.look = true;
            // Its device may have gone with what was to be deleted.
            let Self { leftovers, removing, .. } = self;
            leftovers.stages.retain(|vni, stage| *stage != Stage::Clearing || !removing.remove(vni));
        }
    }

    /// Whether nobody wants a VNI that was written to: in a drain, also where its device cannot be used.
    fn is_leftover(&self, vni: Vni) -> bool {
        self.kept.devices.contains_key(&vni)
            && self.vnis.get(&vni).is_none_or(|state| self.drain.is_some() && !state.adopting && state.ready().is_none())
    }

    /// Whether a VNI that leaves is cleared from what is known of its device; else it has to be read first.
    pub(super) fn is_known(&self, vni: Vni) -> bool {
        let ready = self.vnis.get(&vni).is_some_and(|state| state.ready().is_some());
        (ready && !self.fib.unlisted().contains(&vni)) || !self.kept.devices.contains_key(&vni)
    }

    /// Begins with those that nobody wants, once rows of an earlier run are swept.
    pub(super) fn clear_leftovers(&mut self) {
        let early = self.drain.is_none() && (self.sweep_at.is_some() || self.sweep_waits);
        if !self.leftovers.look || early || self.config.router.vtep.is_none() {
            return;
        }
        self.leftovers.look = false;
        let is_new = |vni: &Vni| !self.leftovers.stages.contains_key(vni) && !self.removing.contains(vni);
        let due: Vec<Vni> = self.kept.devices.keys().copied().filter(|vni| self.is_leftover(*vni) && is_new(vni)).collect();
        if due.is_empty() {
            return;
        }
        let mut all = Vec::new();
        for &vni in &due {
            let Some(kept) = self.kept.devices.get(&vni) else { continue };
            let (device, ifindex, bridge_ifindex) = (kept.device.clone(), kept.ifindex, kept.bridge_ifindex);
            all.push(Leftover { vni, device, ifindex, bridge_ifindex });
            // What an earlier configuration had there is gone.
            self.fib.device_gone(vni);
            self.fib.neighbors_gone(vni);
            self.leftovers.stages.insert(vni, Stage::Reading { rows: false, neighbors: false });
        }
        self.actions.push_back(Action::Kernel(KernelCommand::Leftovers(all)));
        for vni in due {
            self.ask_rows(vni, Token::Unwanted);
            self.ask_neighbors(vni, Token::Unwanted);
        }
    }

    /// The rows of one, as we write them.
    pub(super) fn leftover_rows_read(&mut self, now: Time, vni: Vni, rows: Result<Vec<KernelRow>, String>) {
        let Some(Stage::Reading { neighbors, .. }) = self.leftovers.stages.get(&vni).copied() else { return };
        let rows = rows.map(|mut rows| {
            self.sort_flood(vni, &mut rows);
            rows.retain(|row| row.ext_learned);
            rows
        });
        let Some(kept) = self.kept.devices.get(&vni) else { return };
        match rows {
            Ok(rows) => {
                if kept.made || !rows.is_empty() {
                    let text = format!("VNI {vni} is not configured any more: what stands of it in {} is removed", kept.device);
                    self.events.note(Level::Info, text);
                }
                self.fib.device_ready(now, vni, kept.ifindex, None, rows);
                self.leftover_read(now, vni, true, neighbors);
            }
            Err(error) => self.leftover_unread(now, vni, &error),
        }
    }

    /// The neighbours of its bridge.
    pub(super) fn leftover_neighbors_read(&mut self, now: Time, vni: Vni, found: Result<Vec<KernelNeighbor>, String>) {
        let (Some(kept), Some(Stage::Reading { rows, .. })) =
            (self.kept.devices.get(&vni), self.leftovers.stages.get(&vni).copied())
        else {
            return;
        };
        match found {
            Ok(mut found) => {
                found.retain(|neighbor| neighbor.owner == NeighborOwner::Ours);
                self.fib.handle_neighbors(now, vni, kept.bridge_ifindex, &found);
                self.leftover_read(now, vni, rows, true);
            }
            Err(error) => self.leftover_unread(now, vni, &error),
        }
    }

    fn leftover_read(&mut self, now: Time, vni: Vni, rows: bool, neighbors: bool) {
        let stage = if rows && neighbors {
            if self.drain.is_none() {
                self.removing.insert(vni);
            }
            self.leftovers.again_at.get_or_insert(now + CLEARED_AFTER);
            Stage::Clearing
        } else {
            Stage::Reading { rows, neighbors }
        };
        self.leftovers.stages.insert(vni, stage);
    }

    fn leftover_unread(&mut self, now: Time, vni: Vni, error: &str) {
        self.events.note(Level::Warn, format!("cannot read what is left of VNI {vni}: {error}; it is tried again"));
        self.leftovers.stages.remove(&vni);
        self.leftovers.again_at = Some(now + READ_AGAIN_AFTER);
    }

    /// Whether a VNI is on its way to be cleared and the kernel has not said yet what stands of it.
    pub(super) fn is_unread(&self, vni: Vni) -> bool {
        matches!(self.leftovers.stages.get(&vni), Some(Stage::Reading { .. }))
            || (self.is_leftover(vni) && !self.leftovers.stages.contains_key(&vni))
    }

    /// A VNI is wanted again, whatever was to become of it.
    pub(super) fn wanted_again(&mut self, vni: Vni) {
        self.removing.remove(&vni);
        if self.leftovers.stages.remove(&vni).is_some() && !self.vnis.contains_key(&vni) {
            self.fib.device_gone(vni);
            self.fib.neighbors_gone(vni);
        }
    }

    /// Those of these VNIs whose devices evpnd made. Of others that are gone somebody else removed what there was.
    pub(super) fn those_made(&self, vnis: &[Vni]) -> Vec<Vni> {
        let made = |vni: &Vni| self.kept.devices.get(vni).is_some_and(|device| device.made);
        vnis.iter().copied().filter(made).collect()
    }

    /// The kernel room removed what it could of these VNIs; of `kept` something stays.
    pub(super) fn leftovers_removed(&mut self, now: Time, vnis: &[Vni], kept: &[(Vni, String)]) {
        for &vni in vnis.iter().chain(kept.iter().map(|(vni, _)| vni)) {
            self.leftovers.stages.remove(&vni);
            let wanted = self.drain.is_none() && self.vnis.contains_key(&vni);
            let Some(device) = self.kept.devices.get(&vni).filter(|_| !wanted) else { continue };
            if device.made && kept.iter().any(|(other, _)| *other == vni) {
                self.leftovers.stages.insert(vni, Stage::Stays);
            } else {
                self.kept.devices.remove(&vni);
                self.save_soon(now);
            }
        }
    }

    /// The interfaces with our mark that no VNI uses.
    pub(super) fn marked_told(&mut self, now: Time, links: Vec<MarkedLink>) {
        self.leftovers.marked = links;
        let stays = self.leftovers.stages.iter().filter(|(_, stage)| **stage == Stage::Stays).map(|(&vni, _)| vni);
        let gone: Vec<Vni> =
            stays.filter(|vni| !self.leftovers.marked.iter().any(|link| self.vni_of(link) == Some(*vni))).collect();
        for vni in gone {
            self.leftovers.stages.remove(&vni);
            self.kept.devices.remove(&vni);
            self.save_soon(now);
        }
    }

    /// Of which VNI an interface is, as far as that is known.
    fn vni_of(&self, link: &MarkedLink) -> Option<Vni> {
        let of_bridge = || self.kept.devices.iter().find(|(_, kept)| kept.bridge_ifindex == link.ifindex).map(|(&vni, _)| vni);
        link.vni.or_else(of_bridge)
    }

    /// What is left and why, and behind the last semicolon what to do, for `show status`.
    pub(super) fn leftover_warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for link in &self.leftovers.marked {
            let name = &link.name;
            let vni = self.vni_of(link).filter(|vni| self.kept.devices.contains_key(vni));
            if link.vni.is_some_and(|vni| self.vnis.contains_key(&vni)) {
                continue;
            }
            let why = match vni {
                Some(vni) if self.vnis.contains_key(&vni) || self.removing.contains(&vni) => continue,
                Some(vni) if self.leftovers.stages.get(&vni) == Some(&Stage::Stays) => {
                    let ports = if link.ports.is_empty() { String::new() } else { format!(" ({} in it)", link.ports.join(", ")) };
                    format!(
                        "was made for VNI {vni}, which is not configured any more, and stays because it is in use{ports}: what is in it \
                         reaches no other host; configure VNI {vni} again, or empty it and run: ip link del {name}"
                    )
                }
                Some(vni) => format!(
                    "was made for VNI {vni}, which is not configured any more: it goes when every neighbor has sent all it has; \
                     to keep it, configure VNI {vni} again"
                ),
                // Its owner cannot be known.
                None => {
                    let of = link.vni.map_or_else(String::new, |vni| format!(" (VNI {vni})"));
                    format!(
                        "{of} was made by evpnd, and this one knows nothing of it (another state directory?); unless another evpnd on \
                         this host uses it, remove it with: ip link del {name}"
                    )
                }
            };
            warnings.push(format!("left over: {name} {}", why.trim_start()));
        }
        warnings
    }
}
