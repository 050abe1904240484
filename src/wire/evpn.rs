//! EVPN NLRI (RFC 7432 §7, RFC 9136 §3.1, RFC 8365 §5.1.3: the label is the VNI, 24 bits as they are).
//!
//! ```text
//! route type (1) | length (1) | value
//! ```
//!
//! This is the hot path of a load: [`routes`] slices, copies what fits a register or two, and allocates nothing.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::esi::Esi;
use super::rd::Rd;
use crate::base::MacAddr;

/// One EVPN route as it stands in an NLRI field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EvpnRoute<'a> {
    /// Type 1.
    EthernetAd(EthernetAd),
    /// Type 2.
    MacIp(MacIp),
    /// Type 3.
    Imet(Imet),
    /// Type 4.
    EthernetSegment(EthernetSegment),
    /// Type 5.
    IpPrefix(IpPrefix),
    /// Any other type, kept opaque.
    Unknown {
        /// Route type octet.
        route_type: u8,
        /// The value.
        value: &'a [u8],
    },
}

/// Type 1, Ethernet auto-discovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EthernetAd {
    /// RD
    pub rd: Rd,
    /// ESI
    pub esi: Esi,
    /// Ethernet tag
    pub tag: u32,
    /// 24 bits
    pub label: u32,
}

/// Type 2, MAC/IP advertisement. ESI and labels are not part of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MacIp {
    /// RD
    pub rd: Rd,
    /// ESI
    pub esi: Esi,
    /// Ethernet tag
    pub tag: u32,
    /// MAC
    pub mac: MacAddr,
    /// IP, absent in a MAC-only route
    pub ip: Option<IpAddr>,
    /// 24 bits: the L2 VNI
    pub label1: u32,
    /// 24 bits: the L3 VNI
    pub label2: Option<u32>,
}

/// Type 3, inclusive multicast Ethernet tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Imet {
    /// RD
    pub rd: Rd,
    /// Ethernet tag
    pub tag: u32,
    /// Originating router's address
    pub originator: IpAddr,
}

/// Type 4, Ethernet segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EthernetSegment {
    /// RD
    pub rd: Rd,
    /// ESI
    pub esi: Esi,
    /// Originating router's address
    pub originator: IpAddr,
}

/// Type 5, IP prefix (RFC 9136). Key: RD, tag, prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IpPrefix {
    /// RD
    pub rd: Rd,
    /// ESI
    pub esi: Esi,
    /// Ethernet tag
    pub tag: u32,
    /// Prefix length in bits
    pub prefix_len: u8,
    /// Prefix
    pub prefix: IpAddr,
    /// Gateway (same family), all zero when not used
    pub gateway: IpAddr,
    /// 24 bits
    pub label: u32,
}

/// What is wrong with one route of an NLRI field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NlriError {
    /// In words.
    pub what: &'static str,
    /// The route type octet, 0 where none was left to read.
    pub route_type: u8,
    /// Where the route begins in the field, in octets.
    pub offset: usize,
    /// Whether the routes after it can still be located: its length was good, only its inside is not.
    /// False is the end of the walk, and RFC 7606 §3 j leaves only the session reset.
    pub recoverable: bool,
}

impl NlriError {
    /// The route by its name alone, where that can be read: of `field`, in which the mistake was found. With it a route whose
    /// labels are wrong is withdrawn, instead of an older one standing (RFC 7606 §2, treat-as-withdraw).
    pub fn name_in<'a>(&self, field: &'a [u8]) -> Option<EvpnRoute<'a>> {
        let [route_type, len, ref rest @ ..] = *field.get(self.offset..)? else { return None };
        EvpnRoute::parse_name(route_type, rest.get(..usize::from(len))?)
    }
}

impl fmt::Display for NlriError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EVPN route of type {} at offset {}: {}", self.route_type, self.offset, self.what)
    }
}

impl std::error::Error for NlriError {}

/// The routes of an NLRI field of MP_REACH or MP_UNREACH for 25/70, in their order.
///
/// A route with a bad inside but a good length is `Err` with `recoverable` and the walk goes on; a length past the end of the field
/// is `Err` without it and ends the walk.
pub fn routes(nlri: &[u8]) -> RouteIter<'_> {
    RouteIter { rest: nlri, offset: 0 }
}

/// See [`routes`].
#[derive(Debug, Clone)]
pub struct RouteIter<'a> {
    rest: &'a [u8],
    offset: usize,
}

