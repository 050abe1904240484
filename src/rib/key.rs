//! What names a destination: [`RouteKey`] for the other rooms, and 32 octets for the table.
//!
//! Read `wire/evpn.rs` first. The RD is interned, because ten thousand routes share it; routes of unknown types are
//! interned whole. ESI, gateway and labels of types 2 and 5 are no part of the key (RFC 7432 §7.2, RFC 9136 §3.1).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::base::{BgpIdentifier, InternId, Interner, MacAddr};
use crate::wire::esi::Esi;
use crate::wire::evpn::{EthernetAd, EthernetSegment, EvpnRoute, Imet, IpPrefix, MacIp};
use crate::wire::rd::Rd;

/// The key of a destination: the fields of an EVPN route that tell it from others (RFC 7432 §7).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouteKey {
    /// Type 1.
    EthernetAd {
        /// Route distinguisher.
        rd: Rd,
        /// Ethernet segment.
        esi: Esi,
        /// Ethernet tag.
        tag: u32,
    },
    /// Type 2.
    MacIp {
        /// Route distinguisher.
        rd: Rd,
        /// Ethernet tag.
        tag: u32,
        /// MAC address.
        mac: MacAddr,
        /// IP address; absent in a MAC-only route.
        ip: Option<IpAddr>,
    },
    /// Type 3.
    Imet {
        /// Route distinguisher.
        rd: Rd,
        /// Ethernet tag.
        tag: u32,
        /// Originating router's address.
        originator: IpAddr,
    },
    /// Type 4.
    EthernetSegment {
        /// Route distinguisher.
        rd: Rd,
        /// Ethernet segment.
        esi: Esi,
        /// Originating router's address.
        originator: IpAddr,
    },
    /// Type 5.
    IpPrefix {
        /// Route distinguisher.
        rd: Rd,
        /// Ethernet tag.
        tag: u32,
        /// Prefix length in bits.
        prefix_len: u8,
        /// Prefix.
        prefix: IpAddr,
    },
    /// Any other type: the whole value is the key.
    Unknown {
        /// Route type octet.
        route_type: u8,
        /// Value, at most 255 octets because its length is one octet.
        value: Box<[u8]>,
    },
}

impl RouteKey {
    /// The key of a route as it stands on the wire.
    pub fn of(route: &EvpnRoute<'_>) -> Self {
        match *route {
            EvpnRoute::EthernetAd(r) => Self::EthernetAd { rd: r.rd, esi: r.esi, tag: r.tag },
            EvpnRoute::MacIp(r) => Self::MacIp { rd: r.rd, tag: r.tag, mac: r.mac, ip: r.ip },
            EvpnRoute::Imet(r) => Self::Imet { rd: r.rd, tag: r.tag, originator: r.originator },
            EvpnRoute::EthernetSegment(r) => Self::EthernetSegment { rd: r.rd, esi: r.esi, originator: r.originator },
            EvpnRoute::IpPrefix(r) => Self::IpPrefix { rd: r.rd, tag: r.tag, prefix_len: r.prefix_len, prefix: r.prefix },
            EvpnRoute::Unknown { route_type, value } => Self::Unknown { route_type, value: value.into() },
        }
    }

    /// The route type octet.
    pub const fn route_type(&self) -> u8 {
        match self {
            Self::EthernetAd { .. } => 1,
            Self::MacIp { .. } => 2,
            Self::Imet { .. } => 3,
            Self::EthernetSegment { .. } => 4,
            Self::IpPrefix { .. } => 5,
            Self::Unknown { route_type, .. } => *route_type,
        }
    }

    /// The route distinguisher; none in a route of unknown type.
    pub const fn rd(&self) -> Option<Rd> {
        match self {
            Self::EthernetAd { rd, .. }
            | Self::MacIp { rd, .. }
            | Self::Imet { rd, .. }
            | Self::EthernetSegment { rd, .. }
            | Self::IpPrefix { rd, .. } => Some(*rd),
            Self::Unknown { .. } => None,
        }
    }

