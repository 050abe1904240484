//! What somebody wrote on a device by hand: rows of single MACs, and the neighbours from which it answers ARP and ND (`proxy`), or to
//! which its own host sends (in no bridge). They stand as long as a host may be without EVPN, go to EVPN at the end, and come back.
//!
//! A row goes over by a delete and a write in one go: a write with the mark over one without it changes neither its state nor its mark
//! (`vxlan_fdb_update_existing`). The other way a write in place does, without a gap.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::IpAddr;

use evpnd::base::{MacAddr, Vni};
use serde::{Deserialize, Serialize};

use super::plan::{Tunnel, list};
use super::record::Before;
use super::step::Step;

/// A row, in one of the two databases.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "Stored")]
pub(super) struct Row {
    pub mac: MacAddr,
    /// Where it leads; none: it is the bridge's half.
    pub dst: Option<IpAddr>,
    pub permanent: bool,
    pub sticky: bool,
    pub port: Option<u16>,
    pub vni: Option<Vni>,
    pub via: Option<String>,
}

/// As `migrate.json` has it: earlier ones knew MAC and destination alone.
#[derive(Deserialize)]
#[serde(untagged)]
enum Stored {
    Pair(MacAddr, IpAddr),
    Whole {
        mac: MacAddr,
        dst: Option<IpAddr>,
        permanent: bool,
        sticky: bool,
        port: Option<u16>,
        vni: Option<Vni>,
        via: Option<String>,
    },
}

impl From<Stored> for Row {
    fn from(stored: Stored) -> Self {
        match stored {
            Stored::Pair(mac, dst) => Self::to(mac, dst),
            Stored::Whole { mac, dst, permanent, sticky, port, vni, via } => Self { mac, dst, permanent, sticky, port, vni, via },
        }
    }
}

impl Row {
    pub(super) fn to(mac: MacAddr, dst: IpAddr) -> Self {
        Self { mac, dst: Some(dst), permanent: false, sticky: false, port: None, vni: None, via: None }
    }

    fn half(&self) -> &'static str {
        if self.dst.is_some() { "self" } else { "master" }
    }

    fn write(&self, device: &str) -> String {
        // A group has many destinations, and none is replaced.
        let verb = if self.mac.is_multicast() && self.dst.is_some() { "append" } else { "replace" };
        let mut line = format!("fdb {verb} {} dev {device}", self.mac);
        let mut word = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                let _ = write!(line, " {name} {value}");
            }
        };
        word("dst", self.dst.map(|dst| dst.to_string()));
        word("port", self.port.map(|port| port.to_string()));
        word("vni", self.vni.map(|vni| vni.to_string()));
        word("via", self.via.clone());
        let sticky = if self.sticky { " sticky" } else { "" };
        format!("{line} {} {}{sticky}", self.half(), if self.permanent { "permanent" } else { "static" })
    }
}

/// A neighbour, `nud permanent`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Neighbor {
    pub ip: IpAddr,
    pub mac: MacAddr,
    pub router: bool,
}

impl Neighbor {
    fn write(&self, device: &str, how: &str) -> String {
        let router = if self.router { " router" } else { "" };
        format!("neigh replace {} lladdr {}{router} dev {device} {how}", self.ip, self.mac)
    }
}

/// What EVPN says of a MAC.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// Where it is, and its VNI there if that is another; none: at this host.
    pub remote: Option<(IpAddr, Option<Vni>)>,
    pub ips: Vec<IpAddr>,
}

/// By MAC, for one VNI.
pub(super) type Macs = BTreeMap<MacAddr, Known>;

/// The protocol number by which the daemon knows its neighbours again.
const PROTOCOL: u8 = 179;

/// Whether something of it stands.
pub(super) fn any(tunnel: &Tunnel) -> bool {
    !tunnel.fixed.is_empty() || !tunnel.neighbors.is_empty()
}

/// Whether the device floods to nobody and is run so: it answers ARP and ND by what stands on it, or is the host's own.
pub(super) fn is_silent(tunnel: &Tunnel) -> bool {
    tunnel.group.is_none() && tunnel.flood.is_empty() && (tunnel.proxy || tunnel.bridge.is_none())
}