impl<'a> RouteIter<'a> {
    /// Ends the walk with an error.
    fn lost(&mut self, route_type: u8, what: &'static str) -> NlriError {
        self.rest = &[];
        NlriError { what, route_type, offset: self.offset, recoverable: false }
    }
}

impl<'a> Iterator for RouteIter<'a> {
    type Item = Result<EvpnRoute<'a>, NlriError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (route_type, len, rest) = match *self.rest {
            [] => return None,
            [route_type, len, ref rest @ ..] => (route_type, usize::from(len), rest),
            [route_type] => return Some(Err(self.lost(route_type, "ends before its length"))),
        };
        let Some((value, rest)) = rest.split_at_checked(len) else {
            return Some(Err(self.lost(route_type, "runs past the end of the field")));
        };
        let offset = self.offset;
        self.offset += 2 + len;
        self.rest = rest;
        Some(EvpnRoute::parse(route_type, value).map_err(|what| NlriError { what, route_type, offset, recoverable: true }))
    }
}

impl std::iter::FusedIterator for RouteIter<'_> {}

impl<'a> EvpnRoute<'a> {
    /// Reads the value of one route. The error says what is wrong inside it.
    #[inline]
    pub fn parse(route_type: u8, value: &'a [u8]) -> Result<Self, &'static str> {
        match route_type {
            2 => MacIp::parse(value).map(Self::MacIp),
            1 => EthernetAd::parse(value).map(Self::EthernetAd),
            3 => Imet::parse(value).map(Self::Imet),
            4 => EthernetSegment::parse(value).map(Self::EthernetSegment),
            5 => IpPrefix::parse(value).map(Self::IpPrefix),
            _ => Ok(Self::Unknown { route_type, value }),
        }
    }

    /// Reads what names a route, whatever its labels are like. None where the name itself is wrong, and for the types that are
    /// nothing but a name.
    fn parse_name(route_type: u8, value: &'a [u8]) -> Option<Self> {
        match route_type {
            1 => {
                let (name, _) = value.split_first_chunk::<22>()?;
                let (rd, esi, tag) = (Rd(at(name, 0)), Esi(at(name, 8)), u32::from_be_bytes(at(name, 18)));
                Some(Self::EthernetAd(EthernetAd { rd, esi, tag, label: 0 }))
            }
            2 => MacIp::parse_name(value).ok().map(|(route, _)| Self::MacIp(route)),
            _ => None,
        }
    }

    /// The route type octet.
    pub const fn route_type(&self) -> u8 {
        match self {
            Self::EthernetAd(_) => 1,
            Self::MacIp(_) => 2,
            Self::Imet(_) => 3,
            Self::EthernetSegment(_) => 4,
            Self::IpPrefix(_) => 5,
            Self::Unknown { route_type, .. } => *route_type,
        }
    }

    /// Appends route type, length and value. Of labels the low 24 bits, of an opaque value the first 255 octets.
    pub fn emit(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.route_type(), 0]);
        let start = out.len();
        match self {
            Self::EthernetAd(route) => {
                emit_head(out, &route.rd, Some(&route.esi), Some(route.tag));
                emit_label(out, route.label);
            }
            Self::MacIp(route) => {
                emit_head(out, &route.rd, Some(&route.esi), Some(route.tag));
                out.push(48);
                out.extend_from_slice(&route.mac.0);
                match route.ip {
                    Some(ip) => emit_sized_ip(out, ip),
                    None => out.push(0),
                }
                emit_label(out, route.label1);
                if let Some(label2) = route.label2 {
                    emit_label(out, label2);
                }
            }
            Self::Imet(route) => {
                emit_head(out, &route.rd, None, Some(route.tag));
                emit_sized_ip(out, route.originator);
            }
            Self::EthernetSegment(route) => {
                emit_head(out, &route.rd, Some(&route.esi), None);
                emit_sized_ip(out, route.originator);
            }
            Self::IpPrefix(route) => {
                emit_head(out, &route.rd, Some(&route.esi), Some(route.tag));
                out.push(route.prefix_len);
                emit_ip(out, route.prefix);
                emit_ip(out, route.gateway);
                emit_label(out, route.label);
            }
            Self::Unknown { value, .. } => out.extend_from_slice(value.get(..255).unwrap_or(value)),
        }
        let len = out.len() - start;
        if let Some(field) = out.get_mut(start - 1) {
            *field = len as u8;
        }
    }
}

