//! FDB nexthops: for each remote VTEP one nexthop (its address) and one group of one, which rows name by number
//! (`NDA_NH_ID`, kernel ≥ 5.8) instead of carrying the address themselves.
//!
//! Why: a row with a destination allocates a per-CPU route cache of its own, a quarter of what it costs; rows of a group
//! share one. What the kernel accepts and does, and why two objects where one should do, is in
//! `docs/decisions/0004-rows-by-nexthop-group.md`. The rest of the room speaks of addresses: this file translates.
//!
//! ```text
//!   row ──NDA_NH_ID──▶ group 478900001 ──NHA_GROUP──▶ nexthop 478900000 ──NHA_GATEWAY──▶ 10.0.0.2
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::codec;
use super::fdb::Entry;
use super::request::{KernelSaid, Requests};
use crate::base::MacAddr;
use crate::fib::{Op, OpKind};

// include/uapi/linux/rtnetlink.h and nexthop.h, where libc has no names.
pub(super) const RTM_NEWNEXTHOP: u16 = 104;
pub(super) const RTM_DELNEXTHOP: u16 = 105;
const RTM_GETNEXTHOP: u16 = 106;
/// The multicast group of their notifications.
pub(super) const RTNLGRP_NEXTHOP: u32 = 32;
const NHA_ID: u16 = 1;
const NHA_GROUP: u16 = 2;
const NHA_GATEWAY: u16 = 6;
const NHA_FDB: u16 = 11;
/// Octets of `struct nhmsg`, and of `struct nexthop_grp`.
const NHMSG: usize = 8;
const GROUP_ENTRY: usize = 8;

/// `nh_protocol` of what we make, by which a later run knows it: BGP's port; not in `rt_protos` of iproute2 or FRR.
pub(super) const PROTOCOL: u8 = 179;
/// The numbers that we take: what VXLAN's port begins. A nexthop of ours has all three: protocol, flag and number.
pub(super) const FIRST_ID: u32 = 478_900_000;
pub(super) const LAST_ID: u32 = 478_999_999;
/// How many VTEPs may have one; rows to others carry their destination.
const LIMIT: usize = 40_000;
/// Numbers in use by others that are stepped over before it is given up.
const TRIES: u32 = 1000;

/// A nexthop as the kernel tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Nexthop {
    id: u32,
    protocol: u8,
    /// For forwarding databases, not for routes.
    fdb: bool,
    gateway: Option<IpAddr>,
    /// Where it is a group.
    members: Vec<u32>,
}

impl Nexthop {
    /// Reads the body of an `RTM_NEWNEXTHOP` or `RTM_DELNEXTHOP`; `None` where it has no number.
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        let rest = body.get(NHMSG..)?;
        let mut nexthop = Self { id: 0, protocol: body[2], fdb: false, gateway: None, members: Vec::new() };
        for (kind, value) in codec::attributes(rest) {
            match kind {
                NHA_ID => nexthop.id = codec::u32_of(value)?,
                NHA_GATEWAY => nexthop.gateway = codec::ip_of(value),
                NHA_GROUP => nexthop.members = value.chunks_exact(GROUP_ENTRY).filter_map(codec::u32_of).collect(),
                NHA_FDB => nexthop.fdb = true,
                _ => {}
            }
        }
        (nexthop.id != 0).then_some(nexthop)
    }

    /// Its number; never 0.
    #[cfg(fuzzing)]
    pub(super) fn id(&self) -> u32 {
        self.id
    }

    fn is_ours(&self) -> bool {
        self.fdb && self.protocol == PROTOCOL && (FIRST_ID..=LAST_ID).contains(&self.id)
    }
}

fn nhmsg(out: &mut Vec<u8>, family: i32, protocol: u8) {
    out.extend_from_slice(&[family as u8, 0, protocol, 0, 0, 0, 0, 0]);
}