/// Why the rows may not go yet: somebody would not be found without them.
pub(super) fn missing(tunnel: &Tunnel, macs: &Macs) -> Vec<String> {
    let stations: BTreeSet<MacAddr> = tunnel.fixed.iter().map(|row| row.mac).filter(|mac| mac.is_station()).collect();
    let unknown: Vec<MacAddr> = stations.into_iter().filter(|mac| !macs.contains_key(mac)).collect();
    let has = |neighbor: &&Neighbor| macs.values().any(|known| known.ips.contains(&neighbor.ip));
    let unanswered: Vec<IpAddr> = tunnel.neighbors.iter().filter(|one| !has(one)).map(|one| one.ip).collect();
    let mut out = Vec::new();
    let advice = "convert its host (evpnctl migrate there) and have it speak; or, where it is gone for good,";
    if let Some(first) = unknown.first() {
        out.push(format!(
            "nobody announces {}, for which somebody wrote a row: {advice} bridge fdb del {first} dev {} self, or --force",
            list(&unknown),
            tunnel.name
        ));
    }
    if let Some(first) = unanswered.first() {
        out.push(format!(
            "nobody announces {}, for which somebody wrote a neighbour: {advice} ip neigh del {first} dev {}, or --force",
            list(&unanswered),
            tunnel.name
        ));
    }
    let six = tunnel.neighbors.iter().find(|one| one.ip.is_ipv6());
    if let (Some(bridge), Some(six), true) = (&tunnel.bridge, six, tunnel.ipv6_off) {
        out.push(format!(
            "{bridge} has IPv6 off, so that evpnd cannot answer for {} and others: sysctl -w net.ipv6.conf.{bridge}.disable_ipv6=0",
            six.ip
        ));
    }
    out
}

/// Rows and neighbours become EVPN's, in place as far as the kernel lets them.
pub(super) fn take_over(tunnel: &Tunnel, macs: &Macs) -> Vec<Step> {
    let name = &tunnel.name;
    let mut steps = Vec::new();
    let mut by_mac: BTreeMap<MacAddr, BTreeSet<&str>> = BTreeMap::new();
    tunnel.fixed.iter().for_each(|row| _ = by_mac.entry(row.mac).or_default().insert(row.half()));
    let mut lines = Vec::new();
    for (mac, halves) in by_mac {
        lines.extend(halves.into_iter().map(|half| format!("fdb del {mac} dev {name} {half}")));
        if let Some((vtep, vni)) = macs.get(&mac).and_then(|known| known.remote) {
            let vni = vni.map(|vni| format!(" vni {vni}")).unwrap_or_default();
            let master = if tunnel.bridge.is_some() { " master" } else { "" };
            lines.push(format!("fdb replace {mac} dev {name} dst {vtep}{vni} self{master} static extern_learn"));
        }
    }
    steps.extend((!lines.is_empty()).then_some(Step::BridgeMaybe(lines)));
    // In a bridge the daemon's stand on that by now. On the device itself they take the place of these.
    let known = |ip: IpAddr| macs.iter().find(|(_, known)| known.remote.is_some() && known.ips.contains(&ip));
    let go = |one: &Neighbor| match known(one.ip).filter(|_| tunnel.bridge.is_none()) {
        Some((mac, _)) => {
            Neighbor { mac: *mac, ..one.clone() }.write(name, &format!("nud noarp protocol {PROTOCOL} extern_learn"))
        }
        None => format!("neigh del {} dev {name}", one.ip),
    };
    let lines: Vec<String> = tunnel.neighbors.iter().map(go).collect();
    steps.extend((!lines.is_empty()).then_some(Step::IpMaybe(lines)));
    steps
}

