//! What happened to MACs and VTEPs, for the log and `evpnctl monitor`. A bounded queue: a load of a million routes must
//! not become a million lines in memory.

use std::collections::VecDeque;
use std::fmt;
use std::net::IpAddr;

use crate::base::{MacAddr, Vni};

/// Where a MAC is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// At a port of our bridge.
    Local {
        /// ifindex of the port; 0 for a static MAC of the configuration that nobody heard.
        port: u32,
        /// Its name; empty for such a MAC.
        port_name: String,
    },
    /// Behind another host.
    Remote(IpAddr),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local { port_name, .. } if port_name.is_empty() => f.write_str("here (configuration)"),
            Self::Local { port_name, .. } => write!(f, "local port {port_name}"),
            Self::Remote(vtep) => write!(f, "VTEP {vtep}"),
        }
    }
}

/// Something worth a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EvpnEvent {
    /// A MAC that was nowhere is somewhere.
    MacLearned {
        /// Which VNI.
        vni: Vni,
        /// Which MAC.
        mac: MacAddr,
        /// Where.
        place: Place,
        /// Its sequence number.
        sequence: u32,
    },
    /// A MAC moved.
    MacMoved {
        /// Which VNI.
        vni: Vni,
        /// Which MAC.
        mac: MacAddr,
        /// From where.
        from: Place,
        /// To where.
        to: Place,
        /// The sequence number it has now.
        sequence: u32,
    },
    /// A MAC is nowhere any more.
    MacGone {
        /// Which VNI.
        vni: Vni,
        /// Which MAC.
        mac: MacAddr,
        /// Where it was.
        place: Place,
    },
    /// A MAC that may not move was heard or announced elsewhere; it stays (RFC 7432 §15.2).
    StickyViolation {
        /// Which VNI.
        vni: Vni,
        /// Which MAC.
        mac: MacAddr,
        /// Where it stays.
        stays: Place,
        /// Who claimed it.
        claimed: Place,
    },
    /// Flooded frames of a VNI go to this VTEP too.
    VtepAdded {
        /// Which VNI.
        vni: Vni,
        /// Which VTEP.
        vtep: IpAddr,
    },
    /// Flooded frames of a VNI do not go to this VTEP any more.
    VtepGone {
        /// Which VNI.
        vni: Vni,
        /// Which VTEP.
        vtep: IpAddr,
    },
    /// A limit was reached for the first time since it was last below.
    LimitReached {
        /// Which VNI.
        vni: Vni,
        /// Of what, in words.
        what: &'static str,
        /// How many.
        limit: usize,
    },
}

impl fmt::Display for EvpnEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MacLearned { vni, mac, place, sequence: 0 } => write!(f, "VNI {vni}: {mac} is at {place}"),
            Self::MacLearned { vni, mac, place, sequence } => {
                write!(f, "VNI {vni}: {mac} is at {place}, sequence {sequence}")
            }
            Self::MacMoved { vni, mac, from, to, sequence } => {
                write!(f, "VNI {vni}: {mac} moved from {from} to {to}, sequence {sequence}")
            }
            Self::MacGone { vni, mac, place } => write!(f, "VNI {vni}: {mac} is gone from {place}"),
            Self::StickyViolation { vni, mac, stays, claimed } => {
                write!(f, "VNI {vni}: {mac} may not move and stays at {stays}, though {claimed} claims it")
            }
            Self::VtepAdded { vni, vtep } => write!(f, "VNI {vni}: flooding to VTEP {vtep} too"),
            Self::VtepGone { vni, vtep } => write!(f, "VNI {vni}: no longer flooding to VTEP {vtep}"),
            Self::LimitReached { vni, what, limit } => write!(f, "VNI {vni}: the limit of {limit} {what} is reached"),
        }
    }
}

/// Events that wait to be fetched.
#[derive(Debug, Default)]
pub(super) struct Events {
    queue: VecDeque<EvpnEvent>,
    limit: usize,
    pub dropped: u64,
}

impl Events {
    pub fn new(limit: usize) -> Self {
        Self { queue: VecDeque::new(), limit, dropped: 0 }
    }

    /// Queues an event, or counts it where too many wait.
    pub fn push(&mut self, event: EvpnEvent) {
        if self.queue.len() < self.limit {
            self.queue.push_back(event);
        } else {
            self.dropped += 1;
        }
    }

    pub fn pop(&mut self) -> Option<EvpnEvent> {
        self.queue.pop_front()
    }
}
