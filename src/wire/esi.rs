//! Ethernet segment identifier (RFC 7432 §5): names the link that a multihomed site hangs on.

use std::fmt;
use std::str::FromStr;

use crate::base::ParseError;

/// An Ethernet segment identifier, 10 octets. All zero: single-homed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Esi(pub [u8; 10]);

impl Esi {
    /// The identifier of a single-homed site.
    pub const ZERO: Self = Self([0; 10]);

    /// Whether it names no segment.
    pub fn is_zero(self) -> bool {
        self == Self::ZERO
    }
}

impl fmt::Display for Esi {
    /// Ten pairs of hexadecimal digits with colons.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, octet) in self.0.iter().enumerate() {
            let colon = if index == 0 { "" } else { ":" };
            write!(f, "{colon}{octet:02x}")?;
        }
        Ok(())
    }
}

impl FromStr for Esi {
    type Err = ParseError;

    /// The form that `Display` writes.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let error =
            || ParseError::new(text, "an Ethernet segment identifier (ten octets, such as 03:00:11:22:33:44:55:00:00:01)");
        let mut octets = [0; 10];
        let mut groups = text.split(':');
        for octet in &mut octets {
            let group = groups.next().ok_or_else(error)?;
            if group.len() != 2 || !group.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(error());
            }
            *octet = u8::from_str_radix(group, 16).map_err(|_| error())?;
        }
        if groups.next().is_some() {
            return Err(error());
        }
        Ok(Self(octets))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_and_reads() {
        let esi = Esi([3, 0, 0x11, 0x22, 0x33, 0x44, 0x55, 0, 0, 1]);
        assert_eq!(esi.to_string(), "03:00:11:22:33:44:55:00:00:01");
        assert_eq!("03:00:11:22:33:44:55:00:00:01".parse(), Ok(esi));
        for text in ["", "03", "03:00:11:22:33:44:55:00:00:01:02", "+3:00:11:22:33:44:55:00:00:01"] {
            assert!(text.parse::<Esi>().is_err(), "{text}");
        }
        assert!(Esi::ZERO.is_zero() && !esi.is_zero());
    }
}
