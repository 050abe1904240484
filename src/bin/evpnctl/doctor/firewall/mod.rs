//! What the host's packet filter does with the packets of tunnels: nftables by `nft -j`, which shows the rules of iptables-nft as well.
//!
//! `rules` walks the chains for one packet, `values` compares what a rule asks for with what is known of it. Here are the packets: to and
//! from each VTEP, a frame between two guests where bridges pass the filter, and an ARP between guests and tunnels for rules of family `bridge`;
//! `sockets` has those from guests to tunnels. What cannot be told is said without alarm.

mod rules;
pub(super) mod sockets;
#[cfg(test)]
mod tests;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

pub(super) use rules::Rules;
use rules::{Dropped, Verdict};
use values::{Packet, Segment};

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
    /// Between a guest and a tunnel, in a bridge, as rules of family `bridge` see it.
    Bridged,
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
    /// The bridges concerned, where it is their frames.
    pub bridges: BTreeSet<String>,
}

/// Whom it stops.
#[derive(Debug, Default)]
struct Concerned {
    vteps: BTreeSet<IpAddr>,
    bridges: BTreeSet<String>,
}

/// What the rules do with the packets of this host's tunnels, and what cannot be told of it, in words.
pub(super) fn look(facts: &Facts, rules: &Rules) -> (Vec<Obstacle>, Vec<String>) {
    let mut stopped: BTreeMap<(Way, u16, Dropped), Concerned> = BTreeMap::new();
    let mut unclear: BTreeSet<(Way, String)> = BTreeSet::new();
    let mut known: BTreeSet<IpAddr> = BTreeSet::new();
    for (way, port, vtep, packet) in packets(facts) {
        known.extend(vtep);
        match rules.verdict(&packet) {
            Verdict::Passes => {}
            Verdict::Dropped(by) => {
                let concerned = stopped.entry((way, port, by)).or_default();
                concerned.vteps.extend(vtep);
                concerned.bridges.extend(packet.segment.map(|segment| segment.bridge));
            }
            // Filters of guests (libvirt's, Proxmox's) ask for much that is not known here, and are meant.
            Verdict::Unclear(_) if way == Way::Bridged => {}
            Verdict::Unclear(place) => drop(unclear.insert((way, place))),
        }
    }
    let obstacles = stopped.into_iter().map(|((way, port, by), Concerned { vteps, bridges })| Obstacle {
        way,
        port,
        by,
        all: vteps == known,
        vteps,
        bridges,
    });
    let unclear = unclear.into_iter().map(|(way, place)| {
        let what = match way {
            Way::In => "packets of tunnels come in",
            Way::Out => "packets of tunnels go out",
            Way::Through | Way::Bridged => "frames between guests pass the bridge",
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
                packets.push((way, *port, vtep, Packet { way, v4, from, to, devices, port: *port, segment: None }));
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
            let packet = Packet { way: Way::Through, v4: true, from: None, to: None, devices, port: ANY_PORT, segment: None };
            packets.push((Way::Through, 0, None, packet));
        }
    }
    packets.extend(frames(facts));
    packets
}

/// An ARP from the guests of each bridge into its tunnel, and one out of it.
fn frames(facts: &Facts) -> Vec<(Way, u16, Option<IpAddr>, Packet)> {
    let mut frames = Vec::new();
    for tunnel in facts.tunnels().into_iter().take(PROBED) {
        let Some(bridge) = tunnel.master.as_ref().filter(|name| facts.link(name).is_some_and(|link| link.kind == "bridge"))
        else {
            continue;
        };
        let ports = facts.links.iter().filter(|link| link.master.as_ref() == Some(bridge) && link.kind != "vxlan");
        let others: Vec<String> = ports.map(|link| link.name.clone()).collect();
        for into in [true, false] {
            let segment = Some(Segment { bridge: bridge.clone(), others: others.clone(), into });
            let devices = Some(vec![tunnel.name.clone()]);
            let packet = Packet { way: Way::Bridged, v4: true, from: None, to: None, devices, port: 0, segment };
            frames.push((Way::Bridged, 0, None, packet));
        }
    }
    frames
}
