//! What a configuration says, checked: every default filled in, every template expanded, every name fit for the kernel.
//! `parse` is the only way to make one; `docs/CONFIG.md` says the same in words for operators.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::base::{Asn, BgpIdentifier, MacAddr, Vni};
use crate::wire::ext_community::RouteTarget;
use crate::wire::rd::Rd;

use super::adopt::Adopt;
use super::graceful::GracefulRestart;
use super::secret::Secret;

/// A whole configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The file that it was read from, as `parse` was told.
    pub file: String,
    /// `[router]`.
    pub router: Router,
    /// `[vxlan]`.
    pub vxlan: Vxlan,
    /// `[control]`.
    pub control: Control,
    /// `[metrics]`.
    pub metrics: Metrics,
    /// `[[neighbor]]`, in the order of the file.
    pub neighbors: Vec<Neighbor>,
    /// `[[vni]]`, with `ids` spelt out and the defaults filled in.
    pub vnis: BTreeMap<Vni, VniConfig>,
    /// `[vni-defaults]`: what a VNI that is added at run time gets.
    pub vni_defaults: VniSettings,
    /// `[graceful-restart]`.
    pub graceful_restart: GracefulRestart,
    /// `[duplicate-detection]`.
    pub duplicate_detection: DuplicateDetection,
    /// `[limits]`.
    pub limits: Limits,
}

/// `[router]`: who we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Router {
    /// Own AS.
    pub asn: Asn,
    /// Own BGP identifier: the VTEP where that is IPv4 and none is given.
    pub router_id: BgpIdentifier,
    /// Own tunnel address; none where no VNI is configured (a reflector).
    pub vtep: Option<IpAddr>,
    /// Addresses to listen on; empty: nobody may connect to us.
    pub listen: Vec<IpAddr>,
    /// TCP port to listen on.
    pub listen_port: u16,
    /// Where what must survive a restart is kept (the numbers of route distinguishers).
    pub state_directory: PathBuf,
}

/// `[vxlan]`: what devices that evpnd makes look like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vxlan {
    /// UDP port of devices that are made.
    pub port: u16,
    /// Name of the device to make, with `{vni}` in it.
    pub device: String,
    /// Name of the bridge to make, with `{vni}` in it.
    pub bridge: String,
    /// MTU in octets of what is made; none: from the route to the underlay.
    pub mtu: Option<u32>,
    /// Every how many seconds all that stands in the kernel is compared with what should; 0: never.
    pub audit_interval_secs: u32,
    /// Unicast rows name nexthop groups instead of destinations.
    pub nexthop_groups: bool,
    /// Devices that nobody declared.
    pub adopt: Adopt,
}

/// `[control]`: the control socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    /// Path of the Unix socket.
    pub socket: PathBuf,
    /// Group that may use it besides root.
    pub group: Option<String>,
}

/// `[metrics]`: numbers for Prometheus.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Metrics {
    /// Where they are served; empty: nowhere.
    pub listen: Vec<SocketAddr>,
}

/// Whom a `[[neighbor]]` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NeighborAddress {
    /// One neighbor.
    Address(IpAddr),
    /// Whoever connects from this range.
    ListenRange(IpNet),
}

/// `[[neighbor]]`: one BGP neighbor, or a range of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbor {
    /// Its address or range.
    pub who: NeighborAddress,
    /// Its AS.
    pub asn: Asn,
    /// TCP port to connect to.
    pub port: u16,
    /// Address to connect from, and to accept it on.
    pub local_address: Option<IpAddr>,
    /// Never connect, only accept. Always true for a range.
    pub passive: bool,
    /// Hold time to offer, in seconds: 0 (no keepalives) or at least 3 (RFC 4271 §4.2).
    pub hold_time_secs: u16,
    /// Seconds between two attempts to connect, before jitter and back-off.
    pub connect_retry_secs: u16,
    /// TCP MD5 password (RFC 2385).
    pub password: Option<Password>,
    /// GTSM (RFC 5082): the most hops it may be away, at least 1.
    pub ttl_security: Option<u8>,
    /// The TTL to send with towards an eBGP neighbor that is not on the same link.
    pub multihop: Option<u8>,
    /// It is a client of ours (RFC 4456).
    pub route_reflector_client: bool,
    /// Graceful restart is offered to it, where `[graceful-restart]` has it on.
    pub graceful_restart: bool,
    /// The most routes it may announce, before its session is closed; `[limits] routes-per-neighbor` where none is given.
    pub max_routes: Option<u32>,
    /// For people.
    pub description: String,
    /// `false`: known, but shut down.
    pub enabled: bool,
}

