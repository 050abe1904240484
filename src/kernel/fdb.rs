//! One entry of a forwarding database, as `RTM_NEWNEIGH` of family `AF_BRIDGE` carries it: parse, emit, show.
//!
//! There are two databases. The VXLAN device's own (flag `NTF_SELF`) maps a MAC to remote tunnel addresses. The bridge's
//! (`NDA_MASTER`) maps a MAC to a port; for a remote MAC that port is the VXLAN device. A frame needs both.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::codec::{self, NDMSG};
use crate::base::{MacAddr, Vni};
use crate::fib::{KernelRow, Op, OpKind, Remote};

/// Room that one sendmsg may fill: the best size measured (larger sends make adds slower, down to a tenth).
pub(super) const BATCH_OCTETS: usize = 4096;
/// The longest message of [`emit_op`]: header 16, ndmsg 12, MAC 12, IPv6 destination 20, VNI 8.
pub(super) const OP_OCTETS: usize = 68;

// include/uapi/linux/neighbour.h, where libc has no names.
const NDA_NH_ID: u16 = 13;
const NDA_FLAGS_EXT: u16 = 15;
const NTF_STICKY: u8 = 0x40;
const NTF_EXT_LOCKED: u32 = 2;

/// State of our unicast rows. `vxlan_fdb_add` refuses a state without REACHABLE or PERMANENT (EINVAL, and after the
/// bridge's half was written); NOARP keeps the row when the device goes down (`vxlan_stop` flushes the others) and from
/// being moved by what the device hears, should learning be on.
const UNICAST_STATE: u16 = libc::NUD_REACHABLE | libc::NUD_NOARP;
/// State of our flood entries: what `bridge fdb append` writes, too.
const FLOOD_STATE: u16 = libc::NUD_PERMANENT | libc::NUD_NOARP;

/// An entry as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// The port, or the VXLAN device.
    pub ifindex: u32,
    /// `NUD_*`.
    pub state: u16,
    /// `NTF_*`.
    pub flags: u8,
    /// The MAC.
    pub mac: MacAddr,
    /// The destination, in VXLAN entries; that behind the group, where [`Nexthops::resolve`] found it to be ours.
    ///
    /// [`Nexthops::resolve`]: super::nexthops::Nexthops::resolve
    pub dst: Option<IpAddr>,
    /// A VNI other than the device's.
    pub vni: Option<u32>,
    /// VLAN, in entries of VLAN-aware bridges (and of a bridge's own ports).
    pub vlan: Option<u16>,
    /// The bridge, in bridge entries.
    pub master: Option<u32>,
    /// A nexthop group instead of a destination.
    pub nexthop: Option<u32>,
    /// Since when no frame used it, in VXLAN entries.
    pub idle: Option<Duration>,
    /// A station on a locked port that nobody authorised yet (`NTF_EXT_LOCKED`, kernel ≥ 6.2).
    pub locked: bool,
}

