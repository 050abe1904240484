//! The language between the core and the kernel room: what to write, what was written, what was seen.
//!
//! Plain data, so that a simulated kernel speaks it as well as netlink does. Read `device` for the devices.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use super::device::{DeviceSpec, DeviceState, FoundDevice, Leftover, MarkedLink, StoodDevice, UnfitDevice};
use crate::base::{MacAddr, Vni};

/// Where frames for a MAC, or flooded frames, are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Remote {
    /// The tunnel address of the other host.
    pub ip: IpAddr,
    /// The VNI to send with; `Some` only where it differs from the device's own (downstream-assigned, RFC 8365 §5.1.3).
    pub vni: Option<Vni>,
}

/// What an [`Op`] does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OpKind {
    /// Adds or replaces the one row of a MAC, in the VXLAN FDB and the bridge FDB (SELF+MASTER+EXT_LEARNED).
    ReplaceUnicast,
    /// The same, unless the row stands there just so: then nothing is written. It is read first, which costs as much as
    /// half a write; worth it where thousands of rows of an earlier run may stand that nobody has listed.
    EnsureUnicast,
    /// Puts a row back whose place the operator's (without EXT_LEARNED) was seen to have taken: it is read first. Where it
    /// stands just so, what was seen was older than it, and nothing is written; where an operator's does, that is deleted
    /// before, because a write over it would change neither its state nor its mark.
    RestoreUnicast,
    /// Deletes the row of a MAC, by MAC alone (a delete that names another destination deletes nothing).
    DeleteUnicast {
        /// Only in the VXLAN FDB: the bridge's entry belongs to a local port now.
        self_only: bool,
    },
    /// Adds one destination to the flood list (all-zero MAC, `NLM_F_APPEND`); idempotent.
    AppendFlood,
    /// Takes one destination from the flood list; the destination is named.
    DeleteFlood,
    /// Adds or replaces the neighbour of an address on the bridge, from which `neigh_suppress` answers ARP and ND.
    ReplaceNeighbor {
        /// The host is a router (`NTF_ROUTER`: what the bridge says in its advertisements).
        router: bool,
    },
    /// Deletes the neighbour of an address.
    DeleteNeighbor,
}

impl OpKind {
    /// Whether it leaves a row for a MAC behind, in both FDBs.
    pub const fn writes_unicast(self) -> bool {
        matches!(self, Self::ReplaceUnicast | Self::EnsureUnicast | Self::RestoreUnicast)
    }
}

/// One write to the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Op {
    /// The VXLAN device; of a neighbour, the bridge.
    pub ifindex: u32,
    /// What to do.
    pub kind: OpKind,
    /// The MAC; zero for the flood list, and in the delete of a neighbour.
    pub mac: MacAddr,
    /// The destination; only informative in a unicast delete. Of a neighbour, its address.
    pub remote: Remote,
}

/// What an address of a segment is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Binding {
    /// The MAC that has it.
    pub mac: MacAddr,
    /// Its host is a router (RFC 9047 §2, the R flag).
    pub router: bool,
}

/// An address went over to a MAC of another host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MovedAddress {
    /// In which VNI.
    pub vni: Vni,
    /// Which.
    pub ip: IpAddr,
    /// Who has it now.
    pub binding: Binding,
}

/// Addresses that the kernel answered with another MAC than is wanted now, before a daemon knew all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MovesOfBefore {
    /// Each with the MAC that was answered at first.
    pub from: BTreeMap<(Vni, IpAddr), MacAddr>,
    /// How often one was not noted, because that many were: nobody will be told of these.
    pub beyond: u64,
}

/// Whose a neighbour entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NeighborOwner {
    /// Carries our protocol number and `NTF_EXT_LEARNED`: we, or an earlier run of us, wrote it.
    Ours,
    /// Set by an operator (`ip neigh … nud permanent`): left alone.
    Operator,
    /// Found out by the host itself, or written by another program: what routes say is written over it.
    Other,
}