/// A TCP MD5 password. Never shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Password {
    /// As it stands in the file. The rim takes it out before the core sees the configuration.
    Text(Secret),
    /// What the core sees of a `Text`: the number under which the rim keeps it. Another secret has another number.
    Kept(u64),
    /// In this file: its first line. The rim reads it.
    File(PathBuf),
}

/// What a VNI imports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ImportTarget {
    /// `"auto"`: any AS and the VNI, in the plain or the RFC 8365 §5.1.2.1 form.
    Auto,
    /// Exactly this one.
    Exact(RouteTarget),
    /// `"*:100"`: any AS and this number.
    AnyAs {
        /// The local administrator.
        number: u32,
    },
}

/// What a VNI's routes carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExportTarget {
    /// `"auto"`: the low 16 bits of the own AS, and the VNI.
    Auto,
    /// Exactly this one.
    Exact(RouteTarget),
}

/// How broadcast, unknown unicast and multicast of a VNI reach other hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flood {
    /// A copy to every VTEP that announces the VNI (type 3).
    IngressReplication,
    /// Not at all: only hosts that are announced are reached.
    None,
    /// To a group of the underlay, as hosts without EVPN do; and a copy to each VTEP that announces the VNI and is not in the
    /// group.
    Multicast(IpAddr),
}

/// When the kernel gets the rows of remote MACs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Install {
    /// When they are announced.
    Always,
    /// When a frame for them comes.
    OnDemand,
}

/// Whether the kernel learns MACs from tunnelled frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Learning {
    /// `false`: MACs come from type 2 alone.
    Off,
    /// `true`: from the kernel alone; no type 2 is announced or used.
    Alone,
    /// `"beside"`: from both, while some hosts of the segment run without EVPN.
    Beside,
}

/// What `[vni-defaults]` and `[[vni]]` both hold. Of the defaults the names are templates, those of `[vxlan]` where it has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VniSettings {
    /// Name of the VXLAN device to make where none exists for the VNI.
    pub device: String,
    /// Name of the bridge to make where none exists.
    pub bridge: String,
    /// What to import.
    pub import: Vec<ImportTarget>,
    /// What to export.
    pub export: Vec<ExportTarget>,
    /// How broadcast and unknown unicast leave.
    pub flood: Flood,
    /// Whether the kernel learns MACs from tunnelled frames.
    pub learning: Learning,
    /// When rows are written.
    pub install: Install,
    /// How long a row on demand stays that nobody uses, in seconds.
    pub install_lifetime_secs: u32,
    /// Answer ARP and ND on this host (`neigh_suppress` on the VXLAN port), where evpnd knows of hosts.
    pub neighbor_suppression: bool,
    /// Listen at the bridge's ports for the addresses of hosts, where ARP and ND are answered.
    pub neighbor_learning: bool,
    /// Guests' ports of the bridge are isolated from one another.
    pub isolated_ports: bool,
    /// Ask hosts that say no address for one.
    pub probe_silent: bool,
    /// Announce this host's own MAC and addresses on the bridge; none: nobody said, and they are ([`VniSettings::announces_own`]).
    pub announce_own: Option<bool>,
    /// MTU in octets of what is made; none: from the route to the underlay.
    pub mtu: Option<u32>,
    /// MACs to announce as static (sticky) besides those the bridge holds.
    pub static_macs: Vec<MacAddr>,
}

impl VniSettings {
    /// Whether this host's own MAC and addresses on the bridge are announced.
    pub fn announces_own(&self) -> bool {
        self.announce_own.unwrap_or(true)
    }
}

/// `[[vni]]`: one VNI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VniConfig {
    /// The VNI.
    pub vni: Vni,
    /// Route distinguisher; none: router-id and a number that is kept.
    pub rd: Option<Rd>,
    /// No device is made: whoever asked for the VNI while the daemon runs makes it.
    pub existing: bool,
    /// The rest, with its names, not templates.
    pub settings: VniSettings,
}

/// `[duplicate-detection]`: when a MAC counts as a duplicate, and what follows (RFC 7432 §15.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DuplicateDetection {
    /// Moves between hosts within the window that make it one; 0: none is.
    pub moves: u32,
    /// The window, in seconds.
    pub window_secs: u32,
    /// Its moves are followed no longer; otherwise they are only told of.
    pub freeze: bool,
    /// After so many seconds it is as any other again; none: when an operator says so.
    pub recovery_secs: Option<u32>,
}

