//! What the daemon answers. Written as `{"reply":"status",…}`; keys are in snake_case, MACs in lower case with colons,
//! ages in whole seconds. Keys are only ever added. The tables for people are made of these in `render`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::base::{Asn, BgpIdentifier, MacAddr, Vni};

use super::event::MonitorLine;

/// One reply: one line of JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// To `show_status`.
    Status(Status),
    /// To `show_neighbors`, ordered by address.
    Neighbors(Page<NeighborView>),
    /// To `show_vnis`, ordered by VNI.
    Vnis(Page<VniView>),
    /// To `show_vteps`, ordered by address.
    Vteps(Page<VtepView>),
    /// To `show_macs`, ordered by VNI and MAC.
    Macs(Page<MacView>),
    /// To `show_routes`, ordered by route.
    Routes(Page<RouteView>),
    /// To `explain`.
    Explanation(Explanation),
    /// To `diff`: one item for each difference, so an empty table means that the kernel is as wanted.
    Diff(Page<DiffView>),
    /// One event of `monitor`.
    Event(MonitorLine),
    /// It was done: what, in words.
    Done {
        /// One sentence.
        message: String,
    },
    /// It was not done, and nothing changed: why, and what to do.
    Refused {
        /// A sentence, or the report of a wrong configuration file (many lines).
        message: String,
    },
    /// What the request names does not exist.
    NotFound {
        /// One sentence.
        message: String,
    },
}

/// A piece of a long table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The items of this page.
    pub items: Vec<T>,
    /// Whether another page follows.
    pub more: bool,
    /// Where it begins: to be given as `after`. Opaque to clients.
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// The last page, or the only one.
    pub fn last(items: Vec<T>) -> Self {
        Self { items, more: false, next: None }
    }

    /// A page that another one follows, where `next` is given.
    pub fn new(items: Vec<T>, next: Option<String>) -> Self {
        Self { items, more: next.is_some(), next }
    }
}

/// The daemon at a glance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the daemon.
    pub version: String,
    /// The configuration file that it reads, with its whole path; empty: a daemon that does not say.
    #[serde(default)]
    pub config_file: String,
    /// Devices that are left alone by the configuration (`ignore-devices`), as they are named there.
    #[serde(default)]
    pub ignored_devices: Vec<String>,
    /// Own AS.
    pub asn: Asn,
    /// Own BGP identifier.
    pub router_id: BgpIdentifier,
    /// Own tunnel address; none on a pure reflector.
    pub vtep: Option<IpAddr>,
    /// Seconds since the daemon began.
    pub uptime_secs: u64,
    /// Whether `drain` was asked for.
    pub draining: bool,
    /// Sessions: established of configured (dynamic ones included while they exist).
    pub neighbors: Count,
    /// VNIs: those whose device works, of configured.
    pub vnis: Count,
    /// Remote VTEPs in some flood list.
    pub vteps: u64,
    /// Routes (destinations) in the BGP table.
    pub routes: u64,
    /// Paths in the BGP table: a route heard from two reflectors has two.
    pub paths: u64,
    /// MACs over all VNIs.
    pub macs: MacCount,
    /// Kernel rows over all VNIs.
    pub rows: RowCounts,
    /// Neighbours of all bridges, from which ARP and ND are answered.
    #[serde(default)]
    pub suppressed: RowCounts,
    /// How many times the kernel's event queue overflowed (`ENOBUFS`), each answered by a full dump.
    pub overflows: u64,
    /// Everything that is counted, by name.
    pub counters: BTreeMap<String, u64>,
    /// How large tables and queues are now, by name: these come back down, unlike counters. Octets are about.
    #[serde(default)]
    pub sizes: BTreeMap<String, u64>,
    /// What an operator should look at, one sentence each.
    pub warnings: Vec<String>,
}

/// How many work, of how many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Count {
    /// Established or ready.
    pub up: u64,
    /// Configured.
    pub configured: u64,
}

/// How many MACs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MacCount {
    /// Behind this host's own ports.
    pub local: u64,
    /// Behind other VTEPs.
    pub remote: u64,
}

/// How the kernel rows stand. The sum of all others is `wanted`, plus rows that wait for deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RowCounts {
    /// What the kernel should hold.
    pub wanted: u64,
    /// Acknowledged by the kernel.
    pub in_sync: u64,
    /// Waiting to be written or deleted.
    pub dirty: u64,
    /// Written, not yet acknowledged.
    pub in_flight: u64,
    /// Refused by the kernel, to be retried.
    pub failed: u64,
    /// Not written before somebody talks to them (`install = "on-demand"`).
    #[serde(default)]
    pub on_demand: u64,
}

