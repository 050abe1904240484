//! Forwarding rows as the kernel tells them (`bridge fdb show`), and a watch that notices when one changes.

#![allow(clippy::disallowed_methods, reason = "a lab waits in real time")]

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use netlink_packet_core::Parseable;
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::failed;
use super::netlink::{ACK, APPEND, DUMP, Message, Netlink, REPLACE};
use super::netns::Namespace;
use super::signals::wait_readable;
use crate::base::MacAddr;

const RTM_NEWNEIGH: u16 = 28;
const RTM_DELNEIGH: u16 = 29;
const RTNLGRP_NEIGH: u32 = 3;

/// One row of a bridge's or of a VXLAN device's forwarding table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FdbRow {
    /// Index of the device (a VXLAN device or a bridge port).
    pub ifindex: u32,
    /// The station; zero for a row of a flood list.
    pub mac: MacAddr,
    /// The remote VTEP: only in rows of a VXLAN device's own table.
    pub destination: Option<IpAddr>,
    /// The remote VNI where it differs from the device's.
    pub vni: Option<u32>,
    /// NTF_SELF: a row of the device's own table and not of the bridge's.
    pub is_own: bool,
    /// NTF_EXT_LEARNED: written by a control plane.
    pub is_ext_learned: bool,
    /// NUD_PERMANENT: in a bridge's table an address of the host's own, unless a static row.
    pub is_permanent: bool,
}

/// The rows of one device: both the device's own table and what the bridge holds for that port.
pub fn rows(namespace: &Namespace, ifindex: u32) -> io::Result<Vec<FdbRow>> {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = ifindex;
    let answer = Netlink::open(namespace)?
        .request(RouteNetlinkMessage::GetNeighbour(message), DUMP)
        .map_err(|e| failed("list the forwarding rows", e))?;
    let mut rows: Vec<FdbRow> = answer.iter().filter_map(parse).filter(|row| row.ifindex == ifindex).collect();
    rows.sort();
    rows.dedup();
    Ok(rows)
}

/// Writes a row by hand into the tables of a VXLAN device and of its bridge: for labs without a daemon.
/// The zero MAC adds one more destination to the flood list.
pub fn write(namespace: &Namespace, ifindex: u32, mac: MacAddr, destination: IpAddr) -> io::Result<()> {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = ifindex;
    message.header.state = NeighbourState::Permanent;
    message.header.flags = NeighbourFlags::Own;
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
    message.attributes.push(NeighbourAttribute::Destination(match destination {
        IpAddr::V4(address) => NeighbourAddress::Inet(address),
        IpAddr::V6(address) => NeighbourAddress::Inet6(address),
    }));
    let flags = if mac == MacAddr::ZERO { APPEND } else { REPLACE };
    if mac != MacAddr::ZERO {
        message.header.flags |= NeighbourFlags::Controller | NeighbourFlags::ExtLearned;
        // VXLAN takes PERMANENT or REACHABLE only, a bridge no EXT_LEARNED row that is PERMANENT.
        message.header.state = NeighbourState::Reachable;
    }
    let mut netlink = Netlink::open(namespace)?;
    netlink
        .request(RouteNetlinkMessage::NewNeighbour(message), flags)
        .map(drop)
        .map_err(|e| failed(format_args!("write the row {mac} to {destination}"), e))
}

/// Removes a row by hand from the tables of a VXLAN device and of its bridge, by MAC alone: behind a daemon's back.
pub fn delete(namespace: &Namespace, ifindex: u32, mac: MacAddr) -> io::Result<()> {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = ifindex;
    message.header.flags = NeighbourFlags::Own | NeighbourFlags::Controller;
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
    let mut netlink = Netlink::open(namespace)?;
    netlink.request(RouteNetlinkMessage::DelNeighbour(message), ACK).map(drop).map_err(|e| failed("delete a row", e))
}

/// A change of a row and when it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FdbChange {
    /// When the notification was read.
    pub at: Instant,
    /// The row as it is now, or as it was when it went.
    pub row: FdbRow,
    /// Whether it went.
    pub is_gone: bool,
}

/// A subscription to the forwarding rows of one namespace.
#[derive(Debug)]
pub struct FdbWatch {
    netlink: Netlink,
}

impl FdbWatch {
    /// Starts to listen: whatever changes from now on is seen.
    pub fn open(namespace: &Namespace) -> io::Result<Self> {
        let mut netlink = Netlink::open(namespace)?;
        netlink.subscribe(RTNLGRP_NEIGH)?;
        netlink.set_nonblocking(true)?;
        Ok(Self { netlink })
    }

    /// The next change that `wanted` likes; `None` after `timeout`.
    pub fn wait(&mut self, timeout: Duration, wanted: impl Fn(&FdbChange) -> bool) -> io::Result<Option<FdbChange>> {
        let deadline = Instant::now() + timeout;
        loop {
            let messages = match self.netlink.receive() {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Ok(None);
                    }
                    wait_readable(&self.netlink, left)?;
                    continue;
                }
                other => other?,
            };
            let at = Instant::now();
            for message in messages.iter().filter(|m| matches!(m.kind, RTM_NEWNEIGH | RTM_DELNEIGH)) {
                let Some(row) = parse(message) else { continue };
                let change = FdbChange { at, row, is_gone: message.kind == RTM_DELNEIGH };
                if wanted(&change) {
                    return Ok(Some(change));
                }
            }
        }
    }
}

/// A row of AF_BRIDGE; `None` for another family or a message without an address.
fn parse(message: &Message) -> Option<FdbRow> {
    let neighbour = NeighbourMessage::parse(&message.body).ok()?;
    if neighbour.header.family != AddressFamily::Bridge {
        return None;
    }
    let mut row = FdbRow {
        ifindex: neighbour.header.ifindex,
        mac: MacAddr::ZERO,
        destination: None,
        vni: None,
        is_own: neighbour.header.flags.contains(NeighbourFlags::Own),
        is_ext_learned: neighbour.header.flags.contains(NeighbourFlags::ExtLearned),
        is_permanent: neighbour.header.state == NeighbourState::Permanent,
    };
    let mut has_address = false;
    for attribute in &neighbour.attributes {
        match attribute {
            NeighbourAttribute::LinkLayerAddress(octets) => {
                row.mac = MacAddr(octets.as_slice().try_into().ok()?);
                has_address = true;
            }
            NeighbourAttribute::Destination(address) => row.destination = destination(address),
            NeighbourAttribute::Vni(vni) => row.vni = Some(*vni),
            _ => {}
        }
    }
    has_address.then_some(row)
}

/// NDA_DST of AF_BRIDGE arrives as raw octets: the family is known by their number.
fn destination(address: &NeighbourAddress) -> Option<IpAddr> {
    match address {
        NeighbourAddress::Inet(address) => Some(IpAddr::V4(*address)),
        NeighbourAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        NeighbourAddress::Other(octets) => match octets.len() {
            4 => <[u8; 4]>::try_from(octets.as_slice()).ok().map(|o| IpAddr::V4(Ipv4Addr::from(o))),
            16 => <[u8; 16]>::try_from(octets.as_slice()).ok().map(|o| IpAddr::V6(Ipv6Addr::from(o))),
            _ => None,
        },
        _ => None,
    }
}
