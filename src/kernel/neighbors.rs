//! Neighbours of bridges, from which `neigh_suppress` answers ARP and ND: parse, emit, and the one obstacle on the way.
//!
//! What the kernel does (measured on 6.18, read in 5.10 to 6.12):
//! - The bridge looks the asked address up among the neighbours of the bridge device, in any valid state. `NUD_NOARP` is one that
//!   nothing a tenant sends can change (`neigh_update`), and with `NTF_EXT_LEARNED` it neither ages nor counts against `gc_thresh`.
//! - The protocol number is kept, also when somebody writes over the entry; the mark and the state are not. So ours has all three.
//! - A delete is told twice, as a change to `NUD_FAILED` and as `RTM_DELNEIGH`, both without the mark.
//! - A bridge set down forgets all of them, `NUD_PERMANENT` too, each with an `RTM_DELNEIGH` after the `RTM_NEWLINK` that says it is down.
//! - With IPv6 turned off on the bridge, an IPv6 neighbour is refused (EINVAL, "IPv6 is disabled on this device"), though ND
//!   suppression itself needs no address. See `ipv6` and `docs/decisions/0005-neighbours.md`.

use std::net::IpAddr;

use super::codec::{self, Message, NDMSG};
use super::worker::Worker;
use crate::base::Vni;
use crate::fib::{Binding, KernelEvent, KernelNeighbor, NeighborOwner, Op, OpKind};

/// `ndm` protocol of what we write, by which a later run knows it: that of our nexthops.
use super::nexthops::PROTOCOL;

// include/uapi/linux/neighbour.h, where libc has no names.
const NDA_PROTOCOL: u16 = 12;
const NTF_ROUTER: u8 = 0x80;
const VALID: u16 =
    libc::NUD_PERMANENT | libc::NUD_NOARP | libc::NUD_REACHABLE | libc::NUD_PROBE | libc::NUD_STALE | libc::NUD_DELAY;

/// Reads the body of an `RTM_NEWNEIGH` or `RTM_DELNEIGH` of IPv4 or IPv6: the interface and the neighbour. `None` for other
/// families, for groups, and for what has no MAC.
pub(super) fn parse(body: &[u8]) -> Option<(u32, KernelNeighbor)> {
    let family = i32::from(*body.first()?);
    if family != libc::AF_INET && family != libc::AF_INET6 {
        return None;
    }
    let (ifindex, state, flags) = (codec::u32_at(body, 4)?, codec::u16_at(body, 8)?, *body.get(10)?);
    let (mut ip, mut mac, mut protocol) = (None, None, 0);
    for (kind, value) in codec::attributes(body.get(NDMSG..)?) {
        match kind {
            libc::NDA_DST => ip = codec::ip_of(value),
            libc::NDA_LLADDR => mac = codec::mac_of(value),
            NDA_PROTOCOL => protocol = codec::u8_of(value).unwrap_or(0),
            _ => {}
        }
    }
    let ip = ip.filter(|ip| !ip.is_multicast())?;
    let marked = flags & libc::NTF_EXT_LEARNED != 0;
    let owner = if marked && protocol == PROTOCOL {
        NeighborOwner::Ours
    } else if !marked && state & libc::NUD_PERMANENT != 0 {
        NeighborOwner::Operator
    } else {
        NeighborOwner::Other
    };
    // Ours in another state than we write it is not as it should be.
    let holds = if owner == NeighborOwner::Ours { libc::NUD_NOARP } else { VALID };
    let binding = mac.filter(|_| state & holds != 0).map(|mac| Binding { mac, router: flags & NTF_ROUTER != 0 });
    Some((ifindex, KernelNeighbor { ip, binding, owner }))
}