/// What was taken over comes back beside EVPN, but for what EVPN knows to be elsewhere by now.
pub(super) fn put_back(tunnel: &Tunnel, before: &Before, macs: &Macs) -> Vec<Step> {
    let leads = |row: &&Row| match macs.get(&row.mac).map(|known| known.remote) {
        Some(remote) => row.dst.is_some() && remote == row.dst.map(|dst| (dst, row.vni)),
        None => row.dst.is_some(),
    };
    let rows = before.fixed.iter().filter(leads).filter(|row| !tunnel.fixed.contains(row));
    let rows: Vec<String> = rows.map(|row| row.write(&tunnel.name)).collect();
    let has = |one: &&Neighbor| macs.iter().all(|(mac, known)| *mac == one.mac || !known.ips.contains(&one.ip));
    let neighbors = before.neighbors.iter().filter(has).filter(|one| !tunnel.neighbors.contains(one));
    let neighbors: Vec<String> = neighbors.map(|one| one.write(&tunnel.name, "nud permanent")).collect();
    let rows = (!rows.is_empty()).then_some(Step::Bridge(rows));
    rows.into_iter().chain((!neighbors.is_empty()).then_some(Step::IpLines(neighbors))).collect()
}

/// An entry to which the daemon once added copies keeps its mark, and its default destination with it, where that stood all along:
/// written once more without, it has none.
pub(super) fn unmark(tunnel: &Tunnel, before: &Before) -> Option<Step> {
    let group = before.group.filter(|group| tunnel.group == Some(*group) && tunnel.copies.contains(group))?;
    let via = before.underlay.as_ref().map(|underlay| format!(" via {underlay}")).unwrap_or_default();
    Some(Step::BridgeMaybe(vec![format!("fdb append {} dev {} dst {group}{via} self permanent", MacAddr::ZERO, tunnel.name)]))
}

