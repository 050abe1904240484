//! ROUTE-REFRESH (RFC 2918, RFC 7313).
//!
//! ```text
//! AFI (2) | subtype (1) | SAFI (1)
//! ```

use std::fmt;

use super::header::{self, MessageType};
use super::notification::{self, Notification};

/// Subtype 0: please send everything again.
pub const REQUEST: u8 = 0;
/// Subtype 1: beginning of a refresh, BoRR (RFC 7313 §3.2).
pub const BEGIN: u8 = 1;
/// Subtype 2: end of a refresh, EoRR.
pub const END: u8 = 2;

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
    /// One for EVPN (25/70).
    pub const fn evpn(subtype: u8) -> Self {
        Self { afi: super::AFI_L2VPN, subtype, safi: super::SAFI_EVPN }
    }

    /// Reads the body; a wrong length is a NOTIFICATION 7/1 with the message as data (RFC 7313 §5).
    pub fn parse(body: &[u8]) -> Result<Self, Notification> {
        match *body {
            [a, b, subtype, safi] => Ok(Self { afi: u16::from_be_bytes([a, b]), subtype, safi }),
            _ => {
                let mut message = Vec::with_capacity(header::HEADER_LEN + body.len());
                let start = header::begin(&mut message, MessageType::RouteRefresh);
                message.extend_from_slice(body);
                header::finish(&mut message, start);
                Err(Notification::new(notification::ROUTE_REFRESH_ERROR, 1, message))
            }
        }
    }

    /// Appends the whole message.
    pub fn emit(&self, out: &mut Vec<u8>) {
        let start = header::begin(out, MessageType::RouteRefresh);
        let [a, b] = self.afi.to_be_bytes();
        out.extend_from_slice(&[a, b, self.subtype, self.safi]);
        header::finish(out, start);
    }
}

impl fmt::Display for RouteRefresh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.subtype {
            REQUEST => f.write_str("route refresh request")?,
            BEGIN => f.write_str("beginning of route refresh")?,
            END => f.write_str("end of route refresh")?,
            other => write!(f, "route refresh of unknown subtype {other}")?,
        }
        write!(f, " for {}/{}", self.afi, self.safi)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for subtype in [REQUEST, BEGIN, END, 200] {
            let mut message = Vec::new();
            RouteRefresh::evpn(subtype).emit(&mut message);
            let frame = header::frame(&message, 4096).unwrap().unwrap();
            assert_eq!((frame.message_type, frame.len), (MessageType::RouteRefresh, 23));
            assert_eq!(RouteRefresh::parse(frame.body), Ok(RouteRefresh::evpn(subtype)));
        }
        assert_eq!(RouteRefresh::evpn(END).to_string(), "end of route refresh for 25/70");
    }

    #[test]
    fn a_wrong_length_gives_the_message_back() {
        let error = RouteRefresh::parse(&[0, 25, 0, 70, 1]).unwrap_err();
        assert_eq!((error.code, error.subcode, error.data.len()), (7, 1, 24));
        assert_eq!(error.data[16..], [0, 24, 5, 0, 25, 0, 70, 1]);
    }
}