/// Appends what follows the header of a request for the nexthop of an address.
pub(super) fn emit_nexthop(out: &mut Vec<u8>, id: u32, ip: IpAddr) {
    nhmsg(out, if ip.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 }, PROTOCOL);
    codec::attribute(out, NHA_ID, &id.to_ne_bytes());
    codec::address(out, NHA_GATEWAY, ip);
    codec::attribute(out, NHA_FDB, &[]);
}

/// The same for a group of one. Its weight, 0, stands for 1.
pub(super) fn emit_group(out: &mut Vec<u8>, id: u32, member: u32) {
    nhmsg(out, libc::AF_UNSPEC, PROTOCOL);
    codec::attribute(out, NHA_ID, &id.to_ne_bytes());
    let mut entry = [0; GROUP_ENTRY];
    entry[..4].copy_from_slice(&member.to_ne_bytes());
    codec::attribute(out, NHA_GROUP, &entry);
    codec::attribute(out, NHA_FDB, &[]);
}

/// The two objects of one VTEP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pair {
    nexthop: u32,
    group: u32,
}

/// Whether this kernel has them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
enum Support {
    #[default]
    Unknown,
    Yes,
    /// The kernel's words.
    No(String),
}

/// Those of this host.
#[derive(Debug, Default)]
pub(super) struct Nexthops {
    support: Support,
    /// That they are not supported was said.
    said: bool,
    pairs: BTreeMap<IpAddr, Pair>,
    /// Both numbers of each pair.
    numbers: BTreeMap<u32, IpAddr>,
    next: u32,
    /// The last address that was asked for and its group: rows come in runs to one VTEP.
    last: Option<(IpAddr, u32)>,
    /// Devices whose rows are to name groups.
    devices: BTreeSet<u32>,
    /// Devices that refused such rows.
    refused: BTreeSet<u32>,
    /// Addresses for which none can be made, until everything is read again.
    failed: BTreeSet<IpAddr>,
    failures: u64,
    /// Addresses whose group went, and all rows with it; not told yet.
    lost: Vec<IpAddr>,
}

impl Nexthops {
    /// Reads those of the kernel: at the start it adopts ours of an earlier run, later it finds out what was lost or changed.
    pub(super) fn read(&mut self, requests: &mut Requests) {
        self.failed.clear();
        self.last = None;
        // The filter for those of forwarding databases is as old as they are (5.8): its refusal says that there are none.
        let body = |out: &mut Vec<u8>| {
            nhmsg(out, libc::AF_UNSPEC, 0);
            codec::attribute(out, NHA_FDB, &[]);
        };
        let read = requests.dump(RTM_GETNEXTHOP, body, |message| Nexthop::parse(message.body).filter(Nexthop::is_ours));
        let found = match read {
            Ok(found) => found,
            Err(said) => {
                // A failure later on (no memory) says nothing about the kernel.
                if self.support != Support::Yes {
                    self.support = Support::No(said.text);
                }
                return;
            }
        };
        self.support = Support::Yes;
        let found: BTreeMap<u32, Nexthop> = found.into_iter().map(|nexthop| (nexthop.id, nexthop)).collect();
        let known: Vec<IpAddr> = self.pairs.keys().copied().collect();
        for ip in known {
            let Some(Pair { nexthop, group }) = self.pairs.get(&ip).copied() else { continue };
            match (found.get(&nexthop), found.get(&group)) {
                (Some(nexthop), Some(group)) => {
                    self.mend(requests, nexthop);
                    self.mend(requests, group);
                }
                _ => self.lose(requests, ip),
            }
        }
        let unknown: Vec<&Nexthop> = found.values().filter(|nexthop| !self.numbers.contains_key(&nexthop.id)).collect();
        for group in &unknown {
            let member = if let [member] = group.members[..] { found.get(&member) } else { None };
            if let Some((nexthop, ip)) = member.and_then(|member| Some((member.id, member.gateway?)))
                && !self.pairs.contains_key(&ip)
            {
                self.insert(ip, Pair { nexthop, group: group.id });
            }
        }
        // Half a pair, after a crash between the two.
        for stray in unknown.into_iter().filter(|nexthop| !self.numbers.contains_key(&nexthop.id)) {
            remove(requests, stray.id);
        }
    }