impl EthernetAd {
    /// RD 8, ESI 10, tag 4, label 3 (RFC 7432 §7.1).
    fn parse(value: &[u8]) -> Result<Self, &'static str> {
        let value: &[u8; 25] = value.try_into().map_err(|_| "length is not 25")?;
        Ok(Self {
            rd: Rd(at(value, 0)),
            esi: Esi(at(value, 8)),
            tag: u32::from_be_bytes(at(value, 18)),
            label: label(at(value, 22)),
        })
    }
}

impl MacIp {
    /// RD 8, ESI 10, tag 4, MAC length 1, MAC 6, IP length 1, IP 0/4/16, label 3, label 0/3 (RFC 7432 §7.2).
    #[inline]
    fn parse(value: &[u8]) -> Result<Self, &'static str> {
        let (mut route, labels) = Self::parse_name(value)?;
        (route.label1, route.label2) = match *labels {
            [a, b, c] => (label([a, b, c]), None),
            [a, b, c, d, e, f] => (label([a, b, c]), Some(label([d, e, f]))),
            _ => return Err("labels are not 3 or 6 octets"),
        };
        Ok(route)
    }

    /// All but the labels, and these as octets.
    #[inline]
    fn parse_name(value: &[u8]) -> Result<(Self, &[u8]), &'static str> {
        let (fixed, rest) = value.split_first_chunk::<30>().ok_or("length is less than 33")?;
        if fixed[22] != 48 {
            return Err("MAC address length is not 48");
        }
        let (ip, labels) = match fixed[29] {
            0 => (None, rest),
            32 => {
                let (ip, labels) = rest.split_first_chunk::<4>().ok_or("ends inside its IP address")?;
                (Some(IpAddr::V4(Ipv4Addr::from(*ip))), labels)
            }
            128 => {
                let (ip, labels) = rest.split_first_chunk::<16>().ok_or("ends inside its IP address")?;
                (Some(IpAddr::V6(Ipv6Addr::from(*ip))), labels)
            }
            _ => return Err("IP address length is not 0, 32 or 128"),
        };
        let route = Self {
            rd: Rd(at(fixed, 0)),
            esi: Esi(at(fixed, 8)),
            tag: u32::from_be_bytes(at(fixed, 18)),
            mac: MacAddr(at(fixed, 23)),
            ip,
            label1: 0,
            label2: None,
        };
        Ok((route, labels))
    }
}

impl Imet {
    /// RD 8, tag 4, IP length 1, IP 4/16 (RFC 7432 §7.3).
    fn parse(value: &[u8]) -> Result<Self, &'static str> {
        let (fixed, rest) = value.split_first_chunk::<13>().ok_or("length is not 17 or 29")?;
        Ok(Self { rd: Rd(at(fixed, 0)), tag: u32::from_be_bytes(at(fixed, 8)), originator: sized_ip(fixed[12], rest)? })
    }
}

impl EthernetSegment {
    /// RD 8, ESI 10, IP length 1, IP 4/16 (RFC 7432 §7.4).
    fn parse(value: &[u8]) -> Result<Self, &'static str> {
        let (fixed, rest) = value.split_first_chunk::<19>().ok_or("length is not 23 or 35")?;
        Ok(Self { rd: Rd(at(fixed, 0)), esi: Esi(at(fixed, 8)), originator: sized_ip(fixed[18], rest)? })
    }
}

impl IpPrefix {
    /// RD 8, ESI 10, tag 4, prefix length 1, prefix 4/16, gateway 4/16, label 3 (RFC 9136 §3.1). The length tells the family.
    fn parse(value: &[u8]) -> Result<Self, &'static str> {
        let (fixed, rest) = value.split_first_chunk::<23>().ok_or("length is not 34 or 58")?;
        let prefix_len = fixed[22];
        let (max, prefix, gateway, label_octets) = if let Ok(rest) = <&[u8; 11]>::try_from(rest) {
            let ip = |offset| IpAddr::V4(Ipv4Addr::from(at::<4, 11>(rest, offset)));
            (32, ip(0), ip(4), at(rest, 8))
        } else if let Ok(rest) = <&[u8; 35]>::try_from(rest) {
            let ip = |offset| IpAddr::V6(Ipv6Addr::from(at::<16, 35>(rest, offset)));
            (128, ip(0), ip(16), at(rest, 32))
        } else {
            return Err("length is not 34 or 58");
        };
        if prefix_len > max {
            return Err("prefix length is more than its address has bits");
        }
        Ok(Self {
            rd: Rd(at(fixed, 0)),
            esi: Esi(at(fixed, 8)),
            tag: u32::from_be_bytes(at(fixed, 18)),
            prefix_len,
            prefix,
            gateway,
            label: label(label_octets),
        })
    }
}

