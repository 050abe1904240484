//! Links, addresses and routes of one namespace: what `ip link` and `ip address` do, without them.
//!
//! ```no_run
//! use evpnd::lab::{links::Links, netns::Namespace};
//! let (host, guest) = (Namespace::create()?, Namespace::create()?);
//! let mut links = Links::open(&host)?;
//! links.add_bridge("br100")?;
//! links.add_veth("port1", &guest, "eth0", None, 1500)?;
//! links.set_master("port1", Some("br100"))?;
//! links.set_up("port1")?;
//! links.set_up("br100")?;
//! Links::open(&guest)?.set_up("eth0")?;
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! Traps of the crates are in `kernel-and-crates.md` §2; read `netlink.rs` for the client beneath.

#![allow(clippy::disallowed_methods, reason = "a lab waits in real time")]

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use netlink_packet_core::DefaultNla;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{
    InfoBridge, InfoData, InfoKind, InfoVeth, InfoVxlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, LinkProtoInfoBridge,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::failed;
use super::netlink::{ACK, CREATE, Netlink};
use super::netns::Namespace;
use crate::base::{MacAddr, Vni};

/// linux/if_link.h.
const IFLA_BRPORT_STATE: u16 = 1;
/// linux/if_link.h.
const IFLA_BRPORT_LEARNING: u16 = 8;
/// linux/if_bridge.h.
const BR_STATE_DISABLED: u8 = 0;

/// A handle on the links of one namespace. Names are resolved at each call, so links may come and go meanwhile.
#[derive(Debug)]
pub struct Links {
    netlink: Netlink,
}

impl Links {
    /// Opens a handle on the links of `namespace`.
    pub fn open(namespace: &Namespace) -> io::Result<Self> {
        Ok(Self { netlink: Netlink::open(namespace)? })
    }

    /// The index of a link, `None` where there is no such link.
    pub fn index(&mut self, name: &str) -> io::Result<Option<u32>> {
        Ok(self.header(name)?.map(|(index, _)| index))
    }

    /// Index and flags (`IFF_…`) of a link.
    fn header(&mut self, name: &str) -> io::Result<Option<(u32, u32)>> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.into()));
        match self.netlink.request(RouteNetlinkMessage::GetLink(message), ACK) {
            // struct ifinfomsg: family, pad, type (2), index (4), flags (4).
            Ok(answer) => Ok(answer.first().and_then(|message| message.body.get(4..12)).map(|octets| {
                let field = |at: usize| u32::from_ne_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]]);
                (field(0), field(4))
            })),
            Err(e) if e.errno == libc::ENODEV => Ok(None),
            Err(e) => Err(failed(format_args!("look for link {name}"), e)),
        }
    }

    /// Waits until a link exists and gives its index; `None` after `timeout`.
    pub fn wait_for(&mut self, name: &str, timeout: Duration) -> io::Result<Option<u32>> {
        let deadline = Instant::now() + timeout;
        loop {
            match self.index(name)? {
                None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
                found => return Ok(found),
            }
        }
    }

    /// Waits until a link is up at both ends and the kernel has noticed (IFF_RUNNING); false after `timeout`. Only then
    /// does a bridge forward on a port.
    pub fn wait_running(&mut self, name: &str, timeout: Duration) -> io::Result<bool> {
        let deadline = Instant::now() + timeout;
        loop {
            match self.header(name)? {
                Some((_, flags)) if flags & libc::IFF_RUNNING as u32 != 0 => return Ok(true),
                _ if Instant::now() >= deadline => return Ok(false),
                _ => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    }

    /// Makes a learning bridge without spanning tree and without multicast snooping: a plain switch.
    pub fn add_bridge(&mut self, name: &str) -> io::Result<()> {
        let data = InfoData::Bridge(vec![InfoBridge::MulticastSnooping(false)]);
        self.add(name, InfoKind::Bridge, Some(data), Vec::new())
    }

    /// Makes a VXLAN device that learns nothing: for labs without a daemon.
    pub fn add_vxlan(&mut self, name: &str, vni: Vni, local: IpAddr, port: u16) -> io::Result<()> {
        let mut data = vec![InfoVxlan::Id(vni.get()), InfoVxlan::Learning(false), InfoVxlan::Port(port)];
        data.push(match local {
            IpAddr::V4(address) => InfoVxlan::Local(address),
            IpAddr::V6(address) => InfoVxlan::Local6(address),
        });
        self.add(name, InfoKind::Vxlan, Some(InfoData::Vxlan(data)), Vec::new())
    }

    /// Makes a pair of linked Ethernet devices: `name` here, `peer_name` in `peer_namespace`, with `peer_mac` where given.
    pub fn add_veth(
        &mut self,
        name: &str,
        peer_namespace: &Namespace,
        peer_name: &str,
        peer_mac: Option<MacAddr>,
        mtu: u32,
    ) -> io::Result<()> {
        let mut peer = LinkMessage::default();
        peer.attributes.push(LinkAttribute::IfName(peer_name.into()));
        peer.attributes.push(LinkAttribute::Mtu(mtu));
        peer.attributes.push(LinkAttribute::NetNsFd(peer_namespace.as_fd().as_raw_fd()));
        if let Some(mac) = peer_mac {
            peer.attributes.push(LinkAttribute::Address(mac.0.to_vec()));
        }
        self.add(name, InfoKind::Veth, Some(InfoData::Veth(InfoVeth::Peer(peer))), vec![LinkAttribute::Mtu(mtu)])
    }

    /// Removes a link (and the other end of a pair). A link that is not there is fine.
    pub fn delete(&mut self, name: &str) -> io::Result<()> {
        let Some(index) = self.index(name)? else { return Ok(()) };
        let mut message = LinkMessage::default();
        message.header.index = index;
        self.netlink
            .request(RouteNetlinkMessage::DelLink(message), ACK)
            .map(drop)
            .map_err(|e| failed(format_args!("delete link {name}"), e))
    }

    /// Sets a link up.
    pub fn set_up(&mut self, name: &str) -> io::Result<()> {
        self.set(name, "set up", |message| {
            message.header.flags = LinkFlags::Up;
            message.header.change_mask = LinkFlags::Up;
        })
    }

    /// Forgets every neighbour (ARP and ND) of a link: the kernel does so when a link stops or begins to resolve addresses.
    pub fn forget_neighbours(&mut self, name: &str) -> io::Result<()> {
        for flags in [LinkFlags::Noarp, LinkFlags::empty()] {
            self.set(name, "change the flags of", |message| {
                message.header.flags = flags;
                message.header.change_mask = LinkFlags::Noarp;
            })?;
        }
        Ok(())
    }

    /// Puts a link into a bridge, or takes it out of its bridge.
    pub fn set_master(&mut self, name: &str, bridge: Option<&str>) -> io::Result<()> {
        let index = match bridge {
            Some(bridge) => self.need(bridge)?,
            None => 0,
        };
        self.set(name, "change the bridge of", |message| message.attributes.push(LinkAttribute::Controller(index)))
    }

    /// Moves a link into another namespace, where it keeps its name; it arrives down and without a bridge.
    pub fn move_to(&mut self, name: &str, namespace: &Namespace) -> io::Result<()> {
        let fd = namespace.as_fd().as_raw_fd();
        self.set(name, "move", |message| message.attributes.push(LinkAttribute::NetNsFd(fd)))
    }

    /// Sets the MAC address.
    pub fn set_mac(&mut self, name: &str, mac: MacAddr) -> io::Result<()> {
        self.set(name, "set the address of", |message| message.attributes.push(LinkAttribute::Address(mac.0.to_vec())))
    }

    /// Tells the bridge of a port whether to learn from it.
    pub fn set_port_learning(&mut self, name: &str, learning: bool) -> io::Result<()> {
        self.set_port(name, IFLA_BRPORT_LEARNING, u8::from(learning))
    }

    /// Stops a port of a bridge without touching the carrier: nothing passes any more, and the other end sees nothing.
    pub fn block_port(&mut self, name: &str) -> io::Result<()> {
        self.set_port(name, IFLA_BRPORT_STATE, BR_STATE_DISABLED)
    }

    /// Adds an address; an IPv6 one without duplicate address detection, so that it can be used at once.
    pub fn add_address(&mut self, name: &str, address: IpAddr, prefix_len: u8) -> io::Result<()> {
        let mut message = AddressMessage::default();
        message.header.index = self.need(name)?;
        message.header.prefix_len = prefix_len;
        message.header.family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        if address.is_ipv6() {
            message.header.flags = AddressHeaderFlags::Nodad;
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        message.attributes.push(AddressAttribute::Local(address));
        message.attributes.push(AddressAttribute::Address(address));
        self.netlink
            .request(RouteNetlinkMessage::NewAddress(message), CREATE)
            .map(drop)
            .map_err(|e| failed(format_args!("add address {address} to {name}"), e))
    }

    fn add(&mut self, name: &str, kind: InfoKind, data: Option<InfoData>, attributes: Vec<LinkAttribute>) -> io::Result<()> {
        let what = format!("make {kind:?} {name}").to_lowercase();
        let mut info = vec![LinkInfo::Kind(kind)];
        info.extend(data.map(LinkInfo::Data));
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.into()));
        message.attributes.extend(attributes);
        message.attributes.push(LinkAttribute::LinkInfo(info));
        self.netlink.request(RouteNetlinkMessage::NewLink(message), CREATE).map(drop).map_err(|e| {
            let hint = if e.errno == libc::EOPNOTSUPP { ": this kernel has no such devices (is the module there?)" } else { "" };
            failed(format_args!("{what}{hint}"), e)
        })
    }

    fn set(&mut self, name: &str, what: &str, change: impl FnOnce(&mut LinkMessage)) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = self.need(name)?;
        change(&mut message);
        self.netlink
            .request(RouteNetlinkMessage::SetLink(message), ACK)
            .map(drop)
            .map_err(|e| failed(format_args!("{what} {name}"), e))
    }

    /// RTM_SETLINK of AF_BRIDGE, as `bridge link set` does it. Attributes inside IFLA_LINKINFO would reach the port too, but
    /// the change of the link that this announces makes the bridge enable a disabled port again.
    fn set_port(&mut self, name: &str, attribute: u16, value: u8) -> io::Result<()> {
        self.set(name, "change port", |message| {
            message.header.interface_family = AddressFamily::Bridge;
            let value = LinkProtoInfoBridge::Other(DefaultNla::new(attribute, vec![value]));
            message.attributes.push(LinkAttribute::ProtoInfoBridge(vec![value]));
        })
    }

    fn need(&mut self, name: &str) -> io::Result<u32> {
        self.index(name)?.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("there is no link {name}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Needs root (or `unshare -Ur`), so it is not run by default: `cargo test -- --ignored lab::links`.
    #[test]
    #[ignore = "needs root"]
    fn a_pair_over_a_bridge() {
        let (switch, one, two) = (Namespace::create().unwrap(), Namespace::create().unwrap(), Namespace::create().unwrap());
        let mut links = Links::open(&switch).unwrap();
        links.add_bridge("br0").unwrap();
        links.set_up("br0").unwrap();
        for (port, guest, host) in [("p1", &one, 1), ("p2", &two, 2)] {
            let mac = MacAddr([2, 0, 0, 0, 0, host]);
            links.add_veth(port, guest, "eth0", Some(mac), 1500).unwrap();
            links.set_master(port, Some("br0")).unwrap();
            links.set_up(port).unwrap();
            let mut inside = Links::open(guest).unwrap();
            inside.add_address("eth0", IpAddr::from([192, 168, 1, host]), 24).unwrap();
            inside.add_address("eth0", IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, u16::from(host)]), 64).unwrap();
            inside.set_up("eth0").unwrap();
        }
        for target in ["192.168.1.2".parse().unwrap(), "fd00::2".parse().unwrap()] {
            let answer = super::super::ping::ping(&one, target, Duration::from_secs(2)).unwrap();
            assert!(answer.is_some(), "{target} did not answer");
        }
        assert_eq!(links.index("nothing").unwrap(), None);
        links.move_to("p2", &one).unwrap();
        assert_eq!(links.index("p2").unwrap(), None);
    }
}