impl Entry {
    /// Reads the body of an `RTM_NEWNEIGH` or `RTM_DELNEIGH`; `None` where it is not of `AF_BRIDGE` or names no MAC.
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        if body.first().copied()? != libc::AF_BRIDGE as u8 {
            return None;
        }
        let rest = body.get(NDMSG..)?;
        let mut mac = None;
        let mut entry = Self {
            ifindex: codec::u32_at(body, 4)?,
            state: codec::u16_at(body, 8)?,
            flags: *body.get(10)?,
            mac: MacAddr::ZERO,
            dst: None,
            vni: None,
            vlan: None,
            master: None,
            nexthop: None,
            idle: None,
            locked: false,
        };
        for (kind, value) in codec::attributes(rest) {
            match kind {
                libc::NDA_LLADDR => mac = codec::mac_of(value),
                libc::NDA_DST => entry.dst = codec::ip_of(value),
                libc::NDA_VNI => entry.vni = codec::u32_of(value),
                libc::NDA_VLAN => entry.vlan = codec::u16_at(value, 0),
                libc::NDA_MASTER => entry.master = codec::u32_of(value),
                // struct nda_cacheinfo: confirmed, used, updated, refcnt; in hundredths of a second (USER_HZ).
                libc::NDA_CACHEINFO => {
                    entry.idle = codec::u32_at(value, 4).map(|used| Duration::from_millis(u64::from(used) * 10));
                }
                NDA_NH_ID => entry.nexthop = codec::u32_of(value),
                NDA_FLAGS_EXT => {
                    entry.locked = codec::u32_of(value).is_some_and(|flags| flags & NTF_EXT_LOCKED != 0);
                }
                _ => {}
            }
        }
        entry.mac = mac?;
        Some(entry)
    }

    /// Whether it stands in the device's own database.
    pub(super) fn is_self(&self) -> bool {
        self.flags & libc::NTF_SELF != 0
    }

    /// Whether a control plane wrote it.
    pub(super) fn is_ext_learned(&self) -> bool {
        self.flags & libc::NTF_EXT_LEARNED != 0
    }

    /// Whether mark and state are those of our rows. Zebra's rows carry the mark as well, but not the state; its flood entries carry
    /// no mark (FRR 8 to 10, `zebra/rt_netlink.c`).
    pub(super) fn is_as_we_write(&self) -> bool {
        let state = if self.mac == MacAddr::ZERO { FLOOD_STATE } else { UNICAST_STATE };
        self.is_ext_learned() && self.state == state
    }

    /// A row of the VXLAN FDB; `None` for the bridge's entries, and for what the device learned from a frame (`learning`): it
    /// ages by itself, and a write of ours takes it over with state and mark (`vxlan_fdb_update_existing`). One that names a nexthop group which is not ours is the
    /// operator's, whatever it is marked with, and leads to the unspecified address.
    pub(super) fn row(&self) -> Option<KernelRow> {
        let learned = !self.is_ext_learned() && self.state & (libc::NUD_NOARP | libc::NUD_PERMANENT) == 0;
        if !self.is_self() || learned {
            return None;
        }
        let vni = match self.vni {
            None => None,
            Some(number) => Some(Vni::new(number)?),
        };
        let theirs = self.dst.is_none() && self.nexthop.is_some();
        let ip = if theirs { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { self.dst? };
        Some(KernelRow {
            mac: self.mac,
            remote: Remote { ip, vni },
            ext_learned: self.is_ext_learned() && !theirs,
            permanent: self.state & libc::NUD_PERMANENT != 0,
            bridged: true,
            nexthop: self.nexthop,
        })
    }

    /// A station behind a port that is no tunnel of ours: what a bridge port heard, or what the operator set there. `Some(is_static)`. Not the
    /// ports' own addresses (PERMANENT), not VLAN-tagged duplicates, no groups. A static entry may have the mark of a control plane: the
    /// kernel leaves it there where somebody sets it over a row of ours (`fdb_add_entry`, `net/bridge/br_fdb.c`).
    pub(super) fn station(&self) -> Option<bool> {
        let left_over = self.state & libc::NUD_NOARP != 0;
        let counts = self.master.is_some()
            && !self.is_self()
            && (!self.is_ext_learned() || left_over)
            && self.state & libc::NUD_PERMANENT == 0
            && self.vlan.unwrap_or(0) == 0
            && !self.locked
            && self.mac.is_station();
        counts.then_some(self.state & libc::NUD_NOARP != 0)
    }

    /// As `bridge fdb` shows it. `name` finds the name of an interface.
    pub(super) fn show(&self, name: impl Fn(u32) -> String) -> String {
        let mut line = format!("{} dev {}", self.mac, name(self.ifindex));
        // Writing to a String cannot fail.
        if let Some(dst) = self.dst {
            let _ = write!(line, " dst {dst}");
        }
        if let Some(vni) = self.vni {
            let _ = write!(line, " vni {vni}");
        }
        if let Some(nexthop) = self.nexthop {
            let _ = write!(line, " nhid {nexthop}");
        }
        if let Some(vlan) = self.vlan {
            let _ = write!(line, " vlan {vlan}");
        }
        let words = [
            (libc::NTF_SELF, "self"),
            (libc::NTF_EXT_LEARNED, "extern_learn"),
            (libc::NTF_OFFLOADED, "offload"),
            (NTF_STICKY, "sticky"),
        ];
        for (_, word) in words.into_iter().filter(|(flag, _)| self.flags & flag != 0) {
            let _ = write!(line, " {word}");
        }
        if let Some(master) = self.master {
            let _ = write!(line, " master {}", name(master));
        }
        if self.state & libc::NUD_PERMANENT != 0 {
            line.push_str(" permanent");
        } else if self.state & libc::NUD_NOARP != 0 {
            line.push_str(" static");
        } else if self.state & libc::NUD_STALE != 0 {
            line.push_str(" stale");
        }
        line
    }
}