/// N octets at a constant offset of a fixed field: the bound is known, the check goes away.
#[inline(always)]
fn at<const N: usize, const M: usize>(field: &[u8; M], offset: usize) -> [u8; N] {
    let mut octets = [0; N];
    octets.copy_from_slice(&field[offset..offset + N]);
    octets
}

#[inline(always)]
fn label([a, b, c]: [u8; 3]) -> u32 {
    u32::from_be_bytes([0, a, b, c])
}

/// An address whose length in bits stands before it.
fn sized_ip(bits: u8, octets: &[u8]) -> Result<IpAddr, &'static str> {
    match (bits, octets.len()) {
        (32, 4) => Ok(IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(octets).unwrap_or_default()))),
        (128, 16) => Ok(IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(octets).unwrap_or_default()))),
        (32 | 128, _) => Err("length does not go with that of its IP address"),
        _ => Err("IP address length is not 32 or 128"),
    }
}

fn emit_head(out: &mut Vec<u8>, rd: &Rd, esi: Option<&Esi>, tag: Option<u32>) {
    out.extend_from_slice(&rd.0);
    if let Some(esi) = esi {
        out.extend_from_slice(&esi.0);
    }
    if let Some(tag) = tag {
        out.extend_from_slice(&tag.to_be_bytes());
    }
}

fn emit_label(out: &mut Vec<u8>, label: u32) {
    out.extend_from_slice(&label.to_be_bytes()[1..]);
}

fn emit_ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
        IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
    }
}

fn emit_sized_ip(out: &mut Vec<u8>, ip: IpAddr) {
    out.push(bits(ip));
    emit_ip(out, ip);
}

