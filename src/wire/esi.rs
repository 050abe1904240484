//! Ethernet segment identifier (RFC 7432 §5).

/// An Ethernet segment identifier, 10 octets. All zero: single-homed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Esi(pub [u8; 10]);
