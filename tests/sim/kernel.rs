//! The simulated Linux of one hypervisor: VXLAN FDBs, bridge FDBs and what it notifies of them. It outlives the daemon.
//!
//! A row of a remote MAC has two halves: the VXLAN device's own entry (MAC → VTEP) and the bridge's (MAC → VXLAN port). A
//! local port that hears the MAC takes the bridge's half over and leaves the other; a write of ours takes it back, without
//! a notification (the event socket filters what a control plane wrote). See `room.rs` for who reads the notifications.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use evpnd::base::{MacAddr, Time, Vni};
use evpnd::fib::{Binding, DeviceSpec, KernelNeighbor, KernelRow, NeighborOwner, Op, OpKind, Remote};

/// A bridge forgets a silent station after this (the default of Linux).
pub const AGEING_SECS: u64 = 300;

/// Where a bridge believes a MAC to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// At a local port, last heard at this time.
    Port(u32, Time),
    /// Behind the VXLAN device.
    Tunnel,
}

/// What the event socket delivers, after its filter.
#[derive(Debug, Clone, Copy)]
pub enum Note {
    /// A bridge port heard a MAC for the first time, or it came from elsewhere, or an operator set it there: then it is static.
    Heard(Vni, MacAddr, u32, bool),
    /// A bridge's entry for a local port went.
    Unheard(Vni, MacAddr),
    /// The bridge's half of a row went.
    HalfGone(u32, MacAddr),
    /// A VXLAN entry went.
    RowGone(u32, KernelRow),
    /// A VXLAN entry was written by somebody who is no control plane.
    RowWritten(u32, KernelRow),
    /// A VXLAN device went, or came.
    Link(Vni),
    /// A device without a bridge has another address.
    Address(Vni),
}

/// What a device was made with and keeps as long as it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Made {
    pub group: Option<IpAddr>,
    /// `l2miss`.
    pub tells_misses: bool,
    /// `proxy`, in no bridge.
    pub bare: bool,
}

impl Made {
    /// As a device for this is made.
    pub fn new(spec: &DeviceSpec) -> Self {
        Self { group: spec.group, tells_misses: spec.on_demand, bare: spec.bare }
    }

    /// Whether it serves. One that tells of misses though nobody asks does.
    pub fn serves(&self, spec: &DeviceSpec) -> bool {
        let wanted = Self::new(spec);
        (self.group, self.bare) == (wanted.group, wanted.bare) && (self.tells_misses || !wanted.tells_misses)
    }
}

/// When a frame last used a row, or it was made; and for how long none had when somebody last asked.
#[derive(Debug, Clone, Copy)]
pub struct Used {
    pub last: Time,
    pub told: Duration,
}

/// What became of a frame for a MAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// To this VTEP.
    To(IpAddr),
    /// It stayed on this host.
    Here,
    /// A copy to every VTEP of the list, or to the group.
    Flooded,
    Nowhere,
}

/// One VXLAN device.
#[derive(Debug, Clone, Default)]
pub struct Vxlan {
    pub ifindex: u32,
    pub rows: BTreeMap<MacAddr, KernelRow>,
    pub flood: BTreeMap<Remote, KernelRow>,
    pub made: Made,
    pub used: BTreeMap<MacAddr, Used>,
    /// Of one without a bridge: those that the host has on it, and its own MAC.
    pub addresses: BTreeSet<IpAddr>,
    pub mac: MacAddr,
}

/// What a write changed, for the invariants.
#[derive(Debug, Clone, Copy)]
pub struct Written {
    pub vni: Vni,
    /// Zero: an entry of the flood list.
    pub mac: MacAddr,
    /// Where the row points now.
    pub to: Option<Remote>,
    pub was: Remote,
    /// So long it had not been used when that was last asked.
    pub idle: Duration,
}