/// Messages of one direction by type (RFC 4271 §4.1, RFC 2918).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MessageCounts {
    /// OPEN.
    pub open: u64,
    /// UPDATE.
    pub update: u64,
    /// NOTIFICATION.
    pub notification: u64,
    /// KEEPALIVE.
    pub keepalive: u64,
    /// ROUTE-REFRESH.
    pub route_refresh: u64,
}

/// One BGP neighbor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeighborView {
    /// Its address.
    pub address: IpAddr,
    /// From the configuration; may be empty.
    pub description: String,
    /// Its AS.
    pub asn: Asn,
    /// Whether its AS is another one than ours (eBGP).
    pub external: bool,
    /// `idle`, `connect`, `active`, `open_sent`, `open_confirm`, `established`; `disabled` where `enabled = false`.
    pub state: String,
    /// Seconds since the state was entered (for `established`: since it came up).
    pub since_secs: u64,
    /// Its BGP identifier, once an OPEN came.
    pub router_id: Option<BgpIdentifier>,
    /// Its host name, where it sent one (FQDN capability).
    pub host_name: Option<String>,
    /// Our end of the TCP connection.
    pub local_address: Option<IpAddr>,
    /// Our port.
    pub local_port: Option<u16>,
    /// Its port.
    pub remote_port: Option<u16>,
    /// We never connect to it.
    pub passive: bool,
    /// Came in through a `listen-range`.
    pub dynamic: bool,
    /// A route reflector client of ours.
    pub client: bool,
    /// Negotiated hold time in seconds; 0: no keepalives.
    pub hold_time_secs: Option<u16>,
    /// What it can do, in words.
    pub capabilities: Vec<String>,
    /// Paths held from it.
    pub routes_received: u64,
    /// The limit on them, where one is set.
    pub max_routes: Option<u32>,
    /// Routes it was told.
    pub routes_advertised: u64,
    /// Whether something waits to be sent to it.
    pub pending: bool,
    /// Whether its End-of-RIB came since the session is up.
    pub end_of_rib: bool,
    /// What was agreed of graceful restart, and what is kept over the loss of its session, in words.
    pub graceful_restart: String,
    /// Paths kept over the loss of its session that it did not confirm yet.
    pub stale_routes: u64,
    /// Seconds until they go at the latest; `None`: nothing is kept.
    pub stale_secs: Option<u64>,
    /// Received messages.
    pub messages_in: MessageCounts,
    /// Sent messages.
    pub messages_out: MessageCounts,
    /// Times the session came up.
    pub established_count: u64,
    /// Times it went down.
    pub dropped_count: u64,
    /// About the octets of memory that the attributes of its routes take.
    pub attribute_octets: u64,
    /// Mistakes in its UPDATEs (RFC 7606): attributes, and routes that could not be read.
    pub update_mistakes: u64,
    /// Seconds until it is let in again, where it passed a limit or came and went too often.
    pub rest_secs: Option<u64>,
    /// Why it last went down or did not come up, with the peer's shutdown text.
    pub last_error: Option<String>,
    /// Seconds since that.
    pub last_error_secs: Option<u64>,
}

