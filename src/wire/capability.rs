//! Capabilities of the OPEN (RFC 5492): what a speaker can do, as a list of code, length and value.
//!
//! A capability of a known code whose value has another shape than its RFC says is kept as [`Capability::Unknown`]; only the two
//! that a session stands on, multiprotocol and 4-octet AS, are refused when malformed.

use std::fmt;

/// Code 1 (RFC 4760 §8).
pub const MULTI_PROTOCOL: u8 = 1;
/// Code 2 (RFC 2918).
pub const ROUTE_REFRESH: u8 = 2;
/// Code 6 (RFC 8654).
pub const EXTENDED_MESSAGE: u8 = 6;
/// Code 9 (RFC 9234).
pub const ROLE: u8 = 9;
/// Code 64 (RFC 4724).
pub const GRACEFUL_RESTART: u8 = 64;
/// Code 65 (RFC 6793).
pub const FOUR_OCTET_AS: u8 = 65;
/// Code 69 (RFC 7911).
pub const ADD_PATH: u8 = 69;
/// Code 70 (RFC 7313).
pub const ENHANCED_ROUTE_REFRESH: u8 = 70;
/// Code 71 (RFC 9494).
pub const LONG_LIVED_GRACEFUL_RESTART: u8 = 71;
/// Code 73 (draft-walton-bgp-hostname-capability).
pub const FQDN: u8 = 73;

/// One capability. Unknown ones survive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Capability {
    /// 1 (RFC 4760 §8)
    MultiProtocol {
        /// AFI
        afi: u16,
        /// SAFI
        safi: u8,
    },
    /// 2 (RFC 2918)
    RouteRefresh,
    /// 6 (RFC 8654)
    ExtendedMessage,
    /// 9 (RFC 9234)
    Role(u8),
    /// 64 (RFC 4724, RFC 8538)
    GracefulRestart(GracefulRestart),
    /// 65 (RFC 6793)
    FourOctetAs(u32),
    /// 69 (RFC 7911): AFI, SAFI, send/receive
    AddPath(Vec<(u16, u8, u8)>),
    /// 70 (RFC 7313)
    EnhancedRouteRefresh,
    /// 71 (RFC 9494): AFI, SAFI, flags (0x80 = F), stale time in seconds (24 bits)
    LongLivedGracefulRestart(Vec<(u16, u8, u8, u32)>),
    /// 73: host name, domain name
    Fqdn {
        /// Host name (lossy UTF-8).
        host: String,
        /// Domain.
        domain: String,
    },
    /// Any other.
    Unknown {
        /// Code.
        code: u8,
        /// Value.
        value: Vec<u8>,
    },
}

/// Graceful restart capability.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GracefulRestart {
    /// R bit: the sender restarted.
    pub restarted: bool,
    /// N bit (RFC 8538).
    pub notification: bool,
    /// 12 bits, seconds.
    pub restart_time_secs: u16,
    /// AFI, SAFI, F bit (forwarding state kept).
    pub families: Vec<(u16, u8, bool)>,
}

/// The most octets a value can have: its length is one octet.
const MAX_VALUE_LEN: usize = 255;

impl Capability {
    /// EVPN (25/70).
    pub const EVPN: Self = Self::MultiProtocol { afi: super::AFI_L2VPN, safi: super::SAFI_EVPN };

