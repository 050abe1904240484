//! The table of interfaces, kept from `RTM_NEWLINK` and `RTM_DELLINK`: what the planner and the MAC watcher ask of it.
//!
//! Pure: messages in, questions answered. Traps it knows: `RTM_NEWLINK` and `RTM_DELLINK` of family `AF_BRIDGE` are
//! about a port and not about the interface (`DELLINK` means: left the bridge); wireless events carry almost nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use super::codec::{self, IFINFO};
use crate::base::{MacAddr, Vni};

/// The alias by which a device that evpnd made is known again after a restart.
pub(super) const MADE_ALIAS: &str = "evpnd";

// include/uapi/linux/if_link.h, where libc has no names.
pub(super) const IFLA_VXLAN_ID: u16 = 1;
pub(super) const IFLA_VXLAN_GROUP: u16 = 2;
pub(super) const IFLA_VXLAN_LINK: u16 = 3;
pub(super) const IFLA_VXLAN_LOCAL: u16 = 4;
pub(super) const IFLA_VXLAN_LEARNING: u16 = 7;
pub(super) const IFLA_VXLAN_PORT: u16 = 15;
pub(super) const IFLA_VXLAN_PROXY: u16 = 11;
pub(super) const IFLA_VXLAN_L2MISS: u16 = 13;
pub(super) const IFLA_VXLAN_L3MISS: u16 = 14;
pub(super) const IFLA_VXLAN_GROUP6: u16 = 16;
pub(super) const IFLA_VXLAN_LOCAL6: u16 = 17;
const IFLA_VXLAN_COLLECT_METADATA: u16 = 25;
pub(super) const IFLA_BR_FORWARD_DELAY: u16 = 1;
pub(super) const IFLA_BR_STP_STATE: u16 = 5;
const IFLA_BR_AGEING_TIME: u16 = 4;
const IFLA_BR_VLAN_FILTERING: u16 = 7;
pub(super) const IFLA_BR_MCAST_SNOOPING: u16 = 23;
pub(super) const IFLA_BR_VLAN_DEFAULT_PVID: u16 = 39;
pub(super) const IFLA_BRPORT_LEARNING: u16 = 8;
pub(super) const IFLA_BRPORT_NEIGH_SUPPRESS: u16 = 32;
pub(super) const IFLA_BRPORT_ISOLATED: u16 = 33;

/// What a VXLAN device says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct VxlanInfo {
    /// Its VNI; `None` for a device that takes it from elsewhere (`external`).
    pub vni: Option<Vni>,
    /// Local address.
    pub local: Option<IpAddr>,
    /// UDP port.
    pub port: u16,
    /// It learns from what it hears.
    pub learning: bool,
    /// It answers ARP and ND itself (`proxy`).
    pub proxy: bool,
    /// It tells of frames that find no row (`l2miss`).
    pub l2miss: bool,
    /// `external` (collect metadata): a single device for many VNIs.
    pub external: bool,
    /// The default destination: a multicast group, or one host.
    pub group: Option<IpAddr>,
}

/// What kind of interface it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LinkKind {
    /// VXLAN.
    Vxlan(VxlanInfo),
    /// A bridge.
    Bridge {
        /// VLAN-aware.
        vlan_filtering: bool,
        /// How long it keeps a station that says nothing.
        ageing: Duration,
    },
    /// Anything else, by the kernel's name (`veth`, `tun`, `vrf`); empty for hardware.
    Other(String),
}

/// Flags of a bridge port that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PortFlags {
    /// The bridge learns from this port.
    pub learning: bool,
    /// The bridge answers ARP and ND instead of flooding them to this port.
    pub neighbor_suppression: bool,
    /// The bridge passes nothing between this port and others that are isolated.
    pub isolated: bool,
}