/// A neighbour of a bridge as the kernel shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KernelNeighbor {
    /// The address.
    pub ip: IpAddr,
    /// What it is answered with; `None`: the entry says nothing, as where the host asks and nobody has answered yet.
    pub binding: Option<Binding>,
    /// Whose it is.
    pub owner: NeighborOwner,
}

/// About 64 writes that ride in one `sendmsg` (4 KiB is the best size). The kernel may answer them in any order of batches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Its name in [`BatchDone`].
    pub id: u64,
    /// What to do, in this order.
    pub ops: Vec<Op>,
}

/// A batch was carried out, but for the errors.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BatchDone {
    /// Which batch.
    pub id: u64,
    /// Index of the op in the batch, and its errno (positive).
    pub errors: Vec<(u32, i32)>,
    /// The whole batch could not be sent: why, in words. Nothing is known of any of its ops.
    pub fatal: Option<String>,
    /// How many rows of [`OpKind::EnsureUnicast`] and [`OpKind::RestoreUnicast`] stood already.
    pub stood: u32,
    /// Ops of [`OpKind::EnsureUnicast`] that were not done because the operator's row (without EXT_LEARNED) stands there:
    /// index, and where that row leads.
    pub theirs: Vec<(u32, Remote)>,
}

/// A row of the VXLAN FDB as the kernel shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KernelRow {
    /// The MAC; zero: the flood list.
    pub mac: MacAddr,
    /// The destination.
    pub remote: Remote,
    /// Carries `NTF_EXT_LEARNED`: written by a control plane. Rows without it are the operator's.
    pub ext_learned: bool,
    /// `NUD_PERMANENT`.
    pub permanent: bool,
    /// The bridge's half stands beside it, or nobody looked. Without it (a local port took it over) no frame of this host
    /// uses the row but those that the bridge floods.
    pub bridged: bool,
    /// The nexthop group that it names instead of carrying its destination; `remote` is what the group leads to where it is
    /// one of ours, and unspecified where not.
    pub nexthop: Option<u32>,
}

impl KernelRow {
    /// As we write it, by destination.
    pub fn new(mac: MacAddr, remote: Remote) -> Self {
        Self { mac, remote, ext_learned: true, permanent: false, bridged: true, nexthop: None }
    }
}

/// What stands for one MAC in the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckedRow {
    /// Which VNI.
    pub vni: Vni,
    /// Which MAC.
    pub mac: MacAddr,
    /// Its row, with whether the bridge's half stands; `None`: the VXLAN device has none.
    pub row: Option<KernelRow>,
    /// Since when no frame used it, where the kernel says so.
    pub idle: Option<Duration>,
}

/// A MAC heard on, or set at, a local bridge port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalMac {
    /// The VNI of the bridge.
    pub vni: Vni,
    /// The MAC.
    pub mac: MacAddr,
    /// ifindex of the port.
    pub port: u32,
    /// Name of the port.
    pub port_name: String,
    /// Set by the operator (`bridge fdb add … static`), so that it is announced as sticky.
    pub is_static: bool,
}

/// This host as a station of a segment, by the bridge of its VNI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostStation {
    /// The MAC of the bridge.
    pub mac: MacAddr,
    /// ifindex of the bridge.
    pub port: u32,
    /// Its name.
    pub port_name: String,
    /// The addresses that the host has there, in order, each with whether it is a router for it (RFC 9047). None: the host takes no
    /// part in the segment, and only the bridge has the MAC.
    pub addresses: Vec<(IpAddr, bool)>,
}

