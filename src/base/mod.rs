//! Floor 0: values that every room speaks of. Nothing here does IO, knows BGP or owns state that outlives a call.

mod asn;
mod histogram;
mod identifier;
mod interner;
mod mac;
mod random;
mod sequence;
mod time;
mod vlan;
mod vni;

pub use asn::Asn;
pub use histogram::Histogram;
pub use identifier::BgpIdentifier;
pub use interner::{InternId, Interner};
pub use mac::MacAddr;
pub use random::Random;
pub use sequence::{compare_sequences, next_sequence};
pub use time::Time;
pub use vlan::VlanId;
pub use vni::Vni;

use std::fmt;

/// Why a text is not one of the values of this floor: what was read and what was expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// The text as it was given.
    pub found: String,
    /// What would have been accepted, in words.
    pub expected: &'static str,
}

impl ParseError {
    /// An error for `found` where `expected` was wanted.
    pub fn new(found: &str, expected: &'static str) -> Self {
        Self { found: found.to_owned(), expected }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\" is not {}", self.found, self.expected)
    }
}

impl std::error::Error for ParseError {}
