//! VXLAN devices of the host that somebody else made: which could serve a VNI, and which are another program's own and never touched,
//! declared or not.

use super::links::{Link, LinkKind, Links, VxlanInfo};
use super::worker::Worker;
use crate::fib::{FoundDevice, KernelEvent};

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

/// Those that a VNI could use, in order.
fn found(links: &Links) -> Vec<FoundDevice> {
    let bridge = |link: &Link| {
        let master = links.link(link.master?)?;
        matches!(master.kind, LinkKind::Bridge { .. }).then(|| master.name.clone())
    };
    let fits = |link: &Link| match &link.kind {
        LinkKind::Vxlan(VxlanInfo { vni: Some(vni), external: false, .. }) if !link.made && owner(&link.name).is_none() => {
            Some(FoundDevice { vni: *vni, device: link.name.clone(), bridge: bridge(link)? })
        }
        _ => None,
    };
    let mut all: Vec<FoundDevice> = links.all_vxlans().filter_map(fits).collect();
    all.sort_unstable();
    all
}

impl Worker {
    /// Interfaces changed: tells which devices there are, where that changed.
    pub(super) fn tell_found(&mut self) {
        let devices = found(&self.links);
        if self.found.as_ref() != Some(&devices) {
            self.found = Some(devices.clone());
            self.out.push(KernelEvent::Found { devices });
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