/// One interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    /// Its number.
    pub ifindex: u32,
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: LinkKind,
    /// The bridge, bond or VRF it is in.
    pub master: Option<u32>,
    /// Its own MAC; `None` where it has none of 6 octets or only zeros.
    pub mac: Option<MacAddr>,
    /// `IFF_UP`: set up by somebody.
    pub up: bool,
    /// `IFF_RUNNING`: it has a carrier.
    pub running: bool,
    /// `IFF_LOOPBACK`.
    pub loopback: bool,
    /// In octets.
    pub mtu: u32,
    /// evpnd made it.
    pub made: bool,
    /// Where it is a bridge port.
    pub port: Option<PortFlags>,
}

/// What a link message changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Change {
    /// The interfaces that changed, as they were and as they are.
    pub touched: Vec<Link>,
    /// MACs that belong to this host from now on.
    pub macs_new: Vec<MacAddr>,
    /// MACs that belong to it no more.
    pub macs_gone: Vec<MacAddr>,
}

/// All interfaces of the namespace.
#[derive(Debug, Clone, Default)]
pub(super) struct Links {
    by_index: BTreeMap<u32, Link>,
    by_name: BTreeMap<String, u32>,
    /// `None`: VXLAN devices without a VNI of their own.
    by_vni: BTreeMap<Option<Vni>, BTreeSet<u32>>,
    by_master: BTreeMap<u32, BTreeSet<u32>>,
    own_macs: BTreeMap<MacAddr, u32>,
}

impl Links {
    /// Takes a message of type `RTM_NEWLINK` or `RTM_DELLINK`; anything else, or anything broken, changes nothing.
    pub(super) fn handle(&mut self, kind: u16, body: &[u8]) -> Change {
        let mut change = Change::default();
        let (Some(family), Some(ifindex)) = (body.first().copied(), codec::u32_at(body, 4)) else { return change };
        if i32::from(family) == libc::AF_BRIDGE {
            self.handle_port(kind, ifindex, body, &mut change);
        } else if kind == libc::RTM_NEWLINK {
            if let Some(link) = parse(body) {
                self.insert(link, &mut change);
            }
        } else if kind == libc::RTM_DELLINK {
            self.remove(ifindex, &mut change);
        }
        change
    }

    /// Forgets every interface that is not in `seen`.
    pub(super) fn retain(&mut self, seen: &BTreeSet<u32>) -> Change {
        let mut change = Change::default();
        let gone: Vec<u32> = self.by_index.keys().filter(|ifindex| !seen.contains(ifindex)).copied().collect();
        for ifindex in gone {
            self.remove(ifindex, &mut change);
        }
        change
    }

    /// The interface of this number.
    pub(super) fn link(&self, ifindex: u32) -> Option<&Link> {
        self.by_index.get(&ifindex)
    }

    /// The interface of this name.
    pub(super) fn named(&self, name: &str) -> Option<&Link> {
        self.by_name.get(name).and_then(|index| self.link(*index))
    }

    /// The VXLAN devices of a VNI, by number.
    pub(super) fn vxlans(&self, vni: Vni) -> impl Iterator<Item = &Link> {
        self.by_vni.get(&Some(vni)).into_iter().flatten().filter_map(|index| self.link(*index))
    }

    /// All VXLAN devices.
    pub(super) fn all_vxlans(&self) -> impl Iterator<Item = &Link> {
        self.by_vni.values().flatten().filter_map(|index| self.link(*index))
    }

    /// All interfaces that carry our mark.
    pub(super) fn made(&self) -> impl Iterator<Item = &Link> {
        self.by_index.values().filter(|link| link.made)
    }

    /// The ports of a bridge (or members of anything), by number.
    pub(super) fn members(&self, master: u32) -> impl Iterator<Item = &Link> {
        self.by_master.get(&master).into_iter().flatten().filter_map(|index| self.link(*index))
    }

    /// Whether a MAC is that of one of this host's interfaces.
    pub(super) fn is_own_mac(&self, mac: MacAddr) -> bool {
        self.own_macs.contains_key(&mac)
    }

    /// The name, or the number where it has none (any more).
    pub(super) fn name(&self, ifindex: u32) -> String {
        self.link(ifindex).map_or_else(|| format!("if{ifindex}"), |link| link.name.clone())
    }