/// One VNI.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VniView {
    /// The VNI.
    pub vni: Vni,
    /// Name of the VXLAN device: the one in use, or the one to be made.
    pub device: String,
    /// Name of the bridge.
    pub bridge: String,
    /// Route distinguisher.
    pub rd: String,
    /// What it imports, as configured (`auto`, `65000:100`, `*:100`).
    pub import: Vec<String>,
    /// What it exports, spelt out.
    pub export: Vec<String>,
    /// `ready`, `down` (works, but the device is not up), `unusable`, `waiting` (the kernel was not asked yet), `not-taken` (a device
    /// that `adopt = "all"` would take if it were another: the VNI is not here).
    pub state: String,
    /// Why it is not ready.
    pub reason: Option<String>,
    /// What would mend it.
    pub remedy: Option<String>,
    /// evpnd made the VXLAN device (and not adopted it).
    pub made_device: bool,
    /// evpnd made the bridge.
    pub made_bridge: bool,
    /// Added by `evpnctl vni add` and not by the file.
    pub run_time: bool,
    /// Who holds it at run time, beside or instead of the configuration file.
    #[serde(default)]
    pub callers: Vec<String>,
    /// `announce-own` as the configuration has it; none: it says nothing, and the host's own addresses on the bridge are announced.
    #[serde(default)]
    pub announce_own: Option<bool>,
    /// Local tunnel address of the device.
    pub local: Option<IpAddr>,
    /// UDP port of the device.
    pub port: Option<u16>,
    /// MTU of the device in octets.
    pub mtu: Option<u32>,
    /// Length of the flood list.
    pub vteps: u64,
    /// MACs behind this host's ports.
    pub local_macs: u64,
    /// MACs behind other VTEPs.
    pub remote_macs: u64,
    /// How often a local MAC was refused, because the VNI or its port has as many as it may.
    #[serde(default)]
    pub refused_local_macs: u64,
    /// How often a remote MAC was refused, because the VNI has as many as it may.
    #[serde(default)]
    pub refused_remote_macs: u64,
    /// How often a route of a MAC was left out, because the MAC has as many as it may.
    #[serde(default)]
    pub refused_routes: u64,
    /// How often a limit refused an address of a local MAC.
    #[serde(default)]
    pub refused_addresses: u64,
    /// Its kernel rows.
    pub rows: RowCounts,
    /// The neighbours of its bridge, from which ARP and ND are answered.
    #[serde(default)]
    pub suppressed: RowCounts,
    /// Rows put back that somebody else had deleted or changed.
    pub healed: u64,
    /// What works but not as it should, one sentence each.
    pub warnings: Vec<String>,
}

impl VniView {
    const NOT_TAKEN: &str = "not-taken";

    /// A VNI that is not here, because a device of the host that has it cannot be taken.
    pub fn not_taken(vni: Vni) -> Self {
        Self {
            vni,
            device: String::new(),
            bridge: String::new(),
            rd: String::new(),
            import: Vec::new(),
            export: Vec::new(),
            state: Self::NOT_TAKEN.to_owned(),
            reason: None,
            remedy: None,
            made_device: false,
            made_bridge: false,
            run_time: false,
            callers: Vec::new(),
            announce_own: None,
            local: None,
            port: None,
            mtu: None,
            vteps: 0,
            local_macs: 0,
            remote_macs: 0,
            refused_local_macs: 0,
            refused_remote_macs: 0,
            refused_routes: 0,
            refused_addresses: 0,
            rows: RowCounts::default(),
            suppressed: RowCounts::default(),
            healed: 0,
            warnings: Vec::new(),
        }
    }

    /// Whether the daemon has the VNI.
    pub fn is_here(&self) -> bool {
        self.state != Self::NOT_TAKEN
    }
}

/// One remote VTEP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VtepView {
    /// Its tunnel address.
    pub address: IpAddr,
    /// The local VNIs that flood to it.
    pub vnis: Vec<Vni>,
    /// MACs behind it.
    pub macs: u64,
}

/// Where a MAC belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MacKind {
    /// Behind a port of this host.
    Local,
    /// Behind another VTEP.
    Remote,
}

/// What follows of a MAC's being a duplicate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Duplicate {
    /// It is told of; its moves are followed.
    Warned,
    /// Its moves are not followed.
    Frozen,
}

/// How a kernel row stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowState {
    /// None is wanted: the MAC is local, or the VNI is not ready.
    None,
    /// Acknowledged by the kernel.
    InSync,
    /// Waiting to be written.
    Dirty,
    /// Written, not yet acknowledged.
    InFlight,
    /// Refused by the kernel, to be retried.
    Failed,
    /// Not written before somebody talks to it.
    OnDemand,
}

/// One MAC of one VNI.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MacView {
    /// The VNI.
    pub vni: Vni,
    /// The MAC.
    pub mac: MacAddr,
    /// Local or remote.
    pub kind: MacKind,
    /// The bridge port, of a local one (none where it comes from `static` in the file).
    pub port: Option<String>,
    /// The VTEP, of a remote one.
    pub vtep: Option<IpAddr>,
    /// The VNI on the wire where it is not the local one (downstream-assigned, RFC 8365 §5.1.3).
    pub remote_vni: Option<Vni>,
    /// Its mobility sequence number (RFC 7432 §15).
    pub sequence: u32,
    /// It may not move (static).
    pub sticky: bool,
    /// It moved so often that two hosts must have it at once (RFC 7432 §15.1).
    #[serde(default)]
    pub duplicate: Option<Duplicate>,
    /// Addresses known for it.
    pub ips: Vec<IpAddr>,
    /// Addresses that it and another MAC claim in turn, be they its own now or not.
    #[serde(default)]
    pub duplicate_ips: Vec<IpAddr>,
    /// Its kernel row.
    pub row: RowState,
}

