//! VXLAN devices of the host that somebody else made: which could serve a VNI, and which are another program's own and never touched,
//! declared or not.

use std::net::IpAddr;

use super::links::{LinkKind, Links, VxlanInfo};
use super::worker::Worker;
use crate::fib::{FoundDevice, KernelEvent, UnfitDevice};

/// The program that made a device for itself, told by the device's name. They write its rows themselves and expect nobody else's.
pub fn owner(name: &str) -> Option<&'static str> {
    let begins = |beginnings: &[&str]| beginnings.iter().any(|beginning| name.starts_with(beginning));
    // libnetwork's overlay driver: vx-, six digits of the VNI, and the beginning of the network's id.
    let docker = name.strip_prefix("vx-").and_then(|rest| rest.split_once('-'));
    let is_hex = |text: &str| text.len() == 6 && text.bytes().all(|octet| octet.is_ascii_hexdigit());
    match name {
        _ if begins(&["cilium_"]) => Some("Cilium"),
        _ if begins(&["flannel.", "flannel-v6."]) => Some("flannel"),
        _ if begins(&["vxlan.calico", "vxlan-v6.calico"]) => Some("Calico"),
        _ if begins(&["vxlan_sys_", "ovs-"]) => Some("Open vSwitch"),
        _ if docker.is_some_and(|(vni, _)| is_hex(vni)) => Some("Docker"),
        _ => None,
    }
}

/// Those that a VNI could use, and those beside them that none could; both in order.
pub(super) fn found(links: &Links) -> (Vec<FoundDevice>, Vec<UnfitDevice>) {
    let (mut fit, mut unfit) = (Vec::new(), Vec::new());
    for link in links.all_vxlans().filter(|link| !link.made && owner(&link.name).is_none()) {
        let LinkKind::Vxlan(VxlanInfo { vni, group, .. }) = link.kind else { continue };
        let master = link.master.and_then(|master| links.link(master));
        let bridge = master.filter(|master| matches!(master.kind, LinkKind::Bridge { .. })).map(|bridge| bridge.name.clone());
        let name = &link.name;
        let (reason, remedy) = match (vni, &bridge) {
            (Some(vni), Some(bridge)) => {
                fit.push(FoundDevice {
                    vni,
                    device: name.clone(),
                    bridge: bridge.clone(),
                    group: group.filter(IpAddr::is_multicast),
                });
                continue;
            }
            // Nobody bridges it: it is for whoever sends into it with a tunnel key, and no segment of this host.
            (None, None) => continue,
            (None, Some(_)) => (
                format!("{name} is a single VXLAN device for many VNIs (`external`), which is not supported"),
                "have a device made for each VNI".to_owned(),
            ),
            (Some(vni), None) => (
                match master {
                    Some(master) => format!("{name} (VNI {vni}) is in {}, which is not a Linux bridge", master.name),
                    None => format!("{name} (VNI {vni}) is in no bridge"),
                },
                format!("ip link set {name} master <bridge>"),
            ),
        };
        unfit.push(UnfitDevice { vni, device: name.clone(), bridge, reason, remedy });
    }
    fit.sort_unstable();
    unfit.sort_unstable();
    (fit, unfit)
}

impl Worker {
    /// Interfaces changed: tells which devices there are, where that changed.
    pub(super) fn tell_found(&mut self) {
        let all = found(&self.links);
        if self.found.as_ref() != Some(&all) {
            let (devices, unfit) = all.clone();
            self.found = Some(all);
            self.out.push(KernelEvent::Found { devices, unfit });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::owner;

    #[test]
    fn other_programs_devices_are_known_by_their_names() {
        for (name, program) in [
            ("cilium_vxlan", Some("Cilium")),
            ("flannel.1", Some("flannel")),
            ("flannel-v6.1", Some("flannel")),
            ("vx-001001-abcde", Some("Docker")),
            ("vxlan_sys_4789", Some("Open vSwitch")),
            ("vxlan.calico", Some("Calico")),
            ("vx-blue", None),
            ("vx-blue-1", None),
            ("vxlan100", None),
            ("flannels", None),
        ] {
            assert_eq!(owner(name), program, "{name}");
        }
    }
}
