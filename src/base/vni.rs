//! The VXLAN network identifier.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ParseError;

/// A VXLAN network identifier: 24 bits, 1 to 16777215 (RFC 7348 §5). Zero is left out: the kernel takes it for "none".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Vni(u32);

impl Vni {
    /// The largest identifier, 2^24 - 1.
    pub const MAX: u32 = 0x00ff_ffff;

    /// `None` where `number` is 0 or needs more than 24 bits.
    pub const fn new(number: u32) -> Option<Self> {
        if number == 0 || number > Self::MAX { None } else { Some(Self(number)) }
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Vni {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<u32> for Vni {
    type Error = ParseError;
    fn try_from(number: u32) -> Result<Self, ParseError> {
        Self::new(number).ok_or_else(|| ParseError::new(&number.to_string(), "a VNI (1 to 16777215)"))
    }
}

impl From<Vni> for u32 {
    fn from(vni: Vni) -> Self {
        vni.0
    }
}

impl FromStr for Vni {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let number = text.parse::<u32>().ok();
        number.and_then(Self::new).ok_or_else(|| ParseError::new(text, "a VNI (1 to 16777215)"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_24_bits_but_not_zero() {
        assert!(Vni::new(0).is_none());
        assert!(Vni::new(0x0100_0000).is_none());
        assert_eq!("16777215".parse::<Vni>().unwrap().get(), Vni::MAX);
        assert!("-1".parse::<Vni>().is_err());
    }
}