/// The kernel of one host.
#[derive(Debug, Default)]
pub struct Kernel {
    pub vxlans: BTreeMap<Vni, Vxlan>,
    pub bridges: BTreeMap<Vni, BTreeMap<MacAddr, Place>>,
    /// Neighbours of bridges, by ifindex: what ARP and ND are answered from.
    pub neighbors: BTreeMap<u32, BTreeMap<IpAddr, Binding>>,
    /// Entries of bridges that an operator made static: they do not age, and keep the mark wherever they move.
    pub statics: BTreeSet<(Vni, MacAddr)>,
    /// Its VXLAN devices have IPv6 addresses, and take no IPv4 remotes.
    pub is_ipv6: bool,
    pub next_ifindex: u32,
    /// Notifications that nobody has read; `None` while nobody listens.
    pub notes: Option<VecDeque<Note>>,
    /// The event socket's buffer is full: everything is dropped.
    pub deaf: bool,
    /// Something was dropped since the reader was last told.
    pub lost: bool,
    /// Of a hundred writes so many are refused, with these errnos.
    pub refuse_percent: u64,
    /// Notifications are read later than anything else (the core has more to read than it should: `Worker::pause`).
    pub lagging: bool,
    /// Some dumps fail, some batches cannot be sent.
    pub sick: bool,
    /// ARP and ND frames that came in at local ports and nobody has read; none while nobody listens.
    pub frames: VecDeque<(Vni, MacAddr, IpAddr)>,
    /// Addresses that were asked for at local ports, the same.
    pub questions: VecDeque<(Vni, IpAddr)>,
    /// Frames that found no row, on a socket of their own.
    pub misses: VecDeque<(u32, MacAddr)>,
    pub misses_lost: bool,
    pub now: Time,
    /// What writes changed of neighbours, for the invariants.
    pub answers: Vec<Answer>,
}

/// What a write changed of the neighbours of a bridge.
#[derive(Debug, Clone, Copy)]
pub struct Answer {
    pub ip: IpAddr,
    pub was: Binding,
    pub to: Option<Binding>,
}

/// The bridge of a VNI.
pub fn bridge_ifindex(vni: Vni) -> u32 {
    BRIDGES + vni.get()
}

/// From here on numbers are those of bridges.
const BRIDGES: u32 = 1_000_000;

/// The buffer of frames: what is more is lost.
const FRAMES: usize = 500;
/// That of misses.
const MISSES: usize = 64;

impl Kernel {
    fn note(&mut self, note: Note) {
        let Some(notes) = &mut self.notes else { return };
        if self.deaf {
            self.lost = true;
        } else {
            notes.push_back(note);
        }
    }

    /// A new VXLAN device for a VNI.
    pub fn create(&mut self, vni: Vni, made: Made, mac: MacAddr) {
        self.next_ifindex += 1;
        let ifindex = 100 + self.next_ifindex;
        self.vxlans.insert(vni, Vxlan { ifindex, made, mac, ..Vxlan::default() });
        if !made.bare {
            self.bridges.entry(vni).or_default();
        }
        self.note(Note::Link(vni));
    }

    /// The host has these addresses on a device without a bridge.
    pub fn set_addresses(&mut self, vni: Vni, addresses: BTreeSet<IpAddr>) {
        let Some(vxlan) = self.vxlans.get_mut(&vni).filter(|vxlan| vxlan.made.bare) else { return };
        if std::mem::replace(&mut vxlan.addresses, addresses.clone()) != addresses {
            self.note(Note::Address(vni));
        }
    }

    /// Where the neighbours of a VNI stand.
    pub fn neighbors_at(&self, vni: Vni) -> u32 {
        match self.vxlans.get(&vni) {
            Some(vxlan) if vxlan.made.bare => vxlan.ifindex,
            _ => bridge_ifindex(vni),
        }
    }

