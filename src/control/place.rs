//! What events (`event`) speak of: where something is, and who needs to read of it.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Who needs to read an event. Ordered: the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Something does not work and stays so until somebody acts.
    Error,
    /// Something went wrong that may mend itself, or will bite later.
    Warn,
    /// The story of the fabric: sessions, VNIs, moves.
    Info,
    /// Every MAC.
    Debug,
}

/// Where a MAC is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// Behind this port of this host; empty for a static MAC of the configuration that no port has heard.
    Port(String),
    /// Behind this VTEP.
    Vtep(IpAddr),
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(port) if port.is_empty() => f.write_str("this host (configuration)"),
            Self::Port(port) => write!(f, "local port {port}"),
            Self::Vtep(vtep) => write!(f, "VTEP {vtep}"),
        }
    }
}