const fn bits(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

impl fmt::Display for EvpnRoute<'_> {
    /// The notation of FRR: `[2]:[tag]:[48]:[mac]:[32]:[ip]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EthernetAd(route) => write!(f, "[1]:[{}]:[{}]", route.tag, route.esi),
            Self::MacIp(MacIp { tag, mac, ip: Some(ip), .. }) => write!(f, "[2]:[{tag}]:[48]:[{mac}]:[{}]:[{ip}]", bits(*ip)),
            Self::MacIp(MacIp { tag, mac, ip: None, .. }) => write!(f, "[2]:[{tag}]:[48]:[{mac}]"),
            Self::Imet(route) => write!(f, "[3]:[{}]:[{}]:[{}]", route.tag, bits(route.originator), route.originator),
            Self::EthernetSegment(route) => write!(f, "[4]:[{}]:[{}]:[{}]", route.esi, bits(route.originator), route.originator),
            Self::IpPrefix(route) => write!(f, "[5]:[{}]:[{}]:[{}]", route.tag, route.prefix_len, route.prefix),
            Self::Unknown { route_type, value } => {
                write!(f, "[{route_type}]:[")?;
                value.iter().try_for_each(|octet| write!(f, "{octet:02x}"))?;
                f.write_str("]")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RD: Rd = Rd([0, 1, 10, 0, 0, 1, 0, 100]);
    const ESI: Esi = Esi([3, 0, 1, 2, 3, 4, 5, 0, 0, 1]);

    fn v4() -> IpAddr {
        "10.1.1.4".parse().unwrap()
    }

    fn v6() -> IpAddr {
        "2001:db8::4".parse().unwrap()
    }

    /// Every shape a known route can have, with the length its value must have.
    fn every_shape() -> Vec<(EvpnRoute<'static>, usize)> {
        let mac_ip = |ip, label2| {
            let mac = MacAddr([2, 0, 0, 0, 0, 4]);
            EvpnRoute::MacIp(MacIp { rd: RD, esi: Esi::ZERO, tag: 7, mac, ip, label1: 10101, label2 })
        };
        let imet = |originator| EvpnRoute::Imet(Imet { rd: RD, tag: u32::MAX, originator });
        let segment = |originator| EvpnRoute::EthernetSegment(EthernetSegment { rd: RD, esi: ESI, originator });
        let prefix = |prefix_len, prefix, gateway| {
            EvpnRoute::IpPrefix(IpPrefix { rd: RD, esi: ESI, tag: 0, prefix_len, prefix, gateway, label: 0xff_ffff })
        };
        vec![
            (EvpnRoute::EthernetAd(EthernetAd { rd: RD, esi: ESI, tag: 1, label: 10100 }), 25),
            (mac_ip(None, None), 33),
            (mac_ip(None, Some(50000)), 36),
            (mac_ip(Some(v4()), None), 37),
            (mac_ip(Some(v4()), Some(50000)), 40),
            (mac_ip(Some(v6()), None), 49),
            (mac_ip(Some(v6()), Some(0xff_ffff)), 52),
            (imet(v4()), 17),
            (imet(v6()), 29),
            (segment(v4()), 23),
            (segment(v6()), 35),
            (prefix(32, v4(), v4()), 34),
            (prefix(0, v6(), v6()), 58),
            (EvpnRoute::Unknown { route_type: 9, value: &[1, 2, 3] }, 3),
            (EvpnRoute::Unknown { route_type: 0, value: &[] }, 0),
        ]
    }

    #[test]
    fn reads_what_it_writes() {
        let mut field = Vec::new();
        for (route, len) in every_shape() {
            let start = field.len();
            route.emit(&mut field);
            assert_eq!(field[start..start + 2], [route.route_type(), len as u8], "{route}");
            assert_eq!(field.len() - start, 2 + len, "{route}");
        }
        let found: Vec<_> = routes(&field).map(Result::unwrap).collect();
        let wanted: Vec<_> = every_shape().into_iter().map(|(route, _)| route).collect();
        assert_eq!(found, wanted);
    }

    #[test]
    fn a_bad_inside_costs_one_route() {
        let good = every_shape();
        for (route, len) in &good[..13] {
            for change in [-1i32, 1] {
                let mut field = Vec::new();
                route.emit(&mut field);
                let wrong = (*len as i32 + change) as usize;
                field.resize(2 + wrong, 0);
                field[1] = wrong as u8;
                good[0].0.emit(&mut field);
                let found: Vec<_> = routes(&field).collect();
                assert_eq!(found.len(), 2, "{route}");
                let error = found[0].unwrap_err();
                assert!(error.recoverable && error.offset == 0 && error.route_type == route.route_type(), "{route}");
                assert_eq!(found[1], Ok(good[0].0));
            }
        }
    }

    #[test]
    fn wrong_lengths_inside_are_found() {
        // Offset of the octet in the value, and what may not stand there.
        let cases: [(usize, usize, &[u8]); 6] = [
            (1, 22, &[0, 47, 49]),
            (1, 29, &[31, 32, 33, 128, 255]),
            (3, 29, &[0, 24, 128]),
            (7, 12, &[0, 31, 128]),
            (9, 18, &[0, 128]),
            (11, 22, &[33, 128]),
        ];
        for (shape, offset, octets) in cases {
            for octet in octets {
                let mut field = Vec::new();
                every_shape()[shape].0.emit(&mut field);
                field[2 + offset] = *octet;
                let found: Vec<_> = routes(&field).collect();
                assert!(matches!(found[..], [Err(NlriError { recoverable: true, .. })]), "{shape} {octet}");
            }
        }
    }

    #[test]
    fn a_length_past_the_end_ends_the_walk() {
        let mut field = Vec::new();
        every_shape()[0].0.emit(&mut field);
        let first = field.len();
        every_shape()[1].0.emit(&mut field);
        for end in first + 1..field.len() {
            let found: Vec<_> = routes(&field[..end]).collect();
            assert_eq!(found.len(), 2);
            let error = found[1].unwrap_err();
            assert!(!error.recoverable && error.offset == first && error.route_type == 2);
        }
        assert_eq!(routes(&[]).next(), None);
    }

    #[test]
    fn shown_as_frr_does() {
        let text: Vec<_> = every_shape().iter().map(|(route, _)| route.to_string()).collect();
        assert_eq!(text[0], "[1]:[1]:[03:00:01:02:03:04:05:00:00:01]");
        assert_eq!(text[1], "[2]:[7]:[48]:[02:00:00:00:00:04]");
        assert_eq!(text[3], "[2]:[7]:[48]:[02:00:00:00:00:04]:[32]:[10.1.1.4]");
        assert_eq!(text[8], "[3]:[4294967295]:[128]:[2001:db8::4]");
        assert_eq!(text[9], "[4]:[03:00:01:02:03:04:05:00:00:01]:[32]:[10.1.1.4]");
        assert_eq!(text[12], "[5]:[0]:[0]:[2001:db8::4]");
        assert_eq!(text[13], "[9]:[010203]");
    }
}