    fn handle_port(&mut self, kind: u16, ifindex: u32, body: &[u8], change: &mut Change) {
        let Some(link) = self.by_index.get_mut(&ifindex) else { return };
        let port = if kind == libc::RTM_DELLINK { None } else { port_flags(body).or(link.port) };
        if link.port != port {
            link.port = port;
            change.touched.push(link.clone());
        }
    }

    fn insert(&mut self, mut link: Link, change: &mut Change) {
        let ifindex = link.ifindex;
        if link.port.is_none() && link.master.is_some() {
            // Notifications of old kernels may leave out the port's part.
            link.port = self.link(ifindex).filter(|old| old.master == link.master).and_then(|old| old.port);
        }
        if self.link(ifindex) == Some(&link) {
            return;
        }
        self.remove(ifindex, change);
        change.touched.push(link.clone());
        self.by_name.insert(link.name.clone(), ifindex);
        if let LinkKind::Vxlan(VxlanInfo { vni, .. }) = &link.kind {
            self.by_vni.entry(*vni).or_default().insert(ifindex);
        }
        if let Some(master) = link.master {
            self.by_master.entry(master).or_default().insert(ifindex);
        }
        if let Some(mac) = link.mac {
            *self.own_macs.entry(mac).or_default() += 1;
            if let Some(at) = change.macs_gone.iter().position(|gone| *gone == mac) {
                change.macs_gone.remove(at);
            } else if self.own_macs.get(&mac) == Some(&1) {
                change.macs_new.push(mac);
            }
        }
        self.by_index.insert(ifindex, link);
    }

    fn remove(&mut self, ifindex: u32, change: &mut Change) {
        let Some(link) = self.by_index.remove(&ifindex) else { return };
        if self.by_name.get(&link.name) == Some(&ifindex) {
            self.by_name.remove(&link.name);
        }
        if let LinkKind::Vxlan(VxlanInfo { vni, .. }) = &link.kind {
            forget(&mut self.by_vni, *vni, ifindex);
        }
        if let Some(master) = link.master {
            forget(&mut self.by_master, master, ifindex);
        }
        if let Some(mac) = link.mac
            && let Some(count) = self.own_macs.get_mut(&mac)
        {
            *count -= 1;
            if *count == 0 {
                self.own_macs.remove(&mac);
                change.macs_gone.push(mac);
            }
        }
        change.touched.push(link);
    }
}

fn forget<K: Ord>(index: &mut BTreeMap<K, BTreeSet<u32>>, key: K, ifindex: u32) {
    if let Some(set) = index.get_mut(&key) {
        set.remove(&ifindex);
        if set.is_empty() {
            index.remove(&key);
        }
    }
}

/// Reads the body of an `RTM_NEWLINK` of family `AF_UNSPEC`; `None` where it names no interface.
pub(super) fn parse(body: &[u8]) -> Option<Link> {
    let (ifindex, flags) = (codec::u32_at(body, 4)?, codec::u32_at(body, 8)?);
    let flag = |bit: i32| flags & bit as u32 != 0;
    let mut link = Link {
        ifindex,
        name: String::new(),
        kind: LinkKind::Other(String::new()),
        master: None,
        mac: None,
        up: flag(libc::IFF_UP),
        running: flag(libc::IFF_RUNNING),
        loopback: flag(libc::IFF_LOOPBACK),
        mtu: 0,
        made: false,
        port: None,
    };
    for (kind, value) in codec::attributes(body.get(IFINFO..)?) {
        match kind {
            libc::IFLA_IFNAME => link.name = codec::string(value),
            libc::IFLA_ADDRESS => link.mac = codec::mac_of(value).filter(|mac| *mac != MacAddr::ZERO),
            libc::IFLA_MTU => link.mtu = codec::u32_of(value)?,
            libc::IFLA_MASTER => link.master = codec::u32_of(value).filter(|index| *index != 0),
            libc::IFLA_IFALIAS => link.made = codec::string(value) == MADE_ALIAS,
            libc::IFLA_LINKINFO => (link.kind, link.port) = link_info(value),
            // A wireless event: the same type of message, but about something else.
            libc::IFLA_WIRELESS => return None,
            _ => {}
        }
    }
    (!link.name.is_empty() && ifindex != 0).then_some(link)
}