/// `[limits]`: what a peer or a tenant may grow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Neighbors that came in through a `listen-range`, all ranges together.
    pub dynamic_neighbors: u32,
    /// Connections of such neighbors that have not come to a session yet.
    pub pending_connections: u32,
    /// Routes of one neighbor whose `max-routes` is not given.
    pub routes_per_neighbor: u32,
    /// About the octets of memory that the attributes of one neighbor's routes may take.
    pub attribute_octets_per_neighbor: u32,
    /// MACs behind this host's ports in one VNI: more are not announced, but counted.
    pub local_macs_per_vni: u32,
    /// Of these, MACs behind one port.
    pub local_macs_per_port: u32,
    /// MACs of one VNI that other hosts announce: more get no row, but are counted.
    pub remote_macs_per_vni: u32,
    /// Routes of one MAC in one VNI, one for each of its addresses at each host: the best are kept.
    pub ips_per_mac: u32,
    /// Paths of one route, one from each neighbor: the best are kept.
    pub paths_per_route: u32,
    /// VNIs, those of `evpnctl vni add` included.
    pub vnis: u32,
    /// Connections to the control socket at a time.
    pub control_connections: u32,
    /// Octets of the kernel's notifications that may wait to be read.
    pub event_buffer: u32,
    /// Rows on demand that stand at a time, over all VNIs.
    pub on_demand_rows: u32,
}

/// What a reload has to do. Nothing that is not named here is touched.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Difference {
    /// New neighbors.
    pub neighbors_added: Vec<Neighbor>,
    /// Neighbors to close (Cease/3, peer de-configured).
    pub neighbors_removed: Vec<NeighborAddress>,
    /// Neighbors of which something changed.
    pub neighbors_changed: Vec<NeighborChange>,
    /// New VNIs.
    pub vnis_added: Vec<VniConfig>,
    /// VNIs to withdraw and remove.
    pub vnis_removed: Vec<Vni>,
    /// VNIs of which something changed.
    pub vnis_changed: Vec<VniChange>,
    /// Other changes that apply at once, in words (`[limits]`, `[vni-defaults]`).
    pub applied: Vec<String>,
    /// Changes that only a restart applies, in words; the rest is applied all the same.
    pub needs_restart: Vec<String>,
}

/// What a change of a neighbor costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cost {
    /// It holds at once.
    Nothing,
    /// The session is closed and opened again; its routes stay meanwhile as over any loss (`[graceful-restart]`).
    Session,
    /// The session and the routes: it is another neighbor now, or none.
    Routes,
}

/// A neighbor of which something changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeighborChange {
    /// As it should be.
    pub neighbor: Neighbor,
    /// What that costs.
    pub cost: Cost,
    /// The keys that changed.
    pub keys: Vec<&'static str>,
}

/// A VNI of which something changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VniChange {
    /// As it should be.
    pub vni: VniConfig,
    /// Whether the device spec changed (names, MTU, neighbor suppression): to be told to the kernel room.
    pub device: bool,
    /// Whether routes change (RD, targets, static MACs): the instance has to be made anew.
    pub instance: bool,
    /// The keys that changed.
    pub keys: Vec<&'static str>,
}

/// `bridge = "none"`: the host's own addresses are on the VXLAN device.
pub const NO_BRIDGE: &str = "none";

impl VniConfig {
    /// Whether its device is in no bridge: what is behind it is this host alone.
    pub fn is_bare(&self) -> bool {
        self.settings.bridge == NO_BRIDGE
    }

    /// How long its rows stand that nobody uses, where they are written on demand.
    pub fn on_demand(&self) -> Option<Duration> {
        (self.settings.install == Install::OnDemand).then(|| Duration::from_secs(self.settings.install_lifetime_secs.into()))
    }

    /// Whether ARP and ND are answered on this host: with `learning` nobody tells of addresses, and hosts without EVPN must hear what
    /// guests say of theirs.
    pub fn suppresses(&self) -> bool {
        self.settings.neighbor_suppression
            && self.settings.learning == Learning::Off
            && !matches!(self.settings.flood, Flood::Multicast(_))
    }

    /// Whether its stations' addresses are listened to: announced where ARP and ND are answered, and elsewhere only asked for, so that
    /// a MAC that is announced does not age out while its host is silent.
    pub fn listens(&self) -> bool {
        self.settings.neighbor_learning && self.settings.learning != Learning::Alone && !self.is_bare()
    }
}

impl NeighborAddress {
    /// Whether it names `address`.
    pub fn contains(&self, address: IpAddr) -> bool {
        match self {
            Self::Address(own) => *own == address,
            Self::ListenRange(range) => range.contains(&address),
        }
    }
}

impl fmt::Display for ImportTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Exact(target) => target.fmt(f),
            Self::AnyAs { number } => write!(f, "*:{number}"),
        }
    }
}

impl fmt::Display for NeighborAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::ListenRange(range) => range.fmt(f),
        }
    }
}