    /// Reads one value. The error says what is wrong with it.
    pub fn parse(code: u8, value: &[u8]) -> Result<Self, &'static str> {
        let known = match code {
            MULTI_PROTOCOL => match *value {
                [a, b, _reserved, safi] => Some(Self::MultiProtocol { afi: u16::from_be_bytes([a, b]), safi }),
                _ => return Err("multiprotocol capability not 4 octets long"),
            },
            FOUR_OCTET_AS => match *value {
                [a, b, c, d] => Some(Self::FourOctetAs(u32::from_be_bytes([a, b, c, d]))),
                _ => return Err("4-octet AS capability not 4 octets long"),
            },
            ROUTE_REFRESH => value.is_empty().then_some(Self::RouteRefresh),
            EXTENDED_MESSAGE => value.is_empty().then_some(Self::ExtendedMessage),
            ENHANCED_ROUTE_REFRESH => value.is_empty().then_some(Self::EnhancedRouteRefresh),
            ROLE => match *value {
                [role] => Some(Self::Role(role)),
                _ => None,
            },
            GRACEFUL_RESTART => GracefulRestart::parse(value).map(Self::GracefulRestart),
            ADD_PATH => {
                entries(value, |&[a, b, safi, mode]: &[u8; 4]| (u16::from_be_bytes([a, b]), safi, mode)).map(Self::AddPath)
            }
            LONG_LIVED_GRACEFUL_RESTART => entries(value, |&[a, b, safi, flags, x, y, z]: &[u8; 7]| {
                (u16::from_be_bytes([a, b]), safi, flags, u32::from_be_bytes([0, x, y, z]))
            })
            .map(Self::LongLivedGracefulRestart),
            FQDN => fqdn(value),
            _ => None,
        };
        Ok(known.unwrap_or_else(|| Self::Unknown { code, value: value.to_vec() }))
    }

    /// The capability's code.
    pub const fn code(&self) -> u8 {
        match self {
            Self::MultiProtocol { .. } => MULTI_PROTOCOL,
            Self::RouteRefresh => ROUTE_REFRESH,
            Self::ExtendedMessage => EXTENDED_MESSAGE,
            Self::Role(_) => ROLE,
            Self::GracefulRestart(_) => GRACEFUL_RESTART,
            Self::FourOctetAs(_) => FOUR_OCTET_AS,
            Self::AddPath(_) => ADD_PATH,
            Self::EnhancedRouteRefresh => ENHANCED_ROUTE_REFRESH,
            Self::LongLivedGracefulRestart(_) => LONG_LIVED_GRACEFUL_RESTART,
            Self::Fqdn { .. } => FQDN,
            Self::Unknown { code, .. } => *code,
        }
    }

    /// Appends code, length and value. Of a list too long for 255 octets the entries that fit are sent.
    pub fn emit(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.code(), 0]);
        let start = out.len();
        match self {
            Self::MultiProtocol { afi, safi } => {
                let [a, b] = afi.to_be_bytes();
                out.extend_from_slice(&[a, b, 0, *safi]);
            }
            Self::RouteRefresh | Self::ExtendedMessage | Self::EnhancedRouteRefresh => {}
            Self::Role(role) => out.push(*role),
            Self::GracefulRestart(restart) => restart.emit(out),
            Self::FourOctetAs(asn) => out.extend_from_slice(&asn.to_be_bytes()),
            Self::AddPath(families) => {
                for (afi, safi, mode) in families.iter().take(MAX_VALUE_LEN / 4) {
                    let [a, b] = afi.to_be_bytes();
                    out.extend_from_slice(&[a, b, *safi, *mode]);
                }
            }
            Self::LongLivedGracefulRestart(families) => {
                for (afi, safi, flags, stale_time_secs) in families.iter().take(MAX_VALUE_LEN / 7) {
                    let ([a, b], [_, x, y, z]) = (afi.to_be_bytes(), stale_time_secs.to_be_bytes());
                    out.extend_from_slice(&[a, b, *safi, *flags, x, y, z]);
                }
            }
            Self::Fqdn { host, domain } => {
                let host = cut(host, MAX_VALUE_LEN - 2);
                let domain = cut(domain, MAX_VALUE_LEN - 2 - host.len());
                for name in [host, domain] {
                    out.push(name.len() as u8);
                    out.extend_from_slice(name.as_bytes());
                }
            }
            Self::Unknown { value, .. } => out.extend_from_slice(value.get(..MAX_VALUE_LEN).unwrap_or(value)),
        }
        let len = out.len() - start;
        if let Some(field) = out.get_mut(start - 1) {
            *field = len as u8;
        }
    }
}

impl GracefulRestart {
    /// RFC 4724 §3: flags (4 bits: R, N), restart time (12 bits), then per family AFI, SAFI, flags.
    fn parse(value: &[u8]) -> Option<Self> {
        let (&[high, low], rest) = value.split_first_chunk::<2>()?;
        let families = entries(rest, |&[a, b, safi, flags]: &[u8; 4]| (u16::from_be_bytes([a, b]), safi, flags & 0x80 != 0))?;
        Some(Self {
            restarted: high & 0x80 != 0,
            notification: high & 0x40 != 0,
            restart_time_secs: u16::from_be_bytes([high & 0x0f, low]),
            families,
        })
    }

    fn emit(&self, out: &mut Vec<u8>) {
        let [high, low] = self.restart_time_secs.min(0x0fff).to_be_bytes();
        out.extend_from_slice(&[high | u8::from(self.restarted) << 7 | u8::from(self.notification) << 6, low]);
        for (afi, safi, kept) in self.families.iter().take((MAX_VALUE_LEN - 2) / 4) {
            let [a, b] = afi.to_be_bytes();
            out.extend_from_slice(&[a, b, *safi, u8::from(*kept) << 7]);
        }
    }
}

/// The value as a list of entries of N octets; `None` where it is not a whole number of them.
fn entries<const N: usize, T>(value: &[u8], read: impl Fn(&[u8; N]) -> T) -> Option<Vec<T>> {
    let (chunks, []) = value.as_chunks::<N>() else {
        return None;
    };
    Some(chunks.iter().map(read).collect())
}

/// Host and domain, each with its length before it. Old FRR leaves the domain out.
fn fqdn(value: &[u8]) -> Option<Capability> {
    let (&len, rest) = value.split_first()?;
    let (host, rest) = rest.split_at_checked(usize::from(len))?;
    let domain = match rest.split_first() {
        None => &[][..],
        Some((&len, domain)) if domain.len() == usize::from(len) => domain,
        Some(_) => return None,
    };
    Some(Capability::Fqdn { host: lossy(host), domain: lossy(domain) })
}

