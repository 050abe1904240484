//! Route distinguisher (RFC 4364 §4.2).

/// A route distinguisher, 8 octets as they stand on the wire. Unknown types survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Rd(pub [u8; 8]);
// new_ipv4(BgpIdentifier, u16) (type 1), Display "10.0.0.1:100" / "65000:100" / raw hex for unknown types, FromStr