/// What the core asks of the kernel room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KernelCommand {
    /// The whole wanted list of devices; may be sent again with changes.
    Devices(Vec<DeviceSpec>),
    /// Ports (interface numbers) that an earlier run isolated, by VNI; sent once, before the first list of devices. Those of VNIs that
    /// are in no list are undone with [`KernelCommand::Remove`].
    Isolated(BTreeMap<Vni, BTreeSet<u32>>),
    /// Bridges of others (interface numbers) where an earlier run turned IPv6 on, by VNI: as [`KernelCommand::Isolated`].
    Opened(BTreeMap<Vni, u32>),
    /// Devices of others that an earlier run worked with; sent once, before the first list of devices. Where one is not there, whoever
    /// makes it is given the time to, as where it is removed later.
    Stood(BTreeMap<Vni, StoodDevice>),
    /// Write rows.
    Write(Batch),
    /// Set a MAC at a port as if it had been heard there, or (no port) take it from where it is; answered by
    /// [`KernelEvent::StationSet`], and told as [`KernelEvent::LocalMac`] or [`KernelEvent::LocalMacGone`] like any other.
    SetStation {
        /// Comes back in the answer.
        token: u64,
        /// In which VNI.
        vni: Vni,
        /// Which.
        mac: MacAddr,
        /// The name of a port of the VNI's bridge.
        port: Option<String>,
    },
    /// Read the whole FDB of one VNI's VXLAN device; answered by [`KernelEvent::Rows`], after the local MACs of a device
    /// that became ready before.
    Dump {
        /// Comes back in the answer.
        token: u64,
        /// Which.
        vni: Vni,
        /// The listing is given up where there are more rows than about so many: it is quadratic. Then the answer is
        /// [`KernelEvent::TooManyRows`].
        at_most: usize,
    },
    /// Read what the kernel has for one MAC; answered by [`KernelEvent::Row`].
    GetRow {
        /// Comes back in the answer.
        token: u64,
        /// Which VNI.
        vni: Vni,
        /// Which MAC.
        mac: MacAddr,
    },
    /// Remove the devices that we made for these, where nothing else uses them; answered by [`KernelEvent::DeviceGone`]
    /// for each and [`KernelEvent::Removed`].
    Remove {
        /// Which.
        vnis: Vec<Vni>,
    },
    /// These VNIs are not wanted, or cannot be used, and what an earlier run wrote is to go: from now on [`KernelCommand::Dump`] and
    /// [`KernelCommand::DumpNeighbors`] read it, rows as we write them only, and none where the device is ours and goes with its
    /// rows. Until they are wanted or removed.
    Leftovers(Vec<Leftover>),
    /// Read the neighbours of one VNI's bridge; answered by [`KernelEvent::Neighbors`].
    DumpNeighbors {
        /// Comes back in the answer.
        token: u64,
        /// Which.
        vni: Vni,
    },
    /// Read these rows one by one, both halves; answered by [`KernelEvent::Checked`].
    Check {
        /// Comes back in the answer.
        token: u64,
        /// Which.
        rows: Vec<(Vni, MacAddr)>,
    },
    /// Read the interfaces again and mend what is not as it was wanted, without waiting for a notification.
    CheckDevices,
    /// Every address that a row in the flood lists and among the unicast rows leads to, stands for or will: what the kernel
    /// room keeps for others (nexthops) may go.
    Remotes {
        /// All of them, of rows without a VNI of their own.
        in_use: Vec<IpAddr>,
    },
    /// Ask these stations at local ports whether they have these addresses; those that do are told
    /// ([`KernelEvent::LocalAddress`]).
    AskAddresses(Vec<(Vni, MacAddr, IpAddr)>),
    /// Other MACs, here or elsewhere, have the addresses of these stations at local ports now: a station that says its address again is
    /// told without delay.
    AddressesTaken(Vec<(Vni, MacAddr, IpAddr)>),
    /// Tell the guests behind the local ports who has these addresses now; [`KernelEvent::GuestsTold`] counts.
    TellGuests(Vec<MovedAddress>),
    /// Dump the local MACs again; answered by [`KernelEvent::LocalMacs`] for each VNI.
    ResyncLocal,
    /// End.
    Stop,
}

/// How often the limits of the kernel room were met since it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LimitsMet {
    /// Frames with addresses of hosts that were dropped, because more came than are read in a second.
    pub frames_dropped: u64,
    /// Addresses of hosts, and hosts without one, that are not asked when they are silent, because a VNI or a MAC has too many.
    pub addresses_not_asked: u64,
    /// Ports at which nobody listens, because the process may open no more files.
    pub ports_not_heard: u64,
    /// MACs at local ports that were not told, because a VNI has too many.
    pub stations_refused: u64,
    /// VTEPs for which no nexthop group could be made: rows to them carry their destination.
    pub nexthops_refused: u64,
}

