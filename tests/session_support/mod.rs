//! What the tests of sessions begin with: a configuration, and what two of them agree on.

#![allow(dead_code, missing_docs)]

pub use evpnd::base::{Asn, BgpIdentifier};
pub use evpnd::session::{Negotiated, SessionConfig};

/// Host `n` of AS 65000, 10.0.0.`n`, which takes any peer.
pub fn config(n: u8) -> SessionConfig {
    SessionConfig {
        local_asn: Asn(65000),
        local_identifier: BgpIdentifier([10, 0, 0, n].into()),
        remote_asn: None,
        passive: false,
        hold_time_secs: 90,
        connect_retry_secs: 5,
        host_name: None,
        graceful_restart: None,
        long_lived_stale_secs: 0,
    }
}

/// With host 2, everything but graceful restart.
pub fn negotiated() -> Negotiated {
    Negotiated {
        peer_asn: Asn(65000),
        peer_identifier: BgpIdentifier([10, 0, 0, 2].into()),
        hold_time_secs: 90,
        four_octet_as: true,
        extended_message: true,
        route_refresh: true,
        enhanced_route_refresh: true,
        graceful_restart: None,
        peer_host_name: None,
        capabilities: Vec::new(),
        external: false,
    }
}
