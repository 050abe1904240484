//! What was understood so far: the keys of a file to be, before peer groups are spelt out and addresses found.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::base::{Asn, BgpIdentifier, Vni};

use super::finding::{Fate, Finding, Verdict};
use super::lines::Line;

/// Everything.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub asn: Option<Asn>,
    pub router_id: Option<BgpIdentifier>,
    /// `bgp cluster-id`, and the finding of its line.
    pub cluster_id: Option<(BgpIdentifier, usize)>,
    /// `timers bgp`: hold time in seconds.
    pub hold_time: Option<u16>,
    /// `frr defaults datacenter`: other timers.
    pub datacenter: bool,
    /// Every neighbor speaks EVPN, unless it says otherwise (`bgp default l2vpn-evpn`).
    pub all_speak_evpn: bool,
    /// `bgp shutdown`.
    pub shut_down: bool,
    pub peers: Vec<Peer>,
    /// Where in `peers` a name is.
    pub by_name: BTreeMap<String, usize>,
    pub ranges: Vec<Range>,
    pub listen_limit: Option<u32>,
    pub graceful: Graceful,
    pub duplicates: Duplicates,
    /// `advertise-all-vni`, and the finding of its line.
    pub all_vnis: Option<usize>,
    /// Route targets in the form of RFC 8365 §5.1.2.1: the finding of the line.
    pub rfc8365_targets: Option<usize>,
    pub flooding_disabled: bool,
    pub vnis: Vec<Segment>,
    /// Where in `vnis` a VNI is.
    pub by_vni: BTreeMap<Vni, usize>,
    /// Route distinguishers that are taken.
    pub rds: BTreeMap<String, Vni>,
    /// VNIs of VRFs, each with its VRF.
    pub l3_vnis: BTreeMap<Vni, String>,
    /// Addresses of interfaces that the file itself sets.
    pub addresses: BTreeMap<String, Vec<IpNet>>,
    pub findings: Vec<Finding>,
}

/// A neighbor, or a group of neighbors.
#[derive(Debug, Default)]
pub(super) struct Peer {
    pub name: String,
    /// It is a name for options of others.
    pub is_group: bool,
    /// BGP unnumbered: an interface, and no address.
    pub is_interface: bool,
    pub group: Option<String>,
    pub options: Options,
    /// Findings of its lines.
    pub findings: Vec<usize>,
}

/// Who a neighbor's AS is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RemoteAs {
    Number(Asn),
    /// Ours.
    Internal,
    /// Any but ours.
    External,
}

/// What becomes of a neighbor with too many routes (`maximum-prefix`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MaxRoutes {
    /// Its session is closed beyond so many.
    Close(u32),
    /// It is only told of, whatever the group says.
    Warn,
}

/// What a neighbor or a group says; `None`: nothing.
#[derive(Debug, Clone, Default)]
pub(super) struct Options {
    /// `remote-as`, and the finding of its line.
    pub asn: Option<(RemoteAs, usize)>,
    pub port: Option<u16>,
    /// `update-source`: an address or an interface, and the finding of its line.
    pub source: Option<(String, usize)>,
    pub passive: Option<bool>,
    pub hold_time: Option<u16>,
    pub connect_retry: Option<u16>,
    pub password: Option<String>,
    pub ttl_security: Option<u8>,
    pub multihop: Option<u8>,
    pub client: Option<bool>,
    pub graceful: Option<bool>,
    pub max_routes: Option<MaxRoutes>,
    pub description: Option<String>,
    pub enabled: Option<bool>,
    /// `activate` in `l2vpn evpn`.
    pub activated: Option<bool>,
}

impl Options {
    /// What is given here, and what the group says of the rest.
    pub fn over(self, group: &Self) -> Self {
        let group = group.clone();
        Self {
            asn: self.asn.or(group.asn),
            port: self.port.or(group.port),
            source: self.source.or(group.source),
            passive: self.passive.or(group.passive),
            hold_time: self.hold_time.or(group.hold_time),
            connect_retry: self.connect_retry.or(group.connect_retry),
            password: self.password.or(group.password),
            ttl_security: self.ttl_security.or(group.ttl_security),
            multihop: self.multihop.or(group.multihop),
            client: self.client.or(group.client),
            graceful: self.graceful.or(group.graceful),
            max_routes: self.max_routes.or(group.max_routes),
            description: self.description.or(group.description),
            enabled: self.enabled.or(group.enabled),
            activated: self.activated.or(group.activated),
        }
    }
}

/// `bgp listen range`.
#[derive(Debug)]
pub(super) struct Range {
    pub range: IpNet,
    pub group: String,
    pub finding: usize,
}

/// `[graceful-restart]` to be.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Graceful {
    pub disabled: bool,
    pub restart_time: Option<u32>,
    pub stale_time: Option<u32>,
    /// With the finding of its line.
    pub long_lived: Option<(u32, usize)>,
}

/// `[duplicate-detection]` to be.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Duplicates {
    pub moves: Option<u32>,
    pub seconds: Option<u32>,
    /// Frozen for so many seconds; 0: for good.
    pub freeze: Option<u32>,
}

/// A `vni` block.
#[derive(Debug)]
pub(super) struct Segment {
    pub vni: Vni,
    pub rd: Option<String>,
    pub import: Vec<String>,
    pub export: Vec<String>,
    /// Findings of its lines.
    pub findings: Vec<usize>,
}

impl Draft {
    /// Notes what became of a line, and gives the number of the finding.
    pub fn note(&mut self, line: &Line<'_>, verdict: Verdict) -> usize {
        self.findings.push(Finding {
            line: line.number,
            last_line: line.number,
            text: line.shown(),
            fate: verdict.fate,
            why: verdict.why,
            instead: verdict.instead,
        });
        self.findings.len() - 1
    }

    /// Changes what became of a line once more is known.
    pub fn change(&mut self, finding: usize, verdict: Verdict) {
        let finding = &mut self.findings[finding];
        (finding.fate, finding.why, finding.instead) = (verdict.fate, verdict.why, verdict.instead);
    }

    /// The same, of lines that were thought to live on.
    pub fn lose(&mut self, findings: &[usize], verdict: &Verdict) {
        for finding in findings {
            if self.findings[*finding].fate == Fate::Carried {
                self.change(*finding, verdict.clone());
            }
        }
    }

    /// The peer of that name; one address has one, however it is written.
    pub fn peer(&mut self, name: &str) -> &mut Peer {
        let name = name.parse::<IpAddr>().map_or_else(|_| name.to_owned(), |address| address.to_string());
        let next = self.peers.len();
        let index = *self.by_name.entry(name.clone()).or_insert(next);
        if index == next {
            self.peers.push(Peer { name, ..Peer::default() });
        }
        &mut self.peers[index]
    }

    /// Addresses of an interface, as the file sets them.
    pub fn addresses_of(&self, interface: &str) -> impl Iterator<Item = IpAddr> {
        self.addresses.get(interface).into_iter().flatten().map(IpNet::addr)
    }
}
