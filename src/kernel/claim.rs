//! MACs set at a port by request, and taken back: the kernel's half of `evpnctl mac claim` and `mac release`.
//!
//! What is written is what the bridge itself would have learned (`bridge fdb replace MAC dev PORT master dynamic`): the
//! notification makes it a local MAC like any other, it ages, and whoever speaks with it elsewhere takes it over.

use super::links::Link;
use super::request::KernelSaid;
use super::worker::Worker;
use super::{codec, setup, writer};
use crate::base::{MacAddr, Vni};
use crate::fib::KernelEvent;

impl Worker {
    /// Sets `mac` at `port`, or takes it from where it is, and tells what came of it.
    pub(super) fn set_station(&mut self, token: u64, vni: Vni, mac: MacAddr, port: Option<&str>) {
        let outcome = match port {
            Some(port) => self.claim(vni, mac, port),
            None => self.release(vni, mac),
        };
        self.out.push(KernelEvent::StationSet { token, outcome });
    }

    fn claim(&mut self, vni: Vni, mac: MacAddr, name: &str) -> Result<(), String> {
        let ready = self.ready_device(vni).ok_or_else(|| format!("VNI {vni} has no device that is ready"))?;
        let (device, bridge, bridge_name) = (ready.ifindex, ready.bridge_ifindex, ready.bridge.clone());
        // Asked of the kernel: its notification of a port that was just plugged in may not be read yet.
        let member = |link: &Link| link.master == Some(bridge) && link.ifindex != device;
        let port = match setup::find(&mut self.requests, name) {
            Ok(link) if member(&link) => link.ifindex,
            _ => return Err(format!("{name} is no port of {bridge_name}")),
        };
        let standing =
            writer::entry(&mut self.requests, &self.nexthops, device, mac, libc::NTF_MASTER).map_err(|said| said.text)?;
        match standing {
            // The bridge's half of a row. Written over, it would keep the mark of a control plane (fdb_add_entry, Linux 6.18).
            Some(entry) if entry.ifindex == device => {
                let _ = self.change_station(libc::RTM_DELNEIGH, 0, device, 0, mac);
                self.add_station(port, name, mac)
            }
            Some(entry) if entry.state & libc::NUD_PERMANENT != 0 => Err(format!("{mac} is an address of this host")),
            // Set by the operator or the platform: it stays as they wish.
            Some(entry) if entry.state & libc::NUD_NOARP != 0 && entry.ifindex == port => Ok(()),
            Some(entry) if entry.state & libc::NUD_NOARP != 0 => {
                Err(format!("{mac} is set at {} by hand", self.links.name(entry.ifindex)))
            }
            _ => self.add_station(port, name, mac),
        }
    }

    fn add_station(&mut self, port: u32, name: &str, mac: MacAddr) -> Result<(), String> {
        let flags = libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
        let said = |said: KernelSaid| match said.errno {
            // `fdb_add_entry`, Linux 6.18: the port neither learns nor forwards.
            libc::EPERM => {
                format!("{name} does not forward: it is down, or nobody has its other end (a tap whose guest does not run)")
            }
            _ => said.text,
        };
        self.change_station(libc::RTM_NEWNEIGH, flags, port, libc::NUD_REACHABLE, mac).map_err(said)
    }

    fn release(&mut self, vni: Vni, mac: MacAddr) -> Result<(), String> {
        let ready = self.ready_device(vni).ok_or_else(|| format!("VNI {vni} has no device that is ready"))?;
        let (device, bridge_name) = (ready.ifindex, ready.bridge.clone());
        let standing =
            writer::entry(&mut self.requests, &self.nexthops, device, mac, libc::NTF_MASTER).map_err(|said| said.text)?;
        let nowhere = || format!("{mac} is at no port of {bridge_name}");
        let entry = standing.filter(|entry| entry.ifindex != device && entry.station().is_some()).ok_or_else(nowhere)?;
        match self.change_station(libc::RTM_DELNEIGH, 0, entry.ifindex, 0, mac) {
            Ok(()) => {
                // Nobody lost it: it is not to be asked back.
                self.forget_addresses(vni, mac);
                Ok(())
            }
            Err(said) if said.errno == libc::ENOENT => Err(nowhere()),
            Err(said) => Err(said.text),
        }
    }

    fn change_station(&mut self, kind: u16, flags: i32, port: u32, state: u16, mac: MacAddr) -> Result<(), KernelSaid> {
        self.requests.change(kind, flags, |out| {
            codec::ndmsg(out, port, state, libc::NTF_MASTER);
            codec::attribute(out, libc::NDA_LLADDR, &mac.0);
        })
    }
}