impl LimitsMet {
    /// Every number with its name.
    pub fn counters(&self) -> [(&'static str, u64); 5] {
        [
            ("frames_dropped", self.frames_dropped),
            ("addresses_not_asked", self.addresses_not_asked),
            ("ports_not_heard", self.ports_not_heard),
            ("stations_refused", self.stations_refused),
            ("nexthops_refused", self.nexthops_refused),
        ]
    }
}

/// What the kernel room tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KernelEvent {
    /// A device became usable, changed, or cannot be used.
    Device(DeviceState),
    /// The ports of a VNI that we isolated, all of them: told when they change.
    Isolated {
        /// Which VNI.
        vni: Vni,
        /// Their interface numbers.
        ports: BTreeSet<u32>,
    },
    /// We turned IPv6 on at the bridge of a VNI, which somebody else made, or undid that.
    Opened {
        /// Which VNI.
        vni: Vni,
        /// The interface number of the bridge; none: it is as its owner had it.
        bridge: Option<u32>,
    },
    /// The VXLAN devices of the host that somebody else made and that a VNI could use, all of them; told when they change, and once
    /// at the start.
    Found {
        /// In order.
        devices: Vec<FoundDevice>,
        /// Those beside them that no VNI could use, in order; not those that are another program's own.
        unfit: Vec<UnfitDevice>,
    },
    /// The interfaces that carry the mark of evpnd and that no wanted VNI uses, all of them; told when they change, once at the
    /// start, and after each [`KernelCommand::Remove`].
    Marked {
        /// In order.
        links: Vec<MarkedLink>,
    },
    /// A device is gone.
    DeviceGone {
        /// Which.
        vni: Vni,
        /// Why, in words.
        reason: String,
    },
    /// A MAC was heard on, or set at, a local port; also when it moved to another port.
    LocalMac(LocalMac),
    /// A local MAC aged out, was deleted, or its port went.
    LocalMacGone {
        /// Which VNI.
        vni: Vni,
        /// Which MAC.
        mac: MacAddr,
    },
    /// The whole set of a VNI's local MACs, after a dump: what is not in it is gone.
    LocalMacs {
        /// Which VNI.
        vni: Vni,
        /// All of them.
        macs: Vec<LocalMac>,
    },
    /// What this host itself is in a segment, the whole of it; again when that changed.
    Host {
        /// Which VNI.
        vni: Vni,
        /// `None`: its bridge is gone.
        station: Option<HostStation>,
    },
    /// A station at a local port, or one that may be there, said that it has an address; again from time to time while it goes
    /// on.
    LocalAddress {
        /// Which VNI.
        vni: Vni,
        /// Who.
        mac: MacAddr,
        /// Which address.
        ip: IpAddr,
        /// Whether it is a router, where it said so.
        router: Option<bool>,
    },
    /// Somebody who speaks as a DHCP server said that it gave a station at a local port an address (RFC 2131 §3.1, DHCPACK).
    Leased {
        /// Which VNI.
        vni: Vni,
        /// Who.
        mac: MacAddr,
        /// Which address.
        ip: IpAddr,
    },
    /// A station does not answer for an address any more.
    LocalAddressGone {
        /// Which VNI.
        vni: Vni,
        /// Who had it.
        mac: MacAddr,
        /// Which address.
        ip: IpAddr,
    },
    /// A frame for a MAC found no row in a device on demand ([`DeviceSpec::on_demand`]). Told once in a while, however many come.
    Missed {
        /// Which VNI.
        vni: Vni,
        /// For whom.
        mac: MacAddr,
    },
    /// A host at a local port asks for an address ([`DeviceSpec::questions`]). Told once in a while, however often it does.
    Asked {
        /// Which VNI.
        vni: Vni,
        /// For which.
        ip: IpAddr,
    },
    /// So many times the kernel's word of frames without a row was lost so far, because more came than are read in a second.
    MissesDropped {
        /// Since the kernel room began.
        times: u64,
    },
    /// Guests were told of addresses that moved ([`KernelCommand::TellGuests`]).
    GuestsTold {
        /// Frames sent since the kernel room began.
        sent: u64,
        /// Frames left out since then, because there were too many.
        refused: u64,
    },
    /// What was met so far of the limits of the kernel room.
    LimitsMet(LimitsMet),
    /// A row of the VXLAN FDB was deleted; maybe our own delete's echo.
    RowGone {
        /// Which VNI.
        vni: Vni,
        /// As it was.
        row: KernelRow,
    },
    /// A row of the VXLAN FDB was added or changed; maybe our own write's echo.
    RowChanged {
        /// Which VNI.
        vni: Vni,
        /// As it is.
        row: KernelRow,
    },
    /// All unicast rows of some devices that lead to some addresses were deleted, and no event tells of each.
    RemotesGone {
        /// The devices.
        vnis: Vec<Vni>,
        /// The addresses, of rows without a VNI of their own.
        remotes: Vec<IpAddr>,
    },
    /// Unicast rows of a device stand in a form that is not wanted any more ([`DeviceSpec::nexthop_groups`]) and are mended by
    /// being written again.
    RowsOfOtherForm {
        /// Which VNI.
        vni: Vni,
    },
    /// A batch was carried out.
    BatchDone(BatchDone),
    /// The answer to [`KernelCommand::DumpNeighbors`].
    Neighbors {
        /// That of the command.
        token: u64,
        /// Which VNI.
        vni: Vni,
        /// Every neighbour of its bridge, or why they could not be read.
        neighbors: Result<Vec<KernelNeighbor>, String>,
    },
    /// A neighbour of a bridge was deleted or says nothing any more; maybe our own delete's echo.
    NeighborGone {
        /// Which VNI.
        vni: Vni,
        /// Of which address.
        ip: IpAddr,
    },
    /// A neighbour went with all others of its bridge, which was set down: nobody meant it.
    NeighborLost {
        /// Which VNI.
        vni: Vni,
        /// Of which address.
        ip: IpAddr,
    },
    /// A neighbour of a bridge was added or changed by somebody else.
    NeighborChanged {
        /// Which VNI.
        vni: Vni,
        /// As it is.
        neighbor: KernelNeighbor,
    },
    /// The answer to [`KernelCommand::Dump`].
    Rows {
        /// That of the command.
        token: u64,
        /// Which VNI.
        vni: Vni,
        /// Every row, or why it could not be read.
        rows: Result<Vec<KernelRow>, String>,
    },
    /// The answer to [`KernelCommand::Dump`] where there are more rows than it would read.
    TooManyRows {
        /// That of the command.
        token: u64,
        /// Which VNI.
        vni: Vni,
    },
    /// The answer to [`KernelCommand::Check`].
    Checked {
        /// That of the command.
        token: u64,
        /// What stands. A row whose MAC is at a local port is not in it (the port's MAC was told by
        /// [`KernelEvent::LocalMac`]), nor is one that the kernel would not say anything of.
        rows: Vec<CheckedRow>,
    },
    /// A device that worked had been changed, and was mended.
    DeviceMended {
        /// Which VNI.
        vni: Vni,
        /// What was done, in words.
        what: String,
    },
    /// The answer to [`KernelCommand::GetRow`].
    Row {
        /// That of the command.
        token: u64,
        /// As `bridge fdb` would show it: VXLAN and bridge FDB. `None`: no entry.
        row: Option<String>,
    },
    /// Notifications were lost (`ENOBUFS`): dumps follow.
    Overflow {
        /// How many times so far.
        lost: u64,
    },
    /// The answer to [`KernelCommand::SetStation`].
    StationSet {
        /// That of the command.
        token: u64,
        /// Why not, in words.
        outcome: Result<(), String>,
    },
    /// The answer to [`KernelCommand::Remove`].
    Removed {
        /// Devices that are gone.
        vnis: Vec<Vni>,
        /// Devices that stay, and why.
        kept: Vec<(Vni, String)>,
    },
    /// The kernel room cannot go on: one sentence.
    Fatal(String),
}
