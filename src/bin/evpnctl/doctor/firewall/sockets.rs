//! Whether guests reach the sockets of this host's tunnels through their bridges. The kernel's VXLAN socket hears on every interface: what a
//! guest sends it comes out in whichever VNI it names (docs/SECURITY.md).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::Value;

use super::super::facts::{Facts, Link};
use super::rules::Verdict;
use super::values::Packet;
use super::{Rules, Way, devices_of};

/// A bridge whose guests reach them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Open {
    pub bridge: String,
    /// The names that rules see of what comes from it.
    pub devices: Vec<String>,
    pub ports: BTreeSet<u16>,
    /// The addresses of the bridge that they are reached by.
    pub by: BTreeSet<IpAddr>,
    /// They are reached by what is sent to everybody.
    pub by_all: bool,
}

/// Whether the filters on the way in at a device (`tc -j filter show`) have the one of evpnd for this port, as `kernel/closed.rs` writes it:
/// what is sent to everybody at the port is dropped, and all of IPv6.
pub(in super::super) fn drops(filters: &Value, port: u16) -> bool {
    /// `BPF_JMP | BPF_JEQ | BPF_K`
    const COMPARES: u64 = 0x15;
    filters.as_array().into_iter().flatten().any(|filter| {
        let options = &filter["options"];
        let compares = |line: &Value| line["code"] == COMPARES && line["k"] == port;
        filter["protocol"] == "all"
            && filter["kind"] == "bpf"
            && options["direct-action"] == true
            && options["bytecode"]["insns"].as_array().is_some_and(|lines| lines.iter().any(compares))
    })
}

/// Whether the one of evpnd stands there, for whichever ports: it has the usual one among them.
pub(in super::super) fn is_closed(filters: &Value) -> bool {
    drops(filters, 4789)
}

/// The UDP ports of this host's tunnels, whoever's, over IPv4 (true) and over IPv6: their sockets take no packet of the other family.
fn sockets(links: &[Link]) -> BTreeSet<(bool, u16)> {
    let over_ipv6 = |link: &Link| ["local6", "group6", "remote6"].iter().any(|key| link.data[*key].is_string());
    let of = |link: &Link| Some((!over_ipv6(link), link.data["port"].as_u64()?.try_into().ok()?));
    links.iter().filter(|link| link.kind == "vxlan").filter_map(of).collect()
}

/// The bridges of tunnels whose guests reach a socket, and what cannot be told. `filters` of each bridge that could be asked.
pub(in super::super) fn open(facts: &Facts, rules: &Rules, filters: &BTreeMap<String, Value>) -> (Vec<Open>, BTreeSet<String>) {
    let (mut found, mut unclear) = (Vec::new(), BTreeSet::new());
    let sockets = sockets(&facts.links);
    for bridge in facts.bridges_with_ignored() {
        let Some(filters) = filters.get(&bridge.name) else { continue };
        let devices = devices_of(facts, &bridge.name);
        let (mut ports, mut by, mut by_all) = (BTreeSet::new(), BTreeSet::new(), false);
        for &(v4, port) in &sockets {
            let filtered = drops(filters, port);
            let own = bridge.addresses.iter().copied().filter(|address| address.is_ipv4() == v4 && (v4 || !filtered));
            // Without any address the host has no IPv6 there, or nearly so.
            let everybody = match v4 {
                true => Some(IpAddr::from(Ipv4Addr::BROADCAST)),
                false => Some(IpAddr::from(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1)))
                    .filter(|_| bridge.addresses.iter().any(IpAddr::is_ipv6)),
            };
            for to in own.chain(everybody.filter(|_| !filtered)) {
                let packet =
                    Packet { way: Way::In, v4, from: None, to: Some(to), devices: Some(devices.clone()), port, segment: None };
                match rules.verdict(&packet) {
                    Verdict::Dropped(_) => {}
                    Verdict::Unclear(place) => drop(unclear.insert(place)),
                    Verdict::Passes => {
                        ports.insert(port);
                        if Some(to) == everybody {
                            by_all = true;
                        } else {
                            by.insert(to);
                        }
                    }
                }
            }
        }
        if !ports.is_empty() {
            found.push(Open { bridge: bridge.name.clone(), devices, ports, by, by_all });
        }
    }
    (found, unclear)
}
