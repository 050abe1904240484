//! Floor 1: octets of BGP to values and back. No policy and no state: one file per thing on the wire, each with its
//! struct, `parse`, `emit`, `Display` and tests. Read `update` first, then `attribute`, which holds THE TABLE.

pub mod as_path;
pub mod attribute;
mod attribute_block;
mod attribute_values;
pub mod capability;
pub mod esi;
pub mod evpn;
pub mod ext_community;
pub mod header;
pub mod notification;
pub mod open;
pub mod pmsi;
pub mod rd;
pub mod route_refresh;
pub mod update;

/// The address family of EVPN: AFI 25, L2VPN (RFC 7432 §7).
pub const AFI_L2VPN: u16 = 25;
/// The subsequent address family of EVPN: SAFI 70 (RFC 7432 §7).
pub const SAFI_EVPN: u8 = 70;