/// Appends the message of one write. `flags` are added to those of the kind (`NLM_F_ACK` on the last of a batch). A unicast row
/// names the nexthop `group` instead of its destination, unless that is 0.
pub(super) fn emit_op(out: &mut Vec<u8>, op: &Op, group: u32, flags: i32, sequence: u32) {
    const OWN: u8 = libc::NTF_SELF;
    const BOTH: u8 = libc::NTF_SELF | libc::NTF_MASTER;
    let (new, del) = (libc::RTM_NEWNEIGH, libc::RTM_DELNEIGH);
    let (kind, extra, state, neighbor_flags) = match op.kind {
        OpKind::ReplaceUnicast | OpKind::EnsureUnicast | OpKind::RestoreUnicast => {
            (new, libc::NLM_F_CREATE | libc::NLM_F_REPLACE, UNICAST_STATE, BOTH | libc::NTF_EXT_LEARNED)
        }
        OpKind::AppendFlood => (new, libc::NLM_F_CREATE | libc::NLM_F_APPEND, FLOOD_STATE, OWN | libc::NTF_EXT_LEARNED),
        OpKind::DeleteUnicast { self_only: false } => (del, 0, 0, BOTH),
        OpKind::DeleteUnicast { self_only: true } | OpKind::DeleteFlood => (del, 0, 0, OWN),
        OpKind::ReplaceNeighbor { .. } | OpKind::DeleteNeighbor => return super::neighbors::emit_op(out, op, flags, sequence),
    };
    let at = codec::begin(out, kind, libc::NLM_F_REQUEST | extra | flags, sequence);
    codec::ndmsg(out, op.ifindex, state, neighbor_flags);
    codec::attribute(out, libc::NDA_LLADDR, &op.mac.0);
    // A delete that names another destination than the entry's returns 0 and deletes nothing: unicast goes by MAC alone.
    if !matches!(op.kind, OpKind::DeleteUnicast { .. }) {
        destination(out, op, group);
    }
    codec::finish(out, at);
}

/// Appends the write of a unicast row's VXLAN half alone, where there is none.
pub(super) fn emit_half(out: &mut Vec<u8>, op: &Op, group: u32, flags: i32, sequence: u32) {
    let extra = libc::NLM_F_REQUEST | libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
    let at = codec::begin(out, libc::RTM_NEWNEIGH, extra | flags, sequence);
    codec::ndmsg(out, op.ifindex, UNICAST_STATE, libc::NTF_SELF | libc::NTF_EXT_LEARNED);
    codec::attribute(out, libc::NDA_LLADDR, &op.mac.0);
    destination(out, op, group);
    codec::finish(out, at);
}

/// Where a row leads. The kernel refuses a group beside a destination or a VNI.
fn destination(out: &mut Vec<u8>, op: &Op, group: u32) {
    if group != 0 {
        codec::attribute(out, NDA_NH_ID, &group.to_ne_bytes());
        return;
    }
    codec::address(out, libc::NDA_DST, op.remote.ip);
    if let Some(vni) = op.remote.vni {
        codec::attribute(out, libc::NDA_VNI, &vni.get().to_ne_bytes());
    }
}