/// Appends the write of a neighbour; nothing for other ops.
pub(super) fn emit_op(out: &mut Vec<u8>, op: &Op, flags: i32, sequence: u32) {
    let router = match op.kind {
        OpKind::ReplaceNeighbor { router } => Some(router),
        _ => None,
    };
    let (kind, extra) = match router {
        Some(_) => (libc::RTM_NEWNEIGH, libc::NLM_F_CREATE | libc::NLM_F_REPLACE),
        None => (libc::RTM_DELNEIGH, 0),
    };
    let at = codec::begin(out, kind, libc::NLM_F_REQUEST | extra | flags, sequence);
    header(out, op.remote.ip, op.ifindex, router);
    if router.is_some() {
        codec::attribute(out, libc::NDA_LLADDR, &op.mac.0);
        codec::attribute(out, NDA_PROTOCOL, &[PROTOCOL]);
    }
    codec::finish(out, at);
}

/// The body of a write or (`router`: none) a delete, up to the address.
fn header(out: &mut Vec<u8>, ip: IpAddr, ifindex: u32, router: Option<bool>) {
    let family = if ip.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let (state, flags) = match router {
        None => (0, 0),
        Some(router) => (libc::NUD_NOARP, libc::NTF_EXT_LEARNED | if router { NTF_ROUTER } else { 0 }),
    };
    out.extend_from_slice(&[family as u8, 0, 0, 0]);
    out.extend_from_slice(&ifindex.to_ne_bytes());
    out.extend_from_slice(&state.to_ne_bytes());
    out.extend_from_slice(&[flags, 0]);
    codec::address(out, libc::NDA_DST, ip);
}

/// Appends a dump request for the neighbours of one interface, of both families.
pub(super) fn emit_dump(out: &mut Vec<u8>, ifindex: u32, sequence: u32) {
    let at = codec::begin(out, libc::RTM_GETNEIGH, libc::NLM_F_REQUEST | libc::NLM_F_DUMP, sequence);
    those_of(out, ifindex);
    codec::finish(out, at);
}

/// The body of such a request.
fn those_of(out: &mut Vec<u8>, ifindex: u32) {
    out.extend_from_slice(&[0; NDMSG]);
    codec::attribute(out, libc::NDA_IFINDEX, &ifindex.to_ne_bytes());
}

/// Whether the host asked for it in vain. What we delete says so, too.
fn has_failed(body: &[u8]) -> bool {
    let attributes = body.get(NDMSG..).unwrap_or_default();
    let ours = codec::attributes(attributes).any(|(kind, value)| kind == NDA_PROTOCOL && codec::u8_of(value) == Some(PROTOCOL));
    codec::u16_at(body, 8) == Some(libc::NUD_FAILED) && !ours
}

impl Worker {
    /// A neighbour came, changed or went.
    pub(super) fn handle_neighbor(&mut self, new: bool, body: &[u8]) {
        let Some((ifindex, neighbor)) = parse(body) else { return };
        let Some(&vni) = self.bridges.get(&ifindex) else { return };
        if !new {
            if neighbor.ip.is_ipv6() {
                self.lost_neighbor(vni, ifindex);
            }
            let (ip, is_down) = (neighbor.ip, self.links.link(ifindex).is_some_and(|link| !link.up));
            self.out.push(if is_down { KernelEvent::NeighborLost { vni, ip } } else { KernelEvent::NeighborGone { vni, ip } });
        } else if neighbor.binding.is_some() {
            if neighbor.owner == NeighborOwner::Other {
                self.found_addresses(vni, std::slice::from_ref(&neighbor));
            }
            self.out.push(KernelEvent::NeighborChanged { vni, neighbor });
        } else if has_failed(body) {
            self.handle_failed(vni, neighbor.ip);
        }
    }

