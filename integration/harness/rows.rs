//! What the kernel holds, as `bridge -j fdb` tells it, and what a test may expect of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::Deserialize;

use super::netns::Namespace;

/// One entry of `bridge -j fdb show`.
#[derive(Debug, Clone, Deserialize)]
pub struct Row {
    /// Lower case with colons.
    pub mac: String,
    /// The remote VTEP (rows of the VXLAN FDB).
    #[serde(default)]
    pub dst: Option<IpAddr>,
    /// The nexthop group that stands for it (`nexthop-groups`).
    #[serde(default)]
    pub nhid: Option<u32>,
    /// The bridge (rows of the bridge FDB).
    #[serde(default)]
    pub master: Option<String>,
    /// `permanent`, `static`, or empty.
    #[serde(default)]
    pub state: String,
}

/// MAC `number` of those that a case has for itself, apart from the guests' by `block`.
pub fn mac(block: u8, number: u32) -> [u8; 6] {
    let [_, high, middle, low] = number.to_be_bytes();
    [0x02, block, 0, high, middle, low]
}

/// A MAC as `bridge` writes it.
pub fn text(mac: [u8; 6]) -> String {
    mac.map(|octet| format!("{octet:02x}")).join(":")
}

/// How many remote MACs of a device stand in both FDBs, told from the words alone: a hundred thousand rows are not parsed.
pub fn count(namespace: &Namespace, device: &str) -> usize {
    let text = namespace.output("bridge", ["fdb", "show", "dev", device]);
    let count = |half: &str| text.lines().filter(|line| line.contains(half) && line.starts_with("02:")).count();
    count(" dst ").min(count(" master "))
}

/// The address under which a VXLAN device keeps its flood list.
pub const FLOOD: &str = "00:00:00:00:00:00";

/// Every row of a device.
pub fn rows(namespace: &Namespace, device: &str) -> Vec<Row> {
    let text = namespace.output("bridge", ["-j", "fdb", "show", "dev", device]);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("bridge -j fdb show dev {device}: {error}: {text}"))
}

/// Remote MACs of a VXLAN device and where they lead; only those that the bridge's FDB has as well, because a row in one
/// of the two alone is a fault: without the bridge's, frames are flooded to every local port.
pub fn remote_macs(namespace: &Namespace, device: &str) -> Result<BTreeMap<String, IpAddr>, String> {
    let rows = rows(namespace, device);
    let mut vxlan = BTreeMap::new();
    for row in rows.iter().filter(|row| row.master.is_none() && row.mac != FLOOD) {
        let Some(dst) = row.dst.or_else(|| behind_group(namespace, row.nhid?)) else { continue };
        if let Some(before) = vxlan.insert(row.mac.clone(), dst) {
            return Err(format!("{device} has {} twice: at {before} and {dst}", row.mac));
        }
    }
    // Permanent ones are the port's own addresses.
    let bridge: BTreeSet<&String> =
        rows.iter().filter(|row| row.master.is_some() && row.state != "permanent").map(|row| &row.mac).collect();
    if let Some(mac) = vxlan.keys().find(|mac| !bridge.contains(mac)) {
        return Err(format!("{mac} is in the FDB of {device} but not in its bridge's"));
    }
    if let Some(mac) = bridge.into_iter().find(|mac| !vxlan.contains_key(*mac)) {
        return Err(format!("{mac} is in the bridge's FDB but not in that of {device}"));
    }
    Ok(vxlan)
}

/// A nexthop of `ip -j nexthop show`.
#[derive(Debug, Clone, Deserialize)]
pub struct Nexthop {
    /// Its number.
    pub id: u32,
    /// Where it leads.
    #[serde(default)]
    pub gateway: Option<IpAddr>,
    /// Where it is a group: its members.
    #[serde(default)]
    pub group: Vec<Member>,
}

/// A member of a group.
#[derive(Debug, Clone, Deserialize)]
pub struct Member {
    /// Its number.
    pub id: u32,
}

/// Every nexthop of the namespace.
pub fn nexthops(namespace: &Namespace) -> Vec<Nexthop> {
    let text = namespace.output("ip", ["-j", "nexthop", "show"]);
    if text.trim().is_empty() {
        return Vec::new();
    }
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("ip -j nexthop show: {error}: {text}"))
}

/// Where a group of one leads.
fn behind_group(namespace: &Namespace, id: u32) -> Option<IpAddr> {
    let all = nexthops(namespace);
    let group = all.iter().find(|nexthop| nexthop.id == id)?;
    let [Member { id: member }] = group.group[..] else { return None };
    all.iter().find(|nexthop| nexthop.id == member)?.gateway
}

/// The remote VTEPs to which the device floods.
pub fn flood_list(namespace: &Namespace, device: &str) -> BTreeSet<IpAddr> {
    rows(namespace, device).into_iter().filter(|row| row.mac == FLOOD).filter_map(|row| row.dst).collect()
}