    /// A guest sends a frame to a MAC of its segment; of a device without a bridge, the host does.
    pub fn send(&mut self, now: Time, vni: Vni, mac: MacAddr) -> Sent {
        if self.is_at_port(vni, mac) {
            return Sent::Here;
        }
        let Some(vxlan) = self.vxlans.get_mut(&vni) else { return Sent::Nowhere };
        if let Some(row) = vxlan.rows.get(&mac) {
            if let Some(used) = vxlan.used.get_mut(&mac) {
                used.last = now;
            }
            return Sent::To(row.remote.ip);
        }
        if !vxlan.flood.is_empty() || vxlan.made.group.is_some() {
            return Sent::Flooded;
        }
        if vxlan.made.tells_misses && self.notes.is_some() {
            if self.misses.len() < MISSES {
                self.misses.push_back((vxlan.ifindex, mac));
            } else {
                self.misses_lost = true;
            }
        }
        Sent::Nowhere
    }

    /// A guest asks for an address. What answers.
    pub fn ask(&mut self, vni: Vni, ip: IpAddr) -> Option<Binding> {
        if self.notes.is_some() && self.questions.len() < FRAMES {
            self.questions.push_back((vni, ip));
        }
        let binding = self.neighbors.get(&self.neighbors_at(vni))?.get(&ip).copied()?;
        // The bridge answers for what it has behind the tunnel.
        let behind = self.bridges.get(&vni).and_then(|bridge| bridge.get(&binding.mac)) == Some(&Place::Tunnel);
        let bare = self.vxlans.get(&vni).is_some_and(|vxlan| vxlan.made.bare);
        Some(binding).filter(|_| behind || bare)
    }

    /// `ip link del`: its rows go with it, each with a notification.
    pub fn remove(&mut self, vni: Vni) {
        let Some(vxlan) = self.vxlans.remove(&vni) else { return };
        if vxlan.made.bare {
            let gone = self.neighbors.remove(&vxlan.ifindex).unwrap_or_default();
            self.answers.extend(gone.into_iter().map(|(ip, was)| Answer { ip, was, to: None }));
        }
        if let Some(bridge) = self.bridges.get_mut(&vni) {
            let halves: Vec<MacAddr> = bridge.iter().filter(|(_, place)| **place == Place::Tunnel).map(|(mac, _)| *mac).collect();
            bridge.retain(|_, place| *place != Place::Tunnel);
            for mac in halves {
                self.statics.remove(&(vni, mac));
                self.note(Note::HalfGone(vxlan.ifindex, mac));
            }
        }
        for row in vxlan.rows.values().chain(vxlan.flood.values()) {
            self.note(Note::RowGone(vxlan.ifindex, *row));
        }
        self.note(Note::Link(vni));
    }

    /// The bridge of a VNI goes, and its neighbours with it.
    pub fn remove_bridge(&mut self, vni: Vni) {
        let gone = self.neighbors.remove(&bridge_ifindex(vni)).unwrap_or_default();
        self.answers.extend(gone.into_iter().map(|(ip, was)| Answer { ip, was, to: None }));
    }

    fn vni_of(&self, ifindex: u32) -> Option<Vni> {
        self.vxlans.iter().find(|(_, vxlan)| vxlan.ifindex == ifindex).map(|(vni, _)| *vni)
    }

    /// A frame of `mac` came in at a local port (`br_fdb_update`): whatever the bridge held is this port's now.
    pub fn hear(&mut self, now: Time, vni: Vni, mac: MacAddr, port: u32) {
        let old = self.bridges.entry(vni).or_default().insert(mac, Place::Port(port, now));
        if !matches!(old, Some(Place::Port(at, _)) if at == port) {
            self.note(Note::Heard(vni, mac, port, self.statics.contains(&(vni, mac))));
        }
    }

    /// A machine says by ARP or ND that it has an address.
    pub fn say(&mut self, vni: Vni, mac: MacAddr, ip: IpAddr) {
        if self.notes.is_some() && self.frames.len() < FRAMES {
            self.frames.push_back((vni, mac, ip));
        }
    }

    /// `bridge fdb replace … master static`.
    pub fn set_static(&mut self, now: Time, vni: Vni, mac: MacAddr, port: u32) {
        self.bridges.entry(vni).or_default().insert(mac, Place::Port(port, now));
        self.statics.insert((vni, mac));
        self.note(Note::Heard(vni, mac, port, true));
    }