    /// Whether the kernel has them, as far as is known.
    pub(super) fn is_supported(&self) -> bool {
        self.support == Support::Yes
    }

    /// Says once that rows carry their destinations because the kernel has no such thing.
    pub(super) fn tell_support(&mut self) {
        if let Support::No(text) = &self.support
            && !std::mem::replace(&mut self.said, true)
        {
            tracing::warn!(
                error = text,
                "this kernel has no nexthop groups for forwarding databases (they came with 5.8): rows carry their destination"
            );
        }
    }

    /// Whether any is ours: then a row may name one.
    pub(super) fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Whether the rows of a device are to name groups.
    pub(super) fn set_device(&mut self, ifindex: u32, wanted: bool) {
        if wanted && self.is_supported() && !self.refused.contains(&ifindex) {
            self.devices.insert(ifindex);
        } else {
            self.devices.remove(&ifindex);
        }
    }

    /// A device is gone, or not ours to write to.
    pub(super) fn forget_device(&mut self, ifindex: u32) {
        self.devices.remove(&ifindex);
        self.refused.remove(&ifindex);
    }

    /// A device refused a row that names a group and took it with its destination: so it gets them all.
    pub(super) fn give_up(&mut self, ifindex: u32, errno: i32) {
        if self.refused.insert(ifindex) {
            let error = std::io::Error::from_raw_os_error(errno);
            tracing::warn!(ifindex, %error, "the device refuses rows that name nexthop groups: its rows carry their destination");
        }
        self.devices.remove(&ifindex);
    }

    /// The groups that the writes name: one number for each op, 0 where it carries its destination. Left empty where all do.
    pub(super) fn groups_of(&mut self, requests: &mut Requests, ops: &[Op], groups: &mut Vec<u32>) {
        groups.clear();
        if self.devices.is_empty() {
            return;
        }
        let mut device = (0, false);
        for op in ops {
            let mut group = 0;
            // A VNI of its own stands in the row; a flood list with a group would send to one of its members.
            if op.kind == OpKind::ReplaceUnicast && op.remote.vni.is_none() {
                if device.0 != op.ifindex {
                    device = (op.ifindex, self.devices.contains(&op.ifindex));
                }
                if device.1 {
                    group = self.group_of(requests, op.remote.ip);
                }
            }
            groups.push(group);
        }
    }

    /// How often none could be made for a VTEP.
    pub(super) fn failures(&self) -> u64 {
        self.failures
    }

    /// The group of an address, made where there is none; 0 where none can be made.
    pub(super) fn group_of(&mut self, requests: &mut Requests, ip: IpAddr) -> u32 {
        match self.last {
            Some((last, group)) if last == ip => return group,
            _ => {}
        }
        let group = match self.pairs.get(&ip) {
            Some(pair) => pair.group,
            None if self.failed.contains(&ip) => 0,
            None => match self.make(requests, ip) {
                Ok(pair) => {
                    self.insert(ip, pair);
                    pair.group
                }
                Err(said) => {
                    if self.failed.len() < LIMIT {
                        self.failed.insert(ip);
                    }
                    self.failures += 1;
                    if self.failures.is_power_of_two() {
                        tracing::warn!(vtep = %ip, error = said.text, times = self.failures,
                            "no nexthop group can be made for a VTEP: rows to it carry their destination");
                    }
                    0
                }
            },
        };
        self.last = Some((ip, group));
        group
    }

    /// A write that named `group` was refused as if there were none. Where it is gone, all rows that named it are: the new
    /// group; 0 where it stands, and the refusal must mean something else.
    pub(super) fn renewed(&mut self, requests: &mut Requests, ip: IpAddr, group: u32) -> u32 {
        match self.pairs.get(&ip) {
            Some(pair) if pair.group == group && !stands(requests, group) => self.lose(requests, ip),
            Some(pair) if pair.group == group => return 0,
            // Renewed for another row of this batch already.
            _ => {}
        }
        self.group_of(requests, ip)
    }