    /// A route with this key; labels, gateway and the ESI of types 2 and 5 are zero.
    pub fn to_route(&self) -> EvpnRoute<'_> {
        let esi0 = Esi::default();
        match *self {
            Self::EthernetAd { rd, esi, tag } => EvpnRoute::EthernetAd(EthernetAd { rd, esi, tag, label: 0 }),
            Self::MacIp { rd, tag, mac, ip } => EvpnRoute::MacIp(MacIp { rd, esi: esi0, tag, mac, ip, label1: 0, label2: None }),
            Self::Imet { rd, tag, originator } => EvpnRoute::Imet(Imet { rd, tag, originator }),
            Self::EthernetSegment { rd, esi, originator } => EvpnRoute::EthernetSegment(EthernetSegment { rd, esi, originator }),
            Self::IpPrefix { rd, tag, prefix_len, prefix } => {
                EvpnRoute::IpPrefix(IpPrefix { rd, esi: esi0, tag, prefix_len, prefix, gateway: unspecified(prefix), label: 0 })
            }
            Self::Unknown { route_type, ref value } => EvpnRoute::Unknown { route_type, value },
        }
    }
}

impl fmt::Display for RouteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_route().fmt(f)
    }
}

/// The all-zero address of the family of `address`.
const fn unspecified(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

/// A key in 32 octets. Equal keys are equal octets, as long as the interned parts live.
///
/// ```text
///  0        4        8                  24          30     31
///  | RD id  | tag    | IP, ESI, prefix  | MAC, rest | type | length or family |
/// ```
/// Unknown types have type 0 and the id of the whole in place of the RD.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Key([u64; 4]);

impl Key {
    fn from_octets(octets: &[u8; 32]) -> Self {
        let mut words = [0; 4];
        for (word, octets) in words.iter_mut().zip(octets.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*octets);
        }
        Self(words)
    }

    fn octets(&self) -> [u8; 32] {
        let mut octets = [0; 32];
        for (octets, word) in octets.as_chunks_mut::<8>().0.iter_mut().zip(self.0) {
            *octets = word.to_le_bytes();
        }
        octets
    }

    /// The words, for hashing.
    pub(super) const fn words(&self) -> &[u64; 4] {
        &self.0
    }

    /// The type octet of the packed form: 1 to 5, 0 for unknown types.
    pub(super) const fn kind(&self) -> u8 {
        (self.0[3] >> 48) as u8
    }

    /// The id of the interned RD, or of the whole unknown route.
    const fn name(&self) -> InternId {
        InternId(self.0[0] as u32)
    }
}

/// Parts of a path that few paths have: an ESI that is not zero, a gateway, a second label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Extra {
    pub(super) esi: Esi,
    pub(super) label2: Option<u32>,
    pub(super) gateway: Option<IpAddr>,
}

/// The interned parts of keys and paths.
#[derive(Debug)]
pub(super) struct Names {
    rds: Interner<Rd>,
    opaque: Interner<(u8, Box<[u8]>)>,
    extras: Interner<Extra>,
    last_rd: (Rd, InternId),
}

