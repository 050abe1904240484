//! OPEN (RFC 4271 §4.2, RFC 9072 extended optional parameters).
//!
//! ```text
//! version (1) | my AS (2) | hold time (2) | identifier (4) | parameters length (1) | parameters
//! RFC 9072:  … | 255 | 255 | parameters length (2) | parameters, each with a length of 2 octets
//! ```

use std::net::Ipv4Addr;

use super::capability::Capability;
use super::header::{self, MessageType};
use super::notification::{self, Notification};
use crate::base::BgpIdentifier;

/// The one optional parameter in use: capabilities (RFC 5492 §4).
const PARAMETER_CAPABILITIES: u8 = 2;
/// Where the type of the first parameter would stand, this says that lengths are of 2 octets (RFC 9072 §2).
const EXTENDED: u8 = 255;

/// An OPEN. `parse` checks form only (version, lengths); policy (AS, hold time, identifier) is session's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// 4.
    pub version: u8,
    /// The 2-octet field; the real number is in the 4-octet AS capability.
    pub my_as: u16,
    /// Hold time in seconds as it stands.
    pub hold_time_secs: u16,
    /// Identifier (may be 0.0.0.0 on the wire: session refuses).
    pub identifier: BgpIdentifier,
    /// In the order sent, duplicates kept.
    pub capabilities: Vec<Capability>,
}

impl Open {
    /// Reads the body of an OPEN. Every malformation is a NOTIFICATION 2/x.
    pub fn parse(body: &[u8]) -> Result<Self, Notification> {
        let Some((&[version, as_high, as_low, hold_high, hold_low, a, b, c, d, parameters_len], rest)) =
            body.split_first_chunk::<10>()
        else {
            return Err(unspecific());
        };
        if version != 4 {
            // RFC 4271 §6.2: the data is the largest version we speak.
            return Err(Notification::new(notification::OPEN_ERROR, 1, vec![0, 4]));
        }
        let mut open = Self {
            version,
            my_as: u16::from_be_bytes([as_high, as_low]),
            hold_time_secs: u16::from_be_bytes([hold_high, hold_low]),
            identifier: BgpIdentifier(Ipv4Addr::new(a, b, c, d)),
            capabilities: Vec::new(),
        };
        // RFC 9072 §2: with a first parameter type of 255 the 1-octet length is ignored, except that 0 means no parameters.
        let (extended, mut parameters) = match *rest {
            [EXTENDED, high, low, ref parameters @ ..] if parameters_len != 0 => {
                let len = usize::from(u16::from_be_bytes([high, low]));
                (true, Some(parameters).filter(|parameters| parameters.len() == len).ok_or_else(unspecific)?)
            }
            _ => (false, Some(rest).filter(|rest| rest.len() == usize::from(parameters_len)).ok_or_else(unspecific)?),
        };
        while let Some((kind, value, rest)) = parameter(parameters, extended)? {
            if kind != PARAMETER_CAPABILITIES {
                // RFC 4271 §6.2: Unsupported Optional Parameter.
                return Err(Notification::new(notification::OPEN_ERROR, 4, Vec::new()));
            }
            open.read_capabilities(value)?;
            parameters = rest;
        }
        Ok(open)
    }

    fn read_capabilities(&mut self, mut octets: &[u8]) -> Result<(), Notification> {
        while let Some((code, value, rest)) = parameter(octets, false)? {
            self.capabilities.push(Capability::parse(code, value).map_err(|_| unspecific())?);
            octets = rest;
        }
        Ok(())
    }

    /// Appends the whole message with its header; RFC 9072 form where the parameters need more than 255 octets.
    /// One parameter holds all capabilities (RFC 5492 §4); those past the 4096 octets of an OPEN are left out.
    pub fn emit(&self, out: &mut Vec<u8>) {
        let start = header::begin(out, MessageType::Open);
        out.push(self.version);
        out.extend_from_slice(&self.my_as.to_be_bytes());
        out.extend_from_slice(&self.hold_time_secs.to_be_bytes());
        out.extend_from_slice(&self.identifier.0.octets());
        let mut capabilities = Vec::new();
        for capability in &self.capabilities {
            let end = capabilities.len();
            capability.emit(&mut capabilities);
            // 10 octets of fixed fields, 3 of RFC 9072 and 3 of the parameter's head.
            if header::HEADER_LEN + 16 + capabilities.len() > header::MAX_MESSAGE_LEN {
                capabilities.truncate(end);
                break;
            }
        }
        let len = capabilities.len();
        match len {
            0 => out.push(0),
            1..=253 => out.extend_from_slice(&[len as u8 + 2, PARAMETER_CAPABILITIES, len as u8]),
            _ => {
                let ([a, b], [c, d]) = ((len as u16 + 3).to_be_bytes(), (len as u16).to_be_bytes());
                out.extend_from_slice(&[255, EXTENDED, a, b, PARAMETER_CAPABILITIES, c, d]);
            }
        }
        out.extend_from_slice(&capabilities);
        header::finish(out, start);
    }
}

