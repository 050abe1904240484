//! ROUTE-REFRESH (RFC 2918, RFC 7313).
use super::notification::Notification;
/// A route refresh: subtype 0 request, 1 beginning (BoRR), 2 end (EoRR).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteRefresh {
    /// AFI
    pub afi: u16,
    /// Subtype octet, 0 where only RFC 2918 is spoken.
    pub subtype: u8,
    /// SAFI
    pub safi: u8,
}
impl RouteRefresh {
    /// Reads the body; a wrong length is a NOTIFICATION 7/1 with the message as data.
    pub fn parse(_body: &[u8]) -> Result<Self, Notification> {
        todo!()
    }
    /// Appends the whole message.
    pub fn emit(&self, _out: &mut Vec<u8>) {
        todo!()
    }
}
