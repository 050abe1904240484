//! What the host's packet filter does with the packets of tunnels: nftables by `nft -j`, which shows the rules of iptables-nft as well.
//!
//! `rules` walks the chains for one packet, `values` compares what a rule asks for with what is known of it. Here are the packets: to and
//! from each VTEP, and a frame between two guests where bridges pass the filter; `sockets` has those from guests to tunnels. What cannot be told is said without alarm.

mod rules;
pub(super) mod sockets;
#[cfg(test)]
mod tests;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

pub(super) use rules::Rules;
use rules::{Dropped, Verdict};
use values::Packet;

use super::facts::{Facts, PROBED};

/// A UDP port that a frame between guests may go to: not one that rules are written for.
const ANY_PORT: u16 = 45_678;

/// Where a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    /// From a VTEP to this host.
    In,
    /// From this host to a VTEP.
    Out,
    /// From guest to guest, in a bridge (br_netfilter).
    Through,
}

/// Packets that do not pass.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Obstacle {
    pub way: Way,
    /// The tunnels' UDP port.
    pub port: u16,
    pub by: Dropped,
    /// The VTEPs concerned; empty: none is known yet.
    pub vteps: BTreeSet<IpAddr>,
    /// Whether it is every VTEP.
    pub all: bool,
}

/// What the rules do with the packets of this host's tunnels, and what cannot be told of it, in words.
pub(super) fn look(facts: &Facts, rules: &Rules) -> (Vec<Obstacle>, Vec<String>) {
    let mut stopped: BTreeMap<(Way, u16, Dropped), BTreeSet<IpAddr>> = BTreeMap::new();
    let mut unclear: BTreeSet<(Way, String)> = BTreeSet::new();
    let mut known: BTreeSet<IpAddr> = BTreeSet::new();
    for (way, port, vtep, packet) in packets(facts) {
        known.extend(vtep);
        match rules.verdict(&packet) {
            Verdict::Passes => {}
            Verdict::Dropped(by) => stopped.entry((way, port, by)).or_default().extend(vtep),
            Verdict::Unclear(place) => drop(unclear.insert((way, place))),
        }
    }
    let obstacles = stopped.into_iter().map(|((way, port, by), vteps)| Obstacle { way, port, by, all: vteps == known, vteps });
    let unclear = unclear.into_iter().map(|(way, place)| {
        let what = match way {
            Way::In => "packets of tunnels come in",
            Way::Out => "packets of tunnels go out",
            Way::Through => "frames between guests pass the bridge",
        };
        format!("whether {what}: it hangs on {place}, which asks for what is not known here")
    });
    (obstacles.collect(), unclear.collect())
}

/// The names that rules see of a device. Of one in a VRF: those before and after the VRF see another.
fn devices_of(facts: &Facts, device: &str) -> Vec<String> {
    let vrf = facts
        .link(device)
        .and_then(|link| link.master.as_deref())
        .filter(|name| facts.link(name).is_some_and(|master| master.kind == "vrf"));
    std::iter::once(device.to_owned()).chain(vrf.map(str::to_owned)).collect()
}

fn packets(facts: &Facts) -> Vec<(Way, u16, Option<IpAddr>, Packet)> {
    let mut packets = Vec::new();
    let tunnels = facts.tunnels();
    let ports: BTreeSet<u16> = tunnels.iter().filter_map(|link| link.data["port"].as_u64()?.try_into().ok()).collect();
    let names = |device: &str| devices_of(facts, device);
    for port in &ports {
        let mut both = |local: Option<IpAddr>, vtep: Option<IpAddr>, v4, device: Option<Vec<String>>| {
            for way in [Way::In, Way::Out] {
                let (from, to) = if way == Way::In { (vtep, local) } else { (local, vtep) };
                let devices = device.clone();
                packets.push((way, *port, vtep, Packet { way, v4, from, to, devices, port: *port }));
            }
        };
        let local = facts.local();
        for (vtep, reach) in facts.reach.iter().filter(|(_, reach)| !reach.devices.is_empty()).take(PROBED) {
            for device in &reach.devices {
                both(local.filter(|local| local.is_ipv4() == vtep.is_ipv4()), Some(*vtep), vtep.is_ipv4(), Some(names(device)));
            }
        }
        if !facts.reach.is_empty() {
            continue;
        }
        // Before the first session: by which device the others will be reached is known where the tunnel or its address has one.
        let tunnel = tunnels.iter().find(|link| link.data["port"].as_u64() == Some(u64::from(*port)));
        let written = |key: &str| tunnel?.data[key].as_str()?.parse::<IpAddr>().ok();
        let local = local.or_else(|| written("local")).or_else(|| written("local6"));
        let v4 = local.map_or_else(|| written("group6").is_none() && written("remote6").is_none(), |local| local.is_ipv4());
        let of_address = || {
            let link = facts.links.iter().find(|link| local.is_some_and(|local| link.addresses.contains(&local)))?;
            (link.name != "lo" && link.kind != "dummy").then(|| link.name.clone())
        };
        let device = tunnel.and_then(|link| link.data["link"].as_str().map(str::to_owned)).or_else(of_address);
        both(local, None, v4, device.as_deref().map(names));
    }
    if facts.bridges_are_filtered {
        let bridges: BTreeSet<&String> = tunnels.iter().filter_map(|link| link.master.as_ref()).collect();
        for bridge in bridges.into_iter().take(PROBED) {
            let devices = Some(vec![bridge.clone()]);
            let packet = Packet { way: Way::Through, v4: true, from: None, to: None, devices, port: ANY_PORT };
            packets.push((Way::Through, 0, None, packet));
        }
    }
    packets
}