/// All of it as it was, once the daemon has let go of the device.
pub(super) fn restore(tunnel: &Tunnel, before: &Before) -> Vec<Step> {
    let name = &tunnel.name;
    let mut steps = Vec::new();
    if !before.fixed.is_empty() {
        // The bridge's halves that came with the daemon's rows.
        let halves = before.fixed.iter().filter(|row| row.dst.is_some() && tunnel.bridge.is_some());
        let halves: Vec<String> = halves.map(|row| format!("fdb del {} dev {name} master", row.mac)).collect();
        steps.extend((!halves.is_empty()).then_some(Step::BridgeMaybe(halves)));
        steps.push(Step::Bridge(before.fixed.iter().map(|row| row.write(name)).collect()));
    }
    if !before.neighbors.is_empty() {
        let lines: Vec<String> = before.neighbors.iter().map(|one| one.write(name, "nud permanent")).collect();
        if tunnel.bridge.is_none() {
            // Written over, one of the daemon's keeps its protocol number; here nobody puts it back meanwhile.
            let anew = before.neighbors.iter().zip(&lines);
            let anew = anew.flat_map(|(one, line)| [format!("neigh del {} dev {name}", one.ip), line.clone()]);
            steps.push(Step::IpMaybe(anew.collect()));
        }
        steps.push(Step::IpLines(lines));
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 7]);

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn lines(steps: &[Step]) -> Vec<String> {
        let of = |step: &Step| match step {
            Step::Bridge(lines) | Step::BridgeMaybe(lines) | Step::IpLines(lines) | Step::IpMaybe(lines) => lines.clone(),
            other => panic!("{other}"),
        };
        steps.iter().flat_map(of).collect()
    }

    fn tunnel() -> Tunnel {
        let half = Row { dst: None, ..Row::to(MAC, ip("10.0.0.2")) };
        let neighbor = Neighbor { ip: ip("fd01::7"), mac: MAC, router: true };
        Tunnel {
            name: "vxlan100".to_owned(),
            bridge: Some("br100".to_owned()),
            fixed: vec![half, Row { permanent: true, ..Row::to(MAC, ip("10.0.0.2")) }],
            neighbors: vec![neighbor],
            proxy: true,
            ..Tunnel::default()
        }
    }

    fn at(vtep: &str) -> Macs {
        let known = Known { remote: Some((ip(vtep), None)), ips: vec![ip("fd01::7")] };
        BTreeMap::from([(MAC, known)])
    }

    fn before(tunnel: &Tunnel) -> Before {
        Before { fixed: tunnel.fixed.clone(), neighbors: tunnel.neighbors.clone(), ..Before::default() }
    }

    #[test]
    fn a_row_goes_over_in_one_go_and_leads_where_its_route_does() {
        let taken = lines(&take_over(&tunnel(), &at("10.0.0.3")));
        let expected = [
            "fdb del 02:00:00:00:00:07 dev vxlan100 master",
            "fdb del 02:00:00:00:00:07 dev vxlan100 self",
            "fdb replace 02:00:00:00:00:07 dev vxlan100 dst 10.0.0.3 self master static extern_learn",
            "neigh del fd01::7 dev vxlan100",
        ];
        assert_eq!(taken, expected);
        // In no bridge its neighbours are those that the host sends to.
        let bare = lines(&take_over(&Tunnel { bridge: None, ..tunnel() }, &at("10.0.0.3")));
        assert_eq!(bare[2], "fdb replace 02:00:00:00:00:07 dev vxlan100 dst 10.0.0.3 self static extern_learn");
        let written = "neigh replace fd01::7 lladdr 02:00:00:00:00:07 router dev vxlan100 nud noarp protocol 179 extern_learn";
        assert_eq!(bare[3], written);
    }

    #[test]
    fn nothing_goes_that_nobody_announces() {
        let said = missing(&tunnel(), &BTreeMap::new());
        assert!(said[0].contains("nobody announces 02:00:00:00:00:07") && said[0].contains("bridge fdb del"), "{said:?}");
        assert!(said[1].contains("nobody announces fd01::7") && said[1].contains("ip neigh del"), "{said:?}");
        assert_eq!(missing(&tunnel(), &at("10.0.0.2")), Vec::<String>::new());
        let off = Tunnel { ipv6_off: true, ..tunnel() };
        assert!(missing(&off, &at("10.0.0.2"))[0].contains("sysctl -w net.ipv6.conf.br100.disable_ipv6=0"));
    }

    #[test]
    fn what_comes_back_is_as_it_was_and_does_not_lead_astray() {
        let (full, empty) = (tunnel(), Tunnel { fixed: vec![], neighbors: vec![], ..tunnel() });
        let back = ["fdb replace 02:00:00:00:00:07 dev vxlan100 dst 10.0.0.2 self permanent"];
        let neighbor = "neigh replace fd01::7 lladdr 02:00:00:00:00:07 router dev vxlan100 nud permanent";
        assert_eq!(lines(&put_back(&empty, &before(&full), &at("10.0.0.2"))), [back[0], neighbor]);
        assert_eq!(lines(&put_back(&empty, &before(&full), &BTreeMap::new())), [back[0], neighbor], "its host has left EVPN");
        assert_eq!(lines(&put_back(&empty, &before(&full), &at("10.0.0.3"))), [neighbor], "it moved");
        assert_eq!(put_back(&full, &before(&full), &at("10.0.0.2")), [], "it stands");
        let all = lines(&restore(&empty, &before(&full)));
        assert_eq!(all[0], "fdb del 02:00:00:00:00:07 dev vxlan100 master");
        assert_eq!(all[1..], ["fdb replace 02:00:00:00:00:07 dev vxlan100 master static", back[0], neighbor]);
        let odd = Row { port: Some(99), vni: Vni::new(5), via: Some("eth0".to_owned()), ..Row::to(MAC, ip("10.0.0.2")) };
        let odd = lines(&restore(&empty, &Before { fixed: vec![odd], ..Before::default() }));
        assert_eq!(odd[1], "fdb replace 02:00:00:00:00:07 dev vxlan100 dst 10.0.0.2 port 99 vni 5 via eth0 self static");
    }

    #[test]
    fn rows_of_an_earlier_record_are_read() {
        let row: Row = serde_json::from_str("[\"02:00:00:00:00:07\", \"10.0.0.2\"]").unwrap();
        assert_eq!(row, Row::to(MAC, ip("10.0.0.2")));
        for row in tunnel().fixed {
            let text = serde_json::to_string(&row).unwrap();
            assert_eq!(serde_json::from_str::<Row>(&text).unwrap(), row, "{text}");
        }
    }
}
