//! The 48-bit MAC address.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ParseError;

/// A MAC address, 6 octets in the order they are sent. Shown in lower case with colons.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// The all-zero address: not a station's; in a VXLAN FDB it names the flood list.
    pub const ZERO: Self = Self([0; 6]);

    /// Whether the group bit is set (multicast and broadcast), so that no station can own it (IEEE 802-2014 §8.2).
    pub fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// Whether a station may own this address: neither zero nor a group address.
    pub fn is_station(self) -> bool {
        self != Self::ZERO && !self.is_multicast()
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for MacAddr {
    type Err = ParseError;

    /// Six groups of two hexadecimal digits, separated by `:` or `-`.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let error = || ParseError::new(text, "a MAC address (six octets, such as 02:00:00:00:00:01)");
        let mut octets = [0; 6];
        let mut groups = text.split([':', '-']);
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

impl TryFrom<String> for MacAddr {
    type Error = ParseError;
    fn try_from(text: String) -> Result<Self, ParseError> {
        text.parse()
    }
}

impl From<MacAddr> for String {
    fn from(mac: MacAddr) -> Self {
        mac.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_shows() {
        let mac: MacAddr = "02:AB:00:00:00:ff".parse().unwrap();
        assert_eq!(mac.to_string(), "02:ab:00:00:00:ff");
        assert_eq!("02-ab-00-00-00-ff".parse::<MacAddr>().unwrap(), mac);
    }

    #[test]
    fn refuses_what_is_not_a_mac() {
        for text in ["", "02:00:00:00:00", "02:00:00:00:00:00:00", "2:0:0:0:0:0", "02:00:00:00:00:0g", "+2:00:00:00:00:00"] {
            assert!(text.parse::<MacAddr>().is_err(), "{text}");
        }
    }

    #[test]
    fn stations() {
        assert!(MacAddr([2, 0, 0, 0, 0, 1]).is_station());
        assert!(!MacAddr::ZERO.is_station());
        assert!(!MacAddr([0xff; 6]).is_station());
        assert!(!MacAddr([1, 0, 0x5e, 0, 0, 1]).is_station());
    }
}
