//! Route distinguisher (RFC 4364 §4.2): what keeps equal routes of different instances apart. Read `evpn` for its use.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use crate::base::{Asn, BgpIdentifier, ParseError};

/// A route distinguisher, 8 octets as they stand on the wire. Unknown types survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Rd(pub [u8; 8]);

impl Rd {
    /// Type 0: a 2-octet AS and a 32-bit number.
    pub const fn from_as2(asn: u16, number: u32) -> Self {
        let ([a, b], [c, d, e, f]) = (asn.to_be_bytes(), number.to_be_bytes());
        Self([0, 0, a, b, c, d, e, f])
    }

    /// Type 1: an IPv4 address, here the router-id, and a 16-bit number (what RFC 7432 §7.9 asks of EVPN instances).
    pub const fn from_ipv4(identifier: BgpIdentifier, number: u16) -> Self {
        let ([a, b, c, d], [e, f]) = (identifier.0.octets(), number.to_be_bytes());
        Self([0, 1, a, b, c, d, e, f])
    }

    /// Type 2: a 4-octet AS and a 16-bit number.
    pub const fn from_as4(asn: Asn, number: u16) -> Self {
        let ([a, b, c, d], [e, f]) = (asn.0.to_be_bytes(), number.to_be_bytes());
        Self([0, 2, a, b, c, d, e, f])
    }

    /// The number, where this is a type 1 of `identifier`.
    pub fn number_of(self, identifier: BgpIdentifier) -> Option<u16> {
        let number = u16::from_be_bytes([self.0[6], self.0[7]]);
        (self == Self::from_ipv4(identifier, number)).then_some(number)
    }

    /// The type field: 0, 1 and 2 are known.
    pub const fn kind(self) -> u16 {
        u16::from_be_bytes([self.0[0], self.0[1]])
    }
}

impl fmt::Display for Rd {
    /// `65000:100`, `10.0.0.1:100`, `4200000000:100`; a type 2 whose AS would fit 16 bits as `0.100:100` (asdot), so that the
    /// text reads back as the same value; an unknown type as `0x` and 16 hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [_, _, a, b, c, d, e, g] = self.0;
        let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        let short = u16::from_be_bytes([e, g]);
        match self.kind() {
            0 => write!(f, "{high}:{}", u32::from_be_bytes([c, d, e, g])),
            1 => write!(f, "{}:{short}", Ipv4Addr::new(a, b, c, d)),
            2 if high == 0 => write!(f, "0.{low}:{short}"),
            2 => write!(f, "{}:{short}", u32::from_be_bytes([a, b, c, d])),
            _ => write!(f, "0x{:016x}", u64::from_be_bytes(self.0)),
        }
    }
}

impl FromStr for Rd {
    type Err = ParseError;

    /// The forms that `Display` writes.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let error = || ParseError::new(text, "a route distinguisher (such as 10.0.0.1:100, 65000:100 or 4200000000:100)");
        if let Some(digits) = text.strip_prefix("0x") {
            let good = digits.len() == 16 && digits.bytes().all(|b| b.is_ascii_hexdigit());
            return match u64::from_str_radix(digits, 16) {
                Ok(number) if good => Ok(Self(number.to_be_bytes())),
                _ => Err(error()),
            };
        }
        match administered(text).ok_or_else(error)? {
            Administered::As2(asn, number) => Ok(Self::from_as2(asn, number)),
            Administered::Ipv4(address, number) => Ok(Self::from_ipv4(BgpIdentifier(address), number)),
            Administered::As4(asn, number) => Ok(Self::from_as4(Asn(asn), number)),
        }
    }
}

/// The three forms that route distinguishers and route targets share (RFC 4364 §4.2, RFC 4360 §4).
pub(super) enum Administered {
    As2(u16, u32),
    Ipv4(Ipv4Addr, u16),
    As4(u32, u16),
}

/// Reads `65000:100` (4-octet number where the AS fits 16 bits), `10.0.0.1:100`, `4200000000:100` or `1.10:100` (asdot).
pub(super) fn administered(text: &str) -> Option<Administered> {
    let (administrator, number) = text.rsplit_once(':')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(number) {
        return None;
    }
    if let Ok(address) = administrator.parse::<Ipv4Addr>() {
        return Some(Administered::Ipv4(address, number.parse().ok()?));
    }
    if let Some((high, low)) = administrator.split_once('.') {
        if !digits(high) || !digits(low) {
            return None;
        }
        let asn = u32::from(high.parse::<u16>().ok()?) << 16 | u32::from(low.parse::<u16>().ok()?);
        return Some(Administered::As4(asn, number.parse().ok()?));
    }
    if !digits(administrator) {
        return None;
    }
    let asn = administrator.parse::<u32>().ok()?;
    match u16::try_from(asn) {
        Ok(short) => Some(Administered::As2(short, number.parse().ok()?)),
        Err(_) => Some(Administered::As4(asn, number.parse().ok()?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_and_reads_every_form() {
        let cases = [
            (Rd([0, 0, 0xfd, 0xe8, 0, 0, 0, 100]), "65000:100"),
            (Rd([0, 1, 10, 0, 0, 1, 0, 100]), "10.0.0.1:100"),
            (Rd([0, 2, 0xfa, 0x56, 0xea, 0, 0, 100]), "4200000000:100"),
            (Rd([0, 2, 0, 0, 0, 100, 0, 7]), "0.100:7"),
            (Rd([0, 9, 1, 2, 3, 4, 5, 6]), "0x0009010203040506"),
        ];
        for (rd, text) in cases {
            assert_eq!(rd.to_string(), text);
            assert_eq!(text.parse::<Rd>().unwrap(), rd, "{text}");
        }
        assert_eq!(Rd::from_ipv4(BgpIdentifier(Ipv4Addr::new(10, 0, 0, 1)), 100).to_string(), "10.0.0.1:100");
    }

    #[test]
    fn refuses_what_is_not_one() {
        for text in
            ["", ":", "1:", ":1", "65000:4294967296", "10.0.0.1:65536", "70000:65536", "a:1", "0x12", "1:+1", "+1:1", "1.2.3:4"]
        {
            assert!(text.parse::<Rd>().is_err(), "{text}");
        }
    }
}