    /// A port left its bridge: its MACs go with it.
    pub fn remove_port(&mut self, vni: Vni, port: u32) {
        self.forget(vni, |_, place| matches!(place, Place::Port(at, _) if *at == port));
    }

    /// What no port has heard for long goes.
    pub fn age(&mut self, now: Time) {
        let vnis: Vec<Vni> = self.bridges.keys().copied().collect();
        for vni in vnis {
            let statics = std::mem::take(&mut self.statics);
            let old = |place: &Place| matches!(place, Place::Port(_, heard) if now.secs_since(*heard) >= AGEING_SECS);
            self.forget(vni, |mac, place| old(place) && !statics.contains(&(vni, *mac)));
            self.statics = statics;
        }
    }

    fn forget(&mut self, vni: Vni, which: impl Fn(&MacAddr, &Place) -> bool) {
        let Some(bridge) = self.bridges.get_mut(&vni) else { return };
        let gone: Vec<MacAddr> = bridge.iter().filter(|(mac, place)| which(mac, place)).map(|(mac, _)| *mac).collect();
        bridge.retain(|mac, place| !which(mac, place));
        for mac in gone {
            self.statics.remove(&(vni, mac));
            self.note(Note::Unheard(vni, mac));
        }
    }

    /// Somebody deletes what stands for a MAC: the VXLAN half, the bridge's half, or both.
    pub fn delete(&mut self, vni: Vni, mac: MacAddr, vxlan_half: bool, bridge_half: bool) -> Option<KernelRow> {
        let ifindex = self.vxlans.get(&vni)?.ifindex;
        let bridge = self.bridges.entry(vni).or_default();
        if bridge_half && bridge.get(&mac) == Some(&Place::Tunnel) {
            bridge.remove(&mac);
            self.statics.remove(&(vni, mac));
            self.note(Note::HalfGone(ifindex, mac));
        }
        let vxlan = self.vxlans.get_mut(&vni).filter(|_| vxlan_half);
        let row = vxlan.and_then(|vxlan| {
            vxlan.used.remove(&mac);
            vxlan.rows.remove(&mac)
        });
        if let Some(row) = row {
            self.note(Note::RowGone(ifindex, row));
        }
        row
    }

    /// Somebody deletes an entry of the flood list.
    pub fn delete_flood(&mut self, vni: Vni, remote: Remote) -> bool {
        let Some(vxlan) = self.vxlans.get_mut(&vni) else { return false };
        let ifindex = vxlan.ifindex;
        let Some(row) = vxlan.flood.remove(&remote) else { return false };
        self.note(Note::RowGone(ifindex, row));
        true
    }

    /// The operator writes a row by hand (`bridge fdb replace … self`, no EXT_LEARNED).
    pub fn operator_writes(&mut self, vni: Vni, mac: MacAddr, remote: Remote) {
        let Some(vxlan) = self.vxlans.get_mut(&vni) else { return };
        let row = KernelRow { ext_learned: false, permanent: true, ..KernelRow::new(mac, remote) };
        vxlan.rows.insert(mac, row);
        vxlan.used.entry(mac).or_insert(Used { last: self.now, told: Duration::ZERO });
        let ifindex = vxlan.ifindex;
        self.note(Note::RowWritten(ifindex, row));
    }

    /// The bridge took a write and the VXLAN device refused it: without a row there, the writer takes the bridge's half back.
    pub fn write_half(&mut self, op: &Op) {
        let Some(vni) = self.vni_of(op.ifindex) else { return };
        if !self.take_over(vni, op.mac) {
            return;
        }
        if self.vxlans.get(&vni).is_some_and(|vxlan| !vxlan.rows.contains_key(&op.mac)) {
            self.delete(vni, op.mac, false, true);
        }
    }