    /// Gives an entry that names a group of ours the address behind it.
    pub(super) fn resolve(&self, entry: &mut Entry) {
        if let Some(id) = entry.nexthop {
            entry.dst = self.numbers.get(&id).copied();
        }
    }

    /// Whether a resolved entry of a control plane stands in the form that is not wanted (a destination for a group, or a
    /// group for a destination): the key of the configuration was changed.
    pub(super) fn is_other_form(&self, entry: &Entry) -> bool {
        let Some(dst) = entry.dst else { return false };
        let ours = entry.is_self() && entry.is_ext_learned() && entry.mac != MacAddr::ZERO && entry.vni.is_none();
        let wanted = self.devices.contains(&entry.ifindex) && !self.failed.contains(&dst);
        ours && wanted != entry.nexthop.is_some()
    }

    /// A nexthop was made, changed or deleted, by whomever.
    pub(super) fn handle(&mut self, requests: &mut Requests, new: bool, body: &[u8]) {
        let Some(nexthop) = Nexthop::parse(body) else { return };
        let Some(ip) = self.numbers.get(&nexthop.id).copied() else { return };
        if new {
            self.mend(requests, &nexthop);
        } else if !stands(requests, nexthop.id) {
            // It stands where the notification is an old one.
            self.lose(requests, ip);
        }
    }

    /// The addresses whose group went and all rows with it, since the last time.
    pub(super) fn take_lost(&mut self) -> Vec<IpAddr> {
        std::mem::take(&mut self.lost)
    }

    /// Removes those that no row uses or will use. `in_use`: the addresses that the core knows of.
    pub(super) fn keep(&mut self, requests: &mut Requests, in_use: &BTreeSet<IpAddr>) {
        let unused: Vec<IpAddr> =
            self.pairs.keys().filter(|ip| self.devices.is_empty() || !in_use.contains(ip)).copied().collect();
        for ip in unused {
            self.forget(requests, ip);
        }
    }

    /// Where one of ours is not as it was made, it is made so again: the rows that name it stay.
    fn mend(&mut self, requests: &mut Requests, found: &Nexthop) {
        let Some(ip) = self.numbers.get(&found.id).copied() else { return };
        let Some(pair) = self.pairs.get(&ip).copied() else { return };
        let is_group = found.id == pair.group;
        let right = if is_group { found.members == [pair.nexthop] } else { found.gateway == Some(ip) };
        if right && found.is_ours() {
            return;
        }
        tracing::warn!(vtep = %ip, id = found.id, "a nexthop of ours was changed by somebody: put back");
        let flags = libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
        let done = requests.change(RTM_NEWNEXTHOP, flags, |out| {
            if is_group { emit_group(out, pair.group, pair.nexthop) } else { emit_nexthop(out, pair.nexthop, ip) }
        });
        if done.is_err() {
            self.lose(requests, ip);
        }
    }

    /// Makes both, with free numbers.
    fn make(&mut self, requests: &mut Requests, ip: IpAddr) -> Result<Pair, KernelSaid> {
        if self.pairs.len() >= LIMIT {
            return Err(KernelSaid { errno: libc::ENOSPC, text: format!("{LIMIT} VTEPs have one, which is the limit") });
        }
        let nexthop = self.make_one(requests, |out, id| emit_nexthop(out, id, ip))?;
        match self.make_one(requests, |out, id| emit_group(out, id, nexthop)) {
            Ok(group) => Ok(Pair { nexthop, group }),
            Err(said) => {
                remove(requests, nexthop);
                Err(said)
            }
        }
    }

    fn make_one(&mut self, requests: &mut Requests, emit: impl Fn(&mut Vec<u8>, u32)) -> Result<u32, KernelSaid> {
        let mut tries = 0;
        loop {
            let id = self.next.clamp(FIRST_ID, LAST_ID);
            self.next = if id == LAST_ID { FIRST_ID } else { id + 1 };
            if self.numbers.contains_key(&id) {
                continue;
            }
            match requests.change(RTM_NEWNEXTHOP, libc::NLM_F_CREATE | libc::NLM_F_EXCL, |out| emit(out, id)) {
                Ok(()) => return Ok(id),
                // Somebody else's.
                Err(said) if said.errno == libc::EEXIST && tries < TRIES => tries += 1,
                Err(said) => return Err(said),
            }
        }
    }