/// UTF-8 with `?` for what is not: never longer than what came, so that it can be sent again.
fn lossy(octets: &[u8]) -> String {
    let mut text = String::with_capacity(octets.len());
    for chunk in octets.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            text.push('?');
        }
    }
    text
}

/// The longest beginning of `text` of at most `max` octets.
fn cut(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MultiProtocol { afi: super::AFI_L2VPN, safi: super::SAFI_EVPN } => f.write_str("EVPN"),
            Self::MultiProtocol { afi, safi } => write!(f, "family {afi}/{safi}"),
            Self::RouteRefresh => f.write_str("route refresh"),
            Self::ExtendedMessage => f.write_str("extended message"),
            Self::Role(role) => write!(f, "role {role}"),
            Self::GracefulRestart(restart) => write!(f, "graceful restart, {} s", restart.restart_time_secs),
            Self::FourOctetAs(asn) => write!(f, "4-octet AS {asn}"),
            Self::AddPath(_) => f.write_str("add-path"),
            Self::EnhancedRouteRefresh => f.write_str("enhanced route refresh"),
            Self::LongLivedGracefulRestart(_) => f.write_str("long-lived graceful restart"),
            Self::Fqdn { host, .. } => write!(f, "host name {}", host.escape_debug()),
            Self::Unknown { code, .. } => write!(f, "capability {code}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back(capability: &Capability, wire: &[u8]) {
        let mut out = Vec::new();
        capability.emit(&mut out);
        assert_eq!(out, wire, "{capability}");
        assert_eq!(Capability::parse(wire[0], &wire[2..]).as_ref(), Ok(capability));
    }

    #[test]
    fn every_kind() {
        there_and_back(&Capability::EVPN, &[1, 4, 0, 25, 0, 70]);
        there_and_back(&Capability::RouteRefresh, &[2, 0]);
        there_and_back(&Capability::ExtendedMessage, &[6, 0]);
        there_and_back(&Capability::Role(3), &[9, 1, 3]);
        there_and_back(&Capability::FourOctetAs(4_200_000_000), &[65, 4, 0xfa, 0x56, 0xea, 0]);
        there_and_back(&Capability::AddPath(vec![(25, 70, 1)]), &[69, 4, 0, 25, 70, 1]);
        there_and_back(&Capability::EnhancedRouteRefresh, &[70, 0]);
        there_and_back(&Capability::LongLivedGracefulRestart(vec![(25, 70, 0x80, 3600)]), &[71, 7, 0, 25, 70, 0x80, 0, 14, 16]);
        there_and_back(&Capability::Fqdn { host: "vm".into(), domain: "a.b".into() }, b"\x49\x07\x02vm\x03a.b");
        there_and_back(&Capability::Unknown { code: 128, value: vec![] }, &[128, 0]);
        let restart = GracefulRestart {
            restarted: true,
            notification: true,
            restart_time_secs: 0xabc,
            families: vec![(25, 70, true), (1, 1, false)],
        };
        there_and_back(&Capability::GracefulRestart(restart), &[64, 10, 0xca, 0xbc, 0, 25, 70, 0x80, 0, 1, 1, 0]);
    }

    #[test]
    fn odd_shapes_are_kept_raw_or_refused() {
        for (code, value) in [
            (2, &[1][..]),
            (6, &[0]),
            (9, &[]),
            (64, &[1]),
            (64, &[0, 1, 2]),
            (69, &[1, 2, 3]),
            (71, &[1]),
            (73, &[]),
            (73, &[5, 1]),
            (73, &[0, 1, 2, 3]),
        ] {
            assert_eq!(Capability::parse(code, value), Ok(Capability::Unknown { code, value: value.to_vec() }));
        }
        assert!(Capability::parse(1, &[0, 25, 70]).is_err());
        assert!(Capability::parse(65, &[0, 0, 1]).is_err());
    }

    #[test]
    fn host_names_are_made_printable_and_never_grow() {
        let read = Capability::parse(73, b"\x04a\xff\xfeb").unwrap();
        assert_eq!(read, Capability::Fqdn { host: "a??b".into(), domain: String::new() });
        let mut out = Vec::new();
        Capability::Fqdn { host: "é".repeat(300), domain: "x".repeat(300) }.emit(&mut out);
        assert_eq!(out.len(), 2 + 255);
        assert!(
            matches!(Capability::parse(out[0], &out[2..]), Ok(Capability::Fqdn { host, domain }) if host.len() == 252 && domain.len() == 1)
        );
    }

    #[test]
    fn long_lists_are_cut_at_whole_entries() {
        let mut out = Vec::new();
        Capability::AddPath(vec![(25, 70, 3); 100]).emit(&mut out);
        assert_eq!((out[1], out.len()), (252, 254));
    }
}
