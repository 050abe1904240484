//! The table to send, as finished UPDATEs: N MACs spread evenly over pairs of (VTEP, VNI), and a type 3 for each pair.
//!
//! Routes of one pair share their attributes, as they do behind a real hypervisor, and are packed into as few UPDATEs of
//! 4096 octets as they fit in.

use std::net::Ipv4Addr;

use crate::Result;
use crate::arguments::Arguments;
use crate::bgp::{HEADER, LONGEST, UPDATE, message};

/// What the table holds.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Type 2 routes, MAC only.
    pub macs: u32,
    /// VNIs, counted from `first_vni`.
    pub vnis: u32,
    /// The first VNI.
    pub first_vni: u32,
    /// Remote VTEPs, counted from 172.16.0.1.
    pub vteps: u32,
    /// The AS number of the route targets.
    pub asn: u32,
}

impl Shape {
    /// From `macs= vnis= vteps=` and what may stay at its default.
    pub fn from_arguments(arguments: &Arguments) -> Result<Self> {
        Ok(Self {
            macs: arguments.need("macs")?,
            vnis: arguments.need("vnis")?,
            first_vni: arguments.or("first-vni", 1)?,
            vteps: arguments.need("vteps")?,
            asn: arguments.or("asn", 65000)?,
        })
    }

    /// Routes in all: type 2 and type 3.
    pub fn routes(&self) -> u64 {
        u64::from(self.macs) + u64::from(self.vnis) * u64::from(self.vteps)
    }

    /// Pairs of VTEP and VNI, each with the range of its MACs.
    pub fn pairs(self) -> impl Iterator<Item = (Ipv4Addr, u32, std::ops::Range<u32>)> {
        let (pairs, vnis) = (self.vnis * self.vteps, self.vnis);
        let edge = move |pair: u32| (u64::from(self.macs) * u64::from(pair) / u64::from(pairs)) as u32;
        (0..pairs).map(move |pair| (vtep(pair / vnis), self.first_vni + pair % vnis, edge(pair)..edge(pair + 1)))
    }
}

/// The address of the n-th remote VTEP.
pub fn vtep(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(172, 16, 0, 1)) + number)
}

/// The n-th MAC.
pub fn mac(number: u32) -> [u8; 6] {
    let [a, b, c, d] = number.to_be_bytes();
    [0x02, 0x10, a, b, c, d]
}

/// The whole table, and End-of-RIB after it.
pub fn announcements(shape: Shape) -> Vec<u8> {
    let mut out = Vec::new();
    for (vtep, vni, macs) in shape.pairs() {
        let (attributes, pmsi) = (attributes(shape.asn, vni), pmsi(vtep, vni));
        reach(&mut out, vtep, &inclusive(vtep, vni), &[&attributes[..], &pmsi[..]].concat());
        let room = (LONGEST - HEADER - 4 - 4 - 9 - attributes.len()) / MAC_ROUTE;
        let numbers: Vec<u32> = macs.collect();
        for some in numbers.chunks(room) {
            let nlri: Vec<u8> = some.iter().flat_map(|&number| mac_route(vtep, vni, number)).collect();
            reach(&mut out, vtep, &nlri, &attributes);
        }
    }
    out.extend(message(UPDATE, &[0, 0, 0, 6, 0x80, 15, 3, 0, 25, 70]));
    out
}

/// The withdrawal of the whole table.
pub fn withdrawals(shape: Shape) -> Vec<u8> {
    let room = (LONGEST - HEADER - 4 - 4 - 3) / MAC_ROUTE * MAC_ROUTE;
    let mut out = Vec::new();
    let mut nlri = Vec::new();
    for (vtep, vni, macs) in shape.pairs() {
        for route in macs.map(|number| mac_route(vtep, vni, number)).chain([inclusive(vtep, vni)]) {
            if nlri.len() + route.len() > room {
                unreach(&mut out, &nlri);
                nlri.clear();
            }
            nlri.extend(route);
        }
    }
    unreach(&mut out, &nlri);
    out
}

/// Octets of a type 2 route without an IP address, with its type and length.
const MAC_ROUTE: usize = 35;

/// Type 1 route distinguisher: the VTEP, and the low 16 bits of the VNI (RFC 7432 §7.9).
fn rd(vtep: Ipv4Addr, vni: u32) -> Vec<u8> {
    [&[0, 1][..], &vtep.octets(), &(vni as u16).to_be_bytes()].concat()
}

fn mac_route(vtep: Ipv4Addr, vni: u32, number: u32) -> Vec<u8> {
    [&[2, 33][..], &rd(vtep, vni), &[0; 14], &[48], &mac(number), &[0], &vni.to_be_bytes()[1..]].concat()
}

fn inclusive(vtep: Ipv4Addr, vni: u32) -> Vec<u8> {
    [&[3, 17][..], &rd(vtep, vni), &[0; 4], &[32], &vtep.octets()].concat()
}

/// ORIGIN, an empty AS_PATH, LOCAL_PREF 100, route target and encapsulation VXLAN.
fn attributes(asn: u32, vni: u32) -> Vec<u8> {
    let mut out = vec![0x40, 1, 1, 0, 0x40, 2, 0, 0x40, 5, 4, 0, 0, 0, 100, 0xc0, 16, 16, 0, 2];
    out.extend_from_slice(&(asn as u16).to_be_bytes());
    out.extend_from_slice(&vni.to_be_bytes());
    out.extend_from_slice(&[3, 0x0c, 0, 0, 0, 0, 0, 8]);
    out
}

/// PMSI tunnel: ingress replication (RFC 6514 §5).
fn pmsi(vtep: Ipv4Addr, vni: u32) -> Vec<u8> {
    [&[0xc0, 22, 9, 0, 6][..], &vni.to_be_bytes()[1..], &vtep.octets()].concat()
}

fn reach(out: &mut Vec<u8>, hop: Ipv4Addr, nlri: &[u8], attributes: &[u8]) {
    let mp = [&[0, 25, 70, 4][..], &hop.octets(), &[0], nlri].concat();
    update(out, 14, &mp, attributes);
}

fn unreach(out: &mut Vec<u8>, nlri: &[u8]) {
    update(out, 15, &[&[0, 25, 70][..], nlri].concat(), &[]);
}

fn update(out: &mut Vec<u8>, code: u8, mp: &[u8], attributes: &[u8]) {
    let len = (4 + mp.len() + attributes.len()) as u16;
    let body = [&[0, 0][..], &len.to_be_bytes(), &[0x90, code], &(mp.len() as u16).to_be_bytes(), mp, attributes].concat();
    out.extend(message(UPDATE, &body));
}
