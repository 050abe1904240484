//! The peers that evpnd must live with: each writes its configuration and starts its daemons in a host's namespace.

pub mod frr;
pub mod gobgp;
