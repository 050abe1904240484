//! Devices as evpnd wants them, and as the kernel room found them.

use std::net::IpAddr;
use std::time::Duration;

use crate::base::Vni;

/// How long after somebody's device was removed evpnd makes one in its place: a network that is restarted takes all its devices down
/// first and makes them after that (`ifdown -a; ifup -a`), and a VNI has one device.
const MAKE_AFTER: Duration = Duration::from_secs(30);

/// What one VNI needs of the kernel. The kernel room makes or adopts a device for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceSpec {
    /// The VNI: by it (and not by name) an existing device is adopted.
    pub vni: Vni,
    /// Name of the VXLAN device to make where none exists (at most 15 octets).
    pub device: String,
    /// Name of the bridge to make where the adopted or made device has none.
    pub bridge: String,
    /// None is made where none exists: somebody else does that.
    pub existing: bool,
    /// A device that somebody else had made is not replaced before it was gone for so long: he may be making it again, which one of ours
    /// with its VNI would not let him.
    pub make_after: Duration,
    /// It is in no bridge: what is behind it is this host, whose addresses it has. `bridge` names none.
    pub bare: bool,
    /// Local tunnel address.
    pub local: IpAddr,
    /// UDP port for a device that is made; an adopted device keeps its own.
    pub port: u16,
    /// MTU for devices that are made; `None`: from the route to the underlay less 50 (IPv4) or 70 (IPv6).
    pub mtu: Option<u32>,
    /// Kernel learning on the VXLAN device and its port (flood-list-only mode).
    pub learning: bool,
    /// The group that the device floods to, and joins.
    pub group: Option<IpAddr>,
    /// `neigh_suppress` on the VXLAN port.
    pub neighbor_suppression: bool,
    /// What hosts say of their addresses at the bridge's ports is listened to, and those that have been silent are asked for them.
    pub neighbor_learning: bool,
    /// Stations that say no address are asked for one, so that they do not age out (only with `neighbor_learning`).
    pub probe_silent: bool,
    /// Rows are written when frames for them come: the device has to tell of those that found none (`l2miss`), and its bridge's
    /// ports of the addresses that are asked for.
    pub on_demand: bool,
    /// What hosts ask for is told ([`KernelEvent::Asked`](super::KernelEvent::Asked)): nothing else becomes of a question that
    /// the bridge cannot answer.
    pub questions: bool,
    /// Guests' ports of the bridge are isolated from one another.
    pub isolated_ports: bool,
    /// What does not work on a device that somebody else made is mended, not only told.
    pub fix: bool,
    /// Unicast rows name nexthop groups instead of destinations, where the kernel has them (≥ 5.8). A matter of the kernel
    /// room alone: everybody else speaks of destinations.
    pub nexthop_groups: bool,
}

impl DeviceSpec {
    /// As it is where the configuration says nothing of it.
    pub fn new(vni: Vni, local: IpAddr) -> Self {
        Self {
            vni,
            device: format!("vxlan{vni}"),
            bridge: format!("br{vni}"),
            existing: false,
            make_after: MAKE_AFTER,
            bare: false,
            local,
            port: 4789,
            mtu: None,
            learning: false,
            group: None,
            neighbor_suppression: true,
            neighbor_learning: false,
            probe_silent: false,
            on_demand: false,
            questions: false,
            isolated_ports: false,
            fix: false,
            nexthop_groups: false,
        }
    }
}

/// A device of somebody else that an earlier run worked with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoodDevice {
    /// The name that it had.
    pub device: String,
    /// ifindex of the bridge that it was in; `None` after a boot, and of a device that was in none.
    pub bridge_ifindex: Option<u32>,
}

/// A device that works: where rows for a VNI go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadyDevice {
    /// The VNI.
    pub vni: Vni,
    /// ifindex of the VXLAN device.
    pub ifindex: u32,
    /// Name of the VXLAN device.
    pub device: String,
    /// ifindex of its bridge; of a device without one, its own: there its neighbours are.
    pub bridge_ifindex: u32,
    /// Name of the bridge; `none` where there is none.
    pub bridge: String,
    /// Local address the device sends from: IPv4 or IPv6 decides which remotes it can hold.
    pub local: Option<IpAddr>,
    /// UDP port of the device.
    pub port: u16,
    /// MTU of the VXLAN device.
    pub mtu: u32,
    /// Whether evpnd made the VXLAN device (so that drain may remove it).
    pub made_device: bool,
    /// Whether evpnd made the bridge.
    pub made_bridge: bool,
    /// It tells of frames that found no row (`l2miss`).
    pub tells_misses: bool,
    /// IPv6 is off at the bridge, which refused a neighbour of IPv6 for that: it takes none until it is on.
    pub ipv6_off: bool,
    /// Operationally up.
    pub up: bool,
    /// What will not work although rows can be written, in words, with the remedy (e.g. learning left on).
    pub warnings: Vec<String>,
}

/// How the one among [`ReadyDevice::warnings`] begins that says that IPv6 is off.
pub const IPV6_OFF: &str = "IPv6 is off at ";

impl ReadyDevice {
    /// Whether it is in no bridge.
    pub fn is_bare(&self) -> bool {
        self.bridge_ifindex == self.ifindex
    }
}

/// A VXLAN device of the host that somebody else made, in a bridge, declared or not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FoundDevice {
    /// Its VNI.
    pub vni: Vni,
    /// Its name.
    pub device: String,
    /// The name of its bridge.
    pub bridge: String,
    /// The multicast group that it floods to.
    pub group: Option<IpAddr>,
}

/// A VXLAN device of the host that somebody else made and that no VNI can use as it stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnfitDevice {
    /// Its VNI, where it has one of its own.
    pub vni: Option<Vni>,
    /// Its name.
    pub device: String,
    /// The name of its bridge, where it is in one.
    pub bridge: Option<String>,
    /// Why it cannot be used.
    pub reason: String,
    /// What would mend it.
    pub remedy: String,
}

/// What a VNI that nobody wants any more had on this host: where rows of an earlier run, or of one before a change, may stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// The VNI.
    pub vni: Vni,
    /// The name of its VXLAN device.
    pub device: String,
    /// ifindex of its VXLAN device.
    pub ifindex: u32,
    /// ifindex of its bridge; the device's own where it was in none.
    pub bridge_ifindex: u32,
}

/// An interface that carries the mark of evpnd, and that no wanted VNI uses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MarkedLink {
    /// The VNI of a VXLAN device; `None`: it is a bridge.
    pub vni: Option<Vni>,
    /// ifindex.
    pub ifindex: u32,
    /// Its name.
    pub name: String,
    /// The ports of a bridge that do not carry the mark themselves, by name.
    pub ports: Vec<String>,
}

/// The state of one VNI's device, as the kernel room tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceState {
    /// Rows can be written.
    Ready(ReadyDevice),
    /// It cannot be used: one sentence why, and what to do.
    Unusable {
        /// Which.
        vni: Vni,
        /// Why.
        reason: String,
        /// What would mend it: a command or a change of configuration.
        remedy: String,
    },
}
