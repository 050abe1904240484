//! The autonomous system number.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ParseError;

/// An autonomous system number of 32 bits (RFC 6793). Zero is refused where it is read from people or peers (RFC 7607).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Asn(pub u32);

impl Asn {
    /// What a speaker of 4-octet numbers puts where only 2 octets fit (RFC 6793 §4.2.2).
    pub const TRANS: Self = Self(23456);

    /// The number as it stands in the OPEN's 2-octet field: itself, or [`Asn::TRANS`].
    pub fn in_two_octets(self) -> u16 {
        u16::try_from(self.0).unwrap_or(23456)
    }
}

impl fmt::Display for Asn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Asn {
    type Err = ParseError;

    /// Decimal, or `high.low` (RFC 5396 asdot); 0 is refused.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let number = match text.split_once('.') {
            Some((high, low)) => {
                high.parse::<u16>().ok().zip(low.parse::<u16>().ok()).map(|(h, l)| u32::from(h) << 16 | u32::from(l))
            }
            None => text.parse().ok(),
        };
        match number {
            Some(number) if number != 0 => Ok(Self(number)),
            _ => Err(ParseError::new(text, "an AS number (1 to 4294967295)")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_notations() {
        assert_eq!("4200000000".parse(), Ok(Asn(4_200_000_000)));
        assert_eq!("1.10".parse(), Ok(Asn(65546)));
        assert!("0".parse::<Asn>().is_err());
        assert!("4294967296".parse::<Asn>().is_err());
        assert_eq!(Asn(4_200_000_000).in_two_octets(), 23456);
        assert_eq!(Asn(65000).in_two_octets(), 65000);
    }
}