impl Names {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            rds: Interner::new(seed),
            opaque: Interner::new(seed ^ 1),
            extras: Interner::new(seed ^ 2),
            last_rd: (Rd::default(), InternId(u32::MAX)),
        }
    }

    /// The packed key of a route whose interned part is known; `None` means that no destination has this key.
    pub(super) fn find(&mut self, route: &EvpnRoute<'_>) -> Option<Key> {
        let name = match route {
            EvpnRoute::Unknown { route_type, value } => self.opaque.find(&(*route_type, (*value).into()))?,
            other => {
                let rd = rd_of(other);
                // Routes of one UPDATE share their RD: look at the last one first.
                if self.last_rd.0 == rd && self.rds.value(self.last_rd.1) == Some(&rd) {
                    self.last_rd.1
                } else {
                    let id = self.rds.find(&rd)?;
                    self.last_rd = (rd, id);
                    id
                }
            }
        };
        Some(pack(name, route))
    }

    /// As [`find`](Self::find), without touching the one-entry cache.
    pub(super) fn peek(&self, route: &EvpnRoute<'_>) -> Option<Key> {
        let name = match route {
            EvpnRoute::Unknown { route_type, value } => self.opaque.find(&(*route_type, (*value).into()))?,
            other => self.rds.find(&rd_of(other))?,
        };
        Some(pack(name, route))
    }

    /// The packed key of a new destination: its interned part has one more user.
    pub(super) fn acquire(&mut self, route: &EvpnRoute<'_>) -> Key {
        let name = match route {
            EvpnRoute::Unknown { route_type, value } => self.opaque.acquire((*route_type, (*value).into())),
            other => self.rds.acquire(rd_of(other)),
        };
        pack(name, route)
    }

    /// The destination of `key` goes.
    pub(super) fn release(&mut self, key: &Key) {
        if key.kind() == 0 {
            self.opaque.release(key.name());
        } else {
            self.rds.release(key.name());
        }
    }

    /// The id of what `route` carries besides key and first label; `u32::MAX` where it is nothing. One more user.
    pub(super) fn acquire_extra(&mut self, extra: Extra) -> u32 {
        if extra == Extra::default() { u32::MAX } else { self.extras.acquire(extra).0 }
    }

    /// One more user of an extra.
    pub(super) fn retain_extra(&mut self, extra: u32) {
        if extra != u32::MAX {
            self.extras.retain(InternId(extra));
        }
    }

    /// One user of an extra less.
    pub(super) fn release_extra(&mut self, extra: u32) {
        if extra != u32::MAX {
            self.extras.release(InternId(extra));
        }
    }

    /// The extra behind an id.
    pub(super) fn extra(&self, extra: u32) -> Extra {
        if extra == u32::MAX { Extra::default() } else { self.extras.value(InternId(extra)).copied().unwrap_or_default() }
    }

    /// The route of a key and of one path's labels and extras, as it goes on the wire.
    pub(super) fn route(&self, key: &Key, label1: u32, extra: u32) -> EvpnRoute<'_> {
        let octets = key.octets();
        let word = |at: usize| u32::from_le_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]]);
        let (tag, aux) = (word(4), octets[31]);
        let field = <[u8; 16]>::try_from(&octets[8..24]).unwrap_or_default();
        let rest = <[u8; 6]>::try_from(&octets[24..30]).unwrap_or_default();
        let extra = self.extra(extra);
        if key.kind() == 0 {
            return match self.opaque.value(key.name()) {
                Some((route_type, value)) => EvpnRoute::Unknown { route_type: *route_type, value },
                None => EvpnRoute::Unknown { route_type: 0, value: &[] },
            };
        }
        let rd = self.rds.value(key.name()).copied().unwrap_or_default();
        match key.kind() {
            1 => EvpnRoute::EthernetAd(EthernetAd { rd, esi: esi_of(&field[..10]), tag, label: label1 }),
            2 => EvpnRoute::MacIp(MacIp {
                rd,
                esi: extra.esi,
                tag,
                mac: MacAddr(rest),
                ip: address_of(aux, field),
                label1,
                label2: extra.label2,
            }),
            3 => {
                EvpnRoute::Imet(Imet { rd, tag, originator: address_of(aux, field).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)) })
            }
            4 => {
                let mut esi = [0; 10];
                esi[..4].copy_from_slice(&octets[4..8]);
                esi[4..].copy_from_slice(&rest);
                let originator = address_of(aux, field).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
                EvpnRoute::EthernetSegment(EthernetSegment { rd, esi: Esi(esi), originator })
            }
            _ => {
                let prefix = address_of(rest[0], field).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
                EvpnRoute::IpPrefix(IpPrefix {
                    rd,
                    esi: extra.esi,
                    tag,
                    prefix_len: aux,
                    prefix,
                    gateway: extra.gateway.unwrap_or(unspecified(prefix)),
                    label: label1,
                })
            }
        }
    }
}

/// What of a route belongs to the path: the first label (24 bits) and the extras.
pub(super) fn path_part(route: &EvpnRoute<'_>) -> (u32, Extra) {
    match route {
        EvpnRoute::EthernetAd(r) => (r.label, Extra::default()),
        EvpnRoute::MacIp(r) => (r.label1, Extra { esi: r.esi, label2: r.label2, gateway: None }),
        EvpnRoute::IpPrefix(r) => {
            let gateway = (!r.gateway.is_unspecified()).then_some(r.gateway);
            (r.label, Extra { esi: r.esi, label2: None, gateway })
        }
        EvpnRoute::Imet(_) | EvpnRoute::EthernetSegment(_) | EvpnRoute::Unknown { .. } => (0, Extra::default()),
    }
}

fn rd_of(route: &EvpnRoute<'_>) -> Rd {
    match route {
        EvpnRoute::EthernetAd(r) => r.rd,
        EvpnRoute::MacIp(r) => r.rd,
        EvpnRoute::Imet(r) => r.rd,
        EvpnRoute::EthernetSegment(r) => r.rd,
        EvpnRoute::IpPrefix(r) => r.rd,
        EvpnRoute::Unknown { .. } => Rd::default(),
    }
}

