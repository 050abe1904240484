//! As much BGP as a load generator needs: OPEN, KEEPALIVE, framing, counting. Its own, so that it does not share a mistake
//! with the daemon that it measures.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use crate::Result;

/// Message types (RFC 4271 §4.1).
pub const OPEN: u8 = 1;
/// UPDATE
pub const UPDATE: u8 = 2;
/// NOTIFICATION
pub const NOTIFICATION: u8 = 3;
/// KEEPALIVE
pub const KEEPALIVE: u8 = 4;

/// Octets of a message header.
pub const HEADER: usize = 19;
/// The longest message sent or offered.
pub const LONGEST: usize = 4096;

/// One whole message.
pub fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut octets = vec![0xff; 16];
    octets.extend_from_slice(&((HEADER + body.len()) as u16).to_be_bytes());
    octets.push(kind);
    octets.extend_from_slice(body);
    octets
}

/// OPEN with the capabilities 25/70, route refresh and 4-octet AS; hold time 180 s.
pub fn open(asn: u32, identifier: Ipv4Addr) -> Vec<u8> {
    let mut capabilities = vec![1, 4, 0, 25, 0, 70, 2, 0, 65, 4];
    capabilities.extend_from_slice(&asn.to_be_bytes());
    let mut body = vec![4];
    body.extend_from_slice(&u16::try_from(asn).unwrap_or(23456).to_be_bytes());
    body.extend_from_slice(&180u16.to_be_bytes());
    body.extend_from_slice(&identifier.octets());
    body.extend_from_slice(&[capabilities.len() as u8 + 2, 2, capabilities.len() as u8]);
    body.extend_from_slice(&capabilities);
    message(OPEN, &body)
}

/// A TCP connection from `local` to the peer, tried again until it succeeds or `limit` is over. Non-blocking.
pub fn connect(local: IpAddr, peer: SocketAddr, limit: Duration) -> Result<std::net::TcpStream> {
    let end = Instant::now() + limit;
    loop {
        let socket = socket2::Socket::new(socket2::Domain::for_address(peer), socket2::Type::STREAM, None)?;
        socket.bind(&SocketAddr::new(local, 0).into())?;
        match socket.connect_timeout(&peer.into(), Duration::from_secs(2)) {
            Ok(()) => {
                socket.set_tcp_nodelay(true)?;
                socket.set_nonblocking(true)?;
                return Ok(socket.into());
            }
            Err(error) if Instant::now() > end => return Err(format!("{peer}: {error}").into()),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// What the whole messages at the front of a buffer held.
#[derive(Default, Debug)]
pub struct Heard {
    /// OPEN came.
    pub open: bool,
    /// KEEPALIVE came.
    pub keepalive: bool,
    /// Announced EVPN routes.
    pub reach: u64,
    /// Withdrawn EVPN routes.
    pub unreach: u64,
    /// A NOTIFICATION's code and subcode.
    pub notification: Option<(u8, u8)>,
}

/// Reads every whole message of `buffer` into `heard` and gives how many octets they took.
pub fn read(buffer: &[u8], heard: &mut Heard) -> usize {
    let mut at = 0;
    while let Some(header) = buffer.get(at..at + HEADER) {
        let len = usize::from(u16::from_be_bytes([header[16], header[17]])).max(HEADER);
        let Some(body) = buffer.get(at + HEADER..at + len) else { break };
        match header[18] {
            OPEN => heard.open = true,
            KEEPALIVE => heard.keepalive = true,
            NOTIFICATION => heard.notification = Some((body.first().copied().unwrap_or(0), body.get(1).copied().unwrap_or(0))),
            UPDATE => count(body, heard).unwrap_or_default(),
            _ => {}
        }
        at += len;
    }
    at
}

/// Counts the NLRI of one UPDATE; None where its lengths do not fit.
fn count(body: &[u8], heard: &mut Heard) -> Option<()> {
    let withdrawn = usize::from(u16::from_be_bytes(body.get(..2)?.try_into().ok()?));
    let mut attributes = body.get(4 + withdrawn..)?;
    while let [flags, code, rest @ ..] = attributes {
        let (len, rest) = if flags & 0x10 == 0 {
            (usize::from(*rest.first()?), rest.get(1..)?)
        } else {
            (usize::from(u16::from_be_bytes(rest.get(..2)?.try_into().ok()?)), rest.get(2..)?)
        };
        let value = rest.get(..len)?;
        match (code, value) {
            (14, [0, 25, 70, hop, ..]) => heard.reach += routes(value.get(5 + usize::from(*hop)..)?),
            (15, [0, 25, 70, nlri @ ..]) => heard.unreach += routes(nlri),
            _ => {}
        }
        attributes = rest.get(len..)?;
    }
    Some(())
}

fn routes(mut nlri: &[u8]) -> u64 {
    let mut routes = 0;
    while let [_, len, rest @ ..] = nlri {
        routes += 1;
        nlri = rest.get(usize::from(*len)..).unwrap_or_default();
    }
    routes
}