/// Flags of a port out of an `RTM_NEWLINK` of family `AF_BRIDGE`.
fn port_flags(body: &[u8]) -> Option<PortFlags> {
    let info = codec::attributes(body.get(IFINFO..)?).find(|(kind, _)| *kind == libc::IFLA_PROTINFO)?.1;
    Some(parse_port(info))
}

fn parse_port(octets: &[u8]) -> PortFlags {
    let mut flags = PortFlags { learning: true, neighbor_suppression: false, isolated: false };
    for (kind, value) in codec::attributes(octets) {
        let on = codec::u8_of(value).is_some_and(|value| value != 0);
        match kind {
            IFLA_BRPORT_LEARNING => flags.learning = on,
            IFLA_BRPORT_NEIGH_SUPPRESS => flags.neighbor_suppression = on,
            IFLA_BRPORT_ISOLATED => flags.isolated = on,
            _ => {}
        }
    }
    flags
}

fn link_info(octets: &[u8]) -> (LinkKind, Option<PortFlags>) {
    let (mut kind, mut data, mut slave, mut slave_data) = (String::new(), &[][..], String::new(), &[][..]);
    for (attribute, value) in codec::attributes(octets) {
        match attribute {
            libc::IFLA_INFO_KIND => kind = codec::string(value),
            libc::IFLA_INFO_DATA => data = value,
            libc::IFLA_INFO_SLAVE_KIND => slave = codec::string(value),
            libc::IFLA_INFO_SLAVE_DATA => slave_data = value,
            _ => {}
        }
    }
    let port = (slave == "bridge").then(|| parse_port(slave_data));
    let kind = match kind.as_str() {
        "vxlan" => LinkKind::Vxlan(vxlan_info(data)),
        "bridge" => LinkKind::Bridge {
            vlan_filtering: codec::attributes(data)
                .any(|(kind, value)| kind == IFLA_BR_VLAN_FILTERING && codec::u8_of(value).is_some_and(|on| on != 0)),
            // In hundredths of a second (USER_HZ).
            ageing: codec::attributes(data)
                .find(|(kind, _)| *kind == IFLA_BR_AGEING_TIME)
                .and_then(|(_, value)| codec::u32_of(value))
                .map_or(Duration::ZERO, |hundredths| Duration::from_millis(u64::from(hundredths) * 10)),
        },
        _ => LinkKind::Other(kind),
    };
    (kind, port)
}

fn vxlan_info(octets: &[u8]) -> VxlanInfo {
    let mut info = VxlanInfo::default();
    let on = |value: &[u8]| codec::u8_of(value).is_some_and(|value| value != 0);
    let specified = |value: &[u8]| codec::ip_of(value).filter(|ip| !ip.is_unspecified());
    for (kind, value) in codec::attributes(octets) {
        match kind {
            IFLA_VXLAN_ID => info.vni = codec::u32_of(value).and_then(Vni::new),
            IFLA_VXLAN_LOCAL | IFLA_VXLAN_LOCAL6 => info.local = specified(value),
            IFLA_VXLAN_GROUP | IFLA_VXLAN_GROUP6 => info.group = specified(value),
            IFLA_VXLAN_LEARNING => info.learning = on(value),
            IFLA_VXLAN_PROXY => info.proxy = on(value),
            IFLA_VXLAN_L2MISS => info.l2miss = on(value),
            IFLA_VXLAN_COLLECT_METADATA => info.external = on(value),
            // Big-endian, as on the wire.
            IFLA_VXLAN_PORT => info.port = codec::u16_at(value, 0).map_or(0, u16::from_be),
            _ => {}
        }
    }
    if info.external {
        info.vni = None;
    }
    info
}