fn pack(name: InternId, route: &EvpnRoute<'_>) -> Key {
    let mut octets = [0; 32];
    octets[..4].copy_from_slice(&name.0.to_le_bytes());
    let tag = match *route {
        EvpnRoute::EthernetAd(r) => {
            octets[30] = 1;
            octets[8..18].copy_from_slice(&r.esi.0);
            r.tag
        }
        EvpnRoute::MacIp(r) => {
            octets[30] = 2;
            octets[24..30].copy_from_slice(&r.mac.0);
            if let Some(ip) = r.ip {
                octets[31] = put_address(&mut octets[8..24], ip);
            }
            r.tag
        }
        EvpnRoute::Imet(r) => {
            octets[30] = 3;
            octets[31] = put_address(&mut octets[8..24], r.originator);
            r.tag
        }
        EvpnRoute::EthernetSegment(r) => {
            octets[30] = 4;
            octets[31] = put_address(&mut octets[8..24], r.originator);
            octets[4..8].copy_from_slice(&r.esi.0[..4]);
            octets[24..30].copy_from_slice(&r.esi.0[4..]);
            return Key::from_octets(&octets);
        }
        EvpnRoute::IpPrefix(r) => {
            octets[30] = 5;
            octets[31] = r.prefix_len;
            octets[24] = put_address(&mut octets[8..24], r.prefix);
            r.tag
        }
        EvpnRoute::Unknown { .. } => return Key::from_octets(&octets),
    };
    octets[4..8].copy_from_slice(&tag.to_le_bytes());
    Key::from_octets(&octets)
}

/// Writes an address to the front of 16 octets and gives its length.
fn put_address(out: &mut [u8], address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(address) => {
            out[..4].copy_from_slice(&address.octets());
            4
        }
        IpAddr::V6(address) => {
            out[..16].copy_from_slice(&address.octets());
            16
        }
    }
}

fn address_of(len: u8, octets: [u8; 16]) -> Option<IpAddr> {
    match len {
        4 => Some(IpAddr::V4(Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3]))),
        16 => Some(IpAddr::V6(Ipv6Addr::from(octets))),
        _ => None,
    }
}

fn esi_of(octets: &[u8]) -> Esi {
    Esi(octets.try_into().unwrap_or_default())
}

/// The identifier of a speaker as a number, for comparisons (RFC 4271 §9.1.2.2 f).
pub(super) fn number(identifier: BgpIdentifier) -> u32 {
    u32::from(identifier.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_survives_packing() {
        let mut names = Names::new(1);
        let rd = Rd([0, 1, 10, 0, 0, 1, 0, 100]);
        let v4: IpAddr = "192.0.2.1".parse().unwrap();
        let v6: IpAddr = "2001:db8::1".parse().unwrap();
        let esi = Esi([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        let mac = MacAddr([2, 0, 0, 0, 0, 1]);
        let routes = [
            EvpnRoute::EthernetAd(EthernetAd { rd, esi, tag: u32::MAX, label: 77 }),
            EvpnRoute::MacIp(MacIp { rd, esi, tag: 5, mac, ip: None, label1: 100, label2: None }),
            EvpnRoute::MacIp(MacIp { rd, esi: Esi::default(), tag: 0, mac, ip: Some(v4), label1: 0xff_ffff, label2: Some(9) }),
            EvpnRoute::MacIp(MacIp { rd, esi: Esi::default(), tag: 0, mac, ip: Some(v6), label1: 1, label2: None }),
            EvpnRoute::Imet(Imet { rd, tag: 3, originator: v6 }),
            EvpnRoute::EthernetSegment(EthernetSegment { rd, esi, originator: v4 }),
            EvpnRoute::IpPrefix(IpPrefix { rd, esi, tag: 1, prefix_len: 24, prefix: v4, gateway: v4, label: 3 }),
            EvpnRoute::IpPrefix(IpPrefix { rd, esi, tag: 1, prefix_len: 0, prefix: v6, gateway: unspecified(v6), label: 3 }),
            EvpnRoute::Unknown { route_type: 99, value: &[1, 2, 3] },
            EvpnRoute::Unknown { route_type: 0, value: &[] },
        ];
        let mut keys = Vec::new();
        for route in &routes {
            assert!(!names.find(route).is_some_and(|key| keys.contains(&key)), "{route:?}");
            let key = names.acquire(route);
            let (label, extra) = path_part(route);
            let extra = names.acquire_extra(extra);
            assert_eq!(names.route(&key, label, extra), *route);
            assert_eq!(names.find(route), Some(key));
            assert_eq!(names.peek(route), Some(key));
            assert_eq!(RouteKey::of(route), RouteKey::of(&RouteKey::of(route).to_route()));
            keys.push(key);
        }
        for key in &keys {
            names.release(key);
        }
        assert_eq!(names.find(&routes[1]), None, "the RD went with its last destination");
        assert_eq!(size_of::<Key>(), 32);
    }
}