    /// A VNI's device works in another bridge than before: what we wrote at the old one answers for guests that are not there, and no later
    /// look at the VNI would come to it.
    pub(super) fn leave_bridge(&mut self, bridge: Option<u32>) {
        let Some(bridge) = bridge.filter(|bridge| self.links.link(*bridge).is_some() && !self.bridges.contains_key(bridge))
        else {
            return;
        };
        let ours = |message: &Message<'_>| {
            let (ifindex, neighbor) = parse(message.body)?;
            (ifindex == bridge && neighbor.owner == NeighborOwner::Ours).then_some(neighbor.ip)
        };
        let found = self.requests.dump(libc::RTM_GETNEIGH, |out| those_of(out, bridge), ours).unwrap_or_default();
        for ip in found {
            let delete = |out: &mut Vec<u8>| header(out, ip, bridge, None);
            if let Err(said) = self.requests.change(libc::RTM_DELNEIGH, 0, delete) {
                tracing::debug!(%ip, bridge, error = said.text, "a neighbour stays at a bridge that its VNI has left");
            }
        }
    }

    /// The bridge of a VNI that is ready.
    pub(super) fn bridge_of(&self, vni: Vni) -> Option<u32> {
        self.ready_device(vni).map(|ready| ready.bridge_ifindex)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::MacAddr;
    use crate::fib::Remote;

    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

    fn emitted(kind: OpKind, ip: &str) -> (u16, Option<(u32, KernelNeighbor)>, usize) {
        let mut out = Vec::new();
        let op = Op { ifindex: 7, kind, mac: MAC, remote: Remote { ip: ip.parse().unwrap(), vni: None } };
        emit_op(&mut out, &op, 0, 1);
        let message = codec::messages(&out).next().unwrap();
        (message.kind, parse(message.body), out.len())
    }

    #[test]
    fn what_is_written_is_read_back_as_ours() {
        for (ip, router) in [("192.0.2.1", false), ("2001:db8::1", true)] {
            let (kind, neighbor, len) = emitted(OpKind::ReplaceNeighbor { router }, ip);
            let expected = KernelNeighbor {
                ip: ip.parse().unwrap(),
                binding: Some(Binding { mac: MAC, router }),
                owner: NeighborOwner::Ours,
            };
            assert_eq!((kind, neighbor), (libc::RTM_NEWNEIGH, Some((7, expected))));
            assert!(len <= super::super::fdb::OP_OCTETS);
        }
        let (kind, neighbor, _) = emitted(OpKind::DeleteNeighbor, "192.0.2.1");
        assert_eq!((kind, neighbor.unwrap().1.binding), (libc::RTM_DELNEIGH, None));
    }

    #[test]
    fn whose_it_is_and_whether_it_says_anything() {
        let entry = |state: u16, flags: u8, protocol: u8| {
            let mut body = vec![libc::AF_INET as u8, 0, 0, 0, 7, 0, 0, 0];
            body.extend(state.to_ne_bytes());
            body.extend([flags, 0]);
            codec::attribute(&mut body, libc::NDA_DST, &[192, 0, 2, 1]);
            codec::attribute(&mut body, libc::NDA_LLADDR, &MAC.0);
            codec::attribute(&mut body, NDA_PROTOCOL, &[protocol]);
            let (_, neighbor) = parse(&body).unwrap();
            (neighbor.owner, neighbor.binding.is_some())
        };
        let marked = libc::NTF_EXT_LEARNED;
        assert_eq!(entry(libc::NUD_NOARP, marked, PROTOCOL), (NeighborOwner::Ours, true));
        assert_eq!(entry(libc::NUD_REACHABLE, marked, PROTOCOL), (NeighborOwner::Ours, false), "not as we write it");
        assert_eq!(entry(libc::NUD_REACHABLE, 0, PROTOCOL), (NeighborOwner::Other, true), "written over by somebody");
        assert_eq!(entry(libc::NUD_NOARP, marked, 11), (NeighborOwner::Other, true), "zebra's");
        assert_eq!(entry(libc::NUD_PERMANENT, 0, 0), (NeighborOwner::Operator, true));
        assert_eq!(entry(libc::NUD_FAILED, 0, 0), (NeighborOwner::Other, false));
    }

    #[test]
    fn no_octets_make_it_panic() {
        let mut random = crate::base::Random::new(7);
        for _ in 0..20_000 {
            let body: Vec<u8> = (0..random.below(60)).map(|_| random.below(256) as u8).collect();
            let _ = parse(&body);
        }
    }
}