/// RFC 4271 §6.2: a recognized optional parameter that is malformed is Unspecific, subcode 0.
fn unspecific() -> Notification {
    Notification::new(notification::OPEN_ERROR, 0, Vec::new())
}

/// Type, value, and what follows.
type Parameter<'a> = (u8, &'a [u8], &'a [u8]);

/// The first of a list of type, length, value; `None` at its end.
fn parameter(octets: &[u8], extended: bool) -> Result<Option<Parameter<'_>>, Notification> {
    let (kind, len, rest) = match *octets {
        [] => return Ok(None),
        [kind, high, low, ref rest @ ..] if extended => (kind, usize::from(u16::from_be_bytes([high, low])), rest),
        [kind, len, ref rest @ ..] if !extended => (kind, usize::from(len), rest),
        _ => return Err(unspecific()),
    };
    let (value, rest) = rest.split_at_checked(len).ok_or_else(unspecific)?;
    Ok(Some((kind, value, rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(capabilities: Vec<Capability>) -> Open {
        Open { version: 4, my_as: 23456, hold_time_secs: 90, identifier: BgpIdentifier(Ipv4Addr::new(10, 0, 0, 1)), capabilities }
    }

    fn emitted(open: &Open) -> Vec<u8> {
        let mut out = Vec::new();
        open.emit(&mut out);
        let frame = header::frame(&out, 4096).unwrap().unwrap();
        assert_eq!((frame.message_type, frame.len), (MessageType::Open, out.len()));
        frame.body.to_vec()
    }

    #[test]
    fn short_and_long_parameters() {
        for count in [0, 1, 3, 62, 63, 64, 600] {
            let wanted = open(vec![Capability::FourOctetAs(4_200_000_000); count]);
            let body = emitted(&wanted);
            assert_eq!(Open::parse(&body).unwrap(), wanted);
            assert_eq!(body.get(10) == Some(&255), count * 6 > 253, "{count}");
        }
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        let body = emitted(&open(vec![Capability::FourOctetAs(1); 5000]));
        assert!(body.len() + 19 <= 4096);
        assert!(Open::parse(&body).unwrap().capabilities.len() > 670);
    }

    #[test]
    fn one_parameter_per_capability_is_read_too() {
        let mut body = emitted(&open(vec![]));
        body[9] = 12;
        body.extend_from_slice(&[2, 6, 1, 4, 0, 25, 0, 70, 2, 2, 2, 0]);
        assert_eq!(Open::parse(&body).unwrap().capabilities, [Capability::EVPN, Capability::RouteRefresh]);
    }

    #[test]
    fn extended_form_with_a_short_length_octet() {
        let mut body = emitted(&open(vec![]));
        body[9] = 7; // RFC 9072 §2: any value but 0
        body.extend_from_slice(&[255, 0, 5, 2, 0, 2, 2, 0]);
        assert_eq!(Open::parse(&body).unwrap().capabilities, [Capability::RouteRefresh]);
    }

    #[test]
    fn malformations() {
        let good = emitted(&open(vec![Capability::EVPN]));
        for end in 0..good.len() {
            assert_eq!(Open::parse(&good[..end]).unwrap_err(), unspecific(), "{end}");
        }
        let with = |index: usize, octet: u8| {
            let mut body = good.clone();
            body[index] = octet;
            Open::parse(&body).unwrap_err()
        };
        assert_eq!(with(0, 3), Notification::new(2, 1, vec![0, 4]));
        assert_eq!(with(10, 1), Notification::new(2, 4, vec![])); // authentication parameter
        assert_eq!(with(9, 9), unspecific());
        assert_eq!(with(11, 7), unspecific());
        assert_eq!(with(13, 5), unspecific());
        assert_eq!(with(13, 3), unspecific());
        let trailing = [good.as_slice(), &[0]].concat();
        assert_eq!(Open::parse(&trailing).unwrap_err(), unspecific());
    }
}