    /// The bridge's half of a write. Whether there is a bridge.
    fn take_over(&mut self, vni: Vni, mac: MacAddr) -> bool {
        let bridged = self.vxlans.get(&vni).is_some_and(|vxlan| !vxlan.made.bare);
        if bridged {
            self.bridges.entry(vni).or_default().insert(mac, Place::Tunnel);
        }
        bridged
    }

    /// One write of a control plane. `Err`: the errno, and nothing changed.
    pub fn write(&mut self, op: &Op) -> (Result<(), i32>, Option<Written>) {
        const ENODEV: i32 = 19;
        const ENOENT: i32 = 2;
        const EAFNOSUPPORT: i32 = 97;
        match op.kind {
            OpKind::ReplaceNeighbor { .. } if op.ifindex < BRIDGES && self.vni_of(op.ifindex).is_none() => {
                return (Err(ENODEV), None);
            }
            OpKind::ReplaceNeighbor { router } => {
                let to = Binding { mac: op.mac, router };
                let was = self.neighbors.entry(op.ifindex).or_default().insert(op.remote.ip, to);
                let answer = |was| Answer { ip: op.remote.ip, was, to: Some(to) };
                self.answers.extend(was.map(answer));
                return (Ok(()), None);
            }
            OpKind::DeleteNeighbor => {
                let was = self.neighbors.get_mut(&op.ifindex).and_then(|of| of.remove(&op.remote.ip));
                self.answers.extend(was.map(|was| Answer { ip: op.remote.ip, was, to: None }));
                return (if was.is_some() { Ok(()) } else { Err(ENOENT) }, None);
            }
            _ => {}
        }
        let Some(vni) = self.vni_of(op.ifindex) else { return (Err(ENODEV), None) };
        let remote = op.remote;
        let adds = op.kind.writes_unicast() || op.kind == OpKind::AppendFlood;
        if adds && remote.ip.is_ipv6() != self.is_ipv6 {
            return (Err(EAFNOSUPPORT), None);
        }
        match op.kind {
            OpKind::ReplaceUnicast | OpKind::EnsureUnicast | OpKind::RestoreUnicast => {
                self.take_over(vni, op.mac);
                let now = self.now;
                let Some(vxlan) = self.vxlans.get_mut(&vni) else { return (Err(ENODEV), None) };
                vxlan.used.entry(op.mac).or_insert(Used { last: now, told: Duration::ZERO });
                // Over an entry without EXT_LEARNED the flags stay as they were.
                let new = KernelRow::new(op.mac, remote);
                let row = vxlan.rows.entry(op.mac).or_insert(new);
                let was = std::mem::replace(&mut row.remote, remote);
                (Ok(()), Some(Written { vni, mac: op.mac, to: Some(remote), was, idle: Duration::ZERO }))
            }
            OpKind::DeleteUnicast { self_only } => {
                let used = self.vxlans.get(&vni).and_then(|vxlan| vxlan.used.get(&op.mac));
                let idle = used.map_or(Duration::ZERO, |used| used.told);
                match self.delete(vni, op.mac, true, !self_only) {
                    Some(row) => (Ok(()), Some(Written { vni, mac: op.mac, to: None, was: row.remote, idle })),
                    None => (Err(ENOENT), None),
                }
            }
            OpKind::AppendFlood => {
                let row = KernelRow { permanent: true, ..KernelRow::new(MacAddr::ZERO, remote) };
                if let Some(vxlan) = self.vxlans.get_mut(&vni) {
                    vxlan.flood.entry(remote).or_insert(row);
                }
                (Ok(()), None)
            }
            OpKind::DeleteFlood if self.delete_flood(vni, remote) => {
                (Ok(()), Some(Written { vni, mac: MacAddr::ZERO, to: None, was: remote, idle: Duration::ZERO }))
            }
            OpKind::DeleteFlood | OpKind::ReplaceNeighbor { .. } | OpKind::DeleteNeighbor => (Err(ENOENT), None),
        }
    }

