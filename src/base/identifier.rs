//! The BGP identifier, also called router-id.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ParseError;

/// A BGP identifier: 4 octets, not zero, unique within an AS (RFC 6286). Compared as a number in network order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BgpIdentifier(pub Ipv4Addr);

impl fmt::Display for BgpIdentifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for BgpIdentifier {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text.parse::<Ipv4Addr>() {
            Ok(address) if !address.is_unspecified() => Ok(Self(address)),
            _ => Err(ParseError::new(text, "a router-id (four octets such as 10.0.0.1, not 0.0.0.0)")),
        }
    }
}