/// Appends a dump request for one port: its entries in the bridge, then its own.
pub(super) fn emit_dump(out: &mut Vec<u8>, ifindex: u32, sequence: u32) {
    let at = codec::begin(out, libc::RTM_GETNEIGH, libc::NLM_F_REQUEST | libc::NLM_F_DUMP, sequence);
    codec::ndmsg(out, ifindex, 0, 0);
    codec::finish(out, at);
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

    fn op(kind: OpKind, ip: &str, vni: Option<u32>) -> Op {
        Op { ifindex: 7, kind, mac: MAC, remote: Remote { ip: ip.parse().unwrap(), vni: vni.and_then(Vni::new) } }
    }

    fn emitted(op: &Op) -> (u16, u16, Entry, usize) {
        let mut out = Vec::new();
        emit_op(&mut out, op, 0, 0, 1);
        let message = codec::messages(&out).next().unwrap();
        (message.kind, message.flags, Entry::parse(message.body).unwrap(), out.len())
    }

    #[test]
    fn a_unicast_row_goes_to_both_databases_and_is_marked() {
        let (kind, flags, entry, _) = emitted(&op(OpKind::ReplaceUnicast, "10.0.0.2", None));
        assert_eq!((kind, flags), (libc::RTM_NEWNEIGH, 0x501));
        assert_eq!((entry.state, entry.flags), (0x42, 0x16));
        assert_eq!(entry.show(|index| format!("if{index}")), "02:00:00:00:00:01 dev if7 dst 10.0.0.2 self extern_learn static");
        let (_, _, entry, len) = emitted(&op(OpKind::ReplaceUnicast, "fd00::2", Some(5)));
        assert_eq!(entry.row().unwrap().remote, op(OpKind::ReplaceUnicast, "fd00::2", Some(5)).remote);
        assert_eq!(len, OP_OCTETS);
    }

    #[test]
    fn a_row_by_group_names_nothing_else() {
        let op = op(OpKind::ReplaceUnicast, "fd00::2", None);
        let (mut both, mut half) = (Vec::new(), Vec::new());
        emit_op(&mut both, &op, 478_900_001, 0, 1);
        emit_half(&mut half, &op, 478_900_001, 0, 1);
        let read = |out: &[u8]| Entry::parse(codec::messages(out).next().unwrap().body).unwrap();
        assert_eq!((read(&both).nexthop, read(&both).dst, read(&both).flags), (Some(478_900_001), None, 0x16));
        assert_eq!((read(&half).nexthop, read(&half).state, read(&half).flags), (Some(478_900_001), 0x42, 0x12));
        // Not resolved, it is not ours.
        let row = read(&both).row().unwrap();
        assert!(!row.ext_learned && row.remote.ip.is_unspecified());
        let ours = Entry { dst: Some(op.remote.ip), ..read(&both) };
        assert_eq!(ours.row().unwrap().remote, op.remote);
        assert!(ours.show(|_| "vx".to_owned()).contains("dst fd00::2 nhid 478900001 self"));
    }

    #[test]
    fn deletes_name_a_destination_only_in_the_flood_list() {
        assert_eq!(emitted(&op(OpKind::DeleteUnicast { self_only: false }, "10.0.0.2", None)).2.dst, None);
        let (kind, _, entry, _) = emitted(&op(OpKind::DeleteFlood, "10.0.0.2", None));
        assert_eq!((kind, entry.flags), (libc::RTM_DELNEIGH, libc::NTF_SELF));
        assert_eq!(entry.dst, Some("10.0.0.2".parse().unwrap()));
        let (_, flags, entry, _) = emitted(&op(OpKind::AppendFlood, "10.0.0.2", None));
        assert_eq!((flags, entry.state, entry.flags), (0xc01, 0xc0, 0x12));
    }

    #[test]
    fn stations_are_told_from_everything_else() {
        let heard = Entry {
            ifindex: 3,
            state: libc::NUD_REACHABLE,
            flags: 0,
            mac: MAC,
            dst: None,
            vni: None,
            vlan: None,
            master: Some(9),
            nexthop: None,
            idle: None,
            locked: false,
        };
        assert_eq!(heard.station(), Some(false));
        assert_eq!(Entry { state: libc::NUD_STALE, ..heard.clone() }.station(), Some(false));
        assert_eq!(Entry { state: libc::NUD_NOARP, ..heard.clone() }.station(), Some(true));
        assert_eq!(Entry { state: libc::NUD_PERMANENT, ..heard.clone() }.station(), None);
        let marked = Entry { flags: libc::NTF_EXT_LEARNED, ..heard.clone() };
        assert_eq!(Entry { state: libc::NUD_NOARP, ..marked.clone() }.station(), Some(true), "set over a row of ours");
        assert_eq!(marked.station(), None);
        assert_eq!(Entry { flags: libc::NTF_SELF, ..heard.clone() }.station(), None);
        assert_eq!(Entry { vlan: Some(1), ..heard.clone() }.station(), None);
        assert_eq!(Entry { master: None, ..heard.clone() }.station(), None);
        assert_eq!(Entry { mac: MacAddr([1, 0, 0, 0, 0, 1]), ..heard }.station(), None);
    }
}
