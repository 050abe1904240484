//! The 802.1Q VLAN identifier.

use std::fmt;

/// A VLAN identifier, 1 to 4094 (IEEE 802.1Q §9.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VlanId(u16);

impl VlanId {
    /// `None` for 0, 4095 and larger numbers.
    pub const fn new(number: u16) -> Option<Self> {
        if number == 0 || number > 4094 { None } else { Some(Self(number)) }
    }

    /// The number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for VlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