/// One path of one EVPN route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteView {
    /// EVPN route type.
    pub route_type: u8,
    /// The key, such as `[2]:[0]:[48]:[02:00:00:00:00:01]:[32]:[192.0.2.1]`.
    pub key: String,
    /// Route distinguisher.
    pub rd: String,
    /// The label as a VNI: of the NLRI (type 1, 2, 5) or of the PMSI tunnel (type 3).
    pub vni: Option<u32>,
    /// Second label (the L3 VNI) of a type 2.
    pub second_label: Option<u32>,
    /// Ethernet segment, where not zero.
    pub esi: Option<String>,
    /// BGP next hop: the VTEP.
    pub next_hop: Option<IpAddr>,
    /// From whom it was received; none where it is our own.
    pub neighbor: Option<IpAddr>,
    /// The decision chose it.
    pub best: bool,
    /// Kept over the loss of its session (graceful restart).
    pub stale: bool,
    /// Seconds since it was received.
    pub age_secs: u64,
    /// AS_PATH in words; empty inside the own AS.
    pub as_path: String,
    /// LOCAL_PREF.
    pub local_pref: Option<u32>,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// Route targets.
    pub route_targets: Vec<String>,
    /// Tunnel type of the encapsulation community (8: VXLAN).
    pub encapsulation: Option<u16>,
    /// MAC mobility sequence number.
    pub sequence: Option<u32>,
    /// The sticky bit of MAC mobility.
    pub sticky: bool,
    /// ORIGINATOR_ID (RFC 4456 §8).
    pub originator_id: Option<BgpIdentifier>,
    /// CLUSTER_LIST (RFC 4456 §8).
    pub cluster_list: Vec<BgpIdentifier>,
    /// The multicast group of the underlay that a type 3 says to hear.
    #[serde(default)]
    pub group: Option<IpAddr>,
    /// Other communities and unknown attributes, in words.
    pub other: Vec<String>,
}

/// The whole story of one MAC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The VNI.
    pub vni: Vni,
    /// The MAC.
    pub mac: MacAddr,
    /// What the host's own bridge says: port, static or not; none where it does not know the MAC.
    pub local: Option<String>,
    /// Every BGP path for it, the winner of its route marked.
    pub candidates: Vec<Candidate>,
    /// Which place won among the routes and the local port, and by which rule (RFC 7432 §15).
    pub choice: String,
    /// The row the kernel should hold, where one should be.
    pub wanted: Option<String>,
    /// The row evpnd believes is there.
    pub installed: Option<String>,
    /// How that row stands, with the kernel's error and the next retry where it failed.
    pub status: String,
    /// Its addresses that ARP and ND are answered for on this host, each with how the bridge's neighbour stands.
    #[serde(default)]
    pub neighbors: Vec<String>,
    /// Where it is at two hosts at once, or contends with another MAC for an address: since when, who, what is announced, what ends it.
    #[serde(default)]
    pub duplicates: Vec<String>,
    /// What the kernel itself answered when asked just now, one line a row.
    pub kernel: Vec<String>,
    /// One sentence: where a frame to this MAC goes, and if that is not as it should be, why.
    pub conclusion: String,
}

/// One BGP path of an [`Explanation`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// The route and its path in one line.
    pub path: String,
    /// From whom; none where it is our own.
    pub neighbor: Option<IpAddr>,
    /// It won the BGP decision of its route.
    pub best: bool,
    /// `best`, or the numbered step at which it lost, or why it was not imported.
    pub why: String,
}

/// One difference between the wanted and the real kernel state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiffView {
    /// The VNI.
    pub vni: Vni,
    /// The MAC; all zero: the flood list.
    pub mac: MacAddr,
    /// Of a neighbour of the bridge, from which ARP and ND are answered: its address.
    #[serde(default)]
    pub ip: Option<IpAddr>,
    /// What should be there.
    pub wanted: Option<String>,
    /// Where what is there leads; null: nothing is there, or a nexthop that is not ours.
    pub found: Option<String>,
    /// The nexthop group that what is there names.
    pub nexthop: Option<u32>,
    /// Why it is so and what happens next, in words (`failed: No space left on device, retried in 3 s`).
    pub state: String,
}
