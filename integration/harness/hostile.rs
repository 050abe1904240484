//! A raw BGP speaker that keeps to no rule but those a test gives it.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use evpnd::base::BgpIdentifier;
use evpnd::wire::attribute::Attributes;
use evpnd::wire::capability::Capability;
use evpnd::wire::esi::Esi;
use evpnd::wire::evpn::{EvpnRoute, MacIp};
use evpnd::wire::ext_community::ExtCommunity;
use evpnd::wire::open::Open;
use evpnd::wire::rd::Rd;
use evpnd::wire::update::{UpdateContext, emit_reach};

use super::fabric::Host;
use super::patience;
use super::raw::in_namespace;

/// Its routes are for a VNI that nobody has.
const VNI: u32 = 66_666;

/// A message of any type with any body; the length is right where it fits.
pub fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[0xff; 16][..], &((19 + body.len()) as u16).to_be_bytes(), &[kind], body].concat()
}

/// An OPEN of AS 65000.
pub fn open(number: u8, extended: bool) -> Vec<u8> {
    let mut capabilities =
        vec![Capability::MultiProtocol { afi: 25, safi: 70 }, Capability::RouteRefresh, Capability::FourOctetAs(65000)];
    if extended {
        capabilities.push(Capability::ExtendedMessage);
    }
    let identifier = BgpIdentifier([10, 0, 0, number].into());
    let mut out = Vec::new();
    Open { version: 4, my_as: 65000, hold_time_secs: 90, identifier, capabilities }.emit(&mut out);
    out
}

/// A KEEPALIVE.
pub fn keepalive() -> Vec<u8> {
    message(4, &[])
}

/// An UPDATE that announces the MACs `from..to`, with these communities.
pub fn announce(from: u32, to: u32, communities: Vec<u32>) -> Vec<u8> {
    let target = format!("65000:{VNI}").parse().expect("a route target");
    let attributes = Attributes {
        next_hop: Some([10, 0, 0, 66].into()),
        local_pref: Some(100),
        ext_communities: vec![ExtCommunity::route_target(target), ExtCommunity::vxlan()],
        communities,
        ..Attributes::default()
    };
    let (mut nlri, mut out) = (Vec::new(), Vec::new());
    for n in from..to {
        let [_, a, b, c] = n.to_be_bytes();
        let mac = evpnd::base::MacAddr([2, 66, 0, a, b, c]);
        let rd = Rd::from_ipv4(BgpIdentifier([10, 0, 0, 66].into()), 1);
        EvpnRoute::MacIp(MacIp { rd, esi: Esi::default(), tag: 0, mac, ip: None, label1: VNI, label2: None }).emit(&mut nlri);
    }
    emit_reach(&mut out, &attributes, &UpdateContext { four_octet_as: true, external: false }, &nlri);
    out
}

/// One of its connections.
#[derive(Debug)]
pub struct Hostile {
    stream: TcpStream,
    heard: Vec<u8>,
}

impl Hostile {
    /// Connects from `host`; what is said later waits at most 30 s for room.
    pub fn connect(host: &Host, server: SocketAddr) -> io::Result<Self> {
        let stream = in_namespace(host.namespace.name(), move || TcpStream::connect_timeout(&server, patience(5)))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_millis(20)))?;
        stream.set_write_timeout(Some(Duration::from_secs(30)))?;
        Ok(Self { stream, heard: Vec::new() })
    }

    /// Connects and waits for the KEEPALIVE that says the OPEN was accepted. An error where it is turned away.
    pub fn established(host: &Host, server: SocketAddr, extended: bool) -> io::Result<Self> {
        let mut hostile = Self::connect(host, server)?;
        hostile.say(&[open(host.number, extended), keepalive()].concat())?;
        let end = Instant::now() + patience(5);
        while Instant::now() < end {
            let closed = hostile.listen();
            if hostile.types().contains(&4) {
                return Ok(hostile);
            }
            if closed {
                break;
            }
        }
        Err(io::Error::other(format!("not established: {:02x?}", hostile.heard)))
    }

    /// Sends octets.
    pub fn say(&mut self, octets: &[u8]) -> io::Result<()> {
        self.stream.write_all(octets)
    }

    /// Reads what is there. Whether the other side closed.
    pub fn listen(&mut self) -> bool {
        let mut buffer = [0; 65536];
        match self.stream.read(&mut buffer) {
            Ok(0) => true,
            Ok(len) => {
                self.heard.extend_from_slice(&buffer[..len]);
                false
            }
            Err(error) => !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut),
        }
    }

    /// Reads until the other side closes, for so long at most. Whether it did.
    pub fn is_closed_within(&mut self, seconds: u64) -> bool {
        let end = Instant::now() + patience(seconds);
        while Instant::now() < end {
            if self.listen() {
                return true;
            }
        }
        false
    }

    /// The types of the messages heard, and with a NOTIFICATION its code and subcode.
    pub fn types(&self) -> Vec<u8> {
        self.frames().map(|(kind, _)| kind).collect()
    }

    /// Code and subcode of the NOTIFICATION heard.
    pub fn notification(&self) -> Option<(u8, u8)> {
        self.frames().find(|(kind, body)| *kind == 3 && body.len() >= 2).map(|(_, body)| (body[0], body[1]))
    }

    fn frames(&self) -> impl Iterator<Item = (u8, &[u8])> {
        let mut rest = &self.heard[..];
        std::iter::from_fn(move || {
            let len = usize::from(u16::from_be_bytes([*rest.get(16)?, *rest.get(17)?]));
            let frame = rest.get(..len.max(19))?;
            rest = &rest[frame.len()..];
            Some((frame[18], &frame[19..]))
        })
    }
}