    fn insert(&mut self, ip: IpAddr, pair: Pair) {
        self.numbers.insert(pair.nexthop, ip);
        self.numbers.insert(pair.group, ip);
        self.pairs.insert(ip, pair);
        self.last = None;
    }

    /// One or both are gone, and with the group all rows that named it: the next row gets new ones.
    fn lose(&mut self, requests: &mut Requests, ip: IpAddr) {
        self.forget(requests, ip);
        self.lost.push(ip);
    }

    fn forget(&mut self, requests: &mut Requests, ip: IpAddr) {
        self.last = None;
        let Some(pair) = self.pairs.remove(&ip) else { return };
        // The group first: without a member it would go by itself, on some kernels only.
        for id in [pair.group, pair.nexthop] {
            self.numbers.remove(&id);
            remove(requests, id);
        }
    }
}

/// Whether a nexthop of ours has this number.
fn stands(requests: &mut Requests, id: u32) -> bool {
    let body = |out: &mut Vec<u8>| {
        nhmsg(out, libc::AF_UNSPEC, 0);
        codec::attribute(out, NHA_ID, &id.to_ne_bytes());
    };
    let read = requests.get(RTM_GETNEXTHOP, body, |message| Nexthop::parse(message.body));
    read.is_ok_and(|found| found.is_some_and(|found| found.is_ours()))
}

/// Removes a nexthop, unless it is not ours.
fn remove(requests: &mut Requests, id: u32) {
    if !stands(requests, id) {
        return;
    }
    let gone = requests.change(RTM_DELNEXTHOP, 0, |out| {
        nhmsg(out, libc::AF_UNSPEC, 0);
        codec::attribute(out, NHA_ID, &id.to_ne_bytes());
    });
    if let Err(said) = gone
        && said.errno != libc::ENOENT
    {
        tracing::warn!(id, error = said.text, "a nexthop of ours cannot be removed: ip nexthop del id {id}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(emit: impl FnOnce(&mut Vec<u8>)) -> (usize, Nexthop) {
        let mut out = Vec::new();
        emit(&mut out);
        (out.len(), Nexthop::parse(&out).unwrap())
    }

    #[test]
    fn what_is_asked_for_is_known_again() {
        for (ip, len) in [("10.0.0.2", 8 + 8 + 8 + 4), ("fd00::2", 8 + 8 + 20 + 4)] {
            let ip: IpAddr = ip.parse().unwrap();
            let (octets, nexthop) = parsed(|out| emit_nexthop(out, FIRST_ID, ip));
            assert_eq!(octets, len);
            assert!(nexthop.is_ours());
            assert_eq!(nexthop.gateway, Some(ip));
        }
        let (octets, group) = parsed(|out| emit_group(out, LAST_ID, 7));
        assert_eq!((octets, group.members.as_slice()), (8 + 8 + 12 + 4, &[7][..]));
        assert!(group.is_ours());
    }

    #[test]
    fn what_lacks_one_of_the_three_marks_is_not_ours() {
        let (_, nexthop) = parsed(|out| emit_nexthop(out, FIRST_ID, "10.0.0.2".parse().unwrap()));
        assert!(!Nexthop { id: FIRST_ID - 1, ..nexthop.clone() }.is_ours());
        assert!(!Nexthop { id: LAST_ID + 1, ..nexthop.clone() }.is_ours());
        assert!(!Nexthop { protocol: 4, ..nexthop.clone() }.is_ours());
        assert!(!Nexthop { fdb: false, ..nexthop }.is_ours());
    }

    #[test]
    fn octets_that_lie_are_no_panic() {
        let mut out = Vec::new();
        emit_group(&mut out, FIRST_ID, 7);
        for len in 0..out.len() {
            let _ = Nexthop::parse(&out[..len]);
        }
        out[NHMSG] = 0xff;
        assert_eq!(Nexthop::parse(&out), None);
    }
}