    /// The rows of a device as the kernel room reads them, with whether the bridge's half stands.
    pub fn dump(&self, vni: Vni) -> Option<Vec<KernelRow>> {
        let vxlan = self.vxlans.get(&vni)?;
        let bridged: BTreeSet<MacAddr> = self
            .bridges
            .get(&vni)
            .into_iter()
            .flatten()
            .filter(|(_, place)| **place == Place::Tunnel)
            .map(|(mac, _)| *mac)
            .collect();
        let whole = |row: &KernelRow| vxlan.made.bare || !row.ext_learned || bridged.contains(&row.mac);
        let rows = vxlan.rows.values().map(|row| KernelRow { bridged: whole(row), ..*row });
        Some(vxlan.flood.values().copied().chain(rows).collect())
    }

    /// Whether there is anything that a machine said, asked for or missed.
    pub fn hears(&self) -> bool {
        !self.frames.is_empty() || !self.questions.is_empty() || !self.misses.is_empty() || self.misses_lost
    }

    /// Whether a notification waits.
    pub fn has_notes(&self) -> bool {
        self.lost || self.notes.as_ref().is_some_and(|notes| !notes.is_empty())
    }

    /// The neighbours of a bridge.
    pub fn neighbors(&self, bridge: u32) -> Vec<KernelNeighbor> {
        let of = self.neighbors.get(&bridge).into_iter().flatten();
        of.map(|(&ip, &binding)| KernelNeighbor { ip, binding: Some(binding), owner: NeighborOwner::Ours }).collect()
    }

    /// What stands for the MAC of a write, as `dump` would show it.
    pub fn standing(&self, op: &Op) -> Option<KernelRow> {
        let vni = self.vni_of(op.ifindex)?;
        let vxlan = self.vxlans.get(&vni)?;
        let row = vxlan.rows.get(&op.mac)?;
        let bridged = self.bridges.get(&vni).and_then(|bridge| bridge.get(&op.mac)) == Some(&Place::Tunnel);
        Some(KernelRow { bridged: vxlan.made.bare || !row.ext_learned || bridged, ..*row })
    }

    /// What stands for a MAC; `None` where a local port has it.
    pub fn read(&self, vni: Vni, mac: MacAddr) -> Option<Option<KernelRow>> {
        let place = self.bridges.get(&vni).and_then(|bridge| bridge.get(&mac));
        if matches!(place, Some(Place::Port(..))) {
            return None;
        }
        let Some(vxlan) = self.vxlans.get(&vni) else { return Some(None) };
        let whole = |row: &KernelRow| vxlan.made.bare || !row.ext_learned || place.is_some();
        Some(vxlan.rows.get(&mac).map(|row| KernelRow { bridged: whole(row), ..*row }))
    }

    /// For how long no frame used the row of a MAC, which is told to whoever asks.
    pub fn tell_idle(&mut self, vni: Vni, mac: MacAddr) -> Option<Duration> {
        let now = self.now;
        let used = self.vxlans.get_mut(&vni)?.used.get_mut(&mac)?;
        used.told = now.since(used.last);
        Some(used.told)
    }

    /// Whether a bridge has a MAC at a local port.
    pub fn is_at_port(&self, vni: Vni, mac: MacAddr) -> bool {
        matches!(self.bridges.get(&vni).and_then(|bridge| bridge.get(&mac)), Some(Place::Port(..)))
    }

    /// The stations at local ports, with whether they are static.
    pub fn stations(&self, vni: Vni) -> BTreeMap<MacAddr, (u32, bool)> {
        if let Some(vxlan) = self.vxlans.get(&vni).filter(|vxlan| vxlan.made.bare) {
            return [(vxlan.mac, (vxlan.ifindex, true))].into();
        }
        let station = |mac: &MacAddr, place: &Place| match place {
            Place::Port(port, _) => Some((*mac, (*port, self.statics.contains(&(vni, *mac))))),
            Place::Tunnel => None,
        };
        self.bridges.get(&vni).into_iter().flatten().filter_map(|(mac, place)| station(mac, place)).collect()
    }
}
